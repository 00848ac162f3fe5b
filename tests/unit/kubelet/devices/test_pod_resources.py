"""The pod resources API: asked over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from orchestrator.api.objects import Object
from orchestrator.kubelet.devices.claims import PreparedDevice
from orchestrator.kubelet.devices.pod_resources import ClaimedDevices, PodResources
from orchestrator.kubelet.plugins.connection import PluginError
from orchestrator.kubelet.plugins.server_socket import ServerSocket
from tests.plugin_drivers import list_pod_resources


def pod(name: str) -> Object:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {
            "initContainers": [{"name": "init"}, {"name": "side", "restartPolicy": "Always"}],
            "containers": [{"name": "app"}],
        },
    }


class Known:
    """Pod `a` has devices."""

    def plugin_devices(self, pod_uid: str) -> Mapping[str, Mapping[str, Sequence[str]]]:
        return {"app": {"v.com/x": ["x0", "x1"]}} if pod_uid == "a" else {}

    def claimed_devices(self, pod: Object, container: Object) -> ClaimedDevices:
        if container["name"] != "side":
            return ()
        return [("gpu", [("gpu.example.com", PreparedDevice("p", "d", (), ("v.com/gpu=d",)))])]

    def healthy_devices(self) -> Mapping[str, Sequence[str]]:
        return {"v.com/x": ["x0"], "v.com/none": []}


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[Path]:
    tasks: list[asyncio.Task[None]] = []

    def spawn(work: Any, name: str) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(work, name=name))
        return tasks[-1]

    path = tmp_path / "kubelet.sock"
    path.touch()  # somebody had it before
    resources = PodResources(devices=Known(), pods=lambda: [pod("a"), pod("b")])
    ServerSocket(path, methods=resources.methods, spawn=spawn).listen()
    yield path
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def as_json(message: Any) -> Any:
    return MessageToDict(message, preserving_proto_field_name=True)


async def test_who_has_which_devices(socket: Path) -> None:
    first, second = as_json(await list_pod_resources(socket))["pod_resources"]
    assert (first["name"], second["name"]) == ("a", "b")
    side, app = first["containers"]
    assert app == {"name": "app", "devices": [{"resource_name": "v.com/x", "device_ids": ["x0", "x1"]}]}
    assert side["dynamic_resources"] == [
        {
            "claim_name": "gpu",
            "claim_namespace": "default",
            "claim_resources": [
                {
                    "cdi_devices": [{"name": "v.com/gpu=d"}],
                    "driver_name": "gpu.example.com",
                    "pool_name": "p",
                    "device_name": "d",
                }
            ],
        }
    ]


async def test_one_pod_and_what_there_is_in_all(socket: Path) -> None:
    found = await list_pod_resources(socket, "Get", pod_name="b", pod_namespace="default")
    assert as_json(found)["pod_resources"]["containers"][1] == {"name": "app"}
    with pytest.raises(PluginError, match="pod c in namespace default not found"):
        await list_pod_resources(socket, "Get", pod_name="c", pod_namespace="default")
    everything = await list_pod_resources(socket, "GetAllocatableResources")
    assert as_json(everything) == {"devices": [{"resource_name": "v.com/x", "device_ids": ["x0"]}]}
