"""ResourceQuota: a namespace does not use more than its quotas allow.

What a write would use is added to the quota's `status.used`, compare-and-swap, before the write happens: two
writes at once cannot both have the last of something. What is freed is given back by the resourcequota controller,
and half a minute later what was reserved for a write that then failed. Runs last of all validating plugins, so that
little can still fail after a reservation.
"""

from __future__ import annotations

from orchestrator.api import errors
from orchestrator.api.objects import Object, copy_object, name_of
from orchestrator.api.pod_resources import Amounts
from orchestrator.api.quota import (
    hard_limits,
    has_deadline,
    matches_scopes,
    may_use,
    missing_specifications,
    shown,
    usage,
    used_amounts,
)
from orchestrator.api.resources import RESOURCE_QUOTAS
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes
from orchestrator.store import Event, EventType, KeyNotFound, Record, RevisionConflict, Store

_UPDATES = {"services": "", "persistentvolumeclaims": "", "pods": "resize"}
"""Resources whose updates can change what they use, and the subresource through which they do."""
CONFLICT_RETRIES_MAX = 1000
"""Each retry means that another write was reserved; more than this at once is a flood."""


class ResourceQuota(AdmissionPlugin):
    """Checks creates of everything, and updates of what can grow."""

    name = "ResourceQuota"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._quotas: dict[str, dict[str, Record]] = {}
        """namespace → name → quota"""
        store.observe(RESOURCE_QUOTAS.group_resource, self._on_quota)

    def _on_quota(self, event: Event) -> None:
        _, namespace, name = event.record.key
        if event.type is EventType.DELETED:
            quotas = self._quotas.get(namespace, {})
            quotas.pop(name, None)
            if not quotas:
                self._quotas.pop(namespace, None)
        else:
            self._quotas.setdefault(namespace, {})[name] = event.record

    def handles(self, attributes: Attributes) -> bool:
        if attributes.namespace not in self._quotas or not attributes.kind.resource.namespaced:
            return False
        if attributes.operation == "CREATE":
            return not attributes.subresource
        if attributes.operation != "UPDATE":
            return False
        if attributes.group_resource == "pods" and not attributes.subresource:
            # A pod that gets a deadline comes into other scopes.
            return attributes.old is not None and has_deadline(attributes.obj) != has_deadline(attributes.old)
        return _UPDATES.get(attributes.group_resource) == attributes.subresource

    async def validate(self, attributes: Attributes) -> None:
        for name in sorted(self._quotas.get(attributes.namespace, ())):
            await self._reserve(attributes, name)

    async def _reserve(self, attributes: Attributes, name: str) -> None:
        for _ in range(CONFLICT_RETRIES_MAX):
            record = self._quotas.get(attributes.namespace, {}).get(name)
            if record is None:
                return
            changed = plan_reservation(attributes, record.obj)
            if changed is None or attributes.dry_run:
                return
            try:
                await self._store.update(record.key, changed, expected_revision=record.revision)
            except (RevisionConflict, KeyNotFound):
                continue
            return
        raise errors.conflict("", "resourcequotas", name, "too many reservations at once; please try again")


def plan_reservation(attributes: Attributes, quota: Object) -> Object | None:
    """The quota with the use of a write added; None when it counts nothing of it. Raises Forbidden."""
    resource, obj = attributes.group_resource, attributes.obj
    limits = hard_limits(quota)
    if not may_use(resource, limits) or not matches_scopes(quota, resource, obj):
        return None
    if resource == "pods":
        missing = missing_specifications(obj, limits)
        if missing:
            raise _forbidden(attributes, f"failed quota: {name_of(quota)}: must specify {missing}")
    requested = {name: amount for name, amount in usage(resource, obj).items() if name in limits}
    if attributes.operation == "UPDATE" and attributes.old is not None:
        before = usage(resource, attributes.old) if matches_scopes(quota, resource, attributes.old) else {}
        requested = {name: amount - before[name] if name in before else amount for name, amount in requested.items()}
    # A smaller object is never refused; what it frees, the controller sees.
    requested = {name: amount for name, amount in requested.items() if amount.sign() > 0}
    if not requested:
        return None
    used = used_amounts(quota)
    unknown = sorted(name for name in requested if name not in used)
    if unknown:
        raise _forbidden(attributes, f"status unknown for quota: {name_of(quota)}, resources: {','.join(unknown)}")
    exceeded = {name for name, amount in requested.items() if used[name] + amount > limits[name]}
    if exceeded:
        raise _forbidden(
            attributes,
            f"exceeded quota: {name_of(quota)}, requested: {shown(_only(requested, exceeded))},"
            f" used: {shown(_only(used, exceeded))}, limited: {shown(_only(limits, exceeded))}",
        )
    changed = copy_object(quota)
    changed["status"]["used"].update({name: str(used[name] + amount) for name, amount in requested.items()})
    return changed


def _only(amounts: Amounts, names: set[str]) -> Amounts:
    return {name: amounts[name] for name in names}


def _forbidden(attributes: Attributes, why: str) -> errors.Forbidden:
    resource = attributes.kind.resource
    return errors.forbidden(resource.group, resource.plural, attributes.name, why)
