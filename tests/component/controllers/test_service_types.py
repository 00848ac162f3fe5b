"""Services that change their type, and node ports that come and go, as the specs of [sig-network] Services do it.

Each write is what client-go sends: the whole object as it was read, changed, put back.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.resources import SERVICES

from .conftest import Stage, stage_with

HTTP = [{"port": 80, "name": "http", "protocol": "TCP", "targetPort": 9376}]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with stage_with("serviceaccount", "endpoint", "endpointslice") as one:
        yield one


async def create(stage: Stage, name: str, **spec: Any) -> Object:
    metadata = {"name": name, "namespace": "default"}
    return await stage.client.create(
        SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    )


async def change(stage: Stage, name: str, **spec: Any) -> Object:
    """Read, change and put back; None takes a field out."""
    current = copy.deepcopy(await stage.client.get(SERVICES, name, "default"))
    for key, value in spec.items():
        if value is None:
            current["spec"].pop(key, None)
        else:
            current["spec"][key] = value
    return await stage.client.update(SERVICES, current)


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
async def test_an_external_name_becomes_a_service_with_an_address(stage: Stage, kind: str) -> None:
    created = await create(stage, "s", type="ExternalName", externalName="foo.example.com", selector={"a": "b"})
    assert "clusterIP" not in created["spec"]
    for external_name in ("foo.example.com", ""):  # the DNS spec leaves the old name in, which stays
        changed = await change(stage, "s", type=kind, externalName=external_name, ports=HTTP)
        assert changed["spec"]["clusterIP"]
        assert changed["spec"]["clusterIPs"] == [changed["spec"]["clusterIP"]]
        assert changed["spec"]["sessionAffinity"] == "None"
        assert changed["spec"].get("externalName") == (external_name or None)
        assert ("nodePort" in changed["spec"]["ports"][0]) == (kind == "NodePort")
        await change(stage, "s", type="ExternalName", externalName="foo.example.com")


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
async def test_a_service_becomes_an_external_name_and_lets_go_of_what_it_had(stage: Stage, kind: str) -> None:
    created = await create(stage, "s", type=kind, ports=HTTP, selector={"a": "b"})
    # Clients with typed objects send what they cleared as an empty string.
    changed = await change(
        stage, "s", type="ExternalName", externalName="other.default.svc.cluster.local", clusterIP=""
    )
    for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        assert field not in changed["spec"]
    assert changed["spec"]["internalTrafficPolicy"] == "Cluster"  # as in kube-apiserver: it means nothing here
    assert "nodePort" not in changed["spec"]["ports"][0]
    assert "f:clusterIP" not in json.dumps(changed["metadata"]["managedFields"])
    again = await create(stage, "again", type=kind, ports=created["spec"]["ports"], selector={"a": "b"},
                         clusterIP=created["spec"]["clusterIP"])  # fmt: skip
    assert again["spec"]["clusterIP"] == created["spec"]["clusterIP"]


async def test_a_second_protocol_gets_a_node_port_of_its_own(stage: Stage) -> None:
    await create(stage, "s", ports=HTTP)
    first = await change(stage, "s", type="NodePort", ports=HTTP)
    both = [{"name": "tcp-port", "port": 80, "protocol": "TCP"}, {"name": "udp-port", "port": 80, "protocol": "UDP"}]
    second = await change(stage, "s", ports=both)
    numbers = [port["nodePort"] for port in second["spec"]["ports"]]
    assert first["spec"]["ports"][0]["nodePort"]
    assert all(numbers)


async def test_a_node_port_has_one_holder_at_a_time(stage: Stage) -> None:
    first = await create(stage, "first", type="NodePort", ports=HTTP)
    number = first["spec"]["ports"][0]["nodePort"]
    taken = [{**HTTP[0], "nodePort": number}]
    with pytest.raises(errors.ApiError, match=f"{number}.*port is already allocated"):
        await create(stage, "second", type="NodePort", ports=taken)
    await stage.client.delete(SERVICES, "first", "default")
    await create(stage, "second", type="NodePort", ports=taken)


async def test_a_node_port_comes_from_its_range(stage: Stage) -> None:
    await create(stage, "s", type="NodePort", ports=HTTP)
    outside = [{**HTTP[0], "nodePort": 9}]
    with pytest.raises(errors.ApiError, match=r"9.*port is not in the valid range"):
        await change(stage, "s", ports=outside)
    with pytest.raises(errors.ApiError, match=r"9.*port is not in the valid range"):
        await create(stage, "t", type="NodePort", ports=outside)


async def test_ports_without_numbers_keep_the_ones_they_have(stage: Stage) -> None:
    """kubectl apply sends no node port: patches and puts without one keep it."""
    created = await create(stage, "s", type="NodePort", ports=HTTP)
    number = created["spec"]["ports"][0]["nodePort"]
    changed = await change(stage, "s", ports=HTTP)
    assert changed["spec"]["ports"][0]["nodePort"] == number
    changed = await change(stage, "s", clusterIP=None, clusterIPs=None)
    assert changed["spec"]["clusterIP"] == created["spec"]["clusterIP"]


async def test_the_status_of_a_load_balancer_is_written_by_somebody_else(stage: Stage) -> None:
    """The spec "should complete a service status lifecycle": a condition has no time there."""
    await create(stage, "s", type="LoadBalancer", ports=HTTP, loadBalancerClass="example.com/internal-vip")
    patch = {
        "metadata": {"annotations": {"patchedstatus": "true"}},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
    }
    patched = await stage.client.patch(SERVICES, "s", patch, "default", subresource="status")
    assert patched["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]
    assert patched["metadata"]["annotations"] == {"patchedstatus": "true"}
    current = copy.deepcopy(await stage.client.get(SERVICES, "s", "default"))
    condition = {"type": "StatusUpdate", "status": "True", "lastTransitionTime": None, "reason": "E2E", "message": "m"}
    current["status"]["conditions"] = [condition]
    await stage.client.update(SERVICES, current, subresource="status")
    seen = await stage.client.get(SERVICES, "s", "default")
    assert [one["type"] for one in seen["status"]["conditions"]] == ["StatusUpdate"]
    # What is no load balancer any more has no address of one.
    changed = await change(stage, "s", type="ClusterIP", loadBalancerClass=None)
    assert changed["status"]["loadBalancer"] == {}
    assert "nodePort" not in changed["spec"]["ports"][0]


async def test_fewer_ports_and_another_type_in_one_write(stage: Stage) -> None:
    """Node ports go with the type as long as the client names no new one."""
    two = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    created = await create(stage, "s", type="NodePort", ports=two)
    changed = await change(stage, "s", type="ClusterIP", ports=created["spec"]["ports"][:1])
    assert "nodePort" not in changed["spec"]["ports"][0]
