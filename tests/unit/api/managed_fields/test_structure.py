"""Objects seen through their schema: comparing, listing, merging, removing, checking."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.managed_fields.applied import field_set_of
from orchestrator.api.managed_fields.checking import check_typed
from orchestrator.api.managed_fields.comparing import compare
from orchestrator.api.managed_fields.merging import merge, remove
from orchestrator.api.managed_fields.structure import NotTyped, Structure, structure_of
from orchestrator.api.schema import for_kind, schema_from_openapi_v3

GADGET = structure_of(
    schema_from_openapi_v3(
        {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": {
                        "color": {"type": "string"},
                        "replicas": {"type": "integer"},
                        "port": {"x-kubernetes-int-or-string": True},
                        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                        "atom": {"type": "array", "items": {"type": "string"}},
                        "whole": {
                            "type": "object",
                            "x-kubernetes-map-type": "atomic",
                            "properties": {"a": {"type": "string"}},
                        },
                        "names": {"type": "object", "additionalProperties": {"type": "string"}},
                        "items": {
                            "type": "array",
                            "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name"],
                            "items": {
                                "type": "object",
                                "properties": {"name": {"type": "string"}, "val": {"type": "integer"}},
                            },
                        },
                    },
                }
            },
        }
    )
)
POD = structure_of(for_kind("", "v1", "Pod"))
DEPLOYMENT = structure_of(for_kind("apps", "v1", "Deployment"))


def gadget(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "g.example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": spec}


def spec_of(fields: dict[str, Any]) -> Any:
    return fields.get("f:spec")


class TestCompare:
    def test_equal_objects_have_no_difference(self) -> None:
        assert compare(GADGET, gadget(color="red"), gadget(color="red")) == ({}, {})

    @pytest.mark.parametrize(
        ("old", "new", "changed", "removed"),
        [
            ({"color": "red"}, {"color": "blue"}, {"f:color": {}}, None),
            ({"color": "red"}, {"color": "red", "replicas": 1}, {"f:replicas": {}}, None),
            ({"color": "red", "replicas": 1}, {"color": "red"}, None, {"f:replicas": {}}),
            ({"atom": ["a"], "x": 1}, {"atom": ["a", "b"], "x": 1}, {"f:atom": {}}, None),
            ({"tags": ["a", "b"]}, {"tags": ["b", "c"]}, {"f:tags": {'v:"c"': {}}}, {"f:tags": {'v:"a"': {}}}),
            ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}, None, None),
            ({"color": "r"}, {"color": "r", "tags": ["a"]}, {"f:tags": {".": {}, 'v:"a"': {}}}, None),
            ({"whole": {"a": "x"}}, {"whole": {"a": "y"}}, {"f:whole": {}}, None),
            ({"names": {"a": "x"}}, {"names": {"a": "y", "b": "z"}}, {"f:names": {"f:a": {}, "f:b": {}}}, None),
            ({"names": {"a": "x"}, "color": "r"}, {"color": "r"}, None, {"f:names": {".": {}, "f:a": {}}}),
            (
                {"items": [{"name": "a", "val": 1}, {"name": "b"}]},
                {"items": [{"name": "c"}, {"name": "a", "val": 2}]},
                {"f:items": {'k:{"name":"a"}': {"f:val": {}}, 'k:{"name":"c"}': {".": {}, "f:name": {}}}},
                {"f:items": {'k:{"name":"b"}': {".": {}, "f:name": {}}}},
            ),
            (
                {"free": {"a": {"b": 1}}},
                {"free": {"a": {"b": 2}, "l": [1]}},
                {"f:free": {"f:a": {"f:b": {}}, "f:l": {}}},
                None,
            ),
            ({"free": {}}, {"free": None}, {"f:free": {}}, None),
        ],
    )  # fmt: skip
    def test_custom_resource(self, old: Any, new: Any, changed: Any, removed: Any) -> None:
        added, gone = compare(GADGET, gadget(**old), gadget(**new))
        assert (spec_of(added), spec_of(gone)) == (changed, removed)

    def test_a_new_struct_of_a_custom_resource_is_owned_itself(self) -> None:
        changed, _ = compare(GADGET, {}, gadget(color="red"))
        assert spec_of(changed) == {".": {}, "f:color": {}}

    def test_structs_that_go_always_encodes_are_owned_by_nobody(self) -> None:
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": {}}], "nodeName": "n"}}
        changed, _ = compare(POD, {}, pod)
        assert spec_of(changed) == {
            "f:containers": {'k:{"name":"c"}': {".": {}, "f:name": {}, "f:resources": {}}},
            "f:nodeName": {},
        }

    def test_an_empty_template_is_there_from_the_beginning(self) -> None:
        new = {"spec": {"strategy": {"type": "Recreate"}, "template": {"spec": {"containers": [{"name": "c"}]}}}}
        changed, _ = compare(DEPLOYMENT, {}, new)
        assert spec_of(changed) == {
            "f:strategy": {"f:type": {}},
            "f:template": {"f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:name": {}}}}},
        }

    def test_left_out_keys_have_their_default(self) -> None:
        old = {"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}}
        new = {"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}}
        changed, removed = compare(POD, old, new)
        ports = changed["f:spec"]["f:containers"]['k:{"name":"c"}']["f:ports"]
        assert ports == {'k:{"containerPort":80,"protocol":"TCP"}': {"f:protocol": {}}}
        assert not removed

    def test_duplicates_are_compared_as_one(self) -> None:
        old = {"spec": {"items": [{"name": "a", "val": 1}, {"name": "a", "val": 2}]}}
        new = {"spec": {"items": [{"name": "a", "val": 1}, {"name": "a", "val": 3}]}}
        assert compare(GADGET, old, new) == ({"f:spec": {"f:items": {'k:{"name":"a"}': {}}}}, {})

    def test_items_without_their_key_cannot_be_compared(self) -> None:
        with pytest.raises(NotTyped, match='omits key field "name"'):
            compare(GADGET, gadget(items=[]), gadget(items=[{"val": 1}]))


class TestFieldSetOf:
    @pytest.mark.parametrize(
        ("spec", "fields"),
        [
            ({"color": "red"}, {"f:color": {}}),
            ({"tags": ["a"], "atom": ["x"]}, {"f:atom": {}, "f:tags": {'v:"a"': {}}}),
            ({"names": {"a": "x"}}, {"f:names": {"f:a": {}}}),
            ({"names": {}}, {"f:names": {}}),
            ({"color": None}, {"f:color": {}}),
            (
                {"items": [{"name": "a", "val": 1}]},
                {"f:items": {'k:{"name":"a"}': {".": {}, "f:name": {}, "f:val": {}}}},
            ),
            ({"whole": {"a": "x"}}, {"f:whole": {}}),
            ({"free": {"a": {"b": 1}}}, {"f:free": {"f:a": {".": {}, "f:b": {}}}}),
            ({"items": []}, None),
        ],
    )  # fmt: skip
    def test_configuration(self, spec: Any, fields: Any) -> None:
        assert spec_of(field_set_of(GADGET, {"spec": spec})) == fields


class TestMerge:
    @pytest.mark.parametrize(
        ("live", "config", "merged"),
        [
            ({"color": "red", "replicas": 1}, {"color": "blue"}, {"color": "blue", "replicas": 1}),
            ({"atom": ["a", "b"]}, {"atom": ["c"]}, {"atom": ["c"]}),
            ({"tags": ["a", "b"]}, {"tags": ["c", "b"]}, {"tags": ["a", "c", "b"]}),
            ({"tags": ["a", "b", "c"]}, {"tags": ["c", "a"]}, {"tags": ["b", "c", "a"]}),
            ({"whole": {"a": "x"}}, {"whole": {}}, {"whole": {}}),
            ({"names": {"a": "x"}}, {"names": {"b": "y"}}, {"names": {"a": "x", "b": "y"}}),
            ({"names": {"a": "x"}}, {"names": None}, {"names": {"a": "x"}}),
            ({}, {"names": {}}, {"names": {}}),
            (
                {"items": [{"name": "a", "val": 1}, {"name": "b", "val": 2}]},
                {"items": [{"name": "n", "val": 9}, {"name": "a", "val": 3}]},
                {"items": [{"name": "n", "val": 9}, {"name": "a", "val": 3}, {"name": "b", "val": 2}]},
            ),
            ({"free": {"a": {"b": 1}}}, {"free": {"a": {"c": 2}}}, {"free": {"a": {"b": 1, "c": 2}}}),
            ({"free": {"a": [1]}}, {"free": {"a": [2]}}, {"free": {"a": [2]}}),
        ],
    )
    def test_spec(self, live: Any, config: Any, merged: Any) -> None:
        assert merge(GADGET, {"spec": live}, {"spec": config}) == {"spec": merged}


class TestRemove:
    @pytest.mark.parametrize(
        ("value", "fields", "left"),
        [
            ({"color": "red", "replicas": 1}, {"f:color": {}}, {"replicas": 1}),
            ({"tags": ["a", "b"]}, {"f:tags": {'v:"a"': {}}}, {"tags": ["b"]}),
            ({"tags": ["a"]}, {"f:tags": {'v:"a"': {}}}, {"tags": None}),
            (
                {"items": [{"name": "a", "val": 1}]},
                {"f:items": {'k:{"name":"a"}': {"f:val": {}}}},
                {"items": [{"name": "a"}]},
            ),
            (
                {"items": [{"name": "a"}, {"name": "b"}]},
                {"f:items": {'k:{"name":"a"}': {".": {}}}},
                {"items": [{"name": "b"}]},
            ),
        ],
    )  # fmt: skip
    def test_spec(self, value: Any, fields: Any, left: Any) -> None:
        assert remove(GADGET, {"spec": value}, {"f:spec": fields}) == {"spec": left}


class TestWhatIsRemembered:
    """Values of one shape add the same fields; what was seen before must never decide about another shape."""

    EVENTS: tuple[dict[str, Any], ...] = (
        {"source": {"component": "kubelet", "host": "n"}},
        {"source": {"component": "kubelet"}},
        {"source": {}},
        {"source": None},
        {"source": "text"},
        {"source": {"component": None, "host": "n"}},
        {"involvedObject": {"kind": "Pod"}},
        {"involvedObject": {"kind": "Pod", "name": "p"}, "eventTime": None},
        {"involvedObject": {}},
        {"reason": "A", "message": "b", "count": 1},
        {"reason": None, "message": "b", "count": 0},
        {"series": {"count": 1}},
        {"undeclared": {"a": 1}},
        {"metadata": {"name": "e", "labels": {"a": "1"}}},
        {"metadata": {"name": "e", "labels": {"a": "1", "b": "2"}}},
        {"metadata": {"name": "e", "labels": {"a": None}}},
        {"metadata": {"name": "e", "labels": {}}},
        {"metadata": {"name": "e", "finalizers": ["a"]}},
        {"metadata": {"name": "e", "finalizers": ["b"]}},
        {"metadata": {"name": "e", "ownerReferences": [{"uid": "u"}]}},
        {"metadata": {"name": "e", "ownerReferences": [{"uid": "v"}]}},
    )

    @pytest.mark.parametrize("event", EVENTS, ids=str)
    def test_others_make_no_difference(self, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("orchestrator.api.managed_fields.structure._meta", [])
        alone = compare(structure("", "v1", "Event"), {}, event)
        monkeypatch.setattr("orchestrator.api.managed_fields.structure._meta", [])
        among_others = structure("", "v1", "Event")
        for other in self.EVENTS:
            compare(among_others, {}, other)

        assert compare(among_others, {}, event) == alone


class TestCheckTyped:
    @pytest.mark.parametrize(
        ("spec", "text"),
        [
            ({"bogus": 1}, ".spec.bogus: field not declared in schema"),
            ({"replicas": "x"}, ".spec.replicas: expected numeric (int or float), got string"),
            ({"color": 1}, ".spec.color: expected string, got int64"),
            ({"port": {"a": 1}}, ".spec.port: expected any scalar, got map[string]interface {}"),
            ({"items": [{"val": 1}]},
             '.spec.items: element 0: associative list with keys has an element that omits key field "name"'
             " (and doesn't have default value)"),
            ({"items": [{"name": "a"}, {"name": "a"}]}, '.spec.items: duplicate entries for key [name="a"]'),
            ({"tags": ["a", "a"]}, '.spec.tags: duplicate entries for key [="a"]'),
            ({"items": [{"name": "a", "val": "x"}]},
             '.spec.items[name="a"].val: expected numeric (int or float), got string'),
            ({"atom": [1]}, ".spec.atom[0]: expected string, got int64"),
            ({"bogus": 1, "color": 2},
             "errors:\n  .spec.bogus: field not declared in schema\n  .spec.color: expected string, got int64"),
        ],
    )  # fmt: skip
    def test_refused(self, spec: Any, text: str) -> None:
        with pytest.raises(NotTyped) as caught:
            check_typed(GADGET, gadget(**spec))
        assert str(caught.value) == text

    @pytest.mark.parametrize(
        "spec",
        [{"color": None}, {"port": 1}, {"port": "x"}, {"free": {"any": [1]}}, {"items": None}, {"whole": {"a": "x"}}],
    )
    def test_accepted(self, spec: Any) -> None:
        check_typed(GADGET, gadget(**spec))

    @pytest.mark.parametrize("kind", [("", "v1", "Pod"), ("apps", "v1", "Deployment"), ("", "v1", "Service")])
    def test_kinds_know_their_metadata(self, kind: tuple[str, str, str]) -> None:
        metadata = {"name": "x", "labels": {"a": "b"}, "ownerReferences": [{"uid": "u", "name": "n"}]}
        check_typed(structure(*kind), {"apiVersion": "v1", "kind": kind[2], "metadata": metadata})


def structure(group: str, version: str, kind: str) -> Structure:
    return structure_of(for_kind(group, version, kind))
