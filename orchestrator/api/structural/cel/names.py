"""How property names look in CEL, where they must be identifiers.

Mirrors k8s.io/apiserver/pkg/cel/escaping.go (KEP-2876, "Field paths").
"""

from __future__ import annotations

import re

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset(
    (
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if",
        "import", "let", "loop", "package", "namespace", "return", "var", "void", "while",
    )
)  # fmt: skip
_REPLACED = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_PARTS = re.compile(r"__|\.|-|/")


def escape(name: str) -> str | None:
    """The identifier of a property, or None when it cannot be reached from CEL."""
    if name in _RESERVED:
        return f"__{name}__"
    if _IDENTIFIER.fullmatch(name) and "__" not in name:
        return name
    escaped = _PARTS.sub(lambda match: _REPLACED[match[0]], name)
    return escaped if _IDENTIFIER.fullmatch(escaped) else None
