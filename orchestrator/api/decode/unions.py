"""What the published definitions do not say about types: unions, and fields that stay null."""

from __future__ import annotations

from orchestrator.api.schema import Schema

JSON_SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
OR_ARRAY, OR_BOOL, OR_TEXTS = (f"{JSON_SCHEMA}Or{other}" for other in ("Array", "Bool", "StringArray"))
UNIONS = frozenset((OR_ARRAY, OR_BOOL, OR_TEXTS))
"""Either a schema or something else, which the published definitions do not describe."""


def keeps_null(schema: Schema, node: Schema) -> bool:
    """Whether null is how this field reads when it is unset: times of conditions, which are no pointers in Go."""
    return node.kind == "time" and schema.definition.endswith("Condition")
