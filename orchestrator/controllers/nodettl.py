"""How long kubelets may use what they read of Secrets and ConfigMaps, as an annotation of their nodes.

The larger the cluster, the longer. Mirrors ttl-controller.
"""

from __future__ import annotations

from typing import ClassVar

from orchestrator.api import errors
from orchestrator.api.objects import Object, annotations_of, name_of
from orchestrator.api.resources import NODES
from orchestrator.component.controller import Controller

ANNOTATION = "node.alpha.kubernetes.io/ttl"
_STEPS = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 10_000, 300))
"""(nodes from, nodes to, seconds); they overlap, so that one node more or less does not change all others."""
SETTLE_SECONDS = 1.0
"""Nothing waits for the annotation: nodes that come together are written once, when they are all there."""


def plan_step(step: int, nodes: int) -> int:
    """The step for a number of nodes, given the present one."""
    while step + 1 < len(_STEPS) and nodes > _STEPS[step][1]:
        step += 1
    while nodes < _STEPS[step][0]:
        step -= 1
    return step


class NodeTTLController(Controller):
    """Keys are nodes."""

    name: ClassVar[str] = "ttl"

    def setup(self) -> None:
        """Nodes by name; their number decides."""
        self._step = 0
        self._nodes = self.informer(NODES)
        self._nodes.add_handler(self._on_node)

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None:
            step = plan_step(self._step, len(self._nodes.list()))
            if step != self._step:
                self._step = step
                for node in self._nodes.list():
                    self.queue.add_after(name_of(node), SETTLE_SECONDS)
        if new is not None and annotations_of(new).get(ANNOTATION) != self._seconds:
            self.queue.add_after(name_of(new), SETTLE_SECONDS)

    @property
    def _seconds(self) -> str:
        return str(_STEPS[self._step][2])

    async def reconcile(self, key: str) -> float | None:
        """Write the annotation of one node."""
        node = self._nodes.get(key)
        if node is None or annotations_of(node).get(ANNOTATION) == self._seconds:
            return None
        try:
            await self.client.patch(NODES, key, {"metadata": {"annotations": {ANNOTATION: self._seconds}}})
        except errors.NotFound:
            return None
        return None
