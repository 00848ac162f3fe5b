"""Who owns what: updates, applies, conflicts, the number of entries, scales."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.api.managed_fields import (
    Applied,
    ApplyConflict,
    ManagerId,
    Scope,
    conflict_error,
    plan_apply,
    plan_update,
    settle,
)
from orchestrator.api.managed_fields.entries import (
    UPDATE_ENTRIES_MAX,
    Entry,
    capped,
    in_order,
    is_reset,
    new_entry,
    read,
)
from orchestrator.api.managed_fields.field_set import paths
from orchestrator.api.managed_fields.ownership import LAST_APPLIED
from orchestrator.api.managed_fields.scale import from_scale, to_scale
from orchestrator.api.objects import copy_object
from tests.unit.api.managed_fields.test_structure import GADGET, gadget

T1, T2, T3 = "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z", "2026-01-01T00:00:03Z"
VERSION = "g.example.com/v1"
MAIN = Scope(hidden=frozenset({"f:status"}))


def updater(name: str, subresource: str = "") -> ManagerId:
    return ManagerId(name, "Update", VERSION, subresource)


def update(old: Any, new: Any, entries: list[Entry], name: str = "u", time: str = T1) -> list[Entry]:
    return plan_update(GADGET, old, new, entries=entries, manager=updater(name), time=time, scope=MAIN)


def apply(
    live: Any, config: Any, entries: list[Entry], name: str = "a", *, time: str = T1, force: bool = False
) -> Applied:
    return plan_apply(
        GADGET,
        live,
        config,
        entries=entries,
        manager=ManagerId(name, "Apply", ""),
        api_version=VERSION,
        time=time,
        scope=MAIN,
        force=force,
    )


def fields_of(entries: list[Entry], manager: str) -> Any:
    found = [entry["fieldsV1"] for entry in entries if entry["manager"] == manager]
    assert len(found) <= 1
    return found[0].get("f:spec") if found else None


class TestUpdate:
    def test_the_creator_owns_everything_but_identity(self) -> None:
        obj = gadget(color="red")
        obj["metadata"] = {"name": "g", "uid": "u", "namespace": "n", "resourceVersion": "1", "labels": {"a": "b"}}
        obj["status"] = {"phase": "Up"}
        (entry,) = update({}, obj, [])
        assert entry == {
            "manager": "u",
            "operation": "Update",
            "apiVersion": VERSION,
            "time": T1,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {".": {}, "f:color": {}},
            },
        }

    def test_an_unchanged_object_keeps_its_entries(self) -> None:
        entries = update({}, gadget(color="red"), [])
        assert update(gadget(color="red"), gadget(color="red"), entries, time=T2) is entries

    def test_a_changed_field_changes_its_owner(self) -> None:
        entries = update({}, gadget(color="red", replicas=1), [])
        entries = update(gadget(color="red", replicas=1), gadget(color="blue", replicas=1), entries, "v", T2)
        assert fields_of(entries, "u") == {".": {}, "f:replicas": {}}
        assert fields_of(entries, "v") == {"f:color": {}}

    def test_a_removed_field_is_owned_by_nobody_and_moves_no_time(self) -> None:
        entries = update({}, gadget(color="red", replicas=1), [])
        entries = update(gadget(color="red", replicas=1), gadget(color="red"), entries, time=T2)
        assert fields_of(entries, "u") == {".": {}, "f:color": {}}
        assert entries[0]["time"] == T1

    def test_the_same_manager_keeps_one_entry(self) -> None:
        entries = update({}, gadget(color="red"), [])
        entries = update(gadget(color="red"), gadget(color="red", replicas=1), entries, time=T2)
        assert len(entries) == 1
        assert fields_of(entries, "u") == {".": {}, "f:color": {}, "f:replicas": {}}
        assert entries[0]["time"] == T2

    def test_a_manager_without_fields_is_gone(self) -> None:
        entries = update({}, gadget(color="red"), [])
        entries = update(gadget(color="red"), gadget(color="red", tags=["a"]), entries, "v")
        entries = update(gadget(color="red", tags=["a"]), gadget(color="red"), entries, "u")
        assert [entry["manager"] for entry in entries] == ["u"]

    def test_subresources_are_managers_of_their_own(self) -> None:
        new = {**gadget(color="red"), "status": {"phase": "Up"}}
        entries = plan_update(
            GADGET, gadget(color="red"), new,
            entries=update({}, gadget(color="red"), []),
            manager=updater("u", "status"), time=T2, scope=Scope(only=frozenset({"f:status"})),
        )  # fmt: skip
        assert [(entry["manager"], entry.get("subresource")) for entry in entries] == [("u", None), ("u", "status")]
        assert entries[1]["fieldsV1"] == {"f:status": {".": {}, "f:phase": {}}}

    def test_only_what_the_scope_allows_is_owned(self) -> None:
        new = {**gadget(color="red"), "status": {"phase": "Up"}}
        assert update(gadget(color="red"), new, []) == []

    def test_settle_keeps_times_of_a_write_that_changed_nothing(self) -> None:
        old = gadget(color="red")
        old["metadata"]["managedFields"] = update({}, old, [])
        new = copy_object(old)
        new["metadata"]["managedFields"][0]["time"] = T3
        settle(new, old)
        assert new["metadata"]["managedFields"][0]["time"] == T1
        changed = copy_object(old)
        changed["spec"]["color"] = "blue"
        changed["metadata"]["managedFields"][0]["time"] = T3
        settle(changed, old)
        assert changed["metadata"]["managedFields"][0]["time"] == T3


class TestApply:
    def test_create(self) -> None:
        applied = apply(None, gadget(color="red", tags=["a", "b"]), [])
        assert applied.obj["spec"] == {"color": "red", "tags": ["a", "b"]}
        assert fields_of(applied.entries, "a") == {"f:color": {}, "f:tags": {'v:"a"': {}, 'v:"b"': {}}}

    def test_unchanged_configuration_is_no_change(self) -> None:
        first = apply(None, gadget(color="red"), [])
        second = apply(first.obj, gadget(color="red"), first.entries, time=T2)
        assert second == first

    def test_a_conflict_names_owner_and_field(self) -> None:
        entries = update({}, gadget(color="red"), [], "kubectl-client-side-apply")
        with pytest.raises(ApplyConflict) as caught:
            apply(gadget(color="red"), gadget(color="blue"), entries)
        error = conflict_error(caught.value.conflicts)
        owner = '"kubectl-client-side-apply" using g.example.com/v1'
        assert error.code == 409
        assert error.message == f"Apply failed with 1 conflict: conflict with {owner}: .spec.color"
        assert error.details() == {
            "causes": [{"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": ".spec.color"}]
        }

    def test_several_conflicts_are_grouped_by_owner(self) -> None:
        first = apply(None, gadget(color="red", replicas=1), [], "x")
        live = {**first.obj, "spec": {**first.obj["spec"], "names": {"n": "1"}}}
        entries = update(first.obj, live, first.entries, "y")
        with pytest.raises(ApplyConflict) as caught:
            apply(live, gadget(color="blue", replicas=2, names={"n": "2"}), entries)
        assert conflict_error(caught.value.conflicts).message == (
            'Apply failed with 3 conflicts: conflicts with "x":\n- .spec.color\n- .spec.replicas\n'
            'conflicts with "y" using g.example.com/v1:\n- .spec.names.n'
        )

    def test_force_takes_the_field(self) -> None:
        entries = update({}, gadget(color="red", replicas=1), [])
        applied = apply(gadget(color="red", replicas=1), gadget(color="blue"), entries, force=True)
        assert applied.obj["spec"] == {"color": "blue", "replicas": 1}
        assert fields_of(applied.entries, "u") == {".": {}, "f:replicas": {}}
        assert fields_of(applied.entries, "a") == {"f:color": {}}

    def test_equal_values_are_shared(self) -> None:
        first = apply(None, gadget(color="red"), [], "x")
        second = apply(first.obj, gadget(color="red"), first.entries, "y")
        assert second.obj == first.obj
        assert fields_of(second.entries, "x") == fields_of(second.entries, "y") == {"f:color": {}}
        # One of the two letting go leaves the value; the other one removes it.
        third = apply(second.obj, gadget(replicas=1), second.entries, "x")
        assert third.obj["spec"] == {"color": "red", "replicas": 1}
        fourth = apply(third.obj, gadget(replicas=1), third.entries, "y")
        assert fourth.obj["spec"] == {"replicas": 1}

    def test_dropped_items_go_and_owned_ones_stay(self) -> None:
        first = apply(None, gadget(color="red", tags=["a", "b"]), [], "m1")
        second = apply(first.obj, gadget(tags=["b", "c"]), first.entries, "m2")
        assert second.obj["spec"]["tags"] == ["a", "b", "c"]
        third = apply(second.obj, gadget(color="red"), second.entries, "m1")
        assert third.obj["spec"] == {"color": "red", "tags": ["b", "c"]}
        assert fields_of(third.entries, "m1") == {"f:color": {}}

    def test_a_dropped_list_item_takes_its_defaults_along(self) -> None:
        first = apply(None, gadget(items=[{"name": "a", "val": 1}, {"name": "b"}]), [])
        live = copy_object(first.obj)
        live["spec"]["items"][1]["val"] = 7  # a default: nobody's
        second = apply(live, gadget(items=[{"name": "a", "val": 1}]), first.entries)
        assert second.obj["spec"]["items"] == [{"name": "a", "val": 1}]

    def test_a_default_beside_a_dropped_field_stays(self) -> None:
        first = apply(None, gadget(items=[{"name": "a", "val": 1}], color="red"), [])
        live = copy_object(first.obj)
        live["spec"]["replicas"] = 1
        second = apply(live, gadget(color="red"), first.entries)
        assert second.obj["spec"] == {"color": "red", "replicas": 1}

    def test_atomic_lists_conflict_as_a_whole(self) -> None:
        first = apply(None, gadget(atom=["a"]), [], "m1")
        with pytest.raises(ApplyConflict) as caught:
            apply(first.obj, gadget(atom=["b"]), first.entries, "m2")
        assert conflict_error(caught.value.conflicts).message == (
            'Apply failed with 1 conflict: conflict with "m1": .spec.atom'
        )

    def test_objects_without_entries_belong_to_before_first_apply(self) -> None:
        with pytest.raises(ApplyConflict) as caught:
            apply(gadget(color="red"), gadget(color="blue"), [])
        assert str(caught.value.conflicts[0].manager) == '"before-first-apply" using g.example.com/v1'
        applied = apply(gadget(color="red"), gadget(replicas=2), [])
        assert fields_of(applied.entries, "before-first-apply") == {".": {}, "f:color": {}}

    def test_a_new_version_replaces_the_entry(self) -> None:
        first = apply(None, gadget(color="red"), [])
        (entry,) = plan_apply(
            GADGET, first.obj, gadget(color="red"), entries=first.entries, manager=ManagerId("a", "Apply", ""),
            api_version="g.example.com/v2", time=T2, scope=MAIN, force=False,
        ).entries  # fmt: skip
        assert (entry["apiVersion"], entry["time"]) == ("g.example.com/v2", T2)

    def test_kubectl_takes_over_from_client_side_apply(self) -> None:
        live = gadget(color="red", replicas=1)
        live["metadata"]["annotations"] = {LAST_APPLIED: '{"spec":{"color":"red"}}'}
        entries = update({}, live, [], "kubectl-client-side-apply")
        with pytest.raises(ApplyConflict):
            apply(live, gadget(color="blue"), entries, "other")
        applied = apply(live, gadget(color="blue"), entries, "kubectl")
        assert applied.obj["spec"]["color"] == "blue"
        with pytest.raises(ApplyConflict) as caught:
            apply(live, gadget(color="blue", replicas=2), entries, "kubectl")
        assert [conflict.path[-1] for conflict in caught.value.conflicts] == ["f:replicas"]


SPECS = st.fixed_dictionaries(
    {},
    optional={
        "color": st.sampled_from(["red", "blue"]),
        "replicas": st.integers(0, 2),
        "tags": st.lists(st.sampled_from("abc"), unique=True, min_size=1),
        "atom": st.lists(st.sampled_from("ab"), min_size=1),
        "names": st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), min_size=1),
        "free": st.dictionaries(st.sampled_from("xy"), st.integers(0, 1), min_size=1),
        "items": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("pqr")}, optional={"val": st.integers(0, 1)}),
            unique_by=lambda item: item["name"],
            min_size=1,
        ),
    },
)


def pruned(value: Any) -> Any:
    """Without nulls and what is empty, as the API stores built-in kinds."""
    if isinstance(value, dict):
        out = {key: pruned(child) for key, child in value.items()}
        return {key: child for key, child in out.items() if child not in (None, {}, [])}
    return value


def has(obj: Any, path: tuple[str, ...]) -> bool:
    """Whether an object has the field of a path."""
    import json

    for element in path:
        kind, rest = element[:2], element[2:]
        if kind == "f:":
            if not isinstance(obj, dict) or rest not in obj:
                return False
            obj = obj[rest]
        elif kind == "v:":
            return json.loads(rest) in (obj or [])
        else:
            keys = json.loads(rest)
            items = [item for item in obj or [] if all(item.get(key) == keys[key] for key in keys)]
            if not items:
                return False
            obj = items[0]
    return True


@settings(max_examples=150, deadline=None)
@given(SPECS, SPECS, SPECS.filter(bool))
def test_apply_is_idempotent(live: Any, first: Any, config: Any) -> None:
    base = apply(gadget(**live), gadget(**first), update({}, gadget(**live), []), force=True)
    once = apply(base.obj, gadget(**config), base.entries, force=True)
    again = apply(once.obj, gadget(**config), once.entries, time=T2)
    assert again == once


@settings(max_examples=150, deadline=None)
@given(SPECS, SPECS)
def test_applying_and_letting_go_of_everything_new_restores(live: Any, config: Any) -> None:
    new = {key: value for key, value in config.items() if key not in live}
    entries = update({}, gadget(**live), [])
    applied = apply(gadget(**live), gadget(**new), entries)
    back = apply(applied.obj, {"apiVersion": VERSION, "kind": "Gadget", "metadata": {"name": "g"}}, applied.entries)
    assert pruned(back.obj) == pruned(gadget(**live))
    assert back.entries == entries


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["u", "v", "a", "b"]), SPECS), min_size=1, max_size=6))
def test_owned_fields_exist_and_written_values_are_owned(writes: list[tuple[str, Any]]) -> None:
    live: Any = {}
    entries: list[Entry] = []
    for manager, spec in writes:
        if manager in "uv":
            new = gadget(**spec)
            entries = update(live, new, entries, manager)
            live = new
        else:
            applied = apply(live or None, gadget(**spec), entries, manager, force=True)
            live, entries = applied.obj, applied.entries
            # What a configuration names is in the object, and its manager owns it.
            assert (
                pruned(live)["spec"].items()
                >= {key: value for key, value in spec.items() if key in ("color", "replicas", "atom")}.items()
                if spec
                else True
            )
        for entry in entries:
            assert entry["fieldsV1"], "nobody owns nothing"
            for path in paths(entry["fieldsV1"]):
                assert has(live, path), f"{entry['manager']} owns {path}, which is not there"
        assert entries == in_order(entries)


class TestEntries:
    def entries(self, count: int) -> list[Entry]:
        return [
            new_entry(updater(f"m{number:02d}"), VERSION, f"2026-01-01T00:00:{number:02d}Z", {f"f:x{number}": {}})
            for number in range(count)
        ]

    def test_ten_updates_stay(self) -> None:
        entries = self.entries(UPDATE_ENTRIES_MAX)
        assert capped(entries) is entries

    def test_the_oldest_of_more_are_merged(self) -> None:
        entries = in_order(capped(self.entries(12)))
        assert len(entries) == UPDATE_ENTRIES_MAX
        ancient = next(entry for entry in entries if entry["manager"] == "ancient-changes")
        assert ancient["fieldsV1"] == {"f:x0": {}, "f:x1": {}, "f:x2": {}}
        assert ancient["time"] == "2026-01-01T00:00:02Z"

    def test_merging_goes_on_with_the_same_bucket(self) -> None:
        entries = capped(self.entries(11))
        entries.append(new_entry(updater("late"), VERSION, "2026-01-01T00:01:00Z", {"f:late": {}}))
        entries = capped(entries)
        assert len(entries) == UPDATE_ENTRIES_MAX
        (ancient,) = [entry for entry in entries if entry["manager"] == "ancient-changes"]
        assert set(ancient["fieldsV1"]) == {"f:x0", "f:x1", "f:x2"}

    def test_appliers_are_never_merged(self) -> None:
        appliers = [new_entry(ManagerId(f"a{number}", "Apply", ""), VERSION, T1, {"f:a": {}}) for number in range(12)]
        assert capped(appliers) is appliers

    def test_order(self) -> None:
        entries = [
            new_entry(updater("b"), VERSION, T1, {"f:a": {}}),
            new_entry(updater("a"), VERSION, T2, {"f:a": {}}),
            new_entry(ManagerId("z", "Apply", ""), VERSION, T3, {"f:a": {}}),
            new_entry(updater("s", "scale"), VERSION, None, {"f:a": {}}),
        ]
        assert [entry["manager"] for entry in in_order(entries)] == ["z", "s", "b", "a"]

    @pytest.mark.parametrize(
        ("entries", "expected"), [([{}], True), ([], False), ([{"manager": "m"}], False), ([{}, {}], False)]
    )
    def test_reset(self, entries: Any, expected: bool) -> None:
        assert is_reset(entries) is expected

    @pytest.mark.parametrize(
        "entry",
        [
            {"operation": "Delete", "fieldsType": "FieldsV1"},
            {"operation": "Update", "fieldsType": "other"},
            {"operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"x": {}}},
        ],
    )
    def test_malformed_entries_say_nothing(self, entry: Any) -> None:
        assert read([entry]) is None

    def test_manager_names_in_messages(self) -> None:
        assert str(ManagerId("m", "Apply", "")) == '"m"'
        assert str(ManagerId("m", "Apply", "", "status")) == '"m" with subresource "status"'
        assert str(ManagerId("m", "Update", "v1", "status")) == '"m" with subresource "status" using v1'


class TestScale:
    PATH = ("f:spec", "f:replicas")
    SCALE = "autoscaling/v1"

    def parent(self) -> list[Entry]:
        return [new_entry(updater("u"), VERSION, T1, {"f:spec": {"f:color": {}, "f:replicas": {}}})]

    def test_owners_of_replicas_show_on_the_scale(self) -> None:
        other = new_entry(updater("v"), VERSION, T1, {"f:spec": {"f:color": {}}})
        (entry,) = to_scale([*self.parent(), other], self.PATH, self.SCALE)
        assert (entry["manager"], entry["apiVersion"]) == ("u", self.SCALE)
        assert entry["fieldsV1"] == {"f:spec": {"f:replicas": {}}}

    def test_unchanged_owners_stay(self) -> None:
        parent = self.parent()
        scale = to_scale(parent, self.PATH, self.SCALE)
        assert from_scale(parent, scale, self.PATH, self.SCALE, VERSION) == parent

    def test_a_new_owner_takes_the_replicas(self) -> None:
        scaler = new_entry(ManagerId("s", "Apply", "", "scale"), self.SCALE, T2, {"f:spec": {"f:replicas": {}}})
        entries = from_scale(self.parent(), [scaler], self.PATH, self.SCALE, VERSION)
        assert fields_of(entries, "u") == {"f:color": {}}
        assert fields_of(entries, "s") == {"f:replicas": {}}
        assert [entry["apiVersion"] for entry in entries] == [VERSION, VERSION]
