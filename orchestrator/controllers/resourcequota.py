"""What each ResourceQuota has used. Mirrors resourcequota-controller.

Owns `status.hard` and `status.used`. Never refuses a request: admission does, and raises the numbers
itself before objects come. A ledger for each quota holds what every counted object takes, so that a change
costs one entry, never the namespace. The ledger is behind admission by the objects that are being written: what
was reserved for them is not taken back before it is certain that nobody is still at it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Unpack

from orchestrator.api import errors
from orchestrator.api.objects import Object, key_of, namespace_of
from orchestrator.api.pod_resources import Amounts
from orchestrator.api.quantity import ZERO, Quantity, parse_quantity
from orchestrator.api.quota import matches_scopes, may_use, usage
from orchestrator.api.resources import RESOURCE_QUOTAS, Resource
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.controllers.conditions import with_status

SETTLED_SECONDS = 30.0
"""So long after the last reservation no write is under way any more: conversion webhooks, which come last, have this
time."""


class Ledger:
    """What one quota counts, entry by entry, and the sums."""

    def __init__(self, quota: Object) -> None:
        self.quota = quota
        self.hard: dict[str, str] = (quota.get("spec") or {}).get("hard") or {}
        self._entries: dict[tuple[str, str], Amounts] = {}
        self._sums: Amounts = {}
        self.freed: Amounts = {}
        """What objects no longer take and the status still counts."""

    def may_count(self, resource: Resource) -> bool:
        """Whether objects of this resource can take anything of the quota."""
        return may_use(resource.group_resource, self.hard)

    def put(self, resource: Resource, obj: Object) -> bool:
        """Enter an object, or what it takes now; whether a sum changed."""
        taken: Amounts = {}
        if matches_scopes(self.quota, resource.group_resource, obj):
            taken = {name: amount for name, amount in usage(resource.group_resource, obj).items() if name in self.hard}
        return self._replace((resource.group_resource, key_of(obj)), taken)

    def drop(self, resource: Resource, key: str) -> bool:
        """An object is gone; whether a sum changed."""
        return self._replace((resource.group_resource, key), {})

    def _replace(self, entry: tuple[str, str], taken: Amounts) -> bool:
        before = self._entries.pop(entry, {})
        if taken:
            self._entries[entry] = taken
        if before == taken:
            return False
        for name in {**before, **taken}:
            old, new = before.get(name, ZERO), taken.get(name, ZERO)
            self._sums[name] = self._sums.get(name, ZERO) + new - old
            if new < old:
                self.freed[name] = self.freed.get(name, ZERO) + old - new
        return True

    def used(self) -> Amounts:
        """The sums, for each name under `hard`."""
        return {
            name: self._sums.get(name, Quantity(0, parse_quantity(hard).format)) for name, hard in self.hard.items()
        }


def plan_used(quota: Object, ledger: Ledger, *, is_settled: bool) -> Amounts:
    """What the status should say is used, for each name under `hard`.

    `is_settled`: all that was reserved is written, or never will be. Until then only what was freed is given back: the
    rest may be for objects that the ledger does not have yet.
    """
    used, reserved = ledger.used(), _amounts((quota.get("status") or {}).get("used"))
    if is_settled:
        return used
    return {
        name: max(amount, reserved[name] - ledger.freed.get(name, ZERO)) if name in reserved else amount
        for name, amount in used.items()
    }


def plan_status(quota: Object, used: Amounts) -> dict[str, Any] | None:
    """The status of a quota; None when it says so already, in whatever notation."""
    hard = (quota.get("spec") or {}).get("hard") or {}
    status = quota.get("status") or {}
    if _amounts(status.get("hard")) == _amounts(hard) and _amounts(status.get("used")) == used:
        return None
    return {"hard": dict(hard), "used": {name: str(amount) for name, amount in used.items()}}


def has_reserved(old: Object, new: Object) -> bool:
    """Whether more is used now than before: admission has reserved something."""
    before = _amounts((old.get("status") or {}).get("used"))
    after = _amounts((new.get("status") or {}).get("used"))
    return any(name in before and amount > before[name] for name, amount in after.items())


def _amounts(texts: Mapping[str, str] | None) -> dict[str, Quantity]:
    return {name: parse_quantity(text) for name, text in (texts or {}).items()}


class ResourceQuotaController(Controller):
    """Keys are quotas; objects of the resources that they count are followed from the first such quota on."""

    name: ClassVar[str] = "resourcequota"

    def __init__(self, *, resources: Callable[[], Sequence[Resource]], **dependencies: Unpack[Dependencies]) -> None:
        self._resources = resources
        self._ledgers: dict[str, dict[str, Ledger]] = {}
        """By namespace, then by the quota's key."""
        self._followed: set[str] = set()
        self._reserved_at: dict[str, float] = {}
        """By quota, when admission reserved something last."""
        super().__init__(**dependencies)

    def setup(self) -> None:
        """Quotas by key."""
        self._quotas = self.informer(RESOURCE_QUOTAS)
        self._quotas.add_handler(self._on_quota)

    def _on_quota(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            ledgers = self._ledgers.get(namespace_of(old), {})
            ledgers.pop(key_of(old), None)
            self._reserved_at.pop(key_of(old), None)
            if not ledgers:
                self._ledgers.pop(namespace_of(old), None)
            return
        if old is not None and has_reserved(old, new):
            self._reserved_at[key_of(new)] = self.clock.monotonic()
        if old is None or old.get("spec") != new.get("spec"):
            ledger = Ledger(new)
            self._reserved_at.pop(key_of(new), None)
            self._ledgers.setdefault(namespace_of(new), {})[key_of(new)] = ledger
            for resource in self._countable(ledger):
                if resource.group_resource in self._followed:
                    for obj in self._informers.informer(resource).list(namespace_of(new)):
                        ledger.put(resource, obj)
                else:
                    # Everything that is there comes through the handler now or with the first list.
                    self._followed.add(resource.group_resource)
                    self._informers.informer(resource).add_handler(_Follower(self, resource))
        self.enqueue_object(old, new)

    def _countable(self, ledger: Ledger) -> list[Resource]:
        return [one for one in self._resources() if one.namespaced and ledger.may_count(one)]

    def follow(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        """An object of a counted resource came, changed or went."""
        obj = new if new is not None else old
        assert obj is not None
        for key, ledger in self._ledgers.get(namespace_of(obj), {}).items():
            if not ledger.may_count(resource):
                continue
            if ledger.put(resource, obj) if new is not None else ledger.drop(resource, key_of(obj)):
                self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        """Write what the ledger says."""
        quota = self._quotas.get(key)
        ledger = self._ledgers.get(namespace_of(quota), {}).get(key) if quota is not None else None
        if quota is None or ledger is None:
            return None
        for resource in self._countable(ledger):
            await self._informers.informer(resource).wait_synced()
        now = self.clock.monotonic()
        settled_in = self._reserved_at.get(key, now - SETTLED_SECONDS) + SETTLED_SECONDS - now
        used = plan_used(quota, ledger, is_settled=settled_in <= 0)
        freed, ledger.freed = ledger.freed, {}
        status = plan_status(quota, used)
        if status is not None:
            try:
                # Conditional on the resource version: what was reserved meanwhile must not be lost.
                await self.client.update_status(RESOURCE_QUOTAS, with_status(quota, status))
            except errors.ApiError:
                ledger.freed = {name: ledger.freed.get(name, ZERO) + freed.get(name, ZERO) for name in used}
                raise
        return settled_in if used != ledger.used() and settled_in > 0 else None


class _Follower:
    def __init__(self, controller: ResourceQuotaController, resource: Resource) -> None:
        self._controller = controller
        self._resource = resource

    def __call__(self, old: Object | None, new: Object | None) -> None:
        self._controller.follow(self._resource, old, new)
