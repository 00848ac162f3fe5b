"""The components of this process that `kube-system` shows as pods: which there are, and what is told of them.

Knows which task and which logger belongs to which component. Mirrors what kubeadm installs: a control plane of static
pods, kube-proxy on every node, CoreDNS.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from orchestrator import __version__
from orchestrator.aiokit.clock import Clock
from orchestrator.component.built_in import BuiltIn, ComponentState, plan_state
from orchestrator.component.component_log import ComponentLogs
from orchestrator.component.kubelet_api import PortStream
from orchestrator.component.supervisor import Supervisor
from orchestrator.config import Config
from orchestrator.logs import add_copy, get_logger, remove_copy

Dial = Callable[[str, int], Awaitable[PortStream]]
"""Connects to a port of the component of this name; OSError."""

OWNERS = {
    "store": "etcd",
    "apiserver": "kube-apiserver",
    "controller": "kube-controller-manager",
    "kube-controller-manager": "kube-controller-manager",
    "kube-scheduler": "kube-scheduler",
    "default-scheduler": "kube-scheduler",
    "kube-proxy": "kube-proxy",
    "dns": "coredns",
}
"""The component that tasks and loggers belong to, by the first part of their names."""


class SystemComponents:
    """Follows the components of one process for those who show them."""

    def __init__(self, supervisor: Supervisor, clock: Clock) -> None:
        self._supervisor = supervisor
        self._started_at = clock.now()
        self._logs = ComponentLogs(OWNERS, clock.now)
        add_copy(self._logs.take)

    def close(self) -> None:
        """Take no more lines."""
        remove_copy(self._logs.take)

    def started(self, component: str) -> None:
        """Log that a component has come up, as the programs do that have its duties in Kubernetes."""
        logger = next(logger for logger, owner in OWNERS.items() if owner == component)
        get_logger(logger).info("component.started", name=component, version=__version__)

    def owner(self, task: str) -> str | None:
        """The component that a supervised task belongs to."""
        return self._logs.owner(task)

    def is_running(self, component: str) -> bool:
        """Whether all of a component is up."""
        return self._state(component).is_running

    def built_in(self, component: str, args: Mapping[str, str], dial: Dial | None = None) -> BuiltIn:
        """A component as its pod shows it; `dial` connects to a port of a component."""
        return BuiltIn(
            name=component,
            labels=LABELS[component],
            args=tuple(f"--{name}={value}" for name, value in args.items()),
            state=partial(self._state, component),
            log=self._logs.of(component),
            on_every_node=component == "kube-proxy",
            dial=partial(dial, component) if dial is not None else None,
        )

    def _state(self, component: str) -> ComponentState:
        states = self._supervisor.states().items()
        return plan_state([one for task, one in states if self.owner(task) == component], self._started_at)


LABELS: Mapping[str, Mapping[str, str]] = {
    **{
        name: {"component": name, "tier": "control-plane"}
        for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    },
    "kube-proxy": {"k8s-app": "kube-proxy"},
    "coredns": {"k8s-app": "kube-dns"},
}


def plan_components(
    config: Config, *, api_address: tuple[str, int] | None, controllers: bool, scheduler: bool, proxy_mode: str
) -> dict[str, dict[str, str]]:
    """The components that run, with the flags that are true of them.

    `api_address` is where pods find the API; without a `proxy_mode` there is neither a proxy nor DNS.
    """
    services = {"service-cluster-ip-range": config.service_cidr}
    pods = {"cluster-cidr": config.pod_cidr}
    found: dict[str, dict[str, str]] = {"etcd": {}, "kube-apiserver": {"authorization-mode": "Node,RBAC", **services}}
    if api_address is not None:
        host, port = api_address
        found["kube-apiserver"] |= {"advertise-address": host, "secure-port": str(port)}
    if controllers:
        found["kube-controller-manager"] = {"controllers": ",".join(config.controllers), **pods, **services}
    if scheduler:
        found["kube-scheduler"] = {}
    if proxy_mode:
        found["kube-proxy"] = {"proxy-mode": proxy_mode, **pods}
        found["coredns"] = {}
    return found
