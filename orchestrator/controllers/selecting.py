"""Which objects select a given one by its labels, without asking every object of the namespace.

Owns an index of informers on one label of each selector: an object finds those that may select it through
its own labels, so the cost of an event is the number of its labels and of the selectors that share one.
Selectors without an exact value (`{}`, `Exists`, `NotIn`) stand apart and are all asked.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.api.objects import Object, labels_of, namespace_of
from orchestrator.api.selectors import LabelSelector
from orchestrator.client.informer import Informer

SELECTOR_INDEX = "selects"

SelectorOf = Callable[[Object], LabelSelector]


def add_selector_index(informer: Informer, selector_of: SelectorOf) -> None:
    """Let `selecting` find the objects of this informer."""

    def index(obj: Object) -> list[str]:
        selector = selector_of(obj)
        if selector.is_nothing:
            return []
        exact = selector.exact_matches()
        if not exact:
            return [f"{namespace_of(obj)}/"]
        key = min(exact)
        return [f"{namespace_of(obj)}/{key}={exact[key]}"]

    informer.add_index(SELECTOR_INDEX, index)


def selecting(informer: Informer, obj: Object, selector_of: SelectorOf) -> list[Object]:
    """The objects of the informer, in the namespace of `obj`, whose selector matches its labels."""
    index = informer.index(SELECTOR_INDEX)
    if not index:
        return []
    labels, namespace = labels_of(obj), namespace_of(obj)
    values = [f"{namespace}/", *[f"{namespace}/{key}={value}" for key, value in labels.items()]]
    found = [one for value in values if value in index for one in index[value].values()]
    return [one for one in found if selector_of(one).matches(labels)]
