"""Tables: what `kubectl get` prints, computed by the server (`meta.k8s.io/v1 Table`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache

from orchestrator.api import errors
from orchestrator.api.kinds.columns import AGE, NAME, describe, name_and_age
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.objects import Object
from orchestrator.api.schema import definitions

DEFAULT_COLUMNS = (NAME, AGE)


def column_definitions(kind: Kind) -> list[Object]:
    """`columnDefinitions` of a kind's Table."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": _description_of(column),
            "priority": column.priority,
        }
        for column in kind.columns or DEFAULT_COLUMNS
    ]


@lru_cache(maxsize=1024)
def _description_of(column: Column) -> str:
    return describe(column, definitions())


INCLUDED = ("Metadata", "Object", "None")


def included_object(query: Mapping[str, str]) -> str:
    """The parameter `includeObject`: what the rows of a Table carry of their objects; 400 for anything else."""
    include = query.get("includeObject") or INCLUDED[0]
    if include not in INCLUDED:
        what = f"Invalid value: \"{include}\": must be 'Metadata', 'Object', 'None', or empty"
        raise errors.BadRequest(f"Unable to convert to Table as requested: includeObject: {what}")
    return include


def table(
    kind: Kind,
    objects: Iterable[Object],
    *,
    now: datetime,
    list_metadata: Object,
    include: str = "Metadata",
    version: str = "v1",
    with_columns: bool = True,
) -> Object:
    """A Table of these objects; `include` is None, Metadata or Object (the `includeObject` parameter)."""
    row_of = kind.row or name_and_age
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": list_metadata,
        "columnDefinitions": column_definitions(kind) if with_columns else [],
        "rows": [{"cells": list(row_of(obj, now)), **_row_object(kind, obj, include, version)} for obj in objects],
    }


def partial_metadata(kind: Kind, obj: Object, version: str = "v1") -> Object:
    """An object reduced to its metadata (`PartialObjectMetadata`)."""
    metadata = obj["metadata"]
    if kind.versioned_annotations and "annotations" in metadata:
        annotations = {
            name: value for name, value in metadata["annotations"].items() if name not in kind.versioned_annotations
        }
        metadata = {key: value for key, value in metadata.items() if key != "annotations"}
        if annotations:
            metadata["annotations"] = annotations
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": metadata}


def _row_object(kind: Kind, obj: Object, include: str, version: str) -> Object:
    if include == "None":
        return {"object": None}
    return {"object": obj if include == "Object" else partial_metadata(kind, obj, version)}
