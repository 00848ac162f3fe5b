"""Kubernetes' own CEL functions: lists, regular expressions, URLs, IPs, CIDRs, quantities, semver, sets.

Owns their signatures (for the checker) and what they do (for evaluation). Mirrors
k8s.io/apiserver/pkg/cel/library; strings, optionals and bindings come with the CEL library itself, macros are
expanded in `macros`, to functions whose names begin with `k8s`.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

from orchestrator.api.names import parse_cidr, parse_ip
from orchestrator.api.quantity import QuantityError, parse_quantity
from orchestrator.api.structural.cel import authorization
from orchestrator.api.structural.cel.named_formats import FORMATS

# Values of Kubernetes' own types are maps in an expression, so that they compare by value.
_TYPE = "kubernetes.io/type"


class Function(Struct, frozen=True):
    """One overload: what the checker sees, and what runs."""

    name: str
    signature: tuple[str, ...]
    """Types of the parameters (the receiver first), then of the result, as `_type` reads them."""
    run: Callable[..., Any]
    member: bool = True


def _opaque(kind: str, value: str) -> dict[str, str]:
    return {_TYPE: kind, "value": value}


def _plain(value: Any) -> Any:
    """The Python value behind what the CEL runtime passes."""
    if hasattr(value, "plain_value"):
        return value.plain_value()
    return value


def _value_of(wrapped: Any) -> str:
    value = _plain(wrapped)
    text = value["value"] if isinstance(value, dict) else value
    return str(_plain(text))


# --- lists ---


def _items(values: Any) -> list[Any]:
    return [_plain(item) for item in values]


def _is_sorted(values: Any) -> bool:
    items = _items(values)
    return all(items[position] <= items[position + 1] for position in range(len(items) - 1))


def _sum(values: Any) -> Any:
    items = _items(values)
    return functools.reduce(lambda left, right: left + right, items) if items else 0


def _extreme(choose: Callable[[list[Any]], Any], name: str) -> Callable[[Any], Any]:
    def run(values: Any) -> Any:
        items = _items(values)
        if not items:
            raise ValueError(f"{name} called on empty list")
        return choose(items)

    return run


def _index_of(values: Any, wanted: Any) -> int:
    items = _items(values)
    target = _plain(wanted)
    return items.index(target) if target in items else -1


def _last_index_of(values: Any, wanted: Any) -> int:
    items, target = _items(values), _plain(wanted)
    return max((position for position, item in enumerate(items) if item == target), default=-1)


# --- sets ---


def _contains(left: Any, right: Any) -> bool:
    items = _items(left)
    return all(item in items for item in _items(right))


def _intersects(left: Any, right: Any) -> bool:
    items = _items(left)
    return any(item in items for item in _items(right))


# --- regular expressions ---


@functools.lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    # Simplified: `find` and `findAll` use Python's expressions, with RE2's check of what is one.
    from orchestrator.api.structural.patterns import complaint_about

    if complaint := complaint_about(text):
        raise ValueError(complaint)
    return re.compile(text)


def _find(text: str, pattern: str) -> str:
    match = _pattern(pattern).search(text)
    return match[0] if match else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in _pattern(pattern).finditer(text)]
    return found if limit < 0 else found[:limit]


# --- URLs ---


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    if text.startswith("/"):
        return " " not in text
    return bool(parts.scheme) and " " not in parts.netloc


def _url(text: str) -> dict[str, str]:
    if not _is_url(text):
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    return _opaque("URL", text)


def _host(url: Any) -> str:
    return urlsplit(_value_of(url)).netloc.rpartition("@")[2]


def _hostname(url: Any) -> str:
    host = _host(url)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _port(url: Any) -> str:
    port = urlsplit(_value_of(url)).port
    return "" if port is None else str(port)


# --- addresses ---


def _ip(text: str) -> dict[str, str]:
    address = parse_ip(text)
    if address is None:
        raise ValueError(f'IP Address "{text}" parse error during conversion from string')
    return _opaque("IP", str(address))


def _address(value: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(_value_of(value))


def _cidr(text: str) -> dict[str, str]:
    if parse_cidr(text) is None:
        raise ValueError(f'network address parse error during conversion from string: "{text}"')
    return _opaque("CIDR", text)


def _network(value: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(_value_of(value), strict=False)


def _contains_ip(cidr: Any, ip: Any) -> bool:
    network, address = _network(cidr), _address(ip)
    return address.version == network.version and address in network


def _contains_cidr(cidr: Any, other: Any) -> bool:
    outer, inner = _network(cidr), _network(other)
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _masked(cidr: Any) -> dict[str, str]:
    return _opaque("CIDR", str(_network(cidr)))


def _is_unspecified_or(name: str) -> Callable[[Any], bool]:
    return lambda value: bool(getattr(_address(value), name))


# --- quantities ---


def _number(value: Any) -> Fraction:
    plain = _plain(value)
    return Fraction(plain) if isinstance(plain, int) else Fraction(_value_of(plain))


def quantity_value(text: str) -> dict[str, str]:
    try:
        parsed = parse_quantity(text)
    except QuantityError as error:
        raise ValueError(str(error)) from None
    return _opaque("Quantity", str(_fraction_of(parsed)))


def _fraction_of(parsed: Any) -> Fraction:
    return Fraction(parsed.nanos, 1_000_000_000)


def _is_quantity(text: str) -> bool:
    try:
        parse_quantity(text)
    except QuantityError:
        return False
    return True


def _compare(left: Fraction, right: Fraction) -> int:
    return (left > right) - (left < right)


def _as_integer(value: Any) -> int:
    number = _number(value)
    if number.denominator != 1 or not -(2**63) <= number < 2**63:
        raise ValueError("cannot convert value to integer")
    return int(number)


def _sign(value: Any) -> int:
    return _compare(_number(value), Fraction(0))


# --- semantic versions ---

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:[0-9A-Za-z-]+)(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z.-]+))?"
)


def semver_value(text: str) -> dict[str, str]:
    if not _SEMVER.fullmatch(text):
        raise ValueError(f"semver parse error during conversion from string: {text}")
    return _opaque("Semver", text.partition("+")[0])


def _version_key(value: Any) -> tuple[Any, ...]:
    match = _SEMVER.fullmatch(_value_of(value))
    assert match is not None
    release = tuple(int(part) for part in match.groups()[:3])
    pre = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in (match[4] or "").split(".") if part)
    return release, not pre, pre


def _version_compare(left: Any, right: Any) -> int:
    first, second = _version_key(left), _version_key(right)
    return (first > second) - (first < second)


# --- what macros expand to ---


def _keys(values: Any) -> list[Any]:
    """The positions of a list, or the keys of a map in order."""
    plain = _plain(values)
    return sorted(plain) if isinstance(plain, dict) else list(range(len(plain)))


def _merged(maps: Any) -> dict[Any, Any]:
    merged: dict[Any, Any] = {}
    for entries in _items(maps):
        for key, value in entries.items():
            if key in merged:
                raise ValueError(f"insert failed: key {key!r} already exists")
            merged[key] = value
    return merged


def _format(name: str) -> dict[str, str]:
    """A named format; an empty map for one that there is not."""
    return _opaque("Format", name) if name in FORMATS else {}


def _complaints(wanted: Any, text: str) -> list[str]:
    return FORMATS[_value_of(wanted)](text)


# --- the authorizer ---


def authorizer_value(**request_resource: str) -> dict[str, Any]:
    """The variable `authorizer`, with what the request itself is about as its `requestResource`."""
    return {_TYPE: "Authorizer", "requestResource": {_TYPE: "ResourceCheck", **request_resource}}


def _step(kind: str, *keys: str) -> Callable[..., dict[str, str]]:
    """One more step of a check: the texts become the values of these keys."""

    def run(value: Any, *texts: str) -> dict[str, str]:
        return {**_parts(value), **dict(zip(keys, texts, strict=True)), _TYPE: kind}

    return run


def _parts(value: Any) -> dict[str, str]:
    return {
        str(key): str(_plain(part))
        for key, part in _plain(value).items()
        if key != _TYPE and not isinstance(_plain(part), dict)
    }


def _of_service_account(value: Any, namespace: str, name: str) -> dict[str, str]:
    return {**_parts(value), "service_account": f"{namespace}/{name}", _TYPE: "Authorizer"}


def _check(value: Any, verb: str) -> dict[str, Any]:
    answer = authorization.ask(_parts(value), verb)
    return {_TYPE: "Decision", "allowed": answer.allowed, "reason": answer.reason}


_LIST_OF_STRINGS = "list(string)"
_CHECK = "PathCheck|ResourceCheck"

FUNCTIONS: tuple[Function, ...] = (
    Function("isSorted", ("list", "bool"), _is_sorted),
    Function("sum", ("list", "dyn"), _sum),
    Function("min", ("list", "dyn"), _extreme(min, "min")),
    Function("max", ("list", "dyn"), _extreme(max, "max")),
    Function("indexOf", ("list", "dyn", "int"), _index_of),
    Function("lastIndexOf", ("list", "dyn", "int"), _last_index_of),
    Function("sets.contains", ("list", "list", "bool"), _contains, member=False),
    Function("sets.intersects", ("list", "list", "bool"), _intersects, member=False),
    Function("sets.equivalent", ("list", "list", "bool"),
             lambda left, right: _contains(left, right) and _contains(right, left), member=False),
    Function("find", ("string", "string", "string"), _find),
    Function("findAll", ("string", "string", _LIST_OF_STRINGS), _find_all),
    Function("findAll", ("string", "string", "int", _LIST_OF_STRINGS), _find_all),
    Function("isURL", ("string", "bool"), _is_url, member=False),
    Function("url", ("string", "URL"), _url, member=False),
    Function("getScheme", ("URL", "string"), lambda url: urlsplit(_value_of(url)).scheme),
    Function("getHost", ("URL", "string"), _host),
    Function("getHostname", ("URL", "string"), _hostname),
    Function("getPort", ("URL", "string"), _port),
    Function("getEscapedPath", ("URL", "string"), lambda url: urlsplit(_value_of(url)).path),
    Function("getQuery", ("URL", "map"),
             lambda url: parse_qs(urlsplit(_value_of(url)).query, keep_blank_values=True)),
    Function("isIP", ("string", "bool"), lambda text: parse_ip(text) is not None, member=False),
    Function("isIP", ("string", "int", "bool"),
             lambda text, version: (ip := parse_ip(text)) is not None and ip.version == version, member=False),
    Function("ip", ("string", "IP"), _ip, member=False),
    Function("ip", ("CIDR", "IP"), lambda cidr: _opaque("IP", _value_of(cidr).partition("/")[0])),
    Function("family", ("IP", "int"), lambda ip: _address(ip).version),
    Function("ip.isCanonical", ("string", "bool"),
             lambda text: (ip := parse_ip(text)) is not None and str(ip) == text, member=False),
    Function("isUnspecified", ("IP", "bool"), _is_unspecified_or("is_unspecified")),
    Function("isLoopback", ("IP", "bool"), _is_unspecified_or("is_loopback")),
    Function("isLinkLocalMulticast", ("IP", "bool"),
             lambda ip: _address(ip) in ipaddress.ip_network("224.0.0.0/24") if _address(ip).version == 4
             else _address(ip) in ipaddress.ip_network("ff02::/16")),
    Function("isLinkLocalUnicast", ("IP", "bool"), _is_unspecified_or("is_link_local")),
    Function("isGlobalUnicast", ("IP", "bool"),
             lambda ip: not any(getattr(_address(ip), name) for name in
                                ("is_unspecified", "is_loopback", "is_multicast", "is_link_local"))),
    Function("jsonpatch.escapeKey", ("string", "string"),
             lambda text: text.replace("~", "~0").replace("/", "~1"), member=False),
    Function("isCIDR", ("string", "bool"), lambda text: parse_cidr(text) is not None, member=False),
    Function("cidr", ("string", "CIDR"), _cidr, member=False),
    Function("containsIP", ("CIDR", "string|IP", "bool"), _contains_ip),
    Function("containsCIDR", ("CIDR", "string|CIDR", "bool"), _contains_cidr),
    Function("masked", ("CIDR", "CIDR"), _masked),
    Function("prefixLength", ("CIDR", "int"), lambda cidr: _network(cidr).prefixlen),
    Function("string", ("IP|CIDR", "string"), _value_of, member=False),
    Function("isQuantity", ("string", "bool"), _is_quantity, member=False),
    Function("quantity", ("string", "Quantity"), quantity_value, member=False),
    Function("isInteger", ("Quantity", "bool"), lambda q: _number(q).denominator == 1),
    Function("asInteger", ("Quantity", "int"), _as_integer),
    Function("asApproximateFloat", ("Quantity", "double"), lambda q: float(_number(q))),
    Function("sign", ("Quantity", "int"), _sign),
    Function("add", ("Quantity", "Quantity|int", "Quantity"),
             lambda left, right: _opaque("Quantity", str(_number(left) + _number(right)))),
    Function("sub", ("Quantity", "Quantity|int", "Quantity"),
             lambda left, right: _opaque("Quantity", str(_number(left) - _number(right)))),
    Function("k8s.keys", ("list", "list(int)"), _keys, member=False),
    Function("k8s.keys", ("map", _LIST_OF_STRINGS), _keys, member=False),
    Function("k8s.merged", ("list", "map"), _merged, member=False),
    Function("k8s.complaints", ("Format", "string", _LIST_OF_STRINGS), _complaints, member=False),
    Function("k8s.format", ("string", "Format"), _format, member=False),
    *(Function(f"format.{name}", ("Format",), functools.partial(_format, name), member=False) for name in FORMATS),
    Function("path", ("Authorizer", "string", "PathCheck"), _step("PathCheck", "path")),
    Function("group", ("Authorizer", "string", "GroupCheck"), _step("GroupCheck", "group")),
    Function("serviceAccount", ("Authorizer", "string", "string", "Authorizer"), _of_service_account),
    Function("resource", ("GroupCheck", "string", "ResourceCheck"), _step("ResourceCheck", "resource")),
    Function("subresource", ("ResourceCheck", "string", "ResourceCheck"), _step("ResourceCheck", "subresource")),
    Function("namespace", ("ResourceCheck", "string", "ResourceCheck"), _step("ResourceCheck", "namespace")),
    Function("name", ("ResourceCheck", "string", "ResourceCheck"), _step("ResourceCheck", "name")),
    Function("fieldSelector", ("ResourceCheck", "string", "ResourceCheck"), _step("ResourceCheck", "field_selector")),
    Function("labelSelector", ("ResourceCheck", "string", "ResourceCheck"), _step("ResourceCheck", "label_selector")),
    Function("check", (_CHECK, "string", "Decision"), _check),
    Function("allowed", ("Decision", "bool"), lambda decision: bool(_plain(_plain(decision)["allowed"]))),
    Function("reason", ("Decision", "string"), lambda decision: str(_plain(_plain(decision)["reason"]))),
    Function("errored", ("Decision", "bool"), lambda decision: False),
    Function("error", ("Decision", "string"), lambda decision: ""),
    Function("isSemver", ("string", "bool"), lambda text: _SEMVER.fullmatch(text) is not None, member=False),
    Function("semver", ("string", "Semver"), semver_value, member=False),
    Function("major", ("Semver", "int"), lambda v: _version_key(v)[0][0]),
    Function("minor", ("Semver", "int"), lambda v: _version_key(v)[0][1]),
    Function("patch", ("Semver", "int"), lambda v: _version_key(v)[0][2]),
    Function("isGreaterThan", ("Quantity|Semver", "bool"), lambda left, right: _any_compare(left, right) > 0),
    Function("isLessThan", ("Quantity|Semver", "bool"), lambda left, right: _any_compare(left, right) < 0),
    Function("compareTo", ("Quantity|Semver", "int"), lambda left, right: _any_compare(left, right)),
)  # fmt: skip

_SYMMETRIC = ("isGreaterThan", "isLessThan", "compareTo")
"""Both parameters have the same type."""


def _any_compare(left: Any, right: Any) -> int:
    kind = str(_plain(_plain(left)[_TYPE]))
    if kind == "Semver":
        return _version_compare(left, right)
    return _compare(_number(left), _number(right))


OPAQUE_PACKAGE = "kubernetes"
OPAQUE = (
    "URL", "IP", "CIDR", "Quantity", "Semver", "Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision",
    "Format",
)  # fmt: skip
"""Types of Kubernetes' own; the checker knows them as messages without fields."""


def _type(cel: Any, name: str, *, is_checked: bool) -> Any:
    types = cel.Type
    if name in OPAQUE:
        return types(f"{OPAQUE_PACKAGE}.{name}") if is_checked else types.MAP
    if "|" in name:
        return types.MAP if name == _CHECK else types.DYN
    plain = {"bool": types.BOOL, "int": types.INT, "double": types.DOUBLE, "string": types.STRING,
             "dyn": types.DYN, "list": types.LIST, "map": types.MAP,
             _LIST_OF_STRINGS: types.List(types.STRING), "list(int)": types.List(types.INT)}  # fmt: skip
    return plain[name]


def declarations(cel: Any, *, is_checked: bool) -> list[Any]:
    """The functions for an environment that checks types, or for one that runs expressions."""
    by_name: dict[str, list[Any]] = {}
    for function in FUNCTIONS:
        for parameters, result in _variants(function, is_checked=is_checked):
            overloads = by_name.setdefault(function.name, [])
            options: dict[str, Any] = {
                "return_type": _type(cel, result, is_checked=is_checked),
                "parameters": [_type(cel, name, is_checked=is_checked) for name in parameters],
                "is_member": function.member,
            }
            if not is_checked:
                options["impl"] = function.run
            overloads.append(cel.Overload(f"k8s_{function.name}_{'_'.join(parameters)}", **options))
    for operator in ("_<_", "_<=_", "_>_", "_>=_") if is_checked else ():
        by_name[operator] = [
            cel.Overload(f"k8s_{operator}_{left}_{right}", return_type=cel.Type.BOOL, parameters=[first, second])
            for left, first, right, second in _mixed_numbers(cel)
        ]
    return [cel.FunctionDecl(name, overloads) for name, overloads in by_name.items()]


def _mixed_numbers(cel: Any) -> list[tuple[str, Any, str, Any]]:
    """Pairs of different number types: Kubernetes compares across them, the runtime can, the checker has to be told."""
    kinds = (("int", cel.Type.INT), ("uint", cel.Type.UINT), ("double", cel.Type.DOUBLE))
    return [(a, left, b, right) for a, left in kinds for b, right in kinds if a != b]


def _variants(function: Function, *, is_checked: bool) -> Sequence[tuple[tuple[str, ...], str]]:
    *parameters, result = function.signature
    if function.name in _SYMMETRIC:
        if not is_checked:
            return [(("Quantity", "Quantity"), result)]
        return [((kind, kind), result) for kind in parameters[0].split("|")]
    if not is_checked:
        if function.name == "string":
            return [(("IP",), result)]
        return [(tuple(parameters), result)]
    variants: list[tuple[str, ...]] = [()]
    for parameter in parameters:
        variants = [(*variant, choice) for variant in variants for choice in parameter.split("|")]
    return [(variant, result) for variant in variants]
