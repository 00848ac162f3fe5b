"""JSON patch (RFC 6902), as kube-apiserver applies it.

Owns the six operations and their limits. Mirrors the library that kube-apiserver uses, which is laxer than
the RFC: negative indexes count from the end, a test for null holds for a missing field, replacing a missing
field adds it. A failing operation refuses the whole patch with a 422 that does not say which.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

import orjson

from orchestrator.api.errors import BadRequest, RequestEntityTooLarge
from orchestrator.api.objects import Object

from .equality import json_equal
from .outcome import PatchRejected

OPERATIONS_MAX: Final = 10_000
COPIED_BYTES_MAX: Final = 3 * 1024 * 1024

_MISSING: Final = object()


def apply_json_patch(obj: Object, ops: Any) -> Object:
    """The object after all operations, in order; `ops` is the decoded body of the request.

    BadRequest when `ops` is not a list of operations, RequestEntityTooLarge beyond 10,000 of them,
    PatchRejected (422) when one of them does not apply.
    """
    if not isinstance(ops, list):
        raise BadRequest(f"json: cannot unmarshal {json_kind(ops)} into Go value of type jsonpatch.Patch")
    if len(ops) > OPERATIONS_MAX:
        raise RequestEntityTooLarge(
            "Request entity too large: The allowed maximum operations in a JSON patch is "
            f"{OPERATIONS_MAX}, got {len(ops)}"
        )
    for op in ops:
        if not isinstance(op, dict):
            raise BadRequest(f"json: cannot unmarshal {json_kind(op)} into Go value of type jsonpatch.Operation")
    # one copy of everything: operations may change in place what they inserted before
    document, operations = orjson.loads(orjson.dumps([obj, ops]))
    copied_bytes = 0
    for op in operations:
        name = op.get("op")
        path = op.get("path")
        if not isinstance(path, str):
            _reject(f"{name} operation has no path")
        if name == "add":
            _add(document, path, op.get("value"))
        elif name == "remove":
            _remove(document, path)
        elif name == "replace":
            _replace(document, path, op.get("value"))
        elif name == "test":
            _test(document, path, op.get("value"))
        elif name in ("move", "copy"):
            source = op.get("from")
            if not isinstance(source, str):
                _reject(f"{name} operation has no from")
            value = _get(document, source, name)
            if name == "move":
                _remove(document, source)
            else:
                encoded = orjson.dumps(value)
                copied_bytes += len(encoded)
                if copied_bytes > COPIED_BYTES_MAX:
                    _reject(f"copied {copied_bytes} bytes, more than the limit of {COPIED_BYTES_MAX}")
                value = orjson.loads(encoded)
            _add(document, path, value)
        else:
            _reject(f"unexpected kind of operation: {name}")
    patched: Object = document
    return patched


def json_kind(value: Any) -> str:
    """The JSON type of a value, as Go's decoder names it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else "number"


def _reject(why: str) -> NoReturn:
    raise PatchRejected(why)


def _locate(document: Any, path: str) -> tuple[Any, str]:
    """The object or list that holds what the path names, and the last key; (missing, "") if there is none."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    if not parts:
        return _MISSING, ""
    container = document
    for part in parts[:-1]:
        container = _child(container, part)
        if not isinstance(container, dict | list):
            return _MISSING, ""
    return container, parts[-1]


def _child(container: Any, key: str) -> Any:
    if isinstance(container, dict):
        return container.get(key, _MISSING)
    if isinstance(container, list):
        position = _position(key, len(container))
        return _MISSING if position is None else container[position]
    return _MISSING


def _position(key: str, length: int) -> int | None:
    """The index that a key of a list stands for, or None when it is not one of `length`."""
    digits = key.removeprefix("-").removeprefix("+") if key[:2] not in ("--", "-+", "+-", "++") else ""
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        return None
    position = int(key)
    if position < 0:
        position += length
    return position if 0 <= position < length else None


def _get(document: Any, path: str, name: str) -> Any:
    """The value to move or copy; a field that is missing in an object counts as null."""
    container, key = _locate(document, path)
    value = _child(container, key)
    if value is _MISSING:
        if not isinstance(container, dict):
            _reject(f"{name} operation does not apply: doc is missing from path: {path}")
        return None
    return value


def _add(document: Any, path: str, value: Any) -> None:
    container, key = _locate(document, path)
    if container is _MISSING:
        _reject(f"add operation does not apply: doc is missing path: {path}")
    if isinstance(container, dict):
        container[key] = value
    elif key == "-":
        container.append(value)
    else:
        position = _position(key, len(container) + 1)
        if position is None:
            _reject(f"add operation does not apply: no index {key} in {path}")
        container.insert(position, value)


def _remove(document: Any, path: str) -> None:
    container, key = _locate(document, path)
    if isinstance(container, dict) and key in container:
        del container[key]
        return
    position = _position(key, len(container)) if isinstance(container, list) else None
    if position is None:
        _reject(f"remove operation does not apply: doc is missing path: {path}")
    del container[position]


def _replace(document: Any, path: str, value: Any) -> None:
    container, key = _locate(document, path)
    if isinstance(container, dict):
        container[key] = value  # also when it was missing: kube-apiserver differs from the RFC here
        return
    position = None if container is _MISSING else _position(key, len(container))
    if position is None:
        _reject(f"replace operation does not apply: doc is missing key: {path}")
    container[position] = value


def _test(document: Any, path: str, value: Any) -> None:
    container, key = _locate(document, path)
    if container is _MISSING:
        _reject(f"test operation for path {path} failed: doc is missing path")
    found = _child(container, key)
    if found is _MISSING:
        found = None
    if not json_equal(found, value):
        _reject(f"testing value {path} failed")
