"""Which strings are names, labels, keys, ports or addresses.

Owns the formats; each check returns the list of complaints that kube-apiserver would print after
`Invalid value: "x": `, empty when the value is fine. Never builds causes (see fields.py). Mirrors
k8s.io/apimachinery/pkg/util/validation and pkg/api/validation at v1.36. Lengths are bytes of UTF-8.
"""

from __future__ import annotations

import ipaddress
import random
import re
from functools import lru_cache
from typing import Final

_QUALIFIED_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED_NAME})?"
_DNS1123_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS1123_SUBDOMAIN = _DNS1123_LABEL + r"(\." + _DNS1123_LABEL + ")*"
_DNS1123_LABEL_UNDERSCORE = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_DNS1123_SUBDOMAIN_UNDERSCORE = _DNS1123_LABEL_UNDERSCORE + r"(\." + _DNS1123_LABEL_UNDERSCORE + ")*"
_DNS1035_LABEL = "[a-z]([-a-z0-9]*[a-z0-9])?"
_WILDCARD_SUBDOMAIN = r"\*\." + _DNS1123_SUBDOMAIN
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_ENV_VAR_NAME = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_CONFIG_MAP_KEY = "[-._a-zA-Z0-9]+"
_PERCENT = "[0-9]+%"
_HTTP_HEADER_NAME = "[-A-Za-z0-9]+"
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"

_QUALIFIED_NAME_RE = re.compile(_QUALIFIED_NAME)
_LABEL_VALUE_RE = re.compile(_LABEL_VALUE)
_DNS1123_LABEL_RE = re.compile(_DNS1123_LABEL)
_DNS1123_SUBDOMAIN_RE = re.compile(_DNS1123_SUBDOMAIN)
_DNS1123_SUBDOMAIN_UNDERSCORE_RE = re.compile(_DNS1123_SUBDOMAIN_UNDERSCORE)
_DNS1035_LABEL_RE = re.compile(_DNS1035_LABEL)
_WILDCARD_SUBDOMAIN_RE = re.compile(_WILDCARD_SUBDOMAIN)
_C_IDENTIFIER_RE = re.compile(_C_IDENTIFIER)
_ENV_VAR_NAME_RE = re.compile(_ENV_VAR_NAME)
_CONFIG_MAP_KEY_RE = re.compile(_CONFIG_MAP_KEY)
_PERCENT_RE = re.compile(_PERCENT)
_HTTP_HEADER_NAME_RE = re.compile(_HTTP_HEADER_NAME)
_HTTP_PATH_RE = re.compile(_HTTP_PATH)
_PORT_NAME_CHARSET_RE = re.compile("[-a-z0-9]+")
_ONE_LETTER_RE = re.compile("[a-z]")

DNS1123_LABEL_BYTES_MAX: Final = 63
DNS1123_SUBDOMAIN_BYTES_MAX: Final = 253
LABEL_VALUE_BYTES_MAX: Final = 63

_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_GENERATED_BASE_MAX = 63 - _SUFFIX_LENGTH
_random = random.Random()


def too_long_message(limit_bytes: int) -> str:
    """What is said about a string of more than `limit_bytes` bytes."""
    return f"must be no more than {limit_bytes} bytes"


def range_message(low: int, high: int) -> str:
    """What is said about a number outside an inclusive range."""
    return f"must be between {low} and {high}, inclusive"


def regex_message(text: str, pattern: str, *examples: str) -> str:
    """A complaint that names the pattern and examples of good values."""
    if not examples:
        return f"{text} (regex used for validation is '{pattern}')"
    listed = " or ".join(f"'{example}', " for example in examples)
    return f"{text} (e.g. {listed}regex used for validation is '{pattern}')"


_QUALIFIED_NAME_MESSAGE = regex_message(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    _QUALIFIED_NAME, "MyName", "my.name", "123-abc",
)  # fmt: skip
_LABEL_VALUE_MESSAGE = regex_message(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    _LABEL_VALUE, "MyValue", "my_value", "12345",
)  # fmt: skip
_DNS1123_LABEL_MESSAGE = regex_message(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character",
    _DNS1123_LABEL, "my-name", "123-abc",
)  # fmt: skip
_DNS1123_SUBDOMAIN_MESSAGE = regex_message(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    _DNS1123_SUBDOMAIN, "example.com",
)  # fmt: skip
_DNS1123_SUBDOMAIN_UNDERSCORE_MESSAGE = regex_message(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
    "and must start and end with an alphanumeric character",
    _DNS1123_SUBDOMAIN, "example.com",
)  # fmt: skip
_DNS1035_LABEL_MESSAGE = regex_message(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character",
    _DNS1035_LABEL, "my-name", "abc-123",
)  # fmt: skip
_WILDCARD_MESSAGE = regex_message(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist "
    "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
    _WILDCARD_SUBDOMAIN, "*.example.com",
)  # fmt: skip
_C_IDENTIFIER_MESSAGE = regex_message(
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
    "characters or '_'",
    _C_IDENTIFIER, "my_name", "MY_NAME", "MyName",
)  # fmt: skip
_ENV_VAR_NAME_MESSAGE = regex_message(
    "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', "
    "and must not start with a digit",
    _ENV_VAR_NAME, "my.env-name", "MY_ENV.NAME", "MyEnvName1",
)  # fmt: skip
_CONFIG_MAP_KEY_MESSAGE = regex_message(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    _CONFIG_MAP_KEY, "key.name", "KEY_NAME", "key-name",
)  # fmt: skip


_REMEMBERED_CHARACTERS_MAX = 512
"""No valid name is so long; a client may send much longer ones."""


def _bytes(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=16384)
def _qualified_name(value: str) -> tuple[str, ...]:
    complaints: list[str] = []
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        return (f"a qualified name {_QUALIFIED_NAME_MESSAGE} with an optional DNS subdomain prefix and '/' "
                "(e.g. 'example.com/MyName')",)  # fmt: skip
    if slash:
        if not prefix:
            complaints.append("prefix part must be non-empty")
        else:
            complaints += [f"prefix part {text}" for text in is_dns1123_subdomain(prefix)]
    if not name:
        complaints.append("name part must be non-empty")
    elif _bytes(name) > 63:
        complaints.append(f"name part {too_long_message(63)}")
    if not _QUALIFIED_NAME_RE.fullmatch(name):
        complaints.append(f"name part {_QUALIFIED_NAME_MESSAGE}")
    return tuple(complaints)


def is_qualified_name(value: str) -> list[str]:
    """`[prefix/]name`, as label keys and annotation keys are."""
    check = _qualified_name if len(value) <= _REMEMBERED_CHARACTERS_MAX else _qualified_name.__wrapped__
    return list(check(value))


def is_label_key(value: str) -> list[str]:
    """A key of `metadata.labels`: a qualified name."""
    return is_qualified_name(value)


@lru_cache(maxsize=16384)
def _label_value(value: str) -> tuple[str, ...]:
    complaints: list[str] = []
    if _bytes(value) > LABEL_VALUE_BYTES_MAX:
        complaints.append(too_long_message(LABEL_VALUE_BYTES_MAX))
    if not _LABEL_VALUE_RE.fullmatch(value):
        complaints.append(_LABEL_VALUE_MESSAGE)
    return tuple(complaints)


def is_label_value(value: str) -> list[str]:
    """A value of `metadata.labels`; may be empty."""
    check = _label_value if len(value) <= _REMEMBERED_CHARACTERS_MAX else _label_value.__wrapped__
    return list(check(value))


def is_dns1123_label(value: str) -> list[str]:
    """A DNS label (RFC 1123): namespaces, containers, ports of some kinds."""
    complaints = []
    if _bytes(value) > DNS1123_LABEL_BYTES_MAX:
        complaints.append(too_long_message(DNS1123_LABEL_BYTES_MAX))
    if not _DNS1123_LABEL_RE.fullmatch(value):
        if _DNS1123_SUBDOMAIN_RE.fullmatch(value):
            complaints.append("must not contain dots")
        else:
            complaints.append(_DNS1123_LABEL_MESSAGE)
    return complaints


def is_dns1123_subdomain(value: str) -> list[str]:
    """A DNS name (RFC 1123) of at most 253 bytes: the name of most objects."""
    complaints = []
    if _bytes(value) > DNS1123_SUBDOMAIN_BYTES_MAX:
        complaints.append(too_long_message(DNS1123_SUBDOMAIN_BYTES_MAX))
    if not _DNS1123_SUBDOMAIN_RE.fullmatch(value):
        complaints.append(_DNS1123_SUBDOMAIN_MESSAGE)
    return complaints


def is_dns1123_subdomain_with_underscore(value: str) -> list[str]:
    """A DNS name whose labels may hold underscores: search domains of a pod."""
    complaints = []
    if _bytes(value) > DNS1123_SUBDOMAIN_BYTES_MAX:
        complaints.append(too_long_message(DNS1123_SUBDOMAIN_BYTES_MAX))
    if not _DNS1123_SUBDOMAIN_UNDERSCORE_RE.fullmatch(value):
        complaints.append(_DNS1123_SUBDOMAIN_UNDERSCORE_MESSAGE)
    return complaints


def is_dns1035_label(value: str) -> list[str]:
    """A DNS label that starts with a letter (RFC 1035): Services."""
    complaints = []
    if _bytes(value) > DNS1123_LABEL_BYTES_MAX:
        complaints.append(too_long_message(DNS1123_LABEL_BYTES_MAX))
    if not _DNS1035_LABEL_RE.fullmatch(value):
        complaints.append(_DNS1035_LABEL_MESSAGE)
    return complaints


def is_wildcard_dns1123_subdomain(value: str) -> list[str]:
    """`*.` and a DNS name (RFC 1034, 4.3.3): hosts of an Ingress."""
    complaints = []
    if _bytes(value) > DNS1123_SUBDOMAIN_BYTES_MAX:
        complaints.append(too_long_message(DNS1123_SUBDOMAIN_BYTES_MAX))
    if not _WILDCARD_SUBDOMAIN_RE.fullmatch(value):
        complaints.append(_WILDCARD_MESSAGE)
    return complaints


def is_fully_qualified_name(value: str) -> list[str]:
    """A DNS name of at least three labels: the name of an admission webhook."""
    complaints = is_dns1123_subdomain(value)
    if complaints:
        return [",".join(complaints)]
    if value.count(".") < 2:
        return ["should be a domain with at least three segments separated by dots"]
    return []


def is_fully_qualified_domain_name(value: str) -> list[str]:
    """A DNS name of at least two labels, a trailing dot allowed: FQDN addresses of an EndpointSlice."""
    name = value.removesuffix(".")
    complaints = is_dns1123_subdomain(name)
    if complaints:
        return [",".join(complaints)]
    if "." not in name:
        return ["should be a domain with at least two segments separated by dots"]
    for label in name.split("."):
        if complaints := is_dns1123_label(label):
            return [",".join(complaints)]
    return []


def is_domain_prefixed_path(value: str) -> list[str]:
    """A domain, a slash and an HTTP path: the controller of an IngressClass, the signer of a CSR."""
    host, slash, path = value.partition("/")
    if not slash or not host or not path:
        return ['must be a domain-prefixed path (such as "acme.io/foo")']
    complaints = is_dns1123_subdomain(host)
    if not complaints and not _HTTP_PATH_RE.fullmatch(path):
        complaints = [regex_message("Invalid path", _HTTP_PATH)]
    return complaints


def is_c_identifier(value: str) -> list[str]:
    """An identifier of C."""
    if _C_IDENTIFIER_RE.fullmatch(value):
        return []
    return [_C_IDENTIFIER_MESSAGE]


def _complaints_about_dots(value: str) -> list[str]:
    if value == ".":
        return ["must not be '.'"]
    if value == "..":
        return ["must not be '..'"]
    if value.startswith(".."):
        return ["must not start with '..'"]
    return []


def is_env_var_name(value: str) -> list[str]:
    """The name of an environment variable, strictly: `envFrom` takes only such keys without a prefix."""
    complaints = [] if _ENV_VAR_NAME_RE.fullmatch(value) else [_ENV_VAR_NAME_MESSAGE]
    return complaints + _complaints_about_dots(value)


def is_relaxed_env_var_name(value: str) -> list[str]:
    """The name of an environment variable as v1.34 and later allow it: printable ASCII without `=`."""
    if not value:
        return ["environment variable name must be non-empty"]
    if not (value.isascii() and value.isprintable()) or "=" in value:
        return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]
    return []


def is_config_map_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret; it must be usable as a file name."""
    complaints = []
    if _bytes(value) > DNS1123_SUBDOMAIN_BYTES_MAX:
        complaints.append(too_long_message(DNS1123_SUBDOMAIN_BYTES_MAX))
    if not _CONFIG_MAP_KEY_RE.fullmatch(value):
        complaints.append(_CONFIG_MAP_KEY_MESSAGE)
    return complaints + _complaints_about_dots(value)


def is_http_header_name(value: str) -> list[str]:
    """The name of an HTTP header: probes."""
    if _HTTP_HEADER_NAME_RE.fullmatch(value):
        return []
    return [
        regex_message(
            "a valid HTTP header must consist of alphanumeric characters or '-'", _HTTP_HEADER_NAME, "X-Header-Name"
        )
    ]


def is_percent(value: str) -> list[str]:
    """Digits and a percent sign."""
    if _PERCENT_RE.fullmatch(value):
        return []
    return [
        regex_message(
            "a valid percent string must be a numeric string followed by an ending '%'", _PERCENT, "1%", "93%"
        )
    ]


def is_port_number(value: int) -> list[str]:
    """1 to 65535."""
    return is_in_range(value, 1, 65535)


def is_in_range(value: int, low: int, high: int) -> list[str]:
    """An inclusive range."""
    return [] if low <= value <= high else [range_message(low, high)]


def is_user_id(value: int) -> list[str]:
    """A Unix user or group id that fits into 31 bits."""
    return is_in_range(value, 0, 2**31 - 1)


def is_port_name(value: str) -> list[str]:
    """An IANA service name (RFC 6335), lower case: the name of a container's port."""
    complaints = []
    if _bytes(value) > 15:
        complaints.append(too_long_message(15))
    if not _PORT_NAME_CHARSET_RE.fullmatch(value):
        complaints.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not _ONE_LETTER_RE.search(value):
        complaints.append("must contain at least one letter (a-z)")
    if "--" in value:
        complaints.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        complaints.append("must not begin or end with a hyphen")
    return complaints


_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_PLAIN_IPV4_RE = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}", re.ASCII)
"""What nearly all addresses look like; the others take the slower way."""


def is_plain_ipv4(value: str) -> bool:
    """Whether this is an IPv4 address as it is usually written: four numbers without leading zeros."""
    return _PLAIN_IPV4_RE.fullmatch(value) is not None


def parse_ip(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, or None. Like kube-apiserver, leading zeros in IPv4 are decimal, and zones are refused."""
    if "%" in value:
        return None
    if ":" not in value:
        octets = value.split(".")
        if len(octets) == 4 and all(octet.isascii() and octet.isdigit() and len(octet) < 20 for octet in octets):
            value = ".".join(str(int(octet)) for octet in octets)
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_cidr(value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network (host bits cleared), or None."""
    host, slash, bits = value.partition("/")
    if not slash or not (bits.isascii() and bits.isdigit()) or len(bits) > 3 or (len(bits) > 1 and bits[0] == "0"):
        return None
    address = parse_ip(host)
    if address is None:
        return None
    try:
        if address.version == 4 and ":" in host:
            return ipaddress.IPv6Network((f"::ffff:{address}", int(bits)), strict=False)
        return ipaddress.ip_network((str(address), int(bits)), strict=False)
    except ValueError:
        return None


def is_ip(value: str) -> list[str]:
    """An IPv4 or IPv6 address."""
    if _PLAIN_IPV4_RE.fullmatch(value):
        return []
    return [] if parse_ip(value) is not None else ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]


def is_ipv4(value: str) -> list[str]:
    """An IPv4 address."""
    address = parse_ip(value)
    return [] if address is not None and address.version == 4 else ["must be a valid IPv4 address"]


def is_ipv6(value: str) -> list[str]:
    """An IPv6 address."""
    address = parse_ip(value)
    return [] if address is not None and address.version == 6 else ["must be a valid IPv6 address"]


def is_cidr(value: str) -> list[str]:
    """A network with its prefix length."""
    if parse_cidr(value) is not None:
        return []
    return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]


def is_path_segment_name(value: str) -> list[str]:
    """Anything that can stand in a URL as one segment: the name of a Role, for example."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return is_path_segment_prefix(value)


def is_path_segment_prefix(value: str) -> list[str]:
    """Anything that can begin a segment of a URL: `generateName` of such kinds."""
    return [f"may not contain '{char}'" for char in "/%" if char in value]


def mask_trailing_dash(value: str) -> str:
    """A `generateName` made checkable as a name: it may end in a dash, because a suffix follows."""
    if len(value) > 1 and value.endswith("-"):
        return value[:-2] + "a"
    return value


def generate_name(base: str, rng: random.Random | None = None) -> str:
    """`base`, cut to 58 characters, and five random characters; `rng` makes tests deterministic."""
    source = rng or _random
    suffix = "".join(source.choices(_SUFFIX_ALPHABET, k=_SUFFIX_LENGTH))
    return base[:_GENERATED_BASE_MAX] + suffix
