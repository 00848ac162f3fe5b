"""Fill ClusterRoles that are made of others (`admin`, `edit`, `view`). Mirrors clusterrole-aggregation-controller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from orchestrator.api.objects import Object, copy_object, labels_of, name_of
from orchestrator.api.resources import Resource
from orchestrator.api.selectors import from_label_selector
from orchestrator.component.controller import Controller

CLUSTER_ROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)

_INDEX = "aggregates"


def selectors_of(role: Object) -> list[dict[str, Any]]:
    """`aggregationRule.clusterRoleSelectors`."""
    return (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or []


def plan_rules(role: Object, roles: Iterable[Object]) -> list[dict[str, Any]]:
    """The rules of the selected roles, selector by selector, each role by name, equal rules once."""
    ordered = sorted(roles, key=name_of)
    rules: list[dict[str, Any]] = []
    for selector in map(from_label_selector, selectors_of(role)):
        for other in ordered:
            if name_of(other) == name_of(role) or not selector.matches(labels_of(other)):
                continue
            rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return rules


class ClusterRoleAggregationController(Controller):
    """Only roles with an aggregation rule are ever reconciled; there are few of them."""

    name: ClassVar[str] = "clusterrole-aggregation"

    def setup(self) -> None:
        """A changed role leads to the aggregating roles that select it, before or now."""
        self._roles = self.informer(CLUSTER_ROLES)
        self._roles.add_index(_INDEX, lambda role: ["yes"] if selectors_of(role) else [])
        self._roles.add_handler(self._on_role)

    def _on_role(self, old: Object | None, new: Object | None) -> None:
        if new is not None and selectors_of(new):
            self.queue.add(name_of(new))
        for role in self._roles.by_index(_INDEX, "yes"):
            selectors = [from_label_selector(selector) for selector in selectors_of(role)]
            changed = [labels_of(one) for one in (old, new) if one is not None]
            if any(selector.matches(labels) for selector in selectors for labels in changed):
                self.queue.add(name_of(role))

    async def reconcile(self, key: str) -> float | None:
        """Write the union of the selected roles' rules."""
        role = self._roles.get(key)
        if role is None or not selectors_of(role):
            return None
        rules = plan_rules(role, self._roles.list())
        if rules != (role.get("rules") or []):
            changed = copy_object(role)
            changed["rules"] = rules
            await self.client.update(CLUSTER_ROLES, changed)
        return None
