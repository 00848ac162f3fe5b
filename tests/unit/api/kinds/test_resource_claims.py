"""Kinds of dynamic resource allocation: defaults, refusals, states."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.api.kinds.resource.claims import (
    DEVICE_CLASS,
    RESOURCE_CLAIM,
    RESOURCE_CLAIM_TEMPLATE,
    validate_claim_status_update,
)
from orchestrator.api.kinds.resource.slices import RESOURCE_SLICE, validate_slice_update

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def claim(*requests: dict[str, Any], **devices: Any) -> dict[str, Any]:
    wanted = list(requests) or [{"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}]
    obj = {"metadata": {"name": "c", "namespace": "default"}, "spec": {"devices": {"requests": wanted, **devices}}}
    RESOURCE_CLAIM.default(obj)
    return obj


def device_slice(**spec: Any) -> dict[str, Any]:
    pool = {"name": "node-1", "generation": 1, "resourceSliceCount": 1}
    return {
        "metadata": {"name": "s"},
        "spec": {"driver": "gpu.example.com", "nodeName": "node-1", "pool": pool, **spec},
    }


def said(causes: Any) -> list[tuple[str, str]]:
    return [(cause.field, cause.reason) for cause in causes]


def test_a_request_is_for_exactly_one_device_unless_it_says_otherwise() -> None:
    exactly = claim()["spec"]["devices"]["requests"][0]["exactly"]
    assert (exactly["allocationMode"], exactly["count"]) == ("ExactCount", 1)

    everything = claim({"name": "a", "exactly": {"deviceClassName": "x", "allocationMode": "All"}})
    assert "count" not in everything["spec"]["devices"]["requests"][0]["exactly"]

    template = {"metadata": {"name": "t"}, "spec": {"spec": claim()["spec"]}}
    RESOURCE_CLAIM_TEMPLATE.default(template)
    assert RESOURCE_CLAIM_TEMPLATE.validate(template) == []


R = "spec.devices.requests[0]"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"name": "a", "exactly": {"deviceClassName": "x"}}, []),
        ({"exactly": {"deviceClassName": "x"}}, [(f"{R}.name", "FieldValueRequired")]),
        ({"name": "A", "exactly": {"deviceClassName": "x"}}, [(f"{R}.name", "FieldValueInvalid")]),
        ({"name": "a"}, [(R, "FieldValueRequired")]),
        (
            {
                "name": "a",
                "exactly": {"deviceClassName": "x"},
                "firstAvailable": [{"name": "b", "deviceClassName": "x"}],
            },
            [(R, "FieldValueInvalid")],
        ),
        ({"name": "a", "firstAvailable": [{"name": "b", "deviceClassName": "x"}]}, []),
        (
            {"name": "a", "firstAvailable": [{"name": "b", "deviceClassName": "x"}] * 2},
            [(f"{R}.firstAvailable[1].name", "FieldValueDuplicate")],
        ),
        ({"name": "a", "exactly": {}}, [(f"{R}.exactly.deviceClassName", "FieldValueRequired")]),
        (
            {"name": "a", "exactly": {"deviceClassName": "x", "allocationMode": "All", "count": 2}},
            [(f"{R}.exactly.count", "FieldValueInvalid")],
        ),
        (
            {"name": "a", "exactly": {"deviceClassName": "x", "allocationMode": "Some"}},
            [(f"{R}.exactly.allocationMode", "FieldValueNotSupported")],
        ),
        (
            {"name": "a", "exactly": {"deviceClassName": "x", "selectors": [{}]}},
            [(f"{R}.exactly.selectors[0].cel", "FieldValueRequired")],
        ),
    ],
)
def test_requests(request_: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert said(RESOURCE_CLAIM.validate(claim(request_))) == expected


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ({"constraints": [{"matchAttribute": "example.com/numa"}]}, []),
        ({"constraints": [{"matchAttribute": "numa"}]},
         [("spec.devices.constraints[0].matchAttribute", "FieldValueInvalid")]),
        ({"constraints": [{"requests": ["x"], "matchAttribute": "a.b/c"}]},
         [("spec.devices.constraints[0].requests[0]", "FieldValueInvalid")]),
        ({"config": [{"opaque": {"driver": "d.example.com", "parameters": {}}}]}, []),
        ({"config": [{}]}, [("spec.devices.config[0].opaque", "FieldValueRequired")]),
        ({"config": [{"opaque": {"driver": "d", "parameters": []}}]},
         [("spec.devices.config[0].opaque.parameters", "FieldValueInvalid")]),
    ],
)  # fmt: skip
def test_constraints_and_configuration(devices: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert said(RESOURCE_CLAIM.validate(claim(**devices))) == expected


def test_what_a_claim_asks_for_never_changes() -> None:
    assert RESOURCE_CLAIM.validate_update is not None
    changed = claim({"name": "b", "exactly": {"deviceClassName": "x"}})
    assert said(RESOURCE_CLAIM.validate_update(changed, claim())) == [("spec", "FieldValueInvalid")]


ALLOCATION = {"devices": {"results": [{"request": "gpu", "driver": "d", "pool": "p", "device": "x"}]}}
POD = {"resource": "pods", "name": "p", "uid": "1"}


@pytest.mark.parametrize(
    ("before", "status", "expected"),
    [
        ({}, {"allocation": ALLOCATION}, []),
        ({}, {"allocation": ALLOCATION, "reservedFor": [POD]}, []),
        ({}, {"reservedFor": [POD]}, [("status.reservedFor", "FieldValueForbidden")]),
        ({}, {"allocation": ALLOCATION, "reservedFor": [POD, POD]},
         [("status.reservedFor[1].uid", "FieldValueDuplicate")]),
        ({"allocation": ALLOCATION}, {"allocation": {}}, [("status.allocation", "FieldValueInvalid")]),
        ({"allocation": ALLOCATION}, {}, []),
        ({}, {"allocation": {"devices": {"results": [{"request": "no", "driver": "d", "pool": "p", "device": "x"}]}}},
         [("status.allocation.devices.results[0].request", "FieldValueInvalid")]),
        ({}, {"allocation": ALLOCATION, "devices": [{"driver": "d", "pool": "p", "device": "y"}]},
         [("status.devices[0]", "FieldValueInvalid")]),
    ],
)  # fmt: skip
def test_status(before: dict[str, Any], status: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    old, new = claim() | {"status": before}, claim() | {"status": status}
    assert said(validate_claim_status_update(new, old)) == expected


@pytest.mark.parametrize(
    ("status", "deleted", "state"),
    [
        ({}, False, "pending"),
        ({}, True, "deleted"),
        ({"allocation": ALLOCATION}, False, "allocated"),
        ({"allocation": ALLOCATION, "reservedFor": [POD]}, False, "allocated,reserved"),
        ({"allocation": ALLOCATION, "reservedFor": [POD]}, True, "deleted,allocated,reserved"),
    ],
)
def test_the_state_that_is_printed(status: dict[str, Any], deleted: bool, state: str) -> None:
    obj = claim() | {"status": status}
    if deleted:
        obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert RESOURCE_CLAIM.row is not None
    assert RESOURCE_CLAIM.row(obj, NOW)[1] == state


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"allNodes": True}, [("spec", "FieldValueInvalid")]),
        ({"nodeName": ""}, [("spec", "FieldValueRequired")]),
        ({"driver": ""}, [("spec.driver", "FieldValueRequired")]),
        ({"pool": {"name": "a//b", "resourceSliceCount": 1}}, [("spec.pool.name", "FieldValueInvalid")]),
        ({"pool": {"name": "a"}}, [("spec.pool.resourceSliceCount", "FieldValueInvalid")]),
        ({"devices": [{"name": "a"}, {"name": "a"}]}, [("spec.devices[1].name", "FieldValueDuplicate")]),
        ({"devices": [{"name": "a", "attributes": {"x": {"int": 1, "bool": True}}}]},
         [("spec.devices[0].attributes[x]", "FieldValueInvalid")]),
        ({"devices": [{"name": "a", "attributes": {"1x": {"int": 1}}}]},
         [("spec.devices[0].attributes[1x]", "FieldValueInvalid")]),
        ({"devices": [{"name": "a", "taints": [{"key": "k", "effect": "Maybe"}]}]},
         [("spec.devices[0].taints[0].effect", "FieldValueNotSupported")]),
    ],
)  # fmt: skip
def test_slices(spec: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert said(RESOURCE_SLICE.validate(device_slice(**spec))) == expected


def test_a_slice_stays_with_its_driver_pool_and_node() -> None:
    pool = {"name": "other", "generation": 1, "resourceSliceCount": 1}
    moved = device_slice(driver="b", nodeName="n2", pool=pool)
    fields = [field for field, _ in said(validate_slice_update(moved, device_slice()))]
    assert fields == ["spec.nodeName", "spec.driver", "spec.pool.name"]
    selectable = {name: read(device_slice()) for name, read in RESOURCE_SLICE.selectable_fields.items()}
    assert selectable == {"spec.nodeName": "node-1", "spec.driver": "gpu.example.com"}


def test_classes_select_devices_and_count_their_changes() -> None:
    selector = {"cel": {"expression": "device.driver == 'a'"}}
    assert DEVICE_CLASS.validate({"metadata": {"name": "c"}, "spec": {"selectors": [selector]}}) == []
    assert DEVICE_CLASS.has_generation
