"""Services of type LoadBalancer get addresses, wait for one, and give theirs back."""

from __future__ import annotations

from typing import Any

from orchestrator.api.objects import Object
from orchestrator.api.resources import EVENTS, SERVICES

from .conftest import stage_with


def balanced(name: str, **spec: Any) -> Object:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def has(address: str | None) -> Any:
    wanted = {"ingress": [{"ip": address, "ipMode": "VIP"}]} if address else {}
    return lambda service: service["status"]["loadBalancer"] == wanted


async def test_an_address_goes_from_one_service_to_the_next() -> None:
    async with stage_with("service", "serviceaccount", load_balancer_addresses=["192.0.2.1"]) as stage:
        await stage.client.create(SERVICES, balanced("first"))
        await stage.until_one(SERVICES, "first", has("192.0.2.1"))
        await stage.client.create(SERVICES, balanced("second"))
        await stage.client.create(SERVICES, balanced("other", loadBalancerClass="example.com/other"))
        await stage.client.create(SERVICES, balanced("beside", ports=[{"port": 81}]))
        await stage.until_one(SERVICES, "beside", has("192.0.2.1"))
        assert has(None)(await stage.client.get(SERVICES, "second", "default"))
        await stage.client.patch(SERVICES, "first", {"spec": {"type": "ClusterIP"}}, "default")
        await stage.until_one(SERVICES, "first", has(None))
        await stage.until_one(SERVICES, "second", has("192.0.2.1"))
        assert has(None)(await stage.client.get(SERVICES, "other", "default"))


async def test_a_port_that_a_service_gives_up_goes_to_one_that_waits() -> None:
    async with stage_with("service", "serviceaccount", load_balancer_addresses=["192.0.2.1"]) as stage:
        await stage.client.create(SERVICES, balanced("first"))
        await stage.until_one(SERVICES, "first", has("192.0.2.1"))
        await stage.client.create(SERVICES, balanced("second"))
        await stage.until(EVENTS, lambda events: any(e["reason"] == "SyncLoadBalancerFailed" for e in events))
        await stage.client.patch(SERVICES, "first", {"spec": {"ports": [{"port": 81}]}}, "default")
        await stage.until_one(SERVICES, "second", has("192.0.2.1"))
