"""Brings a recorded answer and ours into a form in which every difference that is left means something; pure.

Nothing is explained away here: `expected` says which of the remaining differences are right, and why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

STABLE_VERSIONS = {
    "autoscaling/v2beta2": "autoscaling/v2",
    "batch/v1beta1": "batch/v1",
    "discovery.k8s.io/v1beta1": "discovery.k8s.io/v1",
    "flowcontrol.apiserver.k8s.io/v1beta1": "flowcontrol.apiserver.k8s.io/v1",
    "policy/v1beta1": "policy/v1",
}
"""Versions that v1.20 served and v1.36 does not, and the version that has the same fields today."""

RENAMED_GROUPS = {"Ingress.extensions": "Ingress.networking.k8s.io"} | {
    "NetworkPolicy.extensions": "NetworkPolicy.networking.k8s.io"
}
"""Messages of v1.20 named the group in which these kinds began."""

Align = Callable[[Any], Any]


def modernized(scenario: dict[str, Any]) -> dict[str, Any]:
    """A recording of v1.20 with today's versions in its requests and answers."""
    if not is_old(scenario) or scenario["area"] == "discovery":
        return scenario
    text = json.dumps(scenario)
    for old, new in {**STABLE_VERSIONS, **RENAMED_GROUPS}.items():
        text = text.replace(old, new)
    text = text.replace('"group": "extensions"', '"group": "networking.k8s.io"')
    modern: dict[str, Any] = json.loads(text)
    return modern


def is_old(scenario: dict[str, Any]) -> bool:
    """Whether a recording is of v1.20, and not of the version that is served here."""
    return bool(scenario["server"].startswith("v1.20"))


def aligned(
    theirs: dict[str, Any], ours: dict[str, Any], scenario: dict[str, Any], step: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both answers, ready to be compared."""
    steps: list[Align] = [_table_by_columns, _discovery_by_names]
    if is_old(scenario):
        steps += [_managed_fields, _causes_once]
    if step.get("unordered") or "resourceVersion=0" in step["request"]["path"]:
        steps.append(_by_name)
    for align in steps:
        theirs, ours = _everywhere(theirs, align), _everywhere(ours, align)
    return theirs, ours


def _everywhere(value: Any, align: Align) -> Any:
    if isinstance(value, dict):
        return align({key: _everywhere(item, align) for key, item in value.items()})
    if isinstance(value, list):
        return [_everywhere(item, align) for item in value]
    return value


def _managed_fields(value: dict[str, Any]) -> dict[str, Any]:
    """What v1.20 and today have in common: no subresource is named, and creators own no status (v1.22)."""
    entries = value.get("managedFields")
    if not isinstance(entries, list):
        return value
    kept = []
    for entry in entries:
        fields = dict(entry.get("fieldsV1") or {})
        entry = {key: item for key, item in entry.items() if key != "subresource"} | {"fieldsV1": fields}
        if len(fields) > 1:
            fields.pop("f:status", None)
        if fields and set(fields) != {"f:status"}:
            kept.append(entry)
    kept.sort(key=lambda entry: (entry.get("manager", ""), entry.get("operation", ""), len(str(entry["fieldsV1"]))))
    rest = {key: item for key, item in value.items() if key != "managedFields"}
    return {**rest, "managedFields": kept} if kept else rest


def _causes_once(value: dict[str, Any]) -> dict[str, Any]:
    """v1.20 checked metadata of some kinds twice, and said so twice."""
    causes = value.get("causes")
    if not isinstance(causes, list):
        return value
    once = [cause for position, cause in enumerate(causes) if cause not in causes[:position]]
    return {**value, "causes": once}


def _table_by_columns(value: dict[str, Any]) -> dict[str, Any]:
    """Cells under the names of their columns: columns have been added and moved."""
    columns = value.get("columnDefinitions")
    if value.get("kind") != "Table" or not isinstance(columns, list):
        return value
    names = [column["name"] for column in columns]
    rows = [
        {**row, "cells": dict(zip(names, row["cells"], strict=True))} if "cells" in row else row
        for row in value.get("rows") or []
    ]
    return {**value, "columnDefinitions": {column["name"]: column for column in columns}, "rows": rows}


def _discovery_by_names(value: dict[str, Any]) -> dict[str, Any]:
    """Groups, versions, resources and paths under their names, so that what is new does not move what was there."""
    for key, name in (("groups", "name"), ("versions", "groupVersion"), ("resources", "name")):
        entries = value.get(key)
        if isinstance(entries, list) and entries and all(isinstance(e, dict) and name in e for e in entries):
            value = {**value, key: {entry[name]: entry for entry in entries}}
    paths = value.get("paths")
    if isinstance(paths, list):
        value = {**value, "paths": dict.fromkeys(paths, True)}
    return value


def _by_name(value: dict[str, Any]) -> dict[str, Any]:
    """Lists and first events in the order of names, where the order was arbitrary."""
    for key in ("items", "events"):
        entries = value.get(key)
        if isinstance(entries, list):
            value = {**value, key: sorted(entries, key=_name)}
    return value


def _name(entry: Any) -> str:
    metadata = (entry.get("object") or entry).get("metadata") or {}
    return str(metadata.get("name", ""))


# Messages.

_GO_VALUE = re.compile(
    r"(Invalid value|Unsupported value|Duplicate value): "
    r"(?:[\w.\[\]*]*[{(]|[{\[]|null|\"[^\"]*\").*?(?=: (?:[`a-z]|Only|/)|$)",
    re.DOTALL,
)


def is_same_message(ours: str, recorded: str) -> bool:
    """Equal, but for values that v1.20 printed in Go's syntax (JSON since v1.33), and for `bytes` (v1.32)."""
    recorded = recorded.replace(" characters", " bytes").replace("must have at most", "may not be more than")
    ours = ours.replace(" characters", " bytes")
    if "<suffix" in recorded or recorded.startswith('Invalid value: "Bad_'):
        return ours.split(": ", 2)[2] == recorded.split(": ", 2)[2]
    if "{" in recorded or "(nil)" in recorded:
        ours, recorded = (_without_diff(text) for text in (ours, recorded))
        return _GO_VALUE.sub(r"\1: _", ours) == _GO_VALUE.sub(r"\1: _", recorded)
    return ours == recorded


def _without_diff(message: str) -> str:
    """Without the difference of two Go values that some refusals end with."""
    return message.split("\n", 1)[0]
