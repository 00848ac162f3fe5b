"""Endpoints subsets."""

from __future__ import annotations

from typing import Any

from orchestrator.controllers.endpoints.legacy import MAX_ADDRESSES, plan_endpoints, plan_subsets


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {"metadata": {"name": "web", "namespace": "d", "labels": {"l": "1"}}, "spec": {"ports": ports, **spec}}


def pod(n: int, ready: bool = True, port: int = 8080) -> dict[str, Any]:
    return {
        "metadata": {"name": f"p{n}", "namespace": "d", "uid": f"u{n}"},
        "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "http", "containerPort": port}]}]},
        "status": {
            "phase": "Running",
            "podIP": f"10.{n // 62500}.{n // 250 % 250}.{n % 250 + 1}",
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def test_ready_and_not_ready_pods_with_equal_ports_share_a_subset() -> None:
    subsets, truncated = plan_subsets(service(), [pod(1), pod(2, ready=False), pod(3, port=9090)])
    assert not truncated
    assert [
        (len(s.get("addresses", [])), len(s.get("notReadyAddresses", [])), s["ports"][0]["port"]) for s in subsets
    ] == [
        (1, 1, 8080),
        (1, 0, 9090),
    ]
    assert subsets[0]["addresses"][0] == {
        "ip": "10.0.0.2",
        "nodeName": "n",
        "targetRef": {"kind": "Pod", "namespace": "d", "name": "p1", "uid": "u1"},
    }


def test_too_many_addresses_are_cut_and_said_so() -> None:
    pods = [pod(n, ready=n >= 10) for n in range(MAX_ADDRESSES + 5)]
    wanted = plan_endpoints(service(), pods, None)
    assert wanted is not None
    assert wanted["metadata"]["annotations"] == {"endpoints.kubernetes.io/over-capacity": "truncated"}
    (subset,) = wanted["subsets"]
    assert len(subset["addresses"]) == MAX_ADDRESSES - 5
    assert len(subset["notReadyAddresses"]) == 5


def test_nothing_to_do_when_all_is_as_it_should_be() -> None:
    wanted = plan_endpoints(service(), [pod(1)], None)
    assert wanted is not None
    assert wanted["metadata"]["labels"] == {"l": "1", "endpoints.kubernetes.io/managed-by": "endpoint-controller"}
    assert plan_endpoints(service(), [pod(1)], wanted) is None
    assert plan_endpoints(service(), [], wanted) is not None


def test_a_headless_service_without_ports_still_lists_addresses() -> None:
    wanted = plan_endpoints(service(clusterIP="None", ports=[]), [pod(1)], None)
    assert wanted is not None
    assert "ports" not in wanted["subsets"][0]
    assert wanted["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
