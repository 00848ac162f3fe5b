"""YAML request bodies as Go's decoder (sigs.k8s.io/yaml) reads them: what plain scalars mean, what aliases may do.

A body is limited in bytes before it comes here; aliases can make much more of it, so that what they stand for is
counted before anything is built.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import orjson

from orchestrator.api import errors
from orchestrator.api.decode import find_duplicate_fields
from orchestrator.api.fields import quote

FEW_NODES, MANY_NODES = 400_000, 4_000_000
MOSTLY_ALIASES, FEW_ALIASES = 0.99, 0.10
"""How much of a document may come from aliases: nearly all of a small one, a tenth of a large one.

Source: the limits of go-yaml, which refuses what exceeds them.
"""


@cache
def _yaml_loader() -> Any:
    """YAML 1.1 without tags that make objects, and with Go's idea of plain scalars.

    `y` and `n` are booleans; `22:22` is no sexagesimal number and a date no object, but texts.
    """
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """What one document is read with."""

        bool_values = yaml.SafeLoader.bool_values | {"y": True, "n": False}

        def __init__(self, stream: Any) -> None:
            super().__init__(stream)
            self.repeated: list[tuple[int, str]] = []
            """(line of the value, key) of each key that its mapping has already"""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, value in node.value:  # what `<<` merges may be overridden: it is not here yet
                if key.value in seen and isinstance(key, yaml.ScalarNode):
                    self.repeated.append((value.start_mark.line + 1, key.value))
                seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
            return super().construct_mapping(node, deep=deep)

    plain = {
        initial: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":int", ":float"))]
        for initial, resolvers in Loader.yaml_implicit_resolvers.items()
    }
    Loader.yaml_implicit_resolvers = plain
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"[yYnN]$"), list("yYnN"))
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:int",
        re.compile(r"[-+]?(?:0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"),
        list("-+0123456789"),
    )
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+0123456789."),
    )
    return Loader


def decode_yaml(body: bytes, problems: list[str] | None = None) -> Any:
    """The value of the first YAML document, as Go's YAML decoder reads it.

    Of a key that is given twice the last value counts; `problems` gets what a strict decoder says about it.
    """
    import yaml

    if body.lstrip()[:1] == b"{":
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            pass  # YAML with braces
        else:
            if problems is None or not find_duplicate_fields(body, value).again:
                return value
            # The lines of keys are wanted; tabs stand between tokens only, where YAML knows none.
            body = body.replace(b"\t", b" ")
    try:
        loader = _yaml_loader()(body)
        try:
            node = loader.get_single_node()
            if _is_excessive(node):
                raise errors.BadRequest("error converting YAML to JSON: yaml: document contains excessive aliasing")
            value = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise errors.BadRequest(f"error converting YAML to JSON: {_one_line(error)}") from error
    except ValueError as error:
        raise errors.BadRequest(f"error converting YAML to JSON: {error}") from error
    if loader.repeated and problems is not None:
        lines = [f"  line {line}: key {quote(key)} already set in map" for line, key in sorted(loader.repeated)]
        problems.append("\n".join(("yaml: unmarshal errors:", *lines)))
    try:
        # Through JSON, so that dates become texts and keys strings, as Go's YAML-to-JSON step makes them.
        return orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z))
    except (TypeError, orjson.JSONEncodeError) as error:
        raise errors.BadRequest(f"error converting YAML to JSON: {error}") from error


def _is_excessive(root: Any) -> bool:
    """Whether aliases stand for more than they may in a document of composed nodes."""
    import yaml

    sizes: dict[int, int] = {}
    """Node by identity → nodes that it stands for, itself included, each alias counted in full."""
    stack = [(root, False)] if root is not None else []
    while stack:
        node, is_counted = stack.pop()
        children = _children(node, yaml)
        if is_counted:
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
        elif id(node) not in sizes:
            sizes[id(node)] = 1  # also what a node that contains itself is to its own parts
            stack.append((node, True))
            stack += [(child, False) for child in children if id(child) not in sizes]
    total = sizes.get(id(root), 0)
    aliased = total - len(sizes)
    return aliased > 100 and total > 1000 and aliased > total * _share_of_aliases_max(total)


def _children(node: Any, yaml: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _share_of_aliases_max(nodes: int) -> float:
    if nodes <= FEW_NODES:
        return MOSTLY_ALIASES
    if nodes >= MANY_NODES:
        return FEW_ALIASES
    part = (nodes - FEW_NODES) / (MANY_NODES - FEW_NODES)
    return MOSTLY_ALIASES - part * (MOSTLY_ALIASES - FEW_ALIASES)


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"yaml: line {mark.line + 1}: {problem}" if mark else f"yaml: {problem}"
