"""Resource names and amounts: which units are whole, which names pods, quotas and limits may use.

Mirrors the helpers and resource checks of k8s.io/kubernetes/pkg/apis/core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.quantity import Quantity, QuantityError, parse_quantity

HUGE_PAGES_PREFIX = "hugepages-"
DEFAULT_DOMAIN_PREFIX = "kubernetes.io/"
REQUESTS_PREFIX = "requests."

STANDARD_CONTAINER = frozenset({"cpu", "memory", "ephemeral-storage"})
_STANDARD_QUOTA = frozenset({
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage",
    "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods",
    "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
    "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
})  # fmt: skip
_STANDARD = _STANDARD_QUOTA | {"storage"}
_WHOLE = frozenset({
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
    "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
})  # fmt: skip
NOT_STANDARD_TYPE = "must be a standard resource type or fully qualified"


def is_huge_page(name: str) -> bool:
    return name.startswith(HUGE_PAGES_PREFIX)


def is_native(name: str) -> bool:
    """Without a domain, or in kubernetes.io."""
    return "/" not in name or DEFAULT_DOMAIN_PREFIX in name


def is_extended(name: str) -> bool:
    """A resource of a device plugin: with a domain that is not kubernetes.io."""
    if is_native(name) or name.startswith(REQUESTS_PREFIX):
        return False
    return not names.is_qualified_name(REQUESTS_PREFIX + name)


def is_overcommit_allowed(name: str) -> bool:
    return is_native(name) and not is_huge_page(name)


def is_standard(name: str) -> bool:
    return name in _STANDARD or is_huge_page(name)


def is_standard_quota(name: str) -> bool:
    return name in _STANDARD_QUOTA or is_huge_page(name) or name.startswith("requests." + HUGE_PAGES_PREFIX)


def is_whole(name: str) -> bool:
    """Counted in whole units only."""
    return name in _WHOLE or is_extended(name)


def parsed(text: Any) -> Quantity:
    """The amount; zero for what the schema refuses anyway."""
    try:
        return parse_quantity(text)
    except (QuantityError, TypeError):
        return Quantity(0)


def validate_resource_amount(name: str, text: Any, path: str) -> list[Cause]:
    """An amount is not negative, and whole where its resource is."""
    amount = parsed(text)
    causes = []
    if amount.sign() < 0:
        causes.append(fields.invalid(path, str(amount), "must be greater than or equal to 0"))
    if is_whole(name) and not amount.is_integer():
        causes.append(fields.invalid(path, str(amount), "must be an integer"))
    return causes


def warn_fractional(amounts: dict[str, Any] | None, name: str, path: str) -> list[str]:
    """A number of bytes that is not whole, under this name of a map of amounts."""
    text = (amounts or {}).get(name)
    if text is None or parsed(text).milli() % 1000 == 0:
        return []
    amount = fields.quote(str(parsed(text)))
    return [f"{fields.key(path, name)}: fractional byte value {amount} is invalid, must be an integer"]


def validate_container_resource_name(name: str, path: str) -> list[Cause]:
    """A name under requests or limits of a container: standard, huge pages, or fully qualified."""
    causes = validate_resource_name(name, path)
    if "/" not in name:
        if name not in STANDARD_CONTAINER and not is_huge_page(name):
            causes.append(fields.invalid(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        causes.append(fields.invalid(path, name, "doesn't follow extended resource name standard"))
    return causes


def _qualified(name: str, path: str) -> list[Cause]:
    return [fields.invalid(path, name, text) for text in names.is_qualified_name(name)]


def validate_resource_name(name: str, path: str) -> list[Cause]:
    """A name without a domain must be a standard one."""
    causes = _qualified(name, path)
    if not causes and "/" not in name and not is_standard(name):
        causes.append(fields.invalid(path, name, NOT_STANDARD_TYPE))
    return causes


def validate_quota_resource_name(name: str, path: str) -> list[Cause]:
    """A name under `hard` of a quota."""
    causes = validate_resource_name(name, path)
    if "/" not in name and not is_standard_quota(name):
        return [*causes, fields.invalid(path, name, "must be a standard resource for quota")]
    return causes


def validate_limit_range_resource_name(name: str, limit_type: str, path: str) -> list[Cause]:
    """A name in an item of a LimitRange: what pods and containers have, or anything for other types."""
    if limit_type in ("Pod", "Container"):
        return validate_container_resource_name(name, path)
    return validate_resource_name(name, path)


def validate_pod_resource_name(name: str, path: str) -> list[Cause]:
    """A name under requests or limits of a whole pod (KEP-2837)."""
    causes = validate_resource_name(name, path)
    if not causes and name not in ("cpu", "memory") and not is_huge_page(name):
        causes.append(fields.not_supported(path, name, ("cpu", HUGE_PAGES_PREFIX, "memory")))
    return causes


def validate_resource_requirements(
    resources: dict[str, Any],
    path: str,
    *,
    claims: set[str],
    validate_name: Callable[[str, str], list[Cause]] = validate_container_resource_name,
) -> list[Cause]:
    """Requests and limits: names, amounts, requests within limits, huge pages with CPU."""
    causes: list[Cause] = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    has_cpu_or_memory = bool({"cpu", "memory"} & (limits.keys() | requests.keys()))
    uses_huge_pages = False
    for key, amounts in (("limits", limits), ("requests", requests)):
        for name in sorted(amounts):
            where = fields.key(f"{path}.{key}", name)
            causes += validate_name(name, where)
            causes += validate_resource_amount(name, amounts[name], where)
            if key == "requests":
                causes += _validate_within_limit(name, amounts[name], limits, f"{path}.requests")
            if is_huge_page(name):
                uses_huge_pages = True
                causes += _validate_huge_pages(name, parsed(amounts[name]), where)
    if uses_huge_pages and not has_cpu_or_memory:
        causes.append(fields.forbidden(path, "HugePages require cpu or memory"))
    causes += _validate_claims(resources.get("claims") or (), f"{path}.claims", claims)
    return causes


def _validate_huge_pages(name: str, amount: Quantity, path: str) -> list[Cause]:
    """Whole pages, and at least one."""
    size = parsed(name.removeprefix(HUGE_PAGES_PREFIX)).value()
    if size > 0 and amount.value() > 0 and amount.value() % size == 0:
        return []
    return [fields.invalid(path, str(amount), f"{amount} is not positive integer multiple of {name}")]


def _validate_within_limit(name: str, request: Any, limits: dict[str, Any], path: str) -> list[Cause]:
    if name in limits:
        amount, limit = parsed(request), parsed(limits[name])
        if amount != limit and not is_overcommit_allowed(name):
            return [fields.invalid(path, str(amount), f"must be equal to {name} limit of {limit}")]
        if amount > limit:
            return [fields.invalid(path, str(amount), f"must be less than or equal to {name} limit of {limit}")]
    elif not is_overcommit_allowed(name):
        return [
            fields.required(
                f"{path.removesuffix('.requests')}.limits", "Limit must be set for non overcommitable resources"
            )
        ]
    return []


def _validate_claims(claims: Any, path: str, known: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for position, claim in enumerate(claims):
        name, request, where = claim.get("name") or "", claim.get("request") or "", fields.index(path, position)
        if not name:
            causes.append(fields.required(where))
            continue
        if name in seen:  # all of its requests are meant already
            causes.append(fields.duplicate(where, name))
        else:
            key = f"{name}/{request}" if request else name
            if request:
                causes += [fields.invalid(f"{where}.request", request, t) for t in names.is_dns1123_label(request)]
            if key in seen:
                causes.append(fields.duplicate(where, key))
            elif not request:
                causes += [fields.duplicate(where, name) for one in seen if one.partition("/")[0] == name]
            seen.add(key)
        if name not in known:
            missing = fields.not_found(where, name)
            listed = f": {', '.join(sorted(known))}" if known else " which is empty"
            detail = f"must be one of the names in pod.spec.resourceClaims{listed}"
            causes.append(Cause(missing.reason, f"{missing.message}: {detail}", where))
    return causes
