"""Which devices claims get on a node: requests, selectors, constraints, alternatives, shared counters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.scheduler.devices.allocation import AllocationError, Inventory, plan_allocations
from orchestrator.scheduler.devices.ledger import DeviceLedger
from orchestrator.scheduler.devices.pools import DeviceId, Pools
from orchestrator.scheduler.devices.selectors import SelectorError

DRIVER = "gpu.example.com"
A = f"device.attributes['{DRIVER}'].model == 'a'"
CLASS = {"metadata": {"name": "gpu"}, "spec": {}}


def device(name: str, *, memory: str = "8Gi", model: str = "a", **more: Any) -> Object:
    attributes = {"model": {"string": model}, "index": {"int": int(name[-1])}, "version": {"version": "1.2.3"}}
    return {"name": name, "attributes": attributes, "capacity": {"memory": {"value": memory}}, **more}


def part(*devices: Object, node: str = "a", pool: str = "", count: int = 1, generation: int = 1, **spec: Any) -> Object:
    place = {} if {"allNodes", "nodeSelector", "perDeviceNodeSelection"} & spec.keys() else {"nodeName": node}
    name = pool or node
    about = {"name": name, "resourceSliceCount": count, "generation": generation}
    return {
        "metadata": {"name": f"{name}-{generation}-{len(devices)}"},
        "spec": {"driver": DRIVER, "pool": about, "devices": list(devices), **place, **spec},
    }


def exactly(name: str = "r", *, count: int = 1, where: str = "", **more: Any) -> Object:
    wanted = {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count, **more}
    if where:
        wanted["selectors"] = [{"cel": {"expression": where}}]
    return {"name": name, "exactly": wanted}


def claim(*requests: Object, **devices: Any) -> Object:
    return {
        "metadata": {"name": "c", "namespace": "default", "uid": "c"},
        "spec": {"devices": {"requests": list(requests), **devices}},
    }


def plan(
    slices: Sequence[Object],
    *claims: Object,
    node: str = "a",
    labels: dict[str, str] | None = None,
    taken: Sequence[DeviceId] = (),
    classes: Sequence[Object] = (CLASS,),
) -> list[Object] | None:
    by_name = {one["metadata"]["name"]: one for one in classes}
    inventory = Inventory(Pools(slices).on(node, labels or {}), taken, {}, by_name.get)
    return plan_allocations(claims, inventory, node)


def chosen(allocations: list[Object] | None) -> list[list[str]] | None:
    if allocations is None:
        return None
    return [
        [f"{one['request']}={one['device']}" for one in allocation["devices"]["results"]] for allocation in allocations
    ]


THREE = part(device("g0"), device("g1", memory="16Gi"), device("g2", model="b"))


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        ([exactly()], [["r=g0"]]),
        ([exactly(count=2)], [["r=g0", "r=g1"]]),
        ([exactly(count=4)], None),
        ([exactly("x"), exactly("y")], [["x=g0", "y=g1"]]),
        ([exactly(where="device.driver == 'gpu.example.com'")], [["r=g0"]]),
        ([exactly(where=f"device.attributes['{DRIVER}'].model == 'b'")], [["r=g2"]]),
        ([exactly(where=f"device.attributes['{DRIVER}'].index > 0")], [["r=g1"]]),
        (
            [exactly(where=f"device.capacity['{DRIVER}'].memory.compareTo(quantity('10Gi')) >= 0")],
            [["r=g1"]],
        ),
        ([exactly(where=f"device.attributes['{DRIVER}'].version.isGreaterThan(semver('1.0.0'))")], [["r=g0"]]),
        ([exactly(where="'model' in device.attributes['other.example.com']")], None),
        ([exactly("x", where=A, count=2), exactly("y")], [["x=g0", "x=g1", "y=g2"]]),
        # The first choice of the first request is given up where the second one needs it.
        ([exactly("x"), exactly("y", where=f"device.attributes['{DRIVER}'].index == 0")], [["x=g1", "y=g0"]]),
        ([{"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "All"}}], [["r=g0", "r=g1", "r=g2"]]),
    ],
)
def test_a_request_gets_the_first_devices_that_suit_it(
    requests: list[Object], expected: list[list[str]] | None
) -> None:
    assert chosen(plan([THREE], claim(*requests))) == expected


def test_claims_of_one_pod_share_no_device() -> None:
    assert chosen(plan([THREE], claim(exactly()), claim(exactly(count=2)))) == [["r=g0"], ["r=g1", "r=g2"]]


def test_devices_of_others_are_left_alone_unless_access_is_administrative() -> None:
    taken = [DeviceId(DRIVER, "a", "g0")]
    assert chosen(plan([THREE], claim(exactly()), taken=taken)) == [["r=g1"]]
    everything = {"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "All"}}
    assert plan([THREE], claim(everything), taken=taken) is None
    found = plan([THREE], claim(exactly(adminAccess=True)), taken=taken)
    assert found is not None
    assert found[0]["devices"]["results"] == [
        {"request": "r", "driver": DRIVER, "pool": "a", "device": "g0", "adminAccess": True}
    ]


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ({"matchAttribute": f"{DRIVER}/model"}, [["x=g0", "y=g1"]]),
        ({"distinctAttribute": f"{DRIVER}/model"}, [["x=g0", "y=g2"]]),
        ({"matchAttribute": f"{DRIVER}/index"}, None),
        ({"matchAttribute": f"{DRIVER}/index", "requests": ["x"]}, [["x=g0", "y=g1"]]),
        ({"matchAttribute": "other.example.com/model"}, None),
    ],
)
def test_constraints_are_about_the_devices_of_several_requests(
    constraint: Object, expected: list[list[str]] | None
) -> None:
    assert chosen(plan([THREE], claim(exactly("x"), exactly("y"), constraints=[constraint]))) == expected


def test_alternatives_are_tried_in_order_of_preference() -> None:
    big = {"name": "big", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 4}
    small = {"name": "small", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}
    request = {"name": "r", "firstAvailable": [big, small]}
    assert chosen(plan([THREE], claim(request))) == [["r/small=g0", "r/small=g1"]]


def test_a_class_selects_and_configures() -> None:
    configured = {"opaque": {"driver": DRIVER, "parameters": {"mode": "shared"}}}
    own = {"opaque": {"driver": DRIVER, "parameters": {"mode": "own"}}}
    select = [{"cel": {"expression": f"device.attributes['{DRIVER}'].model == 'b'"}}]
    special = {"metadata": {"name": "gpu"}, "spec": {"selectors": select, "config": [configured]}}
    found = plan([THREE], claim(exactly(), config=[{"requests": ["r"], **own}]), classes=[special])
    assert found is not None
    assert chosen(found) == [["r=g2"]]
    assert found[0]["devices"]["config"] == [
        {"source": "FromClass", "requests": ["r"], **configured},
        {"source": "FromClaim", "requests": ["r"], **own},
    ]


def test_taints_of_devices_must_be_tolerated() -> None:
    taint = {"key": "example.com/broken", "effect": "NoSchedule"}
    slices = [part(device("g0", taints=[taint]), device("g1", taints=[{**taint, "effect": "None"}]))]
    assert chosen(plan(slices, claim(exactly()))) == [["r=g1"]]
    tolerating = exactly(tolerations=[{"key": "example.com/broken", "operator": "Exists"}])
    assert chosen(plan(slices, claim(tolerating))) == [["r=g0"]]


def test_where_a_claim_can_be_used_follows_from_its_devices() -> None:
    local = plan([THREE], claim(exactly()))
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}
    assert local is not None
    assert local[0]["nodeSelector"] == {"nodeSelectorTerms": [by_name]}
    everywhere = plan([part(device("g0"), allNodes=True, pool="net")], claim(exactly()))
    assert everywhere is not None
    assert "nodeSelector" not in everywhere[0]
    rack = {"matchExpressions": [{"key": "rack", "operator": "In", "values": ["1"]}]}
    racked = [part(device("g0"), nodeSelector={"nodeSelectorTerms": [rack]}, pool="rack")]
    found = plan(racked, claim(exactly()), labels={"rack": "1"})
    assert found is not None
    assert found[0]["nodeSelector"] == {"nodeSelectorTerms": [rack]}
    assert plan(racked, claim(exactly()), labels={"rack": "2"}) is None


def test_devices_may_say_for_themselves_where_they_are() -> None:
    slices = [part(device("g0", nodeName="b"), device("g1", allNodes=True), perDeviceNodeSelection=True, pool="net")]
    assert chosen(plan(slices, claim(exactly()))) == [["r=g1"]]


def test_nothing_is_given_out_of_a_pool_that_is_not_complete() -> None:
    assert plan([part(device("g0"), count=2)], claim(exactly())) is None


def test_only_the_newest_generation_of_a_pool_counts() -> None:
    slices = [part(device("g0")), part(device("g1"), device("g2"), generation=2)]
    assert chosen(plan(slices, claim(exactly()))) == [["r=g1"]]


def test_devices_with_one_name_make_a_pool_useless() -> None:
    with pytest.raises(AllocationError, match=r"pool gpu\.example\.com/a is invalid"):
        plan([part(device("g0"), device("g0"))], claim(exactly()))


def test_parts_of_one_device_share_its_counters() -> None:
    shared = [{"name": "card", "counters": {"memory": {"value": "16Gi"}}}]

    def uses(amount: str) -> list[Object]:
        return [{"counterSet": "card", "counters": {"memory": {"value": amount}}}]

    slices = [
        part(device("g0", consumesCounters=uses("16Gi")), device("g1", consumesCounters=uses("8Gi")), count=2),
        part(count=2, sharedCounters=shared, devices=[]),
        part(device("g2", consumesCounters=uses("8Gi")), count=2, pool="b"),
    ]
    slices[0]["spec"]["devices"].append(device("g3", consumesCounters=uses("8Gi")))
    assert chosen(plan(slices[:2], claim(exactly()))) == [["r=g0"]]
    assert chosen(plan(slices[:2], claim(exactly(count=2)))) == [["r=g1", "r=g3"]]
    ledger = DeviceLedger()
    for one in slices[:2]:
        ledger.on_slice(None, one)
    result = {"request": "r", "driver": DRIVER, "pool": "a", "device": "g1"}
    allocated = {"metadata": {"name": "o", "uid": "o"}, "status": {"allocation": {"devices": {"results": [result]}}}}
    ledger.on_claim(None, allocated)
    inventory = Inventory(ledger.pools.on("a", {}), ledger.taken, ledger.consumed(), lambda name: CLASS)
    assert chosen(plan_allocations([claim(exactly())], inventory, "a")) == [["r=g3"]]


def test_what_is_wrong_with_a_claim_is_told() -> None:
    with pytest.raises(SelectorError, match="no such key: unknown"):
        plan([THREE], claim(exactly(where=f"device.attributes['{DRIVER}'].unknown == 1")))
    with pytest.raises(AllocationError, match="exceeds the claim limit of 32"):
        plan([THREE], claim(exactly(count=33)))


def test_a_promise_counts_until_the_claim_itself_tells() -> None:
    ledger = DeviceLedger()
    result = {"request": "r", "driver": DRIVER, "pool": "a", "device": "g0"}
    allocation = {"devices": {"results": [result]}}
    pending = {"metadata": {"name": "c", "uid": "c", "resourceVersion": "5"}}
    written = {**pending, "metadata": {**pending["metadata"], "resourceVersion": "7"}, "status": {"allocation": allocation}}  # fmt: skip  # noqa: E501
    ledger.promise(pending, allocation)
    ledger.settle(written, pending)
    assert list(ledger.taken) == [DeviceId(DRIVER, "a", "g0")]
    assert ledger.is_promised(pending)
    ledger.on_claim(pending, written)
    assert not ledger.is_promised(pending)
    assert list(ledger.taken) == [DeviceId(DRIVER, "a", "g0")]
    ledger.on_claim(written, None)
    assert list(ledger.taken) == []
