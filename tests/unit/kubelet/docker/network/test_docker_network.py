"""The network of a cluster on an Engine: found, made, refused; and what is waited for."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.component.places import MACHINE, Listener, PlaceLost, PlaceNotReady, until_lost
from orchestrator.kubelet.docker.engine import DockerEngine, EngineError
from orchestrator.kubelet.docker.network import docker_network
from orchestrator.kubelet.docker.network.docker_network import DockerNetwork, make_network, remove_networks
from orchestrator.kubelet.docker.network.plan import candidates
from orchestrator.kubelet.network.firewall import NetworkUnavailable
from orchestrator.kubelet.network.plan import HostPort
from orchestrator.testing import ManualClock

OVERLAP = "Pool overlaps with other one on this address space"
HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


class FakeEngine:
    """Networks of an Engine."""

    def __init__(self) -> None:
        self.info: dict[str, Any] = {}
        self.networks: list[dict[str, Any]] = []
        self.refuses: dict[str, str] = {}
        """Subnet → the Engine's complaint."""

    async def call(self, method: str, path: str, *, body: str = "", **_: Any) -> Any:
        if (method, path) == ("GET", "networks"):
            return self.networks
        if method == "POST":
            made = json.loads(body)
            if complaint := self.refuses.get(made["IPAM"]["Config"][0]["Subnet"]):
                raise EngineError(403, complaint)
            self.networks.append({**made, "Id": str(len(self.networks))})
            return {}
        wanted = path.removeprefix("networks/")
        found = [one for one in self.networks if wanted in (one["Id"], one["Name"])]
        if not found:
            raise EngineError(404, "no such network")
        self.networks.remove(found[0])
        return None


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    (tmp_path / "route").write_text(HEAD)
    monkeypatch.setattr(docker_network, "ROUTES", tmp_path / "route")
    monkeypatch.setattr(docker_network, "nameservers", lambda *_: [])
    return FakeEngine()


FIRST, SECOND, *_ = candidates()


async def make(engine: FakeEngine, folder: Path, cluster_id: str = "abc") -> Any:
    return await make_network(cast(DockerEngine, engine), cluster_id, folder)


async def test_a_cluster_finds_its_network_again(engine: FakeEngine, tmp_path: Path) -> None:
    assert await make(engine, tmp_path) == FIRST
    assert await make(engine, tmp_path) == FIRST
    assert [one["Name"] for one in engine.networks] == ["orchestrator-abc"]


async def test_two_clusters_get_different_ranges(engine: FakeEngine, tmp_path: Path) -> None:
    assert await make(engine, tmp_path / "a", "a") == FIRST
    assert await make(engine, tmp_path / "b", "b") == SECOND


async def test_a_range_that_the_engine_refuses_is_passed_over(engine: FakeEngine, tmp_path: Path) -> None:
    engine.refuses[str(FIRST.network)] = OVERLAP
    assert await make(engine, tmp_path) == SECOND


async def test_any_other_refusal_is_told(engine: FakeEngine, tmp_path: Path) -> None:
    engine.refuses[str(FIRST.network)] = "no bridges today"
    with pytest.raises(NetworkUnavailable, match="no bridges today"):
        await make(engine, tmp_path)


async def test_a_network_that_was_removed_comes_back_with_its_ranges(engine: FakeEngine, tmp_path: Path) -> None:
    engine.refuses[str(FIRST.network)] = OVERLAP
    assert await make(engine, tmp_path) == SECOND
    await remove_networks(cast(DockerEngine, engine), "abc")
    await remove_networks(cast(DockerEngine, engine), "abc")
    assert engine.networks == []
    engine.refuses.clear()
    assert await make(engine, tmp_path) == SECOND


async def test_a_network_with_ranges_of_somebody_else_is_replaced(engine: FakeEngine, tmp_path: Path) -> None:
    engine.networks.append({"Id": "0", "Name": "orchestrator-abc", "IPAM": {"Config": [{"Subnet": "10.9.0.0/16"}]}})
    assert await make(engine, tmp_path) == FIRST
    assert len(engine.networks) == 1


async def test_an_engine_without_root_is_refused(engine: FakeEngine, tmp_path: Path) -> None:
    engine.info["SecurityOptions"] = ["name=seccomp,profile=default", "name=rootless"]
    with pytest.raises(NetworkUnavailable, match="need an Engine that runs as root"):
        await make(engine, tmp_path)


@pytest.fixture
def network(engine: FakeEngine, tmp_path: Path) -> DockerNetwork:
    return DockerNetwork(
        engine=cast(DockerEngine, engine),
        cluster_id="abc",
        ranges=FIRST,
        nodes=["node-1"],
        state_dir=tmp_path,
        clock=ManualClock(),
    )


async def test_a_sandbox_has_its_address_before_it_is_made_and_keeps_it(network: DockerNetwork) -> None:
    network._reservations.load()
    with pytest.raises(NetworkUnavailable, match="no pod CIDR yet"):
        network.endpoint("name", node_name="node-1")
    await network.ensure_node("node-1", "10.246.0.2", "10.244.0.0/24")
    told: list[Any] = []
    network.on_change(lambda: told.append(network.forwards()))
    endpoint = network.endpoint("name", node_name="node-1", host_ports=(HostPort("tcp", 80, 8080),))
    assert endpoint is not None
    network.claim("name", "id")
    assert network.addresses("id") == (endpoint.address,)
    assert network.reserved_sandboxes("node-1") == {"id"}
    assert Listener("node-1", "0.0.0.0", "tcp", 80) in network.forwards()
    await network.detach("id")
    await network.detach("id")
    assert network.forwards() == {}
    assert told == [{}]


async def test_sockets_of_places(network: DockerNetwork) -> None:
    with await network.make_socket(MACHINE, socket.SOCK_DGRAM) as made:
        assert made.type == socket.SOCK_DGRAM
    with pytest.raises(KeyError):
        await network.make_socket("somebody-elses", socket.SOCK_STREAM)
    with pytest.raises(PlaceNotReady):
        await network.make_socket("node-1", socket.SOCK_STREAM)


async def test_work_ends_when_a_place_is_lost(network: DockerNetwork) -> None:
    work = asyncio.create_task(until_lost(network, asyncio.Event().wait()))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    network._has_died("sandbox/some-pod")
    await asyncio.sleep(0)
    assert not work.done()
    network._has_died("services/")
    with pytest.raises(PlaceLost):
        await work
