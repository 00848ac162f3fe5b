"""The proxy's own pages on every node: `/healthz` on port 10256, mode and metrics on the loopback's port 10249.

Owns what is said there, and the times that it is said from. The loopback is inside a node's own network namespace;
from there requests come with the node's address to the machine's, which is how one is told from another.
Mirrors kube-proxy's ProxyHealthServer and metrics server.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from orchestrator.aiokit.clock import Clock
from orchestrator.api.node_ports import KUBE_PROXY_HEALTH, KUBE_PROXY_STATUS, KUBELET
from orchestrator.proxy.listener import Asked, Listener, Response

LATE_SECONDS = 60.0
"""A change that is not in the kernel after so long makes the proxy unhealthy: twice kube-proxy's `syncPeriod`."""
MODE = "nftables"
NOT_FOUND = Response(b"404 page not found\n", status=HTTPStatus.NOT_FOUND)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FAMILY = "IPv4"


def plan_listeners(node_ips: Iterable[str], machine: str) -> list[Listener]:
    """Where the pages are asked for; the machine's address stands for the loopbacks of nodes."""
    nodes = [(ip, KUBE_PROXY_HEALTH) for ip in node_ips if ip]
    return [*nodes, (machine, KUBE_PROXY_HEALTH), (machine, KUBE_PROXY_STATUS)]


def plan_kubelet_listeners(node_ips: Iterable[str], machine: str) -> list[Listener]:
    """Where the kubelets' server is asked for something; the machine's address stands for the loopbacks of nodes."""
    return [*((ip, KUBELET) for ip in node_ips if ip), (machine, KUBELET)]


class ProxyPages:
    """What the proxy tells of itself."""

    def __init__(self, clock: Clock, *, mode: str = MODE) -> None:
        self._clock = clock
        self._mode = mode
        self._updated = clock.now()
        self._pending_since: datetime | None = None
        self._metrics = ProxyMetrics()

    def queued(self) -> None:
        """A change has come that is not in the kernel yet."""
        if self._pending_since is None:
            self._pending_since = self._clock.now()
            self._metrics.queued_at.set(self._pending_since.timestamp())

    def synced(self, seconds: float) -> None:
        """All that had come is in the kernel; it took so long."""
        self._pending_since = None
        self._updated = self._clock.now()
        self._metrics.synced_at.set(self._updated.timestamp())
        self._metrics.sync_seconds.observe(seconds)

    def answer(self, asked: Asked, nodes: Mapping[str, str], leaving: Collection[str]) -> Response | None:
        """The page for a request; None when it is not for whom it comes from.

        `nodes` are names by address, `leaving` the names of nodes that are about to go.
        """
        address, port = asked.listener
        if port == KUBE_PROXY_HEALTH:
            return self._health(asked.path, nodes.get(address) or nodes.get(asked.client), leaving)
        if asked.client not in nodes:
            return None  # the status is on the loopback: nobody but the node itself may ask
        return self._status(asked.path)

    def _health(self, path: str, node: str | None, leaving: Collection[str]) -> Response:
        if path not in ("/healthz", "/livez"):
            return NOT_FOUND
        now = self._clock.now()
        is_late = self._pending_since is not None and (now - self._pending_since).total_seconds() >= LATE_SECONDS
        is_eligible = node not in leaving
        is_healthy = not is_late and (is_eligible or path == "/livez")
        # What is healthy was up to date a moment ago, whenever the last change came.
        updated = now if is_healthy else self._updated
        content = f'{{"lastUpdated": "{_stamp(updated)}","currentTime": "{_stamp(now)}"'
        if path == "/healthz":
            content += f', "nodeEligible": {json.dumps(is_eligible)}'
        status = HTTPStatus.OK if is_healthy else HTTPStatus.SERVICE_UNAVAILABLE
        self._metrics.asked[path].labels(str(status.value)).inc()
        return Response((content + "}").encode(), content_type="application/json", status=status)

    def _status(self, path: str) -> Response:
        if path in ("/healthz", "/healthz/ping"):
            return Response(b"ok")
        if path == "/proxyMode":
            return Response(self._mode.encode())
        if path == "/configz":
            return Response(json.dumps(_configuration(self._mode)).encode(), content_type="application/json")
        if path == "/metrics":
            return Response(generate_latest(self._metrics.registry), content_type=METRICS_TYPE)
        return NOT_FOUND


class ProxyMetrics:
    """Under kube-proxy's names (docs, "Kubernetes Metrics Reference"; pkg/proxy/metrics)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.sync_seconds = Histogram(
            "kubeproxy_sync_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds", ["ip_family"],
            registry=self.registry, buckets=[0.001 * 2**power for power in range(15)],
        ).labels(FAMILY)  # fmt: skip
        self.synced_at, self.queued_at = (
            Gauge(f"kubeproxy_sync_proxy_rules_{name}_timestamp_seconds", text, ["ip_family"], registry=self.registry)
            .labels(FAMILY)
            for name, text in (
                ("last", "The last time proxy rules were successfully synced"),
                ("last_queued", "The last time a sync of proxy rules was queued"),
            )
        )  # fmt: skip
        self.asked = {
            f"/{page}": Counter(
                f"kubeproxy_proxy_{page}", f"Cumulative proxy {page} HTTP status", ["code"], registry=self.registry
            )
            for page in ("healthz", "livez")
        }


def _configuration(mode: str) -> dict[str, dict[str, str]]:
    return {
        "kubeproxy.config.k8s.io": {
            "kind": "KubeProxyConfiguration",
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "mode": mode,
            "healthzBindAddress": f"0.0.0.0:{KUBE_PROXY_HEALTH}",
            "metricsBindAddress": f"127.0.0.1:{KUBE_PROXY_STATUS}",
        }
    }


def _stamp(at: datetime) -> str:
    """As Go prints a time."""
    return f"{at:%Y-%m-%d %H:%M:%S.%f} +0000 UTC"
