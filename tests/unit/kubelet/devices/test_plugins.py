"""Device plugins: real servers that register on a real socket."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from grpclib.server import Server

from orchestrator.api.objects import Object
from orchestrator.kubelet.devices.injection import Injection
from orchestrator.kubelet.devices.plugins import GONE_SECONDS, DevicePlugins
from orchestrator.kubelet.devices.registration_socket import RegistrationSocket
from orchestrator.kubelet.node_paths import NodePaths
from orchestrator.kubelet.parts import DeviceCounts, DeviceFailure
from orchestrator.kubelet.plugins.connection import PluginError
from orchestrator.kubelet.runtime import DeviceNode, Mount
from orchestrator.testing import ManualClock
from tests.plugin_drivers import DevicePluginService, serve_on

X = "v.com/x"
THREE = {"a": "Healthy", "b": "Healthy", "c": "Healthy"}


def pod(uid: str, *amounts: int, init: int = 0) -> Object:
    def container(name: str, amount: int) -> Object:
        return {"name": name, "resources": {"limits": {X: str(amount)}}}

    return {
        "metadata": {"name": uid, "namespace": "default", "uid": uid},
        "spec": {
            "initContainers": [container("init", init)] if init else [],
            "containers": [container(f"c{number}", amount) for number, amount in enumerate(amounts)],
        },
    }


def allocated(devices: list[str]) -> dict[str, Any]:
    return {
        "envs": {"X": ",".join(devices)},
        "mounts": [{"host_path": "/var/lib/kubelet/plugins/x", "container_path": "/x", "read_only": True}],
        "devices": [{"host_path": "/dev/zero", "container_path": "/dev/x", "permissions": "r"}],
        "annotations": {"v.com/note": "1"},
        "cdi_devices": [{"name": f"v.com/x={device}"} for device in devices],
    }


class Node:
    """The plugins of a node, which can be started again."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.paths = NodePaths(kubelet_dir=folder)
        self.folder = folder / "device-plugins"
        self.tasks: list[asyncio.Task[None]] = []
        self.servers: list[Server] = []
        self.changes: asyncio.Queue[set[str]] = asyncio.Queue()
        self.start()

    def start(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.plugins = DevicePlugins(
            clock=self.clock, paths=self.paths, node_name="n1", spawn=self._spawn, changed=self._changed
        )
        self.plugins.restore()
        RegistrationSocket(self.folder, register=self.plugins.register_at, spawn=self._spawn).listen()

    def _spawn(self, work: Any, name: str) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(work, name=name))
        return self.tasks[-1]

    def _changed(self, pods: Iterable[str]) -> None:
        self.changes.put_nowait({*pods})

    async def change(self) -> set[str]:
        """Wait until the devices are others; the pods that have them."""
        return await asyncio.wait_for(self.changes.get(), 10)

    async def plugin(self, devices: dict[str, str] = THREE, **more: Any) -> DevicePluginService:
        """A plugin serves, registers, and its devices are known."""
        service = DevicePluginService(devices, folder=self.folder, **more)
        self.servers.append(await serve_on(self.folder / "x.sock", service.service()))
        await service.register("x.sock", X)
        await self.change()
        return service

    async def kill_plugin(self) -> None:
        """It ends, and with it its connections."""
        connection = self.plugins._offers[X].connection
        assert connection is not None
        connection.close()
        await self.change()

    def devices_of(self, uid: str) -> dict[str, list[str]]:
        return {
            name: [one["resourceID"] for one in statuses[0]["resources"]]
            for name, statuses in self.plugins.statuses(uid).items()
        }


def calls(service: DevicePluginService) -> list[tuple[str, tuple[str, ...]]]:
    found: list[tuple[str, tuple[str, ...]]] = []
    while True:
        try:
            found.append(service.calls.get_nowait())
        except queue.Empty:
            return found


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    (tmp_path / "device-plugins").mkdir(parents=True)
    (tmp_path / "device-plugins" / "stale.sock").touch()
    one = Node(tmp_path)
    yield one
    for task in one.tasks:
        task.cancel()
    await asyncio.gather(*one.tasks, return_exceptions=True)
    for server in one.servers:
        server.close()


async def test_a_plugin_offers_devices_and_they_can_become_unhealthy(node: Node) -> None:
    assert not (node.folder / "stale.sock").exists()
    service = await node.plugin()
    assert node.plugins.counts() == {X: DeviceCounts(3, 3)}
    await node.plugins.allocate(pod("1", 1))
    await service.set_devices({**THREE, "a": "Unhealthy"})
    assert await node.change() == {"1"}
    assert node.plugins.counts() == {X: DeviceCounts(3, 2)}
    assert node.plugins.statuses("1") == {
        "c0": [{"name": X, "resources": [{"resourceID": "a", "health": "Unhealthy"}]}]
    }


@pytest.mark.parametrize(
    ("version", "resource", "why"),
    [
        ("v1alpha", X, 'requested API version "v1alpha" is not supported by kubelet. Supported version is ["v1beta1"]'),
        ("v1beta1", "cpu", 'the ResourceName "cpu" is invalid'),
        ("v1beta1", X, "connection error"),
    ],
)
async def test_a_registration_that_is_refused(node: Node, version: str, resource: str, why: str) -> None:
    service = DevicePluginService(THREE, folder=node.folder)
    with pytest.raises(PluginError) as error:
        await service.register("nobody.sock", resource, version=version)
    assert error.value.code == "Unknown"
    assert why in error.value.message


async def test_devices_are_given_once_and_taken_back(node: Node) -> None:
    service = await node.plugin(prefers=("b",))
    await node.plugins.allocate(pod("1", 1, 1))
    assert node.devices_of("1") == {"c0": ["b"], "c1": ["a"]}
    await node.plugins.allocate(pod("1", 1, 1))  # it has them already
    with pytest.raises(DeviceFailure, match="Requested: 2, Available: 1"):
        await node.plugins.allocate(pod("2", 2))
    assert node.devices_of("2") == {}
    node.plugins.release("1")
    await node.plugins.allocate(pod("2", 3))
    assert node.devices_of("2") == {"c0": ["a", "b", "c"]}
    assert calls(service) == [
        ("GetPreferredAllocation", ("a", "b", "c")),
        ("Allocate", ("b",)),
        ("GetPreferredAllocation", ("a", "c")),
        ("Allocate", ("a",)),
        ("Allocate", ("a", "b", "c")),
    ]


async def test_two_pods_at_once_do_not_get_the_same_device(node: Node) -> None:
    await node.plugin(prefers=("b",))
    await asyncio.gather(*(node.plugins.allocate(pod(uid, 1)) for uid in "123"))
    assert sorted(device for uid in "123" for device in node.devices_of(uid)["c0"]) == ["a", "b", "c"]


async def test_an_init_container_passes_its_devices_on(node: Node) -> None:
    await node.plugin()
    await node.plugins.allocate(pod("1", 1, 2, init=2))
    assert node.devices_of("1") == {"init": ["a", "b"], "c0": ["a"], "c1": ["b", "c"]}


async def test_a_plugin_that_fails_leaves_nothing_allocated(node: Node) -> None:
    service = await node.plugin()
    service.is_refusing = True
    with pytest.raises(DeviceFailure, match="rpc error: code = Internal desc = the bus is down"):
        await node.plugins.allocate(pod("1", 1))
    service.is_refusing = False
    await node.plugins.allocate(pod("2", 3))


async def test_what_a_container_gets_before_each_start(node: Node, tmp_path: Path) -> None:
    service = await node.plugin(allocated=allocated, starts_first=True)
    one = pod("1", 2)
    await node.plugins.allocate(one)
    container = one["spec"]["containers"][0]
    for _ in range(2):
        injection, names = await node.plugins.start_with(one, container)
    assert names == ["v.com/x=a", "v.com/x=b"]
    assert injection == Injection(
        env={"X": "a,b"},
        mounts=(Mount(str(tmp_path / "plugins" / "x"), "/x", read_only=True),),
        devices=(DeviceNode("/dev/zero", "/dev/x", "r"),),
        annotations={"v.com/note": "1"},
    )
    methods = ("Allocate", "PreStartContainer", "PreStartContainer")
    assert calls(service) == [(method, ("a", "b")) for method in methods]
    assert await node.plugins.start_with(pod("2"), {"name": "c0"}) == (Injection(), [])


async def test_a_plugin_that_is_gone_takes_its_devices_along_after_a_while(node: Node) -> None:
    await node.plugin()
    await node.plugins.allocate(pod("1", 1))
    await node.kill_plugin()
    assert node.plugins.counts() == {X: DeviceCounts(3, 0)}
    with pytest.raises(DeviceFailure, match="no healthy devices present; cannot allocate unhealthy devices"):
        await node.plugins.allocate(pod("2", 1))
    await node.clock.run(GONE_SECONDS + 1)
    await node.change()
    assert node.plugins.counts() == {X: DeviceCounts(0, 0)}
    await node.plugin()
    assert node.plugins.counts() == {X: DeviceCounts(3, 3)}
    assert node.devices_of("1") == {"c0": ["a"]}


async def test_a_killed_kubelet_gives_nothing_away_twice(node: Node) -> None:
    await node.plugin(allocated=allocated)
    one = pod("1", 2)
    await node.plugins.allocate(one)
    before = await node.plugins.start_with(one, one["spec"]["containers"][0])
    node.start()
    assert node.plugins.counts() == {X: DeviceCounts(0, 0)}
    assert await node.plugins.start_with(one, one["spec"]["containers"][0]) == before
    await node.plugin()
    with pytest.raises(DeviceFailure, match="Requested: 2, Available: 1"):
        await node.plugins.allocate(pod("2", 2))
    node.plugins.release_unknown({"2"})
    await node.plugins.allocate(pod("2", 2))
