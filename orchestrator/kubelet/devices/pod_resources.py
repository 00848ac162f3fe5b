"""The pod resources API of a node: which container has which devices, for monitors and their like.

Answers from what others know. Without policies for CPUs, memory and topology, which is the default, no container has
CPUs or memory of its own. Mirrors pkg/kubelet/apis/podresources (KEP-606, KEP-2403, KEP-3695).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from orchestrator.api.objects import Object, name_of, namespace_of, uid_of
from orchestrator.kubelet.devices.claims import PreparedDevice
from orchestrator.kubelet.devices.pod_resources_api import MESSAGES, SERVICE
from orchestrator.kubelet.parts import DeviceFailure
from orchestrator.kubelet.plugins.server_socket import Methods
from orchestrator.kubelet.pod import app_containers_of, init_containers_of, is_sidecar

ClaimedDevices = Sequence[tuple[str, Sequence[tuple[str, PreparedDevice]]]]
"""(claim, (driver, device) for each of its devices)."""


class KnowsDevices(Protocol):
    """Who has which devices."""

    def plugin_devices(self, pod_uid: str) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """Device ids by container and resource."""
        ...

    def claimed_devices(self, pod: Object, container: Object) -> ClaimedDevices: ...

    def healthy_devices(self) -> Mapping[str, Sequence[str]]:
        """Device ids by resource."""
        ...


class PodResources:
    """Answers for one node."""

    def __init__(self, *, devices: KnowsDevices, pods: Callable[[], Iterable[Object]]) -> None:
        """`pods` are those that are not over."""
        self._devices = devices
        self._pods = pods

    def methods(self) -> Methods:
        """What is served."""
        return {
            f"{SERVICE}/List": (
                self._list,
                MESSAGES["ListPodResourcesRequest"],
                MESSAGES["ListPodResourcesResponse"],
            ),
            f"{SERVICE}/Get": (self._get, MESSAGES["GetPodResourcesRequest"], MESSAGES["GetPodResourcesResponse"]),
            f"{SERVICE}/GetAllocatableResources": (
                self._allocatable,
                MESSAGES["AllocatableResourcesRequest"],
                MESSAGES["AllocatableResourcesResponse"],
            ),
        }

    async def _list(self, _: Any) -> Any:
        return MESSAGES["ListPodResourcesResponse"](pod_resources=[self._of(pod) for pod in self._pods()])

    async def _get(self, request: Any) -> Any:
        name, namespace = request.pod_name, request.pod_namespace
        for pod in self._pods():
            if (name_of(pod), namespace_of(pod)) == (name, namespace):
                return MESSAGES["GetPodResourcesResponse"](pod_resources=self._of(pod))
        raise DeviceFailure(f"pod {name} in namespace {namespace} not found")

    async def _allocatable(self, _: Any) -> Any:
        return MESSAGES["AllocatableResourcesResponse"](devices=_device_messages(self._devices.healthy_devices()))

    def _of(self, pod: Object) -> Any:
        plugin_devices = self._devices.plugin_devices(uid_of(pod))
        containers = (*filter(is_sidecar, init_containers_of(pod)), *app_containers_of(pod))
        return MESSAGES["PodResources"](
            name=name_of(pod),
            namespace=namespace_of(pod),
            containers=[
                MESSAGES["ContainerResources"](
                    name=container["name"],
                    devices=_device_messages(plugin_devices.get(container["name"], {})),
                    dynamic_resources=[
                        _claim_message(namespace_of(pod), claim, devices)
                        for claim, devices in self._devices.claimed_devices(pod, container)
                    ],
                )
                for container in containers
            ],
        )


def _device_messages(devices: Mapping[str, Sequence[str]]) -> list[Any]:
    return [
        MESSAGES["ContainerDevices"](resource_name=resource, device_ids=ids)
        for resource, ids in sorted(devices.items())
        if ids
    ]


def _claim_message(namespace: str, claim: str, devices: Sequence[tuple[str, PreparedDevice]]) -> Any:
    return MESSAGES["DynamicResource"](
        claim_name=claim,
        claim_namespace=namespace,
        claim_resources=[
            MESSAGES["ClaimResource"](
                cdi_devices=[{"name": name} for name in device.cdi_ids],
                driver_name=driver,
                pool_name=device.pool,
                device_name=device.device,
            )
            for driver, device in devices
        ],
    )
