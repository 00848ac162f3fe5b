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
    steps: list[Align] = [_table_by_columns, _discovery_by_names, _managers_by_name]
    if step["request"]["path"] == "/openapi/v2" and isinstance(ours.get("body"), dict):
        ours = {**ours, "body": _reduced_openapi(ours["body"])}
        theirs = {**theirs, "body": _sizeless(theirs["body"])}
    if is_old(scenario):
        steps += [_managed_fields, _causes_once]
    if step.get("unordered") or "resourceVersion=0" in step["request"]["path"]:
        steps.append(_by_name)
    for align in steps:
        theirs, ours = _everywhere(theirs, align), _everywhere(ours, align)
    return theirs, ours


def _reduced_openapi(document: dict[str, Any]) -> dict[str, Any]:
    """As the recordings hold it: the names alone."""
    return {
        "swagger": document.get("swagger"),
        "info.title": document["info"]["title"],
        "definitions": sorted(document["definitions"]),
        "paths": sorted(document["paths"]),
    }


def _sizeless(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "bytes"}


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
    for entry in _without_scales(entries):
        fields = dict(entry.get("fieldsV1") or {})
        entry = {key: item for key, item in entry.items() if key != "subresource"} | {"fieldsV1": fields}
        if len(fields) > 1:
            fields.pop("f:status", None)
        if fields and set(fields) != {"f:status"}:
            kept.append(entry)
    kept.sort(key=lambda entry: (entry.get("manager", ""), entry.get("operation", ""), len(str(entry["fieldsV1"]))))
    rest = {key: item for key, item in value.items() if key != "managedFields"}
    return {**rest, "managedFields": kept} if kept else rest


def _without_scales(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """v1.22: the number of replicas that a scale sets is its own; before, it was its manager's."""
    rest = [entry for entry in entries if entry.get("subresource") != "scale"]
    for scale in (entry for entry in entries if entry.get("subresource") == "scale"):
        names = ("manager", "operation")
        owner = next((entry for entry in rest if all(entry.get(name) == scale.get(name) for name in names)), None)
        if owner is None:
            rest.append(scale)
            continue
        fields = owner["fieldsV1"]
        spec = {**fields.get("f:spec", {}), **scale["fieldsV1"].get("f:spec", {})}
        rest[rest.index(owner)] = {**owner, "fieldsV1": {**fields, "f:spec": spec}}
    return rest


def _managers_by_name(value: dict[str, Any]) -> dict[str, Any]:
    """Entries come in the order of their times, of which a replay has others."""
    entries = value.get("managedFields")
    if not isinstance(entries, list):
        return value
    names = ("operation", "manager", "subresource")
    return {**value, "managedFields": sorted(entries, key=lambda entry: [entry.get(name, "") for name in names])}


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
    for key in ("paths", "definitions"):
        names = value.get(key)
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            value = {**value, key: dict.fromkeys(names, True)}
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
    r"(?:[\w.\[\]*]*[{(]|[{\[]|null|-?\d+|\"[^\"]*\").*?(?=: (?:[`a-z]|Only|/)|$)",
    re.DOTALL,
)
_IN_GO_SYNTAX = re.compile(r"[\w.\]]\{|\(nil\)|\bmap\[|0x[0-9a-f]")
REWORDED: tuple[tuple[str, str, str], ...] = (
    (r" characters", " bytes", "v1.32"),
    (r'Invalid value: "null"', "Invalid value: null", "v1.33"),
    (r"must have at most", "may not be more than", "v1.32"),
    (r"k8s\.io/kubernetes/pkg/api/legacyscheme", "pkg/api/legacyscheme", "v1.25"),
    (r"must specify (requests|limits)\.(\w+)$", r"must specify \1.\2 for: c", "v1.25"),
    (r"cannot be 0$", "cannot be 0 when maxSurge is 0", "v1.25"),
    (r"to (\w+) limit$", r"to \1 limit of 1", "v1.27"),
    (r"range \(127\.0\.0\.0/8\)", "range (127.0.0.0/8, ::1/128)", "v1.22"),
    (r"Expected exactly (.*): (\w) (\w) (\w)$", r"expected exactly \1: [\2 \3 \4]", "v1.21"),
    (r"references for (\w+) and (\w+)$", r"references for Pod/\1 and Pod/\2", "v1.21"),
    (r"at least one letter or number \(a-z, 0-9\)", "at least one letter (a-z)", "v1.24"),
    (r"can not be less than previous value", "can not be less than status.capacity", "v1.34"),
    (r": End of range", ": end of range", "v1.21"),
    (r"failed to allocated ip:(\S+) with error:", r"failed to allocate IP \1: ", "v1.23"),
    (
        r"(IP \S+: )provided IP is not in the valid range\. The range of valid IPs is \S+",
        r"\1the provided network does not match the current range",
        "v1.33, where there may be several ranges",
    ),
    (r": not a valid CIDR", ": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)", "v1.33"),
    (
        r"a lowercase RFC 1123 label must consist of .*-z0-9\]\)\?'\)",
        "must not contain dots",
        "v1.24, of names that are subdomains",
    ),
    (
        r"the namespace of the object \(.*?\) does not match the namespace on the request \(.*?\)",
        "the namespace of the provided object does not match the namespace sent on the request",
        "v1.21",
    ),
    (r"resources\.requests for bound", "resources.requests and volumeAttributesClassName for bound", "v1.29"),
    (
        r"'replicas', 'template', and 'updateStrategy'",
        "'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit',"
        " 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds'",
        "v1.23 to v1.35",
    ),
    (
        r"pod updates may not change fields other than .* \(only additions to existing tolerations\)",
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
        "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        "v1.27",
    ),
    (r"Required value: schemas are required", "Required value", "v1.36"),
    (r"resourceVersionMatch is forbidden for watch$", r"\g<0> unless sendInitialEvents is provided", "v1.27"),
    (r'"before-first-apply" using autoscaling', '"unknown" using autoscaling', "the parent's owners, v1.22"),
    (
        r"patch object: (.*), got \*value\.valueUnstructured",
        r"patch object (/d; apps/v1, Kind=Deployment): \1, got string",
        "v1.28",
    ),
    (
        r"^406: Not Acceptable$",
        "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml,"
        " application/vnd.kubernetes.protobuf, application/json;stream=watch,"
        " application/vnd.kubernetes.protobuf;stream=watch",
        "v1.25",
    ),
)
"""Wordings of v1.20, what they are now, and since when: regular expressions and their replacement."""

_BY_JSON_ITERATOR = re.compile(r"v\d+\w*\.[A-Z]\w*\.\w+: .*error found in #", re.DOTALL)
"""The decoder that v1.20 had; since v1.23 it is Go's own, with other words for what it found."""
_PRINTED_OBJECT = re.compile(r'Invalid value: ("\{.*\}"): ', re.DOTALL)
_TIME = re.compile(r"<time>|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def is_same_message(ours: str, recorded: str) -> bool:
    """Equal, but for values that v1.20 printed in Go's syntax (JSON since v1.33), and for `REWORDED`."""
    found = _BY_JSON_ITERATOR.search(recorded)
    if found:
        return bool(_before(ours, found.start()) == _before(recorded, found.start()))
    if _IN_GO_SYNTAX.search(recorded):
        ours, recorded = (_GO_VALUE.sub(r"\1: _", _without_diffs(text)) for text in (ours, recorded))
    return ours == _reworded(recorded) or _reworded(ours) == _reworded(recorded)


def _before(message: str, end: int) -> Any:
    """What comes before the decoder's words; an object that is printed there as a value."""
    printed = _PRINTED_OBJECT.search(message)
    if printed:
        return message[: printed.start()], json.loads(json.loads(_TIME.sub("time", printed[1])))
    return message[:end]


def _without_diffs(message: str) -> str:
    """Without the differences of two Go values that some refusals show, over several lines."""
    return re.sub(r"\n.*?(?=, spec\.|\]?\Z)", "", message, flags=re.DOTALL)


def _reworded(message: str) -> str:
    for old, new, _since in REWORDED:
        message = re.sub(old, new, message, flags=re.DOTALL)
    return message
