"""Changes of one nftables table, collected and written as one transaction. Pure text; knows no Services."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct, field

ELEMENTS_PER_LINE = 2_000
"""Longer lines are no quicker."""

Element = tuple[str, str]
"""Map or set, and key."""


class TableChanges(Struct):
    """The difference between two states of a table, in elements, chains and sets."""

    deleted: dict[Element, str] = field(default_factory=dict)
    added: dict[Element, str] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    """New content; None: gone."""
    new_chains: set[str] = field(default_factory=set)
    sets: dict[str, str | None] = field(default_factory=dict)
    """Declaration in braces; None: gone."""

    def __bool__(self) -> bool:
        return bool(self.deleted or self.added or self.chains or self.sets)

    def add(self, element: Element, value: str) -> None:
        """An element that was not there, with the value that it maps to (empty in a set)."""
        if self.deleted.get(element) == value:
            del self.deleted[element]
        else:
            self.added[element] = value

    def delete(self, element: Element, value: str) -> None:
        """An element that was there."""
        if self.added.pop(element, None) is None:
            self.deleted[element] = value

    def set_chain(self, name: str, rules: tuple[str, ...], *, is_new: bool) -> None:
        """A chain has these rules; `is_new`: it had none before."""
        # One that was to be deleted in this very transaction is in the kernel, and stays.
        if is_new and self.chains.get(name, ()) is not None:
            self.new_chains.add(name)
        self.chains[name] = rules

    def delete_chain(self, name: str) -> None:
        """A chain is gone."""
        if name in self.new_chains:
            self.new_chains.discard(name)
            del self.chains[name]
        else:
            self.chains[name] = None

    def add_set(self, name: str, declaration: str) -> None:
        """A set that was not there."""
        if name in self.sets:
            del self.sets[name]  # it was to be deleted in this very transaction, and stays
        else:
            self.sets[name] = declaration

    def delete_set(self, name: str) -> None:
        """A set is gone."""
        if self.sets.get(name) is not None:
            del self.sets[name]
        else:
            self.sets[name] = None

    def text(self, table: str) -> str:
        """The commands of one transaction on a table of family ip; empty when nothing changed."""
        table = f"ip {table}"
        lines = [f"add set {table} {name} {declared}" for name, declared in self.sets.items() if declared is not None]
        lines += [f"add chain {table} {name}" for name, rules in self.chains.items() if rules is not None]
        lines += [f"flush chain {table} {name}" for name in self.chains if name not in self.new_chains]
        for name, rules in self.chains.items():
            lines += [f"add rule {table} {name} {rule}" for rule in rules or ()]
        lines += _element_lines("delete", table, ((element, "") for element in self.deleted))
        lines += _element_lines("add", table, self.added.items())
        lines += [f"delete chain {table} {name}" for name, rules in self.chains.items() if rules is None]
        lines += [f"delete set {table} {name}" for name, declared in self.sets.items() if declared is None]
        return "".join(f"{line}\n" for line in lines)


def _element_lines(verb: str, table: str, elements: Iterable[tuple[Element, str]]) -> Iterator[str]:
    by_map: dict[str, list[str]] = {}
    for (name, key), value in elements:
        by_map.setdefault(name, []).append(f"{key} : {value}" if value else key)
    for name, items in by_map.items():
        for start in range(0, len(items), ELEMENTS_PER_LINE):
            yield f"{verb} element {table} {name} {{ {', '.join(items[start : start + ELEMENTS_PER_LINE])} }}"
