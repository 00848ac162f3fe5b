"""What the health endpoints of the API server ask of this process, under the names that kube-apiserver gives it.

A name stands here only when there is something behind it that can fail: the store, the informers, the components
that do what a post-start hook of kube-apiserver starts, and the steps that must have been taken once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.apiserver.http.health import READYZ, Health
from orchestrator.client.informer import Informers
from orchestrator.component.supervisor import Supervisor
from orchestrator.logs import can_write
from orchestrator.store import Key, Store, StoreError

ONCE = (
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "autoregister-completion",
)
"""Steps that a cluster takes before it listens."""
PUBLISHED = "poststarthook/bootstrap-controller"
"""The step after that: where the Service `kubernetes` leads."""
HOOKS = {
    "start-apiextensions-controllers": "apiserver/customresources",
    "crd-informer-synced": "apiserver/customresources",
    "start-service-ip-repair-controllers": "apiserver/serviceaddresses",
    "priority-and-fairness-config-consumer": "apiserver/flowcontrol",
    "priority-and-fairness-config-producer": "apiserver/flowcontrol",
    "apiservice-registration-controller": "apiserver/aggregation",
    "apiservice-status-remote-available-controller": "apiserver/aggregation",
    "apiservice-discovery-controller": "apiserver/aggregation",
    "kube-apiserver-autoregistration": "apiserver/aggregation",
}
"""Post-start hook of kube-apiserver → the component here whose work it starts."""


class ClusterChecks:
    """Adds the checks of a cluster to the health endpoints of its API server."""

    def __init__(
        self,
        health: Health,
        *,
        store: Store,
        supervisor: Supervisor,
        informers: Sequence[Informers],
        is_ending: Callable[[], bool],
    ) -> None:
        """`informers` are asked each time, also those that come later."""
        self._store = store
        self._supervisor = supervisor
        self._informers = informers
        self._is_ending = is_ending
        self._done = set(ONCE)
        health.add("log", self._log)
        health.add("etcd", self._etcd)
        health.add("etcd-readiness", self._etcd, endpoints=(READYZ,))
        health.add("informer-sync", self._informer_sync, endpoints=(READYZ,))
        for step in (*ONCE, PUBLISHED):
            health.add(step, lambda step=step: self._step(step))  # type: ignore[misc]
        for hook, component in HOOKS.items():
            health.add(f"poststarthook/{hook}", lambda component=component: self._component(component))  # type: ignore[misc]
        health.add("components", self._components, endpoints=(READYZ,))
        health.add("shutdown", self._shutdown, endpoints=(READYZ,))

    def done(self, step: str) -> None:
        """One of the steps was taken."""
        self._done.add(step)

    async def _log(self) -> str:
        return "" if can_write() else "nothing can be written to the log"

    async def _etcd(self) -> str:
        try:
            await self._store.get(Key("namespaces", "", "kube-system"))
        except StoreError as error:
            return str(error)
        return ""

    async def _informer_sync(self) -> str:
        waiting = [name for informers in self._informers for name in informers.not_synced()]
        return f"{len(waiting)} informers not started yet: {' '.join(waiting)}" if waiting else ""

    async def _step(self, step: str) -> str:
        return "" if step in self._done else "not finished"

    async def _component(self, name: str) -> str:
        return self._supervisor.failing().get(name, "")

    async def _components(self) -> str:
        return "; ".join(f"{name}: {why}" for name, why in self._supervisor.failing().items())

    async def _shutdown(self) -> str:
        return "process is shutting down" if self._is_ending() else ""
