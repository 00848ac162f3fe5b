"""Strategic merge patch: directives, list merging, order, messages, creation, laws."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.decode import decode
from orchestrator.api.errors import ApiError, BadRequest
from orchestrator.api.patch import (
    PatchFailed,
    apply_json_patch,
    apply_merge_patch,
    apply_strategic_merge_patch,
    create_two_way_merge_patch,
    three_way_merge_patch,
)
from orchestrator.api.schema import for_kind

POD = for_kind("", "v1", "Pod")


def _apply_spec(spec: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    before = orjson.dumps([spec, patch])
    result = apply_strategic_merge_patch({"spec": spec}, {"spec": patch}, POD)["spec"]
    assert orjson.dumps([spec, patch]) == before
    patched: dict[str, Any] = result
    return patched


_TWO = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}


@pytest.mark.parametrize(
    ("spec", "patch", "expected"),
    [
        (
            _TWO,
            {"containers": [{"name": "b", "image": "3"}]},
            {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "3"}]},
        ),
        (
            _TWO,
            {"containers": [{"name": "c", "image": "3"}]},
            {"containers": [{"name": "c", "image": "3"}, {"name": "a", "image": "1"}, {"name": "b", "image": "2"}]},
        ),
        (_TWO, {"containers": [{"name": "a", "$patch": "delete"}]}, {"containers": [{"name": "b", "image": "2"}]}),
        (
            _TWO,
            {"containers": [{"$patch": "replace"}, {"name": "z"}]},
            {"containers": [{"name": "z"}]},
        ),
        (
            _TWO,
            {
                "$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}],
                "containers": [{"name": "c", "image": "3"}],
            },
            {"containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "3"}, {"name": "a", "image": "1"}]},
        ),
        (
            _TWO,
            {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]},
            {"containers": _TWO["containers"][::-1]},
        ),
        ({"nodeSelector": {"x": "1", "y": "2"}}, {"nodeSelector": {"x": None}}, {"nodeSelector": {"y": "2"}}),
        ({"nodeSelector": {"x": "1"}}, {"nodeSelector": {"$patch": "replace", "z": "1"}}, {"nodeSelector": {"z": "1"}}),
        ({"nodeSelector": {"x": "1"}}, {"nodeSelector": {"$patch": "delete"}}, {"nodeSelector": {}}),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}, {"tolerations": [{"key": "b"}]}),
        (
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            {"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]},
            {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
        ),
        ({}, {"securityContext": {"runAsUser": 1, "runAsGroup": None}}, {"securityContext": {"runAsUser": 1}}),
        ({}, {"nodeSelector": None}, {}),
    ],
)
def test_specs(spec: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]) -> None:
    assert _apply_spec(spec, patch) == expected


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"finalizers": ["c", "a"]}, ["c", "a", "b"]),
        ({"$deleteFromPrimitiveList/finalizers": ["a"]}, ["b"]),
        (
            {
                "$setElementOrder/finalizers": ["b", "c"],
                "$deleteFromPrimitiveList/finalizers": ["a"],
                "finalizers": ["c"],
            },
            ["b", "c"],
        ),
    ],
)
def test_primitive_lists(patch: dict[str, Any], expected: list[str]) -> None:
    pod = {"metadata": {"finalizers": ["a", "b"]}}
    assert apply_strategic_merge_patch(pod, {"metadata": patch}, POD)["metadata"]["finalizers"] == expected


def test_deleting_from_a_list_that_is_not_there_does_not_make_one() -> None:
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert apply_strategic_merge_patch({"metadata": {"name": "p"}}, patch, POD) == {"metadata": {"name": "p"}}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"containers": [{"image": "s2"}]}, "map: map[image:s2] does not contain declared merge key: name"),
        ({"nodeSelector": {"$patch": "bogus"}}, "unknown patch type: bogus in map: map[$patch:bogus]"),
        ({"containers": [{"name": "a", "$patch": "merge"}]}, "merging lists cannot yet be specified in the patch"),
    ],
)
def test_patches_that_fail(patch: dict[str, Any], message: str) -> None:
    with pytest.raises(PatchFailed) as caught:
        _apply_spec({**_TWO, "nodeSelector": {"a": "b"}}, patch)
    assert caught.value.message == message
    status = caught.value.to_status()
    assert status["code"] == 500
    assert "reason" not in status


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"volumes": [{"name": "v", "$retainKeys": "x"}]}, "invalid patch format of retainKeys"),
        ({"volumes": [{"name": "v", "$retainKeys": ["a"], "secret": {}}]}, "invalid patch format of retainKeys"),
        ({"$setElementOrder": []}, "invalid patch format of setElementOrder list"),
        ({"$deleteFromPrimitiveList": []}, "invalid patch format of primitive list"),
    ],
)
def test_malformed_directives(patch: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        _apply_spec({"volumes": [{"name": "v", "emptyDir": {}}]}, patch)
    assert caught.value.message == message


def test_order_that_contradicts_the_list() -> None:
    with pytest.raises(PatchFailed, match="doesn't match"):
        _apply_spec(
            _TWO,
            {
                "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
                "containers": [{"name": "b", "image": "x"}, {"name": "a", "image": "x"}],
            },
        )


def test_two_way_creation() -> None:
    original = {"spec": {**_TWO, "nodeSelector": {"a": "b"}}, "metadata": {"finalizers": ["x", "y"]}}
    modified = {
        "spec": {"containers": [{"name": "b", "image": "9"}, {"name": "c"}]},
        "metadata": {"finalizers": ["y", "z"]},
    }
    assert create_two_way_merge_patch(original, modified, POD) == {
        "spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "c"}],
            "containers": [{"image": "9", "name": "b"}, {"name": "c"}, {"$patch": "delete", "name": "a"}],
            "nodeSelector": None,
        },
        "metadata": {
            "$setElementOrder/finalizers": ["y", "z"],
            "$deleteFromPrimitiveList/finalizers": ["x"],
            "finalizers": ["z"],
        },
    }


def test_three_way_keeps_what_others_set_and_removes_what_was_dropped() -> None:
    original = {"spec": {"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "old"}]}}
    modified = {"spec": {"containers": [{"name": "a", "image": "2"}]}}
    current = {
        "spec": {
            "containers": [
                {"name": "a", "image": "1", "args": ["x"], "imagePullPolicy": "Always"},
                {"name": "old"},
                {"name": "injected"},
            ],
            "nodeName": "n",
        }
    }
    patch = three_way_merge_patch(original, modified, current, POD)
    assert apply_strategic_merge_patch(current, patch, POD) == {
        "spec": {
            "containers": [{"name": "a", "image": "2", "imagePullPolicy": "Always"}, {"name": "injected"}],
            "nodeName": "n",
        }
    }


# --- laws ---

_names = st.sampled_from("abcd")
_texts = st.sampled_from(["1", "2", "3"])


def _keyed(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    entry = st.fixed_dictionaries({"name": _names}, optional=fields)
    return st.lists(entry, min_size=1, max_size=4, unique_by=lambda item: item["name"])


_ports = st.lists(
    st.fixed_dictionaries({"containerPort": st.integers(1, 4)}, optional={"name": _texts}),
    min_size=1,
    max_size=3,
    unique_by=lambda item: item["containerPort"],
)
_volumes = _keyed(emptyDir=st.just({}), secret=st.fixed_dictionaries({"secretName": _texts}))
_specs = st.fixed_dictionaries(
    {
        "containers": _keyed(
            image=_texts, args=st.lists(_texts, min_size=1, max_size=2), env=_keyed(value=_texts), ports=_ports
        )
    },
    optional={
        "volumes": _volumes,
        "nodeSelector": st.dictionaries(_names, _texts, min_size=1, max_size=3),
        "hostname": _texts,
        "tolerations": st.lists(st.fixed_dictionaries({"key": _texts}), min_size=1, max_size=2),
    },
)
_pods = st.builds(
    lambda spec, finalizers: {"metadata": {"name": "p", "finalizers": finalizers}, "spec": spec},
    _specs,
    st.lists(_names, min_size=1, unique=True),
)


@given(_pods, _pods)
def test_a_created_patch_leads_to_what_it_was_created_from(original: dict[str, Any], modified: dict[str, Any]) -> None:
    patch = create_two_way_merge_patch(original, modified, POD)
    assert apply_strategic_merge_patch(original, patch, POD) == modified
    assert create_two_way_merge_patch(modified, modified, POD) == {}


@given(_pods, _pods)
def test_three_ways_without_others_is_two_ways(original: dict[str, Any], modified: dict[str, Any]) -> None:
    patch = three_way_merge_patch(original, modified, original, POD)
    assert apply_strategic_merge_patch(original, patch, POD) == modified


@given(_pods, _pods)
def test_applying_twice_is_applying_once(obj: dict[str, Any], patch: dict[str, Any]) -> None:
    once = apply_strategic_merge_patch(obj, patch, POD)
    assert apply_strategic_merge_patch(once, patch, POD) == once


@given(_pods, _pods, _pods)
def test_apply_brings_what_was_asked_for(
    original: dict[str, Any], modified: dict[str, Any], current: dict[str, Any]
) -> None:
    patch = three_way_merge_patch(original, modified, current, POD)
    after = apply_strategic_merge_patch(current, patch, POD)
    again = three_way_merge_patch(modified, modified, after, POD)
    assert apply_strategic_merge_patch(after, again, POD) == after
    for container in modified["spec"]["containers"]:
        found = next(item for item in after["spec"]["containers"] if item["name"] == container["name"])
        assert found.get("image", "1") == container.get("image", found.get("image", "1"))


# --- recordings of a real server ---

_DEFAULTED = {
    "resources", "terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy", "protocol", "apiVersion",
    "defaultMode", "targetPort",
}  # fmt: skip


def _golden_patches() -> Path | None:
    directory = os.environ.get("ORCHESTRATOR_GOLDEN_DIR")
    root = Path(directory) if directory else Path(__file__).parents[4].parent / "shared" / "golden"
    path = root / "patches.json"
    return path if path.exists() else None


def _recordings() -> list[Any]:
    path = _golden_patches()
    if path is None:
        return [
            pytest.param(None, id="absent", marks=pytest.mark.skip(reason="no recordings: set ORCHESTRATOR_GOLDEN_DIR"))
        ]
    scenarios = json.loads(path.read_text().replace('"<time>"', '"2020-01-01T00:00:00Z"'))
    return [pytest.param(s, id=s["id"]) for s in scenarios if s["id"].startswith(("p-merge", "p-json", "p-smp"))]


def _assert_same_but_for_defaults(ours: Any, theirs: Any, path: str = "") -> None:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        assert not ours.keys() - theirs.keys(), path
        assert theirs.keys() - ours.keys() <= _DEFAULTED, path
        for name, value in ours.items():
            _assert_same_but_for_defaults(value, theirs[name], f"{path}.{name}")
    elif isinstance(ours, list) and isinstance(theirs, list):
        assert len(ours) == len(theirs), path
        for position, (left, right) in enumerate(zip(ours, theirs, strict=True)):
            _assert_same_but_for_defaults(left, right, f"{path}[{position}]")
    else:
        assert ours == theirs, path


@pytest.mark.parametrize("scenario", _recordings())
def test_recordings(scenario: dict[str, Any]) -> None:
    stored: dict[str, Any] = {}
    for step in scenario["steps"]:
        request, response = step["request"], step["response"]
        body = response.get("body") or {}
        path = request["path"].partition("?")[0]
        before = stored.get(path)
        if request["method"] == "PATCH" and before is not None:
            _check_patch(before, request, response)
        if response["code"] in (200, 201) and "metadata" in body:
            stored[path if request["method"] != "POST" else f"{path}/{body['metadata']['name']}"] = body


def _check_patch(before: dict[str, Any], request: dict[str, Any], response: dict[str, Any]) -> None:
    group, _, version = before["apiVersion"].rpartition("/")
    schema = for_kind(group, version, before["kind"])
    content_type = request["headers"]["content-type"]
    patch, theirs = request["body"], response["body"]
    refusal: ApiError | None = None
    try:
        if "json-patch" in content_type:
            after = apply_json_patch(before, patch)
        elif "strategic" in content_type:
            after = apply_strategic_merge_patch(before, patch, schema)
        else:
            after = apply_merge_patch(before, patch)
    except ApiError as error:
        refusal = error
    if refusal is not None:
        assert refusal.to_status() == theirs
        return
    if response["code"] != 200:
        return  # refused by what comes after patching: validation, conflicts
    ours, theirs = decode(after, schema)[0], decode(theirs, schema)[0]
    for obj in (ours, theirs):
        obj["metadata"] = {
            name: value
            for name, value in obj["metadata"].items()
            if name not in ("managedFields", "resourceVersion", "generation")
        }
    _assert_same_but_for_defaults(ours, theirs)
