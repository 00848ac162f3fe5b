"""OpenAPI documents: the published form of types, the operations of kinds, custom resources, protobuf."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.kinds.descriptor import Kind, ScalePaths
from orchestrator.api.resources import Resource
from orchestrator.api.schema import definitions, schema_from_openapi_v3
from orchestrator.apiserver.openapi.definitions import (
    Version,
    builtin_definition,
    custom_definitions,
    published,
    references_in,
)
from orchestrator.apiserver.openapi.documents import v2_document, v3_document
from orchestrator.apiserver.openapi.paths import discovery_path, group_version_kinds, paths_of
from orchestrator.apiserver.openapi.protobuf import encode_document

QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"

CRON_TAB = Kind(
    resource=Resource("stable.example.com", "v1", "crontabs", "CronTab"),
    definition="",
    singular="crontab",
    has_status=True,
    scale=ScalePaths(),
    schema=schema_from_openapi_v3(
        {
            "type": "object",
            "description": "Runs things at times.",
            "properties": {
                "spec": {
                    "type": "object",
                    "required": ["cronSpec"],
                    "properties": {
                        "cronSpec": {"type": "string", "pattern": "^x", "default": "x"},
                        "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}]},
                        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        "gone": {"type": "string", "nullable": True},
                    },
                }
            },
        }
    ),
)


def document(key: str, kinds: list[Kind]) -> dict[str, Any]:
    members = group_version_kinds(kinds)[key]
    paths = [discovery_path(key), *(path for kind in members for path in paths_of(kind))]
    loaded: dict[str, Any] = orjson.loads(v3_document(paths, members, "v1.36.0"))
    return loaded


@pytest.fixture(scope="module")
def core() -> dict[str, Any]:
    return document("api/v1", builtin_kinds())


@pytest.fixture(scope="module")
def custom() -> dict[str, Any]:
    return document("apis/stable.example.com/v1", [CRON_TAB])


def fields(value: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = value["components"]["schemas"][name]
    return found


def walk(node: Any) -> Any:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_every_definition_converts_without_traces_of_the_validators_form(version: Version) -> None:
    for name in definitions():
        encoded = builtin_definition(name, version).encoded
        assert b"$defs" not in encoded, name
        for node in walk(orjson.loads(encoded)):
            assert not isinstance(node.get("type"), list) or "properties" in node, name
            if isinstance(node.get("enum"), list):
                assert "null" not in node["enum"]


def test_special_types_read_as_published() -> None:
    assert published(QUANTITY, "v2")["type"] == "string"
    assert published(QUANTITY, "v3")["oneOf"] == [{"type": "string"}, {"type": "number"}]
    v2 = published(INT_OR_STRING, "v2")
    assert (v2["type"], v2["format"]) == ("string", "int-or-string")
    v3 = published(INT_OR_STRING, "v3")
    assert (v3["oneOf"], v3["format"]) == ([{"type": "integer"}, {"type": "string"}], "int-or-string")
    time = published("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "v3")
    assert (time["type"], time["format"]) == ("string", "date-time")


def test_api_version_and_kind_are_free_strings(core: dict[str, Any]) -> None:
    pod = fields(core, "io.k8s.api.core.v1.Pod")["properties"]
    assert pod["kind"]["type"] == "string"
    assert "enum" not in pod["kind"]
    assert "enum" not in pod["apiVersion"]


def test_references_keep_their_description_in_v3(core: dict[str, Any]) -> None:
    spec = fields(core, "io.k8s.api.core.v1.Pod")["properties"]["spec"]
    assert spec["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}]
    assert "desired behavior" in spec["description"]
    plain = published("io.k8s.api.core.v1.Pod", "v2")["properties"]["spec"]
    assert plain["$ref"] == "#/definitions/io.k8s.api.core.v1.PodSpec"


def test_list_semantics_are_kept(core: dict[str, Any]) -> None:
    ports = fields(core, "io.k8s.api.core.v1.Container")["properties"]["ports"]
    assert ports["x-kubernetes-list-map-keys"] == ["containerPort", "protocol"]
    assert ports["x-kubernetes-patch-merge-key"] == "containerPort"


@pytest.mark.parametrize("key", sorted(group_version_kinds(builtin_kinds())))
def test_documents_are_complete_and_hold_nothing_that_is_not_needed(key: str) -> None:
    value = document(key, builtin_kinds())
    schemas = value["components"]["schemas"]
    needed = references_in(value["paths"])
    for schema in schemas.values():
        needed |= references_in(schema)
    assert needed == set(schemas)


def test_operation_ids_are_unique_over_everything() -> None:
    value = v2_document([*builtin_kinds(), CRON_TAB], "v1.36.0")
    identifiers = [
        operation["operationId"]
        for item in value["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len(identifiers) == len(set(identifiers))


@pytest.mark.parametrize(
    ("path", "method", "action", "identifier", "kind"),
    [
        ("/api/v1/namespaces/{namespace}/pods", "get", "list", "listCoreV1NamespacedPod", "Pod"),
        ("/api/v1/pods", "get", "list", "listCoreV1PodForAllNamespaces", "Pod"),
        (
            "/api/v1/namespaces/{namespace}/pods",
            "delete",
            "deletecollection",
            "deleteCoreV1CollectionNamespacedPod",
            "Pod",
        ),
        ("/api/v1/namespaces/{namespace}/pods/{name}", "put", "put", "replaceCoreV1NamespacedPod", "Pod"),
        (
            "/api/v1/namespaces/{namespace}/pods/{name}/status",
            "patch",
            "patch",
            "patchCoreV1NamespacedPodStatus",
            "Pod",
        ),
        (
            "/api/v1/namespaces/{namespace}/pods/{name}/binding",
            "post",
            "post",
            "createCoreV1NamespacedPodBinding",
            "Binding",
        ),
        (
            "/api/v1/namespaces/{namespace}/pods/{name}/eviction",
            "post",
            "post",
            "createCoreV1NamespacedPodEviction",
            "Eviction",
        ),
        (
            "/api/v1/namespaces/{namespace}/pods/{name}/exec",
            "get",
            "connect",
            "connectCoreV1GetNamespacedPodExec",
            "PodExecOptions",
        ),
        ("/api/v1/watch/namespaces/{namespace}/pods/{name}", "get", "watch", "watchCoreV1NamespacedPod", "Pod"),
        ("/api/v1/watch/pods", "get", "watchlist", "watchCoreV1PodListForAllNamespaces", "Pod"),
        ("/api/v1/namespaces", "post", "post", "createCoreV1Namespace", "Namespace"),
    ],
)
def test_operations_carry_action_identifier_and_kind(
    core: dict[str, Any], path: str, method: str, action: str, identifier: str, kind: str
) -> None:
    operation = core["paths"][path][method]
    assert operation["x-kubernetes-action"] == action
    assert operation["operationId"] == identifier
    assert operation["x-kubernetes-group-version-kind"]["kind"] == kind


def test_patch_says_what_kubectl_looks_for(core: dict[str, Any]) -> None:
    patch = core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    names = {parameter["name"] for parameter in patch["parameters"]}
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} <= names
    assert set(patch["requestBody"]["content"]) == {
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
    }


def test_lists_can_be_streamed(core: dict[str, Any]) -> None:
    listing = core["paths"]["/api/v1/pods"]["get"]["responses"]["200"]["content"]
    assert "application/vnd.kubernetes.protobuf;stream=watch" in listing
    assert listing["application/json"]["schema"]["$ref"].endswith(".PodList")


def test_scale_has_its_own_kind() -> None:
    apps = document("apis/apps/v1", builtin_kinds())
    scale = apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"]
    assert scale["x-kubernetes-group-version-kind"] == {"group": "autoscaling", "kind": "Scale", "version": "v1"}


def test_path_parameters_are_declared(core: dict[str, Any]) -> None:
    for path, item in core["paths"].items():
        declared = {parameter["name"] for parameter in item.get("parameters", ()) if parameter["in"] == "path"}
        assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}, path


def test_custom_resources_are_published_with_their_structure(custom: dict[str, Any]) -> None:
    cron_tab = fields(custom, "com.example.stable.v1.CronTab")
    assert cron_tab["properties"]["spec"]["properties"]["cronSpec"]["default"] == "x"
    assert cron_tab["properties"]["metadata"]["allOf"][0]["$ref"].endswith(".ObjectMeta")
    assert cron_tab["x-kubernetes-group-version-kind"] == [
        {"group": "stable.example.com", "kind": "CronTab", "version": "v1"}
    ]
    assert fields(custom, "com.example.stable.v1.CronTabList")["required"] == ["items"]
    assert any("io.k8s.api.autoscaling.v1.Scale" in name for name in custom["components"]["schemas"])


def test_custom_resources_have_no_protobuf_and_no_strategic_merge(custom: dict[str, Any]) -> None:
    text = orjson.dumps(custom["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]).decode()
    assert "protobuf" not in text
    assert "strategic" not in text


def test_v2_leaves_out_what_it_cannot_say() -> None:
    spec = custom_definitions(CRON_TAB, "v2")["com.example.stable.v1.CronTab"].value["properties"]["spec"]
    assert spec["properties"]["cronSpec"] == {"type": "string", "pattern": "^x"}
    assert spec["properties"]["port"] == {"x-kubernetes-int-or-string": True}
    assert spec["properties"]["gone"] == {}


# Protobuf.


def parse(data: bytes) -> list[tuple[int, Any]]:
    """(field number, value) pairs of one message; an independent reader."""

    def varint(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7

    found: list[tuple[int, Any]] = []
    at = 0
    while at < len(data):
        tag, at = varint(at)
        if tag & 7 == 0:
            value, at = varint(at)
            found.append((tag >> 3, value))
        elif tag & 7 == 1:
            found.append((tag >> 3, data[at : at + 8]))
            at += 8
        else:
            assert tag & 7 == 2
            size, at = varint(at)
            found.append((tag >> 3, data[at : at + size]))
            at += size
    return found


def one(data: bytes, *numbers: int) -> Any:
    value: Any = data
    for number in numbers:
        value = next(item for found, item in parse(value) if found == number)
    return value


def test_protobuf_of_a_small_document_is_as_computed_by_hand() -> None:
    document = {"swagger": "2.0", "info": {"title": "K", "version": "v"}, "definitions": {"A": {"type": "string"}}}
    assert encode_document(document) == bytes.fromhex(
        "0a03322e30"  # swagger = "2.0"
        "1206" "0a014b" "120176"  # info{title, version}
        "4a12" "0a10" "0a0141" "120b" "b20108" "0a06" + b"string".hex()
    )  # fmt: skip


def test_protobuf_holds_the_whole_document() -> None:
    kinds = [*builtin_kinds(), CRON_TAB]
    value = v2_document(kinds, "v1.36.0")
    encoded = encode_document(value)
    paths = [item for number, item in parse(one(encoded, 8)) if number == 2]
    assert [one(path, 1).decode() for path in paths] == list(value["paths"])
    names = [one(item, 1).decode() for _, item in parse(one(encoded, 9))]
    assert names == list(value["definitions"])
    pods = next(path for path in paths if one(path, 1) == b"/api/v1/namespaces/{namespace}/pods/{name}")
    patch = one(pods, 2, 8)
    extensions = {one(item, 1).decode(): one(item, 2, 2) for number, item in parse(patch) if number == 13}
    assert orjson.loads(extensions["x-kubernetes-group-version-kind"]) == {"group": "", "kind": "Pod", "version": "v1"}
    queries = [
        one(one(item, 1), 2, 3, 4) for number, item in parse(patch) if number == 8 and parse(one(item, 1))[0][0] == 2
    ]
    assert b"fieldValidation" in queries


def test_protobuf_refuses_what_it_does_not_know() -> None:
    with pytest.raises(KeyError):
        encode_document({"swagger": "2.0", "unheard-of": 1})


def test_a_custom_kind_of_unknown_structure_promises_nothing_in_v2() -> None:
    node = {
        "type": "object",
        "description": "Anything.",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"spec": {"type": "object"}},
    }
    kind = CRON_TAB.but(schema=schema_from_openapi_v3(node))
    v2 = custom_definitions(kind, "v2")["com.example.stable.v1.CronTab"].value
    gvk = [{"group": "stable.example.com", "kind": "CronTab", "version": "v1"}]
    assert v2 == {"type": "object", "x-kubernetes-group-version-kind": gvk}
    v3 = custom_definitions(kind, "v3")["com.example.stable.v1.CronTab"].value
    assert set(v3["properties"]) == {"apiVersion", "kind", "metadata", "spec"}


def test_custom_kinds_describe_what_all_kinds_have_in_the_published_words(custom: dict[str, Any]) -> None:
    own = fields(custom, "com.example.stable.v1.CronTab")["properties"]
    pod = published("io.k8s.api.core.v1.Pod", "v3")["properties"]
    for field in ("apiVersion", "kind"):
        assert own[field]["description"] == pod[field]["description"]
        assert own[field]["type"] == "string"
    assert own["metadata"]["description"] == pod["metadata"]["description"]
    items = fields(custom, "com.example.stable.v1.CronTabList")["properties"]["items"]
    assert items["description"].startswith("List of crontabs. More info: https://")
