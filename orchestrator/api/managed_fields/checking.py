"""Whether a configuration fits the schema of its kind, in the words of kube-apiserver.

Mirrors structured-merge-diff's `typed/validate.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.api.managed_fields.field_set import path_text
from orchestrator.api.managed_fields.structure import NotTyped, Structure, element_of


def check_typed(structure: Structure, config: dict[str, Any]) -> None:
    """Raise NotTyped, with every reason, unless a configuration fits its schema and names no item twice."""
    problems = list(_problems(structure, config, ()))
    if len(problems) == 1:
        raise NotTyped(problems[0])
    if problems:
        raise NotTyped("\n".join(["errors:", *(f"  {problem}" for problem in problems)]))


_GO_TYPES = {bool: "bool", str: "string", int: "int64", float: "float64", dict: "map[string]interface {}"}


def _problem(path: tuple[str, ...], text: str) -> str:
    return f"{path_text(path)}: {text}" if path else text


def _problems(structure: Structure, value: Any, path: tuple[str, ...]) -> Iterator[str]:
    if value is None:
        return
    form = structure.form
    if form == "scalar":
        wanted = _scalar_problem(structure.scalar, value)
        if wanted:
            got = _GO_TYPES.get(type(value), "[]interface {}")
            yield _problem(path, f"expected {wanted}, got {got}")
    elif form == "struct" or form == "map" or (form == "deduced" and isinstance(value, dict)):
        if not isinstance(value, dict):
            yield _problem(path, f"expected map, got &{{{value}}}")
            return
        for name in sorted(value):
            found = structure.field(name) if structure.declared else None
            if found is None and structure.declared and not structure.allows_undeclared:
                yield _problem((*path, f"f:{name}"), "field not declared in schema")
            else:
                child = found[1] if found is not None else structure.values
                yield from _problems(child, value[name], (*path, f"f:{name}"))
    elif form == "keyed" or form == "set":
        if not isinstance(value, list):
            yield _problem(path, f"expected list, got &{{{value}}}")
            return
        seen: set[str] = set()
        for position, item in enumerate(value):
            try:
                element = element_of(structure, item)
            except NotTyped as error:
                yield _problem(path, f"element {position}: {error}")
                continue
            if element in seen:
                yield _problem(path, f"duplicate entries for key {path_text((element,))}")
            seen.add(element)
            yield from _problems(structure.items, item, (*path, element))
    elif form == "atomic":
        yield from _atomic_problems(structure, value, path)


def _atomic_problems(structure: Structure, value: Any, path: tuple[str, ...]) -> Iterator[str]:
    """Atomic lists and maps are one field, but what is in them is typed all the same."""
    if structure.scalar == "list":
        if not isinstance(value, list):
            yield _problem(path, f"expected list, got &{{{value}}}")
            return
        for position, item in enumerate(value):
            yield from _problems(structure.items, item, (*path, f"i:{position}"))
    elif structure.scalar in ("object", "map"):
        if not isinstance(value, dict):
            yield _problem(path, f"expected map, got &{{{value}}}")
            return
        for name in sorted(value):
            child = structure.declared_child(name)
            if child is None:
                yield _problem((*path, f"f:{name}"), "field not declared in schema")
            else:
                yield from _problems(child, value[name], (*path, f"f:{name}"))


def _scalar_problem(kind: str, value: Any) -> str:
    if kind == "string":
        return "" if isinstance(value, str) else "string"
    if kind == "boolean":
        return "" if isinstance(value, bool) else "boolean"
    if kind in ("integer", "number"):
        numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
        return "" if numeric else "numeric (int or float)"
    return "any scalar" if isinstance(value, (dict, list)) else ""
