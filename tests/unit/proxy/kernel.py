"""A stand-in for nftables: keeps what transactions say, and refuses what the kernel would refuse."""

from __future__ import annotations

import re
from typing import Any


class Kernel:
    """As much of nftables as the proxy's transactions use; refuses what the kernel would refuse."""

    def __init__(self) -> None:
        self.elements: dict[tuple[str, str], str] = {}
        self.chains: dict[str, list[str]] = {}
        self.sets: set[str] = set()

    def run(self, text: str) -> None:
        for line in text.splitlines():
            verb, what, _family, _table, name, *rest = line.split(" ", 5)
            argument = rest[0] if rest else ""
            getattr(self, f"_{verb}_{what}")(name, argument)

    def _add_set(self, name: str, _argument: str) -> None:
        assert name not in self.sets
        self.sets.add(name)

    def _delete_set(self, name: str, _argument: str) -> None:
        assert not any(f"@{name}" in rule for rules in self.chains.values() for rule in rules), f"{name} is in use"
        self.sets.remove(name)

    def _add_chain(self, name: str, _argument: str) -> None:
        self.chains.setdefault(name, [])

    def _flush_chain(self, name: str, _argument: str) -> None:
        self.chains[name].clear()

    def _delete_chain(self, name: str, _argument: str) -> None:
        users = [rule for rules in self.chains.values() for rule in rules] + [*self.elements.values()]
        assert not any(re.search(rf"\b{name}\b", user) for user in users), f"{name} is in use"
        del self.chains[name]

    def _add_rule(self, name: str, rule: str) -> None:
        for used in re.findall(r"(?:goto|jump) (\w+)", rule):
            assert used in self.chains, f"{used} does not exist"
        for used in re.findall(r"@(\w+_[0-9a-f]{16})", rule):
            assert used in self.sets, f"{used} does not exist"
        self.chains[name].append(rule)

    def _add_element(self, name: str, braces: str) -> None:
        for item in braces.strip("{ }").split(", "):
            key, _, value = item.partition(" : ")
            assert (name, key) not in self.elements, f"{name} has {key} already"
            self.elements[name, key] = value

    def _delete_element(self, name: str, braces: str) -> None:
        for key in braces.strip("{ }").split(", "):
            del self.elements[name, key]

    def state(self) -> Any:
        return self.elements, self.chains, self.sets
