"""The published structure: kinds, list and map semantics, merge keys."""

from __future__ import annotations

import orjson
import pytest

from orchestrator.api import schema
from orchestrator.api.schema import definition, for_kind, schema_from_openapi_v3


def test_pod_structure() -> None:
    pod = for_kind("", "v1", "Pod")
    assert pod is definition("io.k8s.api.core.v1.Pod")
    containers = pod.properties["spec"].properties["containers"]
    assert (containers.kind, containers.list_type, containers.list_map_keys) == ("list", "map", ("name",))
    assert (containers.merge_key, containers.patch_strategies) == ("name", frozenset(("merge",)))
    assert containers.go_type == "[]v1.Container"
    assert containers.items is not None
    ports = containers.items.properties["ports"]
    assert ports.list_map_keys == ("containerPort", "protocol")
    assert ports.list_map_key_defaults == {"protocol": "TCP"}
    assert ports.items is not None
    assert ports.items.properties["containerPort"].go_type == "int32"
    assert ports.items.required == {"containerPort"}
    limits = containers.items.properties["resources"].properties["limits"]
    assert limits.kind == "map"
    assert limits.values is not None
    assert limits.values.kind == "quantity"
    assert pod.properties["spec"].properties["volumes"].patch_strategies == {"merge", "retainKeys"}
    metadata = pod.properties["metadata"]
    assert metadata.properties["creationTimestamp"].kind == "time"
    assert metadata.properties["managedFields"].items is not None
    assert metadata.properties["managedFields"].items.properties["fieldsV1"].kind == "raw"


@pytest.mark.parametrize(
    ("group", "version", "kind", "path", "expected"),
    [
        ("", "v1", "Service", "spec.selector", "atomic"),
        ("apps", "v1", "Deployment", "spec.selector", "atomic"),
        ("", "v1", "Pod", "spec.nodeSelector", "atomic"),
        ("", "v1", "ConfigMap", "data", "granular"),
    ],
)
def test_map_types(group: str, version: str, kind: str, path: str, expected: str) -> None:
    node = for_kind(group, version, kind)
    for name in path.split("."):
        node = node.properties[name]
    assert node.map_type == expected


def test_special_types() -> None:
    port = for_kind("", "v1", "Service").properties["spec"].properties["ports"].items
    assert port is not None
    assert port.properties["targetPort"].kind == "int-or-string"
    assert (
        for_kind("coordination.k8s.io", "v1", "Lease").properties["spec"].properties["renewTime"].format == "micro-time"
    )
    assert for_kind("apps", "v1", "ControllerRevision").properties["data"].kind == "raw"
    assert for_kind("", "v1", "Secret").properties["data"].values is not None


def test_unknown_kind() -> None:
    with pytest.raises(KeyError):
        for_kind("", "v1", "Nope")
    with pytest.raises(KeyError):
        definition("io.k8s.api.core.v1.Nope")


def test_structural_schema() -> None:
    schema = schema_from_openapi_v3(
        {
            "type": "object",
            "properties": {
                "port": {"x-kubernetes-int-or-string": True},
                "list": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "properties": {"name": {"type": "string"}}},
                },
                "free": {"x-kubernetes-preserve-unknown-fields": True},
                "atomic": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": True},
            },
        }
    )
    assert schema.structural
    assert schema.properties["port"].kind == "int-or-string"
    assert schema.properties["list"].list_map_keys == ("name",)
    assert schema.properties["free"].kind == "any"
    assert schema.properties["free"].preserve_unknown
    assert schema.properties["atomic"].kind == "map"
    assert schema.properties["atomic"].map_type == "atomic"


def test_definitions_are_parsed_one_by_one_and_say_what_the_file_says() -> None:
    whole = orjson.loads(schema._definitions_file().read_bytes())["$defs"]
    found = schema.Definitions(schema._definitions_file())

    assert list(found) == list(whole)
    assert dict(found) == whole
    assert "io.k8s.api.core.v1.Pod" in found
    assert "io.k8s.api.core.v1.Pot" not in found
    assert found.get("io.k8s.api.core.v1.Pot") is None


def test_structures_are_definitions_without_descriptions() -> None:
    found = schema.Definitions(schema._definitions_file())
    structure = found.structure_of("io.k8s.api.core.v1.Pod")

    assert structure["properties"]["spec"] == {"$ref": "#/$defs/io.k8s.api.core.v1.PodSpec"}
    assert "description" not in structure
    assert found["io.k8s.api.core.v1.Pod"]["description"]
    # A field of this name is no text.
    names = found.structure_of("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")["properties"]
    assert names["description"] == {"type": ["string", "null"]}


def test_what_only_refers_to_a_definition_has_one_node() -> None:
    pod, node = schema.for_kind("", "v1", "Pod"), schema.for_kind("", "v1", "Node")
    assert pod.properties["metadata"] is node.properties["metadata"]
    container = schema.definition("io.k8s.api.core.v1.Container")
    assert pod.properties["spec"].properties["containers"].items is container
