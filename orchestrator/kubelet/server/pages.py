"""The pages of a kubelet's own HTTP server that `nodes/proxy` shows: health, pods, stats, metrics, logs, configuration.

Owns which paths there are. Mirrors pkg/kubelet/server's handlers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from orchestrator.api.objects import Object
from orchestrator.client.informer import Informer
from orchestrator.component.usage import NodeUsage
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.node.plan import KUBELET_VERSION, PODS_MAX
from orchestrator.kubelet.node.reporter import LEASE_DURATION_SECONDS, STATUS_REPORT_SECONDS
from orchestrator.kubelet.server.log_files import read_log_page

Page = tuple[str, bytes]
"""Content type and body."""
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class KubeletPages:
    """The pages of one node."""

    def __init__(
        self,
        *,
        options: NodeOptions,
        pods: Informer,
        usage: Callable[[], Awaitable[NodeUsage]],
        running: Callable[[], Awaitable[list[Object]]],
    ) -> None:
        self._options = options
        self._pods = pods
        self._usage = usage
        self._running = running

    async def page(self, path: str, query: Mapping[str, str]) -> Page | None:
        """The page at a path; None when there is none. RuntimeFailure when the runtime cannot tell."""
        path = path.rstrip("/") or "/"
        if path in ("/healthz", "/healthz/ping", "/healthz/log", "/healthz/syncloop"):
            return TEXT, b"ok"
        if path == "/pods":
            return JSON, _encode(pod_list(self._pods.list()))
        if path == "/runningpods":
            return JSON, _encode(pod_list(await self._running()))
        if path == "/configz":
            return JSON, _encode({"kubeletconfig": configuration(self._options)})
        if self._options.log_folder is not None and (path == "/logs" or path.startswith("/logs/")):
            return await asyncio.to_thread(read_log_page, self._options.log_folder, path.removeprefix("/logs"))
        if path == "/stats/summary":
            from orchestrator.kubelet.stats.summary import plan_summary

            only = query.get("only_cpu_and_memory") == "true"
            return JSON, _encode(plan_summary(await self._usage(), only_cpu_and_memory=only))
        if path.startswith("/metrics"):
            return await self._metrics(path)
        return None

    async def _metrics(self, path: str) -> Page | None:
        from orchestrator.kubelet.stats import exposition

        if path == "/metrics/probes":
            return exposition.CONTENT_TYPE, b""
        if path not in ("/metrics", "/metrics/resource", "/metrics/cadvisor"):
            return None
        usage = await self._usage()
        at_seconds: float | None = usage.usage.at.timestamp()
        if path == "/metrics/resource":
            families = exposition.resource_metrics(usage)
        elif path == "/metrics/cadvisor":
            families = exposition.cadvisor_metrics(usage)
        else:
            families = exposition.kubelet_metrics(usage, desired_pods=len(self._pods), version=KUBELET_VERSION)
            at_seconds = None
        return exposition.CONTENT_TYPE, exposition.render(families, at_seconds=at_seconds)


def _encode(value: Any) -> bytes:
    import orjson

    return orjson.dumps(value)


def pod_list(pods: list[Object]) -> Object:
    """A PodList as the kubelet serves it."""
    return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}


def configuration(options: NodeOptions) -> Object:
    """The part of KubeletConfiguration (kubelet.config.k8s.io/v1beta1) that means something here."""
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "port": options.kubelet_port,
        "maxPods": PODS_MAX,
        "podCIDR": options.pod_cidr,
        "nodeLeaseDurationSeconds": LEASE_DURATION_SECONDS,
        "nodeStatusReportFrequency": f"{STATUS_REPORT_SECONDS:g}s",
        "registerNode": True,
        "enableSystemLogHandler": options.log_folder is not None,
        "systemReserved": dict(options.reserved),
        "allowedUnsafeSysctls": list(options.allowed_unsafe_sysctls),
    }
