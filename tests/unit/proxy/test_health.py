"""What nodes say on a health-check port."""

from __future__ import annotations

from orchestrator.proxy.health import plan_health

from .services import NODES, service, slices


def test_each_node_counts_its_own_ready_endpoints() -> None:
    one = service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=31000)
    health = plan_health(one, slices("10.244.0.5", "10.244.0.6"), NODES)
    assert {listener: one.local_endpoints for listener, one in health.items()} == {
        ("172.30.0.2", 31000): 2, ("172.30.0.3", 31000): 0,
    }  # fmt: skip
    near, far = (each.response().encode() for each in health.values())
    assert near.startswith(b"HTTP/1.1 200 OK\r\n")
    assert far.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"X-Load-Balancing-Endpoint-Weight: 2\r\n" in near


def test_an_endpoint_that_goes_counts_no_more() -> None:
    one = service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=31000)
    going = slices("10.244.0.5")
    going[0]["endpoints"][0]["conditions"] = {"ready": False, "serving": True, "terminating": True}
    assert {each.local_endpoints for each in plan_health(one, going, NODES).values()} == {0}


def test_other_services_have_no_such_port() -> None:
    assert plan_health(None, [], NODES) == {}
    assert plan_health(service(type="NodePort"), [], NODES) == {}
