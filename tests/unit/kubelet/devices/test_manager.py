"""A node's devices as the kubelet asks for them: nothing is loaded before there is any driver."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api.objects import Object
from orchestrator.client.client import Client
from orchestrator.client.transport import Request, WatchStream
from orchestrator.kubelet.devices.manager import NodeDevices
from orchestrator.kubelet.node_paths import NodePaths
from orchestrator.kubelet.runtime import ContainerSpec, DeviceNode
from tests.plugin_drivers import DevicePluginService, serve_on

X = "v.com/x"
SPEC = ContainerSpec(name="c", attempt=0, image="i", env=(("OWN", "1"),))
POD: Object = {
    "metadata": {"name": "p", "namespace": "default", "uid": "u"},
    "spec": {"containers": [{"name": "c", "resources": {"limits": {X: "1"}}}]},
}

IDLE = """
import asyncio, sys
from pathlib import Path
from orchestrator.aiokit.clock import SystemClock
from orchestrator.kubelet.devices.manager import NodeDevices
from orchestrator.kubelet.node_paths import NodePaths
from orchestrator.kubelet.plugins.watcher import PluginWatcher
from orchestrator.kubelet.runtime import ContainerSpec

async def main(folder):
    tasks = []
    def spawn(work, name):
        tasks.append(asyncio.create_task(work))
        return tasks[-1]
    paths = NodePaths(kubelet_dir=folder)
    devices = NodeDevices(
        client=None, clock=SystemClock(), paths=paths, node_name="n", spawn=spawn, known_pods=None,
        driver_came=None, changed=None, active_pods=list,
    )
    devices.start()
    watcher = PluginWatcher(
        folder=folder / "plugins_registry", handlers=devices.handlers, paths=paths, clock=SystemClock(), node_name="n"
    )
    spawn(watcher.run(), "")
    pod = {"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": {"containers": [{"name": "c"}]}}
    await devices.allocate(pod)
    await devices.prepare(pod)
    await devices.inject(pod, pod["spec"]["containers"][0], ContainerSpec(name="c", attempt=0, image="i"))
    devices.statuses(pod)
    await devices.release("u")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

asyncio.run(main(Path(sys.argv[1])))
devices = "orchestrator.kubelet.devices"
heavy = ("grpclib", "h2", "google.protobuf", f"{devices}.plugins", f"{devices}.claims", f"{devices}.cdi")
print([name for name in heavy if name in sys.modules])
"""


def test_a_node_without_drivers_loads_nothing_for_them(tmp_path: Path) -> None:
    make_folders(tmp_path)
    shown = subprocess.run([sys.executable, "-c", IDLE, str(tmp_path)], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"


def make_folders(kubelet_dir: Path) -> None:
    for name in ("device-plugins", "pod-resources", "cdi"):
        (kubelet_dir / name).mkdir()


class NoApi:
    """A transport that nobody may use."""

    async def send(self, request: Request) -> Object:
        raise NotImplementedError

    async def open_watch(self, request: Request) -> WatchStream:
        raise NotImplementedError

    async def close(self) -> None:
        pass


@pytest.fixture
async def changes() -> asyncio.Queue[None]:
    """What the kubelet is told."""
    return asyncio.Queue()


@pytest.fixture
async def devices(tmp_path: Path, changes: asyncio.Queue[None]) -> AsyncIterator[NodeDevices]:
    make_folders(tmp_path)
    tasks: list[asyncio.Task[None]] = []

    def spawn(work: Any, name: str) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(work, name=name))
        return tasks[-1]

    async def known() -> Collection[str]:
        return ["u"]

    one = NodeDevices(
        client=Client(NoApi()),
        clock=SystemClock(),
        paths=NodePaths(kubelet_dir=tmp_path),
        node_name="n",
        spawn=spawn,
        known_pods=known,
        driver_came=lambda: None,
        changed=lambda _: changes.put_nowait(None),
        active_pods=list,
    )
    one.start()
    yield one
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_container_gets_what_a_plugin_says_and_what_that_names(
    devices: NodeDevices, changes: asyncio.Queue[None], tmp_path: Path
) -> None:
    description = {
        "kind": "v.com/x",
        "devices": [{"name": "a", "containerEdits": {"env": ["OWN=2"], "deviceNodes": [{"path": "/dev/x"}]}}],
    }
    (tmp_path / "cdi" / "x.json").write_text(json.dumps(description))
    folder = tmp_path / "device-plugins"
    service = DevicePluginService(
        {"a": "Healthy"},
        allocated=lambda ids: {"envs": {"OWN": "0", "X": "a"}, "cdi_devices": [{"name": "v.com/x=a"}]},
        folder=folder,
    )
    server = await serve_on(folder / "x.sock", service.service())
    await service.register("x.sock", X)
    await asyncio.wait_for(changes.get(), 10)
    await devices.allocate(POD)
    spec = await devices.inject(POD, POD["spec"]["containers"][0], SPEC)
    assert dict(spec.env) == {"X": "a", "OWN": "2"}
    assert spec.devices == (DeviceNode("/dev/x", "/dev/x"),)
    assert devices.plugin_devices("u") == {"c": {X: ("a",)}}
    assert devices.healthy_devices() == {X: ["a"]}
    await devices.release("u")
    assert devices.plugin_devices("u") == {}
    server.close()


async def test_a_container_without_devices_is_left_as_it_is(devices: NodeDevices) -> None:
    pod = {**POD, "spec": {"containers": [{"name": "c"}]}}
    assert await devices.inject(pod, pod["spec"]["containers"][0], SPEC) is SPEC
    assert devices.statuses(pod) == {}
