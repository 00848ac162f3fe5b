"""Compares an answer of ours with a recorded one, placeholders included; pure.

A placeholder such as `<uid-1>` stands for a value that the server chose: the first time it is bound
to what we answered, later it must be that same value. What is expected to differ between the
recorded server's version and ours is listed in `EXPECTED`, each with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

PLACEHOLDER = re.compile(r"<[A-Za-z][A-Za-z-]*(?:-\d+)?>")
SameMessage = Callable[[str, str], bool]
"""Whether ours says what was recorded: `(ours, recorded)`."""

LOOSE = re.compile(r"<(?:list-rv|continue|rv|time|age|ptr|suffix)(?:-\d+)?>|<[a-zA-Z]+>")
"""Placeholders whose equality is not meaningful, or that stand for a part of a text."""


@dataclass
class Bindings:
    """What the placeholders of one scenario stand for."""

    values: dict[str, Any] = field(default_factory=dict)

    def fill(self, value: Any) -> Any:
        """A request with the values that our server returned put in."""
        if isinstance(value, dict):
            return {self.fill(key): self.fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, str):
            if value in self.values:
                return self.values[value]
            return PLACEHOLDER.sub(lambda match: str(self.values.get(match[0], match[0])), value)
        return value

    def matches(self, recorded: str, ours: Any) -> bool:
        """Whether our value fits a recorded text with placeholders; binds those that are new."""
        whole = PLACEHOLDER.fullmatch(recorded)
        if whole:
            if recorded not in self.values:
                self.values[recorded] = ours
                return ours is not None
            return self.values[recorded] == ours or (
                bool(LOOSE.fullmatch(recorded)) and not recorded.startswith(("<uid", "<rv-"))
            )
        names: list[str] = []
        pattern = ""
        position = 0
        for match in PLACEHOLDER.finditer(recorded):
            pattern += re.escape(recorded[position : match.start()])
            known = self.values.get(match[0])
            if known is not None and not LOOSE.fullmatch(match[0]):
                pattern += re.escape(str(known))
            else:
                names.append(match[0])
                pattern += "(.*?)"
            position = match.end()
        pattern += re.escape(recorded[position:])
        found = re.fullmatch(pattern, str(ours), re.DOTALL)
        if not found:
            return False
        for name, text in zip(names, found.groups(), strict=True):
            self.values.setdefault(name, text)
        return True


@dataclass(frozen=True)
class Difference:
    """One place where we differ."""

    path: str
    recorded: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.path or '.'}: recorded {_short(self.recorded)}, ours {_short(self.ours)}"


MISSING = type("Missing", (), {"__repr__": lambda self: "(nothing)"})()


def differences(
    recorded: Any, ours: Any, bindings: Bindings, same_message: SameMessage = str.__eq__, path: str = ""
) -> Iterator[Difference]:
    """Every difference between two JSON values; `same_message` judges what is written for people."""
    if path.endswith(".message") and isinstance(recorded, str) and isinstance(ours, str):
        if not (bindings.matches(recorded, ours) or same_message(ours, str(bindings.fill(recorded)))):
            yield Difference(path, recorded, ours)
        return
    if isinstance(recorded, str) and "<" in recorded and PLACEHOLDER.search(recorded):
        if not bindings.matches(recorded, ours):
            yield Difference(path, recorded, ours)
        return
    if isinstance(recorded, dict) and isinstance(ours, dict):
        for key, value in recorded.items():
            if key in ours:
                yield from differences(value, ours[key], bindings, same_message, f"{path}.{key}")
            else:
                yield Difference(f"{path}.{key}", value, MISSING)
        for key in ours:
            if key not in recorded:
                yield Difference(f"{path}.{key}", MISSING, ours[key])
        return
    if isinstance(recorded, list) and isinstance(ours, list):
        for index, (left, right) in enumerate(zip(recorded, ours, strict=False)):
            yield from differences(left, right, bindings, same_message, f"{path}[{index}]")
        for index in range(len(ours), len(recorded)):
            yield Difference(f"{path}[{index}]", recorded[index], MISSING)
        for index in range(len(recorded), len(ours)):
            yield Difference(f"{path}[{index}]", MISSING, ours[index])
        return
    if type(recorded) is not type(ours) or recorded != ours:
        yield Difference(path, recorded, ours)


def _short(value: Any, limit: int = 300) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
