"""Messages and calls of device plugins (v1beta1), in both directions.

https://github.com/kubernetes/kubelet/blob/master/pkg/apis/deviceplugin/v1beta1/api.proto
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from orchestrator.kubelet.plugins.connection import PluginConnection
from orchestrator.kubelet.plugins.messages import declare

REGISTER = "/v1beta1.Registration/Register"
MESSAGES = declare(
    "v1beta1",
    {
        "Empty": {},
        "DevicePluginOptions": {"pre_start_required": "1 bool", "get_preferred_allocation_available": "2 bool"},
        "RegisterRequest": {
            "version": "1 string",
            "endpoint": "2 string",
            "resource_name": "3 string",
            "options": "4 DevicePluginOptions",
        },
        "ListAndWatchResponse": {"devices": "1 repeated Device"},
        "Device": {"ID": "1 string", "health": "2 string", "topology": "3 TopologyInfo"},
        "TopologyInfo": {"nodes": "1 repeated NUMANode"},
        "NUMANode": {"ID": "1 int64"},
        "PreStartContainerRequest": {"devices_ids": "1 repeated string"},
        "PreStartContainerResponse": {},
        "PreferredAllocationRequest": {"container_requests": "1 repeated ContainerPreferredAllocationRequest"},
        "ContainerPreferredAllocationRequest": {
            "available_deviceIDs": "1 repeated string",
            "must_include_deviceIDs": "2 repeated string",
            "allocation_size": "3 int32",
        },
        "PreferredAllocationResponse": {"container_responses": "1 repeated ContainerPreferredAllocationResponse"},
        "ContainerPreferredAllocationResponse": {"deviceIDs": "1 repeated string"},
        "AllocateRequest": {"container_requests": "1 repeated ContainerAllocateRequest"},
        "ContainerAllocateRequest": {"devices_ids": "1 repeated string"},
        "AllocateResponse": {"container_responses": "1 repeated ContainerAllocateResponse"},
        "ContainerAllocateResponse": {
            "envs": "1 map string",
            "mounts": "2 repeated Mount",
            "devices": "3 repeated DeviceSpec",
            "annotations": "4 map string",
            "cdi_devices": "5 repeated CDIDevice",
        },
        "Mount": {"container_path": "1 string", "host_path": "2 string", "read_only": "3 bool"},
        "DeviceSpec": {"container_path": "1 string", "host_path": "2 string", "permissions": "3 string"},
        "CDIDevice": {"name": "1 string"},
    },
)
_SERVICE = "/v1beta1.DevicePlugin"
PRE_START_SECONDS = 30.0


async def get_options(connection: PluginConnection) -> Any:
    """The plugin's `DevicePluginOptions`; PluginError."""
    empty, reply = MESSAGES["Empty"](), MESSAGES["DevicePluginOptions"]
    return await connection.call(f"{_SERVICE}/GetDevicePluginOptions", empty, reply)


def list_and_watch(connection: PluginConnection) -> AsyncIterator[Any]:
    """All devices with their health, again with every change; PluginError."""
    return connection.stream(f"{_SERVICE}/ListAndWatch", MESSAGES["Empty"](), MESSAGES["ListAndWatchResponse"])


async def preferred(
    connection: PluginConnection, available: Sequence[str], must_include: Sequence[str], count: int
) -> list[str]:
    """What the plugin would choose of the available devices; PluginError."""
    wanted = MESSAGES["ContainerPreferredAllocationRequest"](
        available_deviceIDs=available, must_include_deviceIDs=must_include, allocation_size=count
    )
    request = MESSAGES["PreferredAllocationRequest"](container_requests=[wanted])
    reply = MESSAGES["PreferredAllocationResponse"]
    answer = await connection.call(f"{_SERVICE}/GetPreferredAllocation", request, reply)
    return [*answer.container_responses[0].deviceIDs] if answer.container_responses else []


async def allocate(connection: PluginConnection, devices: Sequence[str]) -> Any:
    """What a container needs for these devices, a `ContainerAllocateResponse`; None for no answer. PluginError."""
    wanted = MESSAGES["ContainerAllocateRequest"](devices_ids=devices)
    request = MESSAGES["AllocateRequest"](container_requests=[wanted])
    answer = await connection.call(f"{_SERVICE}/Allocate", request, MESSAGES["AllocateResponse"])
    return answer.container_responses[0] if answer.container_responses else None


async def pre_start(connection: PluginConnection, devices: Sequence[str]) -> None:
    """Have the plugin look at the devices of a container before it starts; PluginError."""
    request, reply = MESSAGES["PreStartContainerRequest"](devices_ids=devices), MESSAGES["PreStartContainerResponse"]
    await connection.call(f"{_SERVICE}/PreStartContainer", request, reply, seconds=PRE_START_SECONDS)
