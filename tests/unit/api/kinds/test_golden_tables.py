"""Printed columns: names, types, descriptions and cells as a real API server sends them."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.api import schema
from orchestrator.api.kinds.columns import describe
from tests.unit.api.kinds import golden

NOW = datetime(2030, 1, 1, tzinfo=UTC)

# Columns that v1.36 prints beyond v1.20's; their cells are left out of the comparison.
ADDED = {
    "Job": {"Status"},
    "PersistentVolume": {"VolumeAttributesClass"},
    "PersistentVolumeClaim": {"VolumeAttributesClass"},
    "CSIDriver": {"StorageCapacity", "TokenRequests", "RequiresRepublish"},
    "PriorityClass": {"PreemptionPolicy"},
}
RENAMED = {"AssuredConcurrencyShares": "NominalConcurrencyShares"}
# Kinds whose cells cannot be told from the objects in the recording.
NO_CELLS = {"t-flowcontrol": "shares have another name and default since v1beta3"}


def _cases() -> list[tuple[str, Any]]:
    cases = []
    for recording in golden.recordings("tables"):
        objects: dict[tuple[str, str], Any] = {}
        for number, step in enumerate(recording["steps"]):
            request, response = step["request"], step["response"]
            kind, _, _, _ = golden.kind_of(request["path"])
            body = response.get("body")
            if kind is None or not isinstance(body, dict):
                continue
            if body.get("kind") == kind.resource.kind:
                objects[body["kind"], body["metadata"]["name"]] = body
            elif body.get("kind") == "Table" and body.get("rows"):
                known = copy.deepcopy(objects)
                cases.append((f"{recording['id']}-{number}", (recording["id"], kind, known, body)))
    return cases


@pytest.mark.parametrize("case", golden.params(_cases()))
def test_columns(case: Any) -> None:
    _, kind, _, table = case
    added = ADDED.get(kind.resource.kind, set())
    columns = [column for column in kind.columns if column.name not in added]
    wanted = table["columnDefinitions"]
    assert [c.name for c in columns] == [RENAMED.get(c["name"], c["name"]) for c in wanted]
    assert [c.priority for c in columns] == [c["priority"] for c in wanted]
    assert [c.format for c in columns] == [c["format"] for c in wanted]
    definitions = schema.definitions()
    for column, other in zip(columns, wanted, strict=True):
        if column.name != "Restarts":  # says when, since v1.22
            assert column.type == other["type"], column.name
        assert describe(column, definitions), column.name


@pytest.mark.parametrize("case", golden.params(_cases()))
def test_cells(case: Any) -> None:
    scenario, kind, objects, table = case
    if scenario in NO_CELLS:
        pytest.skip(NO_CELLS[scenario])
    added = ADDED.get(kind.resource.kind, set())
    compared = 0
    for row in table["rows"]:
        obj = objects.get((kind.resource.kind, str(row["cells"][0]).split(" ")[0]))
        if obj is None:
            continue
        kind.default(obj)
        cells = [
            cell for cell, column in zip(kind.row(obj, NOW), kind.columns, strict=True) if column.name not in added
        ]
        for cell, wanted, column in zip(cells, row["cells"], table["columnDefinitions"], strict=True):
            if wanted in ("<age>", "<time>"):
                continue
            if column["name"] == "Restarts":
                cell = int(cell.split(" ")[0])
            assert cell == wanted, column["name"]
            compared += 1
    assert compared or not objects
