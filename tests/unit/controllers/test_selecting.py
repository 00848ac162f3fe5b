"""Finding who selects an object, by index; it must agree with asking everybody."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.api.resources import REPLICA_SETS
from orchestrator.api.selectors import LabelSelector, from_label_selector
from orchestrator.client.informer import Informer
from orchestrator.controllers.selecting import add_selector_index, selecting

keys, values = st.sampled_from("abc"), st.sampled_from("xyz")
labels = st.dictionaries(keys, values, max_size=3)
expressions = st.one_of(
    st.builds(lambda key, some: {"key": key, "operator": "In", "values": some}, keys,
              st.lists(values, min_size=1, max_size=2, unique=True)),
    st.builds(lambda key, value: {"key": key, "operator": "NotIn", "values": [value]}, keys, values),
    st.builds(lambda key: {"key": key, "operator": "Exists"}, keys),
)  # fmt: skip
selectors = st.one_of(
    st.none(), st.fixed_dictionaries({"matchLabels": labels, "matchExpressions": st.lists(expressions, max_size=2)})
)


def selector_of(obj: Object) -> LabelSelector:
    return from_label_selector(obj["spec"]["selector"])


def named(number: int, namespace: str, **fields: Any) -> Object:
    metadata = {"name": str(number), "namespace": namespace, "resourceVersion": "1", **fields.pop("metadata", {})}
    return {"kind": "ReplicaSet", "apiVersion": "apps/v1", "metadata": metadata, **fields}


class Filled(Informer):
    """An informer whose cache the test fills."""

    def __init__(self, objects: list[Object]) -> None:
        super().__init__(None, REPLICA_SETS, clock=SystemClock())  # type: ignore[arg-type]
        add_selector_index(self, selector_of)
        self._replace(objects)


@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), selectors), max_size=8), labels)
def test_the_index_finds_what_a_search_finds(owners: list[tuple[str, Any]], own: dict[str, str]) -> None:
    objects = [named(n, namespace, spec={"selector": selector}) for n, (namespace, selector) in enumerate(owners)]
    pod = named(99, "one", metadata={"labels": own})
    found = [name_of(one) for one in selecting(Filled(objects), pod, selector_of)]
    searched = [name_of(o) for o in objects if namespace_of(o) == "one" and selector_of(o).matches(own)]
    assert sorted(found) == sorted(searched)
