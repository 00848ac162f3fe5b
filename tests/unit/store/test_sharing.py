"""Parts of objects that are equal are held once, and nobody can tell."""

from __future__ import annotations

import copy
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.store.sharing import ENTRIES_MAX, PartPool

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=2), parts, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=2), VALUES, max_size=4)


def fresh(value: Any) -> Any:
    """An equal value without any part in common."""
    return orjson.loads(orjson.dumps(value))


def test_equal_parts_of_two_objects_become_the_same() -> None:
    template = {"containers": [{"name": "app", "limits": {"memory": "64Mi"}, "port": 8080}], "grace": 3600}
    pool, left, right = PartPool(), fresh({"name": "a", "spec": template}), fresh({"name": "b", "spec": template})
    pool.share(left)
    pool.share(right)
    assert left["spec"] is right["spec"]
    assert (left["name"], right["name"]) == ("a", "b")


def test_the_next_state_of_an_object_keeps_what_it_took_over() -> None:
    pool, obj = PartPool(), fresh({"name": "a", "spec": {"containers": [{"name": "app"}]}, "status": {}})
    pool.share(obj)
    bound = {**obj, "spec": {**obj["spec"], "nodeName": "node-1"}, "status": {"conditions": [{"type": "Ready"}]}}
    pool.share(bound)
    assert bound["spec"]["containers"] is obj["spec"]["containers"]
    other = fresh(bound)
    pool.share(other)
    assert other["spec"] is bound["spec"]
    assert other["status"]["conditions"] is bound["status"]["conditions"]


def test_an_object_itself_stays_apart_from_an_equal_one() -> None:
    pool, left, right = PartPool(), {"a": {"b": "c"}}, {"a": {"b": "c"}}
    pool.share(left)
    pool.share(right)
    assert left is not right
    assert left["a"] is right["a"]


@given(st.lists(OBJECTS, max_size=6))
def test_sharing_changes_no_value_and_no_type(objects: list[dict[str, Any]]) -> None:
    pool, before = PartPool(), copy.deepcopy(objects)
    for obj in objects:
        pool.share(obj)
    assert [orjson.dumps(obj) for obj in objects] == [orjson.dumps(obj) for obj in before]


def test_values_that_python_holds_equal_keep_their_type() -> None:
    pool = PartPool()
    objects: list[dict[str, Any]] = [{"a": 1}, {"a": True}, {"a": 1.0}, {"a": [1]}, {"a": [True]}, {"a": {}}, {"a": []}]
    for obj in objects:
        pool.share(obj)
    assert [orjson.dumps(obj["a"]) for obj in objects] == [b"1", b"true", b"1.0", b"[1]", b"[true]", b"{}", b"[]"]


def test_keys_in_another_order_stay_in_that_order() -> None:
    pool, left, right = PartPool(), {"a": {"x": "1", "y": "2"}}, {"a": {"y": "2", "x": "1"}}
    pool.share(left)
    pool.share(right)
    assert list(right["a"]) == ["y", "x"]


def test_the_pool_is_bounded_and_keeps_what_comes_again() -> None:
    pool, common = PartPool(), {"image": "nginx", "ports": [{"port": 80}]}
    first = fresh({"name": "first", "spec": common})
    pool.share(first)
    for number in range(3 * ENTRIES_MAX):
        other = fresh({"name": f"pod-{number}", "spec": common})
        pool.share(other)
        assert other["spec"] is first["spec"]
    assert len(pool) <= 6 * 2 * (ENTRIES_MAX + 1)
