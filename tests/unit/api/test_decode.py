"""Decoding: what is dropped, what is named, what is refused, in the API server's words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from orchestrator.api.decode import Repeated, decode, find_duplicate_fields
from orchestrator.api.decode.times import CANONICAL_TIME
from orchestrator.api.errors import BadRequest
from orchestrator.api.schema import for_kind, schema_from_openapi_v3

POD = for_kind("", "v1", "Pod")
_HEAD = 'Pod in version "v1" cannot be handled as a Pod: '


def _pod(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "nginx"}], **spec},
    }


def test_a_clean_object_is_returned_itself() -> None:
    pod = _pod(nodeSelector={"a": "b"}, restartPolicy="Always", terminationGracePeriodSeconds=5)
    decoded, warnings = decode(pod, POD)
    assert decoded is pod
    assert warnings == []


def test_a_spec_that_came_before_says_nothing_of_another_one() -> None:
    for _ in range(2):
        assert decode(_pod(restartPolicy="Always"), POD) == (_pod(restartPolicy="Always"), [])
        assert decode(_pod(RestartPolicy="Always"), POD) == (_pod(), ['unknown field "spec.RestartPolicy"'])
        with pytest.raises(BadRequest):
            decode(_pod(restartPolicy=1), POD)


def test_unknown_fields_are_dropped_and_named_in_document_order() -> None:
    pod = _pod(RestartPolicy="Never")
    pod["spec"]["containers"][0]["foo"] = {"bar": 1}
    pod["status"] = {"zz": None}
    before = orjson.dumps(pod)
    decoded, warnings = decode(pod, POD)
    assert decoded == {**_pod(), "status": {}}
    assert warnings == [
        'unknown field "spec.containers[0].foo"',
        'unknown field "spec.RestartPolicy"',
        'unknown field "status.zz"',
    ]
    assert orjson.dumps(pod) == before
    assert decode(pod, POD, field_validation="Ignore") == (decoded, [])
    with pytest.raises(BadRequest) as caught:
        decode(pod, POD, field_validation="Strict", repeated=Repeated({"spec.x": 9}, {}))
    assert caught.value.message == _HEAD + (
        'strict decoding error: unknown field "spec.containers[0].foo", unknown field "spec.RestartPolicy", '
        'unknown field "status.zz", duplicate field "spec.x"'
    )


@pytest.mark.parametrize("other", [{}, {"lastTransitionTime": "2020-01-01T02:00:00+02:00"}])
def test_null_times_of_conditions_stay_as_go_encodes_them(other: dict[str, Any]) -> None:
    condition = {"type": "Ready", "status": "True", "lastProbeTime": None, **other}
    decoded, _ = decode({**_pod(), "status": {"conditions": [condition], "startTime": "2020-01-01T00:00:00Z"}}, POD)
    assert decoded["status"]["conditions"][0]["lastProbeTime"] is None
    decoded, _ = decode({**_pod(), "status": {"conditions": [condition], "startTime": None}}, POD)
    assert decoded["status"]["conditions"][0]["lastProbeTime"] is None
    assert "startTime" not in decoded["status"]


def test_nulls_empties_quantities_and_times_take_their_stored_form() -> None:
    pod = _pod(nodeSelector={}, tolerations=[], hostname=None, volumes=[{"name": "v", "emptyDir": {}}])
    pod["metadata"]["creationTimestamp"] = None
    pod["metadata"]["deletionTimestamp"] = "2020-01-01T02:00:00.5+02:00"
    pod["spec"]["containers"][0] |= {"args": ["a", None], "resources": {"limits": {"cpu": 0.5, "memory": "1024Ki"}}}
    decoded, warnings = decode(pod, POD)
    assert warnings == []
    assert decoded["metadata"] == {"name": "p", "deletionTimestamp": "2020-01-01T00:00:00Z"}
    assert decoded["spec"] == {
        "containers": [
            {
                "name": "c",
                "image": "nginx",
                "args": ["a", ""],
                "resources": {"limits": {"cpu": "500m", "memory": "1Mi"}},
            }
        ],
        "volumes": [{"name": "v", "emptyDir": {}}],
    }


def _object(group_version: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": group_version, "kind": kind, "metadata": {"name": "o"}, **fields}


@pytest.mark.parametrize(
    ("obj", "why"),
    [
        (
            _object("v1", "Pod", spec="foo"),
            "json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec",
        ),
        (
            _object("v1", "Pod", spec={"containers": {"name": "c"}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            _object("v1", "Pod", spec={"hostNetwork": "true"}),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
        ),
        (
            _object("v1", "Pod", spec={"containers": [{"ports": [{"containerPort": "80"}]}]}),
            "json: cannot unmarshal string into Go struct field "
            "ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            _object("v1", "Pod", spec={"containers": [{"ports": [{"containerPort": 2**31}]}]}),
            "json: cannot unmarshal number 2147483648 into Go struct field "
            "ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            _object("v1", "Pod", metadata={"labels": {"a": 1}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            _object("v1", "Pod", spec={"containers": [{"resources": {"limits": {"cpu": "x"}}}]}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            _object("apps/v1", "Deployment", spec={"replicas": 1.5}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            _object("v1", "ConfigMap", data={"a": True}),
            "json: cannot unmarshal bool into Go struct field ConfigMap.data of type string",
        ),
        (_object("v1", "Secret", data={"a": "!!!"}), "illegal base64 data at input byte 0"),
        (_object("v1", "Secret", data={"a": "YWJj="}), "illegal base64 data at input byte 4"),
        (
            _object("v1", "Service", spec={"ports": [{"targetPort": True}]}),
            "json: cannot unmarshal bool into Go value of type int32",
        ),
        (
            _object("coordination.k8s.io/v1", "Lease", spec={"renewTime": "yesterday"}),
            'parsing time "yesterday" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "yesterday" as "2006"',
        ),
        (
            _object("coordination.k8s.io/v1", "Lease", spec={"renewTime": "2020-01-01T00:00:00Z"}),
            'parsing time "2020-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000"',
        ),
        (
            _object("v1", "Pod", metadata={"deletionTimestamp": "2020-13-01T00:00:00Z"}),
            'parsing time "2020-13-01T00:00:00Z": month out of range',
        ),
        (
            _object("v1", "Pod", metadata={"deletionTimestamp": "2021-02-29T00:00:00Z"}),
            'parsing time "2021-02-29T00:00:00Z": day out of range',
        ),
    ],
)
def test_wrong_types_are_refused(obj: dict[str, Any], why: str) -> None:
    group, _, version = obj["apiVersion"].rpartition("/")
    with pytest.raises(BadRequest) as caught:
        decode(obj, for_kind(group, version, obj["kind"]), field_validation="Ignore")
    kind = obj["kind"]
    assert caught.value.message == f'{kind} in version "{version}" cannot be handled as a {kind}: {why}'


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (b'{"a":1,"b":{"c":1,"d":[{"c":2}]}}', []),
        (b'{"a":1,"b":{"c":1,"c":2,"c":3},"a":[{"x":1,"x":2}]}', ["b.c", "a", "a[0].x"]),
        (b'{"a\\u0022":1,"b":"\\u0022","c":1,"c":2}', ["c"]),
        (b'{"a":"\\"","\\u0061":1}', ["a"]),
    ],
)
def test_duplicate_fields(body: bytes, paths: list[str]) -> None:
    assert list(find_duplicate_fields(body).again) == paths
    assert list(find_duplicate_fields(body, orjson.loads(body)).again) == paths


def test_what_is_wrong_with_fields_is_told_in_document_order() -> None:
    body = b"""{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {
        "unknown1": "a", "unknownDupe": {"x": 1, "x": 2}, "unknownDupe": 2, "paused": true, "paused": false,
        "template": {"spec": {"containers": [
            {"name": "a", "unknownNested": 1, "imagePullPolicy": "Always", "imagePullPolicy": "Never"}]}},
        "last": 1}}"""
    obj = orjson.loads(body)
    expected = [
        'unknown field "spec.unknown1"',
        'unknown field "spec.unknownDupe"',
        'duplicate field "spec.paused"',
        'unknown field "spec.template.spec.containers[0].unknownNested"',
        'duplicate field "spec.template.spec.containers[0].imagePullPolicy"',
        'unknown field "spec.last"',
    ]
    schema = for_kind("apps", "v1", "Deployment")
    _, warnings = decode(obj, schema, repeated=find_duplicate_fields(body, obj))
    assert warnings == expected
    with pytest.raises(BadRequest, match="strict decoding error") as caught:
        decode(obj, schema, field_validation="Strict", repeated=find_duplicate_fields(body, obj))
    assert ", ".join(expected) in caught.value.message


def test_recursive_definitions_compile() -> None:
    crd = for_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    node = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}}}
    obj = _object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        spec={
            "group": "g",
            "names": {"plural": "p", "kind": "K"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": node}}],
        },
    )
    assert decode(obj, crd) == (obj, [])
    node["properties"]["a"]["properties"]["zz"] = {"bogus": 1}  # type: ignore[index]
    assert decode(obj, crd)[1] == [
        'unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.properties.zz.bogus"'
    ]


def _definition(**schema: Any) -> dict[str, Any]:
    node = {"type": "object", **schema}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": node}}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "a.b"},
        "spec": {"group": "b", "names": {"plural": "a", "kind": "A"}, "scope": "Cluster", "versions": versions},
    }


DEFINITION = for_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"items": {"type": "string"}}, {"items": {"type": "string"}}),
        ({"items": {"type": "string", "bogus": 1}}, {"items": {"type": "string"}}),
        ({"items": {"oneOf": [None]}}, {"items": {"oneOf": [{}]}}),
        ({"items": [{"type": "string"}, None]}, {"items": [{"type": "string"}, {}]}),
        ({"items": 5}, {}),
        ({"additionalProperties": True}, {"additionalProperties": True}),
        ({"additionalProperties": {"minimum": 1, "x": 2}}, {"additionalProperties": {"minimum": 1}}),
        ({"dependencies": {"a": ["b"]}}, {"dependencies": {"a": ["b"]}}),
    ],
)
def test_schemas_inside_schemas_are_decoded(given: dict[str, Any], expected: dict[str, Any]) -> None:
    decoded, warnings = decode(_definition(**given), DEFINITION)
    assert decoded["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == {"type": "object", **expected}
    assert warnings == []


@pytest.mark.parametrize(
    "given",
    [
        {"items": {"properties": {"a": 1}}},
        {"items": [{"type": 1}]},
        {"additionalProperties": "x"},
        {"additionalProperties": {"items": {"type": 2}}},
        {"dependencies": {"a": [1]}},
    ],
)
def test_schemas_inside_schemas_of_wrong_types_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="cannot be handled as a CustomResourceDefinition"):
        decode(_definition(**given), DEFINITION)


def test_custom_resources_are_pruned() -> None:
    schema = schema_from_openapi_v3(
        {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": {
                        "items": {
                            "type": "array",
                            "items": {"type": "object", "properties": {"a": {"type": "string"}}},
                        },
                        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        "map": {"type": "object", "additionalProperties": {"type": "string"}},
                        "template": {
                            "type": "object",
                            "x-kubernetes-embedded-resource": True,
                            "properties": {"spec": {"type": "object"}},
                        },
                    },
                }
            },
        }
    )
    obj = {
        "apiVersion": "g.io/v1",
        "kind": "Gadget",
        "metadata": {"name": "g", "bogus": 1},
        "spec": {
            "items": [{"a": 5, "zz": 1}],
            "free": {"any": [{"thing": None}]},
            "map": {"k": 1},
            "bogus": 1,
            "template": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "y"}, "spec": {"b": 1}},
        },
        "bogus2": "x",
    }
    before = orjson.dumps(obj)
    decoded, warnings = decode(obj, schema)
    assert orjson.dumps(obj) == before
    assert decoded == {
        "apiVersion": "g.io/v1",
        "kind": "Gadget",
        "metadata": {"name": "g"},
        "spec": {
            "items": [{"a": 5}],
            "free": {"any": [{"thing": None}]},
            "map": {"k": 1},
            "template": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "y"}, "spec": {}},
        },
    }
    assert warnings == [
        'unknown field "bogus2"',
        'unknown field "metadata.bogus"',
        'unknown field "spec.bogus"',
        'unknown field "spec.items[0].zz"',
        'unknown field "spec.template.spec.b"',
    ]
    with pytest.raises(BadRequest, match=r"json: cannot unmarshal number into Go struct field ObjectMeta\.labels of"):
        decode({**obj, "metadata": {"labels": {"a": 1}}}, schema)


@pytest.mark.parametrize(
    ("text", "is_canonical"),
    [
        ("2026-01-31T00:00:00Z", True),
        ("2026-11-29T23:59:59Z", True),
        ("2026-11-30T10:00:00Z", True),
        ("2026-11-31T10:00:00Z", False),
        ("2026-02-28T10:00:00Z", True),
        ("2028-02-29T10:00:00Z", False),  # right in some years only: looked at more closely
        ("2026-11-29T10:00:00+00:00", False),
    ],
)
def test_times_that_need_no_change_are_recognised_on_every_day_of_the_month(text: str, is_canonical: bool) -> None:
    assert (CANONICAL_TIME.fullmatch(text) is not None) is is_canonical
