"""DynamicResources: pods with resource claims wait, because nothing here allocates devices.

The API has no ResourceClaims (docs/limits.md), so no claim that a pod names can exist; running such a pod
without its devices would be worse than not running it (KEP-4381).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import ClassVar

from orchestrator.api.resources import PODS, Resource
from orchestrator.scheduler.framework import SKIP, UNSIGNABLE, Action, Cycle, Plugin, Reads, Skip, Verdict
from orchestrator.scheduler.node_info import NodeInfo


class DynamicResources(Plugin):
    """Refuses pods with resource claims everywhere."""

    name: ClassVar[str] = "DynamicResources"
    reads = Reads.NODE
    argument_fields: ClassVar[Mapping[str, type] | None] = {"filterTimeout": str}
    hints: ClassVar[Mapping[Resource, Action]] = {PODS: Action.UPDATE}

    def sign(self, cycle: Cycle) -> Hashable:
        return UNSIGNABLE if cycle.pod.spec.get("resourceClaims") else None

    def pre_filter(self, cycle: Cycle) -> Verdict | Skip:
        claims = cycle.pod.spec.get("resourceClaims")
        if not claims:
            return SKIP
        name = claims[0].get("resourceClaimName")
        reason = (
            f'resourceclaim.resource.k8s.io "{name}" not found'
            if name
            else f'pod "{cycle.pod.key}": ResourceClaim not created yet'
        )
        return Verdict(self.name, (reason,), resolvable=False)

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        return None
