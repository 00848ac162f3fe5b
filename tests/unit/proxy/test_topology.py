"""Which endpoints serve a client on a node (KEP-1669, KEP-2433, KEP-3015)."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.proxy.topology import Endpoint, NodeFacts, endpoints_of, local_to, preferred_by, usable

NODE = NodeFacts("node-1", "172.30.0.2", "10.244.0.0/24", zone="a")
GOING = {"is_ready": False, "is_serving": True, "is_terminating": True}


def at(number: int, **fields: Any) -> Endpoint:
    return Endpoint((f"10.244.0.{number}", 80), **fields)


@pytest.mark.parametrize(
    ("endpoints", "chosen"),
    [
        pytest.param([at(1), at(2)], [at(1), at(2)], id="all that are ready"),
        pytest.param([at(1), at(2, **GOING)], [at(1)], id="not those that go"),
        pytest.param([at(2, **GOING)], [at(2, **GOING)], id="unless there is no other"),
        pytest.param([at(1, is_ready=False, is_serving=False, is_terminating=True)], [], id="and they serve"),
        pytest.param([at(1, is_ready=False, is_serving=True)], [], id="not ready, not going"),
    ],
)
def test_usable(endpoints: list[Endpoint], chosen: list[Endpoint]) -> None:
    assert usable(endpoints) == chosen


def test_the_policy_local_falls_back_to_endpoints_of_the_node_that_go() -> None:
    going = at(1, node="node-1", **GOING)
    assert local_to([going, at(2, node="node-2")], NODE) == [going]


@pytest.mark.parametrize(
    ("endpoints", "chosen"),
    [
        pytest.param([at(1, zones=("a",)), at(2, zones=("b",))], [1], id="zone"),
        pytest.param([at(1, zones=("a",)), at(2)], [1, 2], id="one without a hint: hints do not count"),
        pytest.param([at(1, zones=("b",)), at(2, zones=("c",))], [1, 2], id="nothing for the zone"),
        pytest.param(
            [at(1, nodes=("node-1",), zones=("a",)), at(2, nodes=("node-2",), zones=("a",))], [1], id="node before zone"
        ),
        pytest.param(
            [at(1, nodes=("node-3",), zones=("a",)), at(2, nodes=("node-2",), zones=("b",))],
            [1],
            id="zone when there is nothing for the node",
        ),
    ],
)
def test_hints(endpoints: list[Endpoint], chosen: list[int]) -> None:
    assert [int(e.target[0].rpartition(".")[2]) for e in preferred_by(endpoints, NODE)] == chosen


def test_endpoints_of_slices() -> None:
    def one(port: dict[str, Any], *endpoints: dict[str, Any], kind: str = "IPv4") -> dict[str, Any]:
        return {"addressType": kind, "ports": [port], "endpoints": list(endpoints)}

    http = {"name": "http", "port": 80, "protocol": "TCP"}
    found = endpoints_of(
        [
            one(http, {"addresses": ["10.0.0.2", "10.0.0.3"], "conditions": {}}),
            one(http, {"addresses": ["10.0.0.1"], "conditions": {"ready": False}, "nodeName": "n"}),
            one(http, {"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "nodeName": "n"}),
            one({**http, "protocol": "UDP"}, {"addresses": ["10.0.0.9"]}),
            one({**http, "name": "other"}, {"addresses": ["10.0.0.9"]}),
            one(http, {"addresses": ["::1"]}, kind="IPv6"),
        ],
        "http",
        "TCP",
    )
    assert found == [Endpoint(("10.0.0.1", 80), "n"), Endpoint(("10.0.0.2", 80))]
