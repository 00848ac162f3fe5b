"""`metrics.k8s.io/v1beta1`: what nodes and pods use, asked from the kubelets at the moment of the request.

Owns the form of NodeMetrics and PodMetrics. Stores nothing and polls nobody. Mirrors metrics-server, which
scrapes every kubelet all the time; here a kubelet is a call away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.kinds.metrics import NODE_METRICS_KIND, POD_METRICS_KIND
from orchestrator.api.objects import Object, annotations_of, labels_of, name_of, namespace_of, uid_of
from orchestrator.api.resources import NODE_METRICS, POD_METRICS
from orchestrator.apiserver.node.graph import MIRROR_ANNOTATION
from orchestrator.apiserver.request import ApiRequest
from orchestrator.apiserver.server import ApiServer
from orchestrator.component.kubelet_api import KubeletConnector
from orchestrator.component.usage import NodeUsage, PodUsage, Usage

KUBELETS_AT_ONCE_MAX = 32


class ResourceMetrics:
    """Reads metrics for one API server, which serves both kinds from now on."""

    def __init__(self, api: ApiServer, kubelets: KubeletConnector) -> None:
        self._api = api
        self._kubelets = kubelets
        for kind, reader in ((NODE_METRICS_KIND, self.nodes), (POD_METRICS_KIND, self.pods)):
            api.registry.register(kind)
            api.readers[kind.resource.group_resource] = reader

    async def nodes(self, request: ApiRequest) -> list[Object]:
        """NodeMetrics of the node that is asked for, or of all that answer."""
        if request.name:
            node = await self._api.read("nodes", request.name)
            usages = await self._ask([request.name]) if node is not None else {}
            if node is None or request.name not in usages:
                raise errors.not_found(NODE_METRICS.group, "nodemetrics", request.name)
            return [node_metrics(node, usages[request.name])]
        nodes = {name_of(node): node for node in await self._api.read_all("nodes")}
        return [node_metrics(nodes[name], usage) for name, usage in (await self._ask(nodes)).items()]

    async def pods(self, request: ApiRequest) -> list[Object]:
        """PodMetrics of the pod that is asked for, or of all running pods of the namespace."""
        if request.name:
            pod = await self._api.read("pods", request.name, request.namespace)
            pods = [pod] if pod is not None else []
        else:
            pods = await self._api.read_all("pods", request.namespace)
        running = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]
        usages = await self._ask(sorted({pod["spec"].get("nodeName", "") for pod in running} - {""}))
        by_uid = {pod.uid: pod for usage in usages.values() for pod in usage.pods}
        found = [pod_metrics(pod, by_uid[uid]) for pod in running if (uid := _uid_at_kubelet(pod)) in by_uid]
        if request.name and not found:
            raise errors.not_found(POD_METRICS.group, "podmetrics", f"{request.namespace}/{request.name}")
        return found

    async def _ask(self, node_names: Iterable[str]) -> dict[str, NodeUsage]:
        """What the nodes say; those without a kubelet, or with one that cannot tell now, are left out."""
        limit = asyncio.Semaphore(KUBELETS_AT_ONCE_MAX)

        async def one(name: str) -> NodeUsage | None:
            kubelet = self._kubelets.kubelet(name)
            if kubelet is None:
                return None
            async with limit:
                try:
                    return await kubelet.usage()
                except errors.ServiceUnavailable:
                    return None

        names = list(node_names)
        answers = await asyncio.gather(*(one(name) for name in names))
        return {name: usage for name, usage in zip(names, answers, strict=True) if usage is not None}


def _uid_at_kubelet(pod: Object) -> str:
    """A mirror stands for a static pod, which has another uid."""
    return str(annotations_of(pod).get(MIRROR_ANNOTATION) or uid_of(pod))


def node_metrics(node: Object, usage: NodeUsage) -> Object:
    """The NodeMetrics of a node."""
    return {
        "kind": NODE_METRICS.kind,
        "apiVersion": NODE_METRICS.api_version,
        "metadata": _metadata(node, usage.usage),
        **_window(usage.usage),
        "usage": usage_of(usage.usage),
    }


def pod_metrics(pod: Object, usage: PodUsage) -> Object:
    """The PodMetrics of a pod."""
    return {
        "kind": POD_METRICS.kind,
        "apiVersion": POD_METRICS.api_version,
        "metadata": _metadata(pod, usage.usage),
        **_window(usage.usage),
        "containers": [{"name": one.name, "usage": usage_of(one.usage)} for one in usage.containers],
    }


def usage_of(usage: Usage) -> dict[str, str]:
    """CPU and memory as metrics-server writes them: nanocores, and the working set in KiB."""
    return {"cpu": f"{usage.cpu_nanocores}n", "memory": f"{usage.memory_working_set_bytes // 1024}Ki"}


def _metadata(owner: Object, usage: Usage) -> Object:
    metadata: Object = {"name": name_of(owner)}
    if namespace_of(owner):
        metadata["namespace"] = namespace_of(owner)
    metadata["creationTimestamp"] = format_time(usage.at)
    if labels := labels_of(owner):
        metadata["labels"] = dict(labels)
    return metadata


def _window(usage: Usage) -> Object:
    return {"timestamp": format_time(usage.at), "window": f"{usage.window_seconds:.3f}s"}
