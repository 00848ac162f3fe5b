"""Every cluster IP has an IPAddress, and comes from a ServiceCIDR that is ready (KEP-1880)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object, condition_of, is_terminating, name_of
from orchestrator.api.resources import IP_ADDRESSES, SERVICE_CIDRS, SERVICES
from orchestrator.store import Key
from orchestrator.testing import running_cluster

from .conftest import Stage, stage_with

FINALIZER = "networking.k8s.io/service-cidr-finalizer"


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A default range of twelve addresses beside those of `kubernetes` (.1) and, kept for DNS, .10."""
    async with stage_with("service-cidr", "serviceaccount", service_cidr="10.96.0.0/28") as one:
        yield one


def service(name: str, **spec: Any) -> Object:
    spec = {"ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def service_cidr(name: str, *cidrs: str) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": name},
        "spec": {"cidrs": [*cidrs]},
    }


def address_of_somebody(address: str) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {"name": address},
        "spec": {"parentRef": {"group": "example.com", "resource": "gateways", "namespace": "default", "name": "g"}},
    }


def is_ready(cidr: Object) -> bool:
    ready = condition_of(cidr, "Ready")
    return ready is not None and ready["status"] == "True"


async def create(stage: Stage, name: str, **spec: Any) -> str:
    """Create a Service and return its address."""
    created = await stage.client.create(SERVICES, service(name, **spec))
    address: str = created["spec"]["clusterIP"]
    return address


async def addresses(stage: Stage) -> set[str]:
    return {name_of(one) for one in (await stage.client.list(IP_ADDRESSES))["items"]}


async def test_an_address_lives_as_long_as_its_service(stage: Stage) -> None:
    address = await create(stage, "web")
    obj = await stage.client.get(IP_ADDRESSES, address)
    assert obj["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }
    assert obj["spec"] == {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}}
    assert await addresses(stage) == {"10.96.0.1", address}
    await stage.client.delete(SERVICES, "web", "default")
    assert await addresses(stage) == {"10.96.0.1"}


async def test_only_services_with_an_address_have_an_object(stage: Stage) -> None:
    await create(stage, "headless", clusterIP="None")
    await stage.client.create(SERVICES, service("outside", type="ExternalName", externalName="example.com"))
    assert await addresses(stage) == {"10.96.0.1"}
    patched = await stage.client.patch(SERVICES, "outside", {"spec": {"type": "ClusterIP"}}, "default")
    assert await addresses(stage) == {"10.96.0.1", patched["spec"]["clusterIP"]}
    change = {"spec": {"type": "ExternalName", "clusterIP": None, "clusterIPs": None}}
    await stage.client.patch(SERVICES, "outside", change, "default")
    assert await addresses(stage) == {"10.96.0.1"}


async def test_a_service_that_is_not_created_leaves_no_object(stage: Stage) -> None:
    await create(stage, "web")
    before = await addresses(stage)
    with pytest.raises(errors.AlreadyExists):
        await create(stage, "web")
    with pytest.raises(errors.Invalid):
        await create(stage, "bad", type="NodePort", ports=[{"port": 80, "nodePort": 1}])
    assert await addresses(stage) == before
    for number in range(11):  # all that are left are still there to be had
        await create(stage, f"web-{number}")


async def test_an_address_has_one_holder(stage: Stage) -> None:
    await stage.client.create(IP_ADDRESSES, address_of_somebody("10.96.0.5"))
    with pytest.raises(errors.Invalid, match=r"failed to allocate IP 10\.96\.0\.5: provided IP is already allocated"):
        await create(stage, "wish", clusterIP="10.96.0.5")
    await create(stage, "first", clusterIP="10.96.0.6")
    with pytest.raises(errors.Invalid, match="provided IP is already allocated"):
        await create(stage, "second", clusterIP="10.96.0.6")
    with pytest.raises(errors.AlreadyExists):
        await stage.client.create(IP_ADDRESSES, address_of_somebody("10.96.0.6"))
    with pytest.raises(errors.Invalid, match="the provided network does not match the current range"):
        await create(stage, "far", clusterIP="192.168.0.1")
    given = {await create(stage, f"web-{number}") for number in range(10)}
    assert not given & {"10.96.0.1", "10.96.0.5", "10.96.0.6", "10.96.0.10"}
    with pytest.raises(errors.InternalError, match="range is full"):
        await create(stage, "late")
    await stage.client.delete(IP_ADDRESSES, "10.96.0.5")
    assert await create(stage, "late") == "10.96.0.5"


async def test_services_and_users_race_for_an_address(stage: Stage) -> None:
    for _ in range(5):
        attempts = await asyncio.gather(
            create(stage, "web", clusterIP="10.96.0.7"),
            stage.client.create(IP_ADDRESSES, address_of_somebody("10.96.0.7")),
            create(stage, "other", clusterIP="10.96.0.7"),
            return_exceptions=True,
        )
        assert sum(not isinstance(one, Exception) for one in attempts) == 1
        for name in ("web", "other"):
            try:
                await stage.client.delete(SERVICES, name, "default")
            except errors.NotFound:
                continue
        for address in await addresses(stage) - {"10.96.0.1"}:
            await stage.client.delete(IP_ADDRESSES, address)


async def test_an_object_that_somebody_deleted_is_made_again(stage: Stage) -> None:
    address = await create(stage, "web")
    uid = (await stage.client.get(IP_ADDRESSES, address))["metadata"]["uid"]
    await stage.client.delete(IP_ADDRESSES, address)
    await stage.until_one(IP_ADDRESSES, address, lambda one: one["metadata"]["uid"] != uid)


async def test_further_ranges_are_allocated_from_while_they_are_ready(stage: Stage) -> None:
    await stage.client.create(SERVICE_CIDRS, service_cidr("more", "10.97.0.0/28"))
    more = await stage.until_one(SERVICE_CIDRS, "more", is_ready)
    assert more["metadata"]["finalizers"] == [FINALIZER]
    assert await create(stage, "wish", clusterIP="10.97.0.3") == "10.97.0.3"
    given = [await create(stage, f"web-{number}") for number in range(13)]
    assert [address.rpartition(".")[0] for address in given] == ["10.96.0"] * 12 + ["10.97.0"]

    await stage.client.delete(SERVICE_CIDRS, "more")
    blocked = await stage.until_one(SERVICE_CIDRS, "more", lambda one: is_terminating(one) and not is_ready(one))
    assert condition_of(blocked, "Ready")["reason"] == "Terminating"  # type: ignore[index]
    with pytest.raises(errors.InternalError, match="range is full"):
        await create(stage, "late")
    with pytest.raises(errors.Invalid, match="does not match the current range"):
        await create(stage, "late", clusterIP="10.97.0.4")
    await stage.client.delete(SERVICES, "wish", "default")
    await stage.client.delete(SERVICES, "web-12", "default")
    await stage.until(SERVICE_CIDRS, lambda cidrs: [name_of(one) for one in cidrs] == ["kubernetes"], "")


async def test_a_range_inside_another_may_go(stage: Stage) -> None:
    await stage.client.create(SERVICE_CIDRS, service_cidr("part", "10.98.0.0/28"))
    await stage.client.create(SERVICE_CIDRS, service_cidr("whole", "10.98.0.0/24", "2001:db8::/64"))
    await stage.until(SERVICE_CIDRS, lambda cidrs: len(cidrs) == 3 and all(map(is_ready, cidrs)), "")
    await create(stage, "wish", clusterIP="10.98.0.3")
    await stage.client.delete(SERVICE_CIDRS, "part")
    await stage.until(SERVICE_CIDRS, lambda cidrs: "part" not in map(name_of, cidrs), "")
    assert await create(stage, "next", clusterIP="10.98.0.4") == "10.98.0.4"


async def test_a_service_and_its_address_are_one_commit(tmp_path: Path) -> None:
    async with running_cluster(controllers=(), scheduler=False, nodes=0, data_dir=tmp_path) as cluster:
        before = cluster.api.store.stats()
        await cluster.client().create(SERVICES, service("web"))
        after = cluster.api.store.stats()
    assert (after.writes - before.writes, after.groups - before.groups) == (2, 1)


async def test_a_client_that_goes_away_leaves_no_address_behind(tmp_path: Path) -> None:
    async with running_cluster(controllers=(), scheduler=False, nodes=0, data_dir=tmp_path) as cluster:
        client = cluster.client()
        for turns in range(6):
            name = f"web-{turns}"
            creation = asyncio.create_task(client.create(SERVICES, service(name)), name="test/create")
            for _ in range(turns):
                await asyncio.sleep(0)
            creation.cancel()
            await asyncio.gather(creation, return_exceptions=True)
        await client.create(SERVICES, service("last"))  # commits are in order: all others are done
        services = (await client.list(SERVICES, "default"))["items"]
        objects = (await client.list(IP_ADDRESSES))["items"]
        assert {name_of(one) for one in objects} == {one["spec"]["clusterIP"] for one in services}


async def test_objects_are_repaired_at_start(tmp_path: Path) -> None:
    options: dict[str, Any] = {"controllers": (), "scheduler": False, "nodes": 0, "data_dir": tmp_path}
    async with running_cluster(**options) as cluster:
        web = await cluster.client().create(SERVICES, service("web"))
        gone = await cluster.client().create(SERVICES, service("gone"))
        store = cluster.api.store
        await store.delete(Key(IP_ADDRESSES.group_resource, "", web["spec"]["clusterIP"]))
        await store.delete(Key("services", "default", "gone"))
    async with running_cluster(**options) as cluster:
        found = {name_of(one) for one in (await cluster.client().list(IP_ADDRESSES))["items"]}
        assert web["spec"]["clusterIP"] in found
        assert gone["spec"]["clusterIP"] not in found
