"""Claims that drivers prepare for pods, and the account of them; the drivers are real servers on real sockets."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.client.client import Client
from orchestrator.client.transport import Request, WatchStream
from orchestrator.kubelet.devices.claim_drivers import GONE_SECONDS, ClaimDrivers
from orchestrator.kubelet.devices.claim_health import SERVICE as HEALTH_SERVICE
from orchestrator.kubelet.devices.claim_health import VALID_SECONDS, ClaimHealth
from orchestrator.kubelet.devices.claims import PreparedClaim, PreparedClaims, PreparedDevice, cdi_ids_for
from orchestrator.kubelet.parts import DeviceFailure
from orchestrator.kubelet.plugins.watcher import Plugin, PluginRefused
from orchestrator.testing import ManualClock
from tests.plugin_drivers import ClaimDriverService, serve_on, stop

DRIVER = "gpu.example.com"
EMPTY_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
"""What a server of HTTP/2 says first."""


class Api:
    """A transport to an API that has some claims, and notes what is deleted."""

    def __init__(self, *claims: Object) -> None:
        self._claims = {claim["metadata"]["name"]: claim for claim in claims}
        self.deleted: asyncio.Queue[Mapping[str, str]] = asyncio.Queue()

    async def send(self, request: Request) -> Object:
        if request.verb == "deletecollection":
            self.deleted.put_nowait(dict(request.query))
            return {}
        if request.name not in self._claims:
            raise errors.not_found("resource.k8s.io", "resourceclaims", request.name)
        return self._claims[request.name]

    async def open_watch(self, request: Request) -> WatchStream:
        raise NotImplementedError

    async def close(self) -> None:
        pass


def pod(uid: str, *claims: str) -> Object:
    references = [{"name": name, "resourceClaimName": name} for name in claims]
    return {
        "metadata": {"name": f"p-{uid}", "namespace": "default", "uid": uid},
        "spec": {"resourceClaims": references},
    }


def claim(name: str, *pods: str, driver: str | None = DRIVER) -> Object:
    results = [{"driver": driver, "request": "gpu"}] if driver else []
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "status": {
            "reservedFor": [{"resource": "pods", "name": f"p-{uid}", "uid": uid} for uid in pods],
            "allocation": {"devices": {"results": results}},
        },
    }


def prepared(name: str) -> dict[str, Any]:
    if name == "broken":
        return {"error": "no power"}
    return {"devices": [{"pool_name": "p", "device_name": name, "cdi_device_ids": [f"v.com/gpu={name}"]}]}


class Node:
    """A node with its claims, which can be started again."""

    def __init__(self, folder: Path, *claims: Object) -> None:
        self.folder = folder
        self.api = Api(*claims)
        self.clock = ManualClock()
        self.service = ClaimDriverService(prepared)
        self.changes: asyncio.Queue[set[str]] = asyncio.Queue()
        self.tasks: list[asyncio.Task[None]] = []
        self.start()

    def start(self) -> None:
        client = Client(self.api)
        self.drivers = ClaimDrivers(
            client=client,
            clock=self.clock,
            node_name="n1",
            spawn=self._spawn,
            registered=lambda: None,
            health=ClaimHealth(
                clock=self.clock,
                node_name="n1",
                changed=lambda driver, devices: self.changes.put_nowait(self.claims.users_of(driver, devices)),
            ),
        )
        self.claims = PreparedClaims(client=client, drivers=self.drivers, file=self.folder / "state", node_name="n1")

    def _spawn(self, work: Any, name: str) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(work, name=name))
        return self.tasks[-1]

    async def register(self, *versions: str) -> Plugin:
        """A driver comes."""
        plugin = Plugin("DRAPlugin", DRIVER, self.folder / "dra.sock", versions or ("v1.DRAPlugin",))
        self.drivers.validate(plugin)
        await self.drivers.register(plugin)
        return plugin

    def calls(self) -> list[tuple[str, str]]:
        """What the driver was asked since the last time."""
        found: list[tuple[str, str]] = []
        while True:
            try:
                method, name = self.service.calls.get_nowait()
            except queue.Empty:
                return found
            found.append((method.removeprefix("Node").removesuffix("Resources"), name))


async def until(predicate: Callable[[], bool]) -> None:
    """Let everything run until something is so."""
    async with asyncio.timeout(10):
        while not predicate():  # noqa: ASYNC110 - sockets take their time, and tell nobody
            await asyncio.sleep(0)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    one = Node(tmp_path, claim("a", "1", "2"), claim("b", "1"), claim("broken", "1"), claim("none", "1", driver=None))
    server = await serve_on(tmp_path / "dra.sock", one.service.service())
    yield one
    for task in one.tasks:
        task.cancel()
    await asyncio.gather(*one.tasks, return_exceptions=True)
    await stop(server, tmp_path / "dra.sock")


async def test_a_claim_is_prepared_once_and_let_go_of_with_its_last_pod(node: Node) -> None:
    await node.register()
    await node.claims.prepare(pod("1", "a", "b"))
    await node.claims.prepare(pod("2", "a"))
    await node.claims.prepare(pod("1", "a", "b"))  # a new sandbox of the same pod
    assert node.calls() == [("Prepare", "a"), ("Prepare", "b")]
    await node.claims.release("1")
    assert node.calls() == [("Unprepare", "b")]
    await node.claims.release("2")
    await node.claims.release("2")
    assert node.calls() == [("Unprepare", "a")]


async def test_a_killed_kubelet_finds_again_what_was_prepared(node: Node) -> None:
    await node.register()
    await node.claims.prepare(pod("1", "a"))
    node.calls()
    node.drivers.deregister(next(iter(node.drivers._drivers[DRIVER])).plugin)
    node.start()
    container = {"resources": {"claims": [{"name": "a"}]}}
    assert node.claims.cdi_ids(pod("1", "a"), container) == ["v.com/gpu=a"]
    with pytest.raises(DeviceFailure, match=f"DRA driver {DRIVER} is not registered"):
        await node.claims.release("1")
    await node.register()
    await node.claims.release_unknown({"1"})
    assert node.calls() == []
    await node.claims.release_unknown({"3"})
    assert node.calls() == [("Unprepare", "a")]


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (pod("1", "broken"), "NodePrepareResources failed for ResourceClaim broken: no power"),
        (pod("1", "gone"), 'fetch ResourceClaim gone: resourceclaims.resource.k8s.io "gone" not found'),
        (pod("3", "a"), r"pod p-3 \(3\) is not allowed to use ResourceClaim a \(uid-a\)"),
    ],
)
async def test_why_devices_are_not_ready(node: Node, wanted: Object, why: str) -> None:
    await node.register()
    with pytest.raises(DeviceFailure, match=why):
        await node.claims.prepare(wanted)


async def test_a_claim_from_a_template_is_its_own_pods(node: Node) -> None:
    waiting = pod("1")
    waiting["spec"] = {"resourceClaims": [{"name": "x", "resourceClaimTemplateName": "t"}]}
    with pytest.raises(DeviceFailure, match='pod "default/p-1": ResourceClaim not created yet'):
        await node.claims.prepare(waiting)
    made = {**waiting, "status": {"resourceClaimStatuses": [{"name": "x", "resourceClaimName": "a"}]}}
    with pytest.raises(DeviceFailure, match="ResourceClaim default/a was not created for pod default/p-1"):
        await node.claims.prepare(made)
    await node.claims.prepare({**waiting, "status": {"resourceClaimStatuses": [{"name": "x"}]}})


async def test_without_a_driver_nothing_is_noted_and_the_pod_can_go(node: Node) -> None:
    await node.claims.prepare(pod("1", "none"))
    with pytest.raises(DeviceFailure, match=f"DRA driver {DRIVER} is not registered"):
        await node.claims.prepare(pod("1", "a"))
    await node.claims.release("1")


async def test_a_driver_of_the_older_version(node: Node, tmp_path: Path) -> None:
    node.service = ClaimDriverService(prepared, "v1beta1")
    server = await serve_on(tmp_path / "old.sock", node.service.service())
    await node.drivers.register(Plugin("DRAPlugin", DRIVER, tmp_path / "old.sock", ("v1beta1.DRAPlugin",)))
    await node.claims.prepare(pod("1", "b"))
    assert node.calls() == [("Prepare", "b")]
    await stop(server, tmp_path / "old.sock")


async def test_versions_that_nobody_knows_are_refused(node: Node) -> None:
    with pytest.raises(PluginRefused, match=r'none of services supported by the plugin \(\["v9.DRAPlugin"\]\)'):
        await node.register("v9.DRAPlugin")


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ([{"name": "x"}], ["one", "two", "both"]),
        ([{"name": "x", "request": "r1"}], ["one", "both"]),
        ([{"name": "x", "request": "r2"}, {"name": "x", "request": "r1"}], ["two", "both", "one"]),
        ([{"name": "unknown"}], []),
    ],
)
def test_a_container_gets_the_devices_of_its_requests(wanted: list[Object], ids: list[str]) -> None:
    devices = [
        PreparedDevice("p", "1", ("r1",), ("one",)),
        PreparedDevice("p", "2", ("r2",), ("two",)),
        PreparedDevice("p", "3", (), ("both",)),
    ]
    known = {"default/x": PreparedClaim("default", "x", "u", {DRIVER: devices})}
    assert cdi_ids_for(pod("1", "x"), {"resources": {"claims": wanted}}, known) == ids


async def test_slices_of_a_driver_that_is_gone_are_removed_after_a_while(node: Node, tmp_path: Path) -> None:
    socket = tmp_path / "killed.sock"
    killed = asyncio.Event()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(EMPTY_SETTINGS)
        await killed.wait()
        writer.close()

    server = await asyncio.start_unix_server(answer, socket)
    await node.drivers.register(Plugin("DRAPlugin", DRIVER, socket, ("v1.DRAPlugin",)))
    driver = node.drivers.get(DRIVER)
    await until(lambda: driver.is_connected)
    killed.set()  # its socket stays
    server.close()
    await until(lambda: not driver.is_connected)
    await node.clock.run(GONE_SECONDS - 1)
    assert node.api.deleted.empty()
    await node.clock.run(2)
    selector = {"fieldSelector": f"spec.nodeName=n1,spec.driver={DRIVER}"}
    assert await asyncio.wait_for(node.api.deleted.get(), 10) == selector


async def test_a_driver_that_is_back_in_time_keeps_its_slices(node: Node) -> None:
    plugin = await node.register()
    await until(lambda: node.drivers.get(DRIVER).is_connected)
    node.drivers.deregister(plugin)
    await node.clock.run(GONE_SECONDS - 1)
    await node.register()
    await until(lambda: node.drivers.get(DRIVER).is_connected)
    await node.clock.run(GONE_SECONDS)
    assert node.api.deleted.empty()


async def test_containers_show_what_a_driver_says_of_their_devices(node: Node, tmp_path: Path) -> None:
    service = ClaimDriverService(prepared)
    socket = tmp_path / "health.sock"
    server = await serve_on(socket, service.service(), service.health_service())
    await node.drivers.register(Plugin("DRAPlugin", DRIVER, socket, ("v1.DRAPlugin", HEALTH_SERVICE)))
    one = pod("1", "a")
    one["spec"]["containers"] = [{"name": "c", "resources": {"claims": [{"name": "a"}]}}]

    def shown() -> Any:
        (status,) = node.claims.statuses(one)["c"]
        return status["name"], status["resources"]

    await node.claims.prepare(one)
    unknown = ("claim:a", [{"resourceID": "v.com/gpu=a", "health": "Unknown"}])
    assert shown() == unknown
    await service.tell({("p", "a"): (2, "too hot"), ("p", "b"): (1, "")})
    assert await asyncio.wait_for(node.changes.get(), 10) == {"1"}
    assert shown() == ("claim:a", [{"resourceID": "v.com/gpu=a", "health": "Unhealthy", "message": "too hot"}])
    await node.clock.run(VALID_SECONDS + 1)
    assert shown() == unknown
    await stop(server, socket)
