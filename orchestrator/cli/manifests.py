"""Manifests of a command line: files, folders, URLs and stdin as a list of objects with their source.

Reads YAML as kubectl does (several documents, lists of kind List, no dates or base-60 numbers) and
JSON, which is YAML. Errors name the source and the line.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from msgspec import Struct

from orchestrator.cli.connection import Object
from orchestrator.cli.errors import CliError
from orchestrator.cli.flags import Parser

SUFFIXES: Final = (".json", ".yaml", ".yml")
MANIFEST_BYTES_MAX: Final = 64 << 20


class Manifest(Struct, frozen=True):
    """One object of a manifest and where it was written."""

    object: Object
    source: str


def add_filename_flags(flags: Parser, *, what: str) -> None:
    """`-f` and `-R`."""
    flags.add_argument(
        "-f", "--filename", metavar="FILE|DIR|URL|-", action="append", default=[], help=f"manifests with {what}"
    )
    flags.add_flag("-R", "--recursive", help="read the folders below DIR too")


async def read_manifests(names: Sequence[str], *, recursive: bool = False) -> tuple[list[Manifest], list[CliError]]:
    """All objects in the order in which they are written, and what could not be read or is too large."""
    manifests: list[Manifest] = []
    errors: list[CliError] = []
    for name in [part for listed in names for part in listed.split(",")]:
        try:
            for source, content in await _contents(name, recursive=recursive):
                try:
                    manifests += parse_manifest(content, source)
                except CliError as error:
                    errors.append(error)
        except CliError as error:
            errors.append(error)
    return manifests, errors


async def _contents(name: str, *, recursive: bool) -> list[tuple[str, bytes]]:
    if name == "-":
        return [("STDIN", _read_all("STDIN", sys.stdin.buffer))]
    if re.match("https?://", name):
        return [(name, await _fetch(name))]
    return _local_contents(name, recursive=recursive)


def _local_contents(name: str, *, recursive: bool) -> list[tuple[str, bytes]]:
    path = Path(name)
    if path.is_dir():
        folder = sorted(path.rglob("*") if recursive else path.iterdir())
        files = [file for file in folder if file.suffix in SUFFIXES and file.is_file()]
        if not files:
            raise CliError(f"error: error reading [{name}]: recognized file extensions are [{' '.join(SUFFIXES)}]")
    else:
        files = [path]
    try:
        return [(str(file), _read(file)) for file in files]
    except FileNotFoundError as error:
        raise CliError(f'error: the path "{name}" does not exist') from error
    except OSError as error:
        raise CliError(f'error: the path "{name}" cannot be accessed: {error.strerror}') from error


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        return _read_all(str(file), stream)


def _read_all(source: str, stream: BinaryIO) -> bytes:
    content = stream.read(MANIFEST_BYTES_MAX + 1)
    _check_size(source, content)
    return content


def _check_size(source: str, content: bytes | bytearray) -> None:
    if len(content) > MANIFEST_BYTES_MAX:
        raise CliError(f"error: {source} is larger than {MANIFEST_BYTES_MAX} bytes")


async def _fetch(url: str) -> bytes:
    import httpx2

    content = bytearray()
    try:
        async with (
            httpx2.AsyncClient(follow_redirects=True, timeout=30.0) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != 200:
                raise CliError(
                    f'error: unable to read URL "{url}", server reported {response.status_code} '
                    f"{response.reason_phrase}, status code={response.status_code}"
                )
            async for chunk in response.aiter_bytes():
                content += chunk
                _check_size(url, content)
    except httpx2.HTTPError as error:
        raise CliError(f"error: unable to read URL {json.dumps(url)}: {error}") from error
    return bytes(content)


def parse_manifest(content: bytes, source: str) -> list[Manifest]:
    """The objects of one file; CliError when it is not YAML or an object lacks apiVersion or kind."""
    import yaml

    manifests: list[Manifest] = []
    try:
        for document in yaml.load_all(content, Loader=_loader()):
            if document is not None:
                manifests += [Manifest(obj, source) for obj in _objects(document, source)]
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark is not None else ""
        problem = error.problem or error.context
        raise CliError(
            f"error: error parsing {source}: error converting YAML to JSON: yaml: {line}{problem}"
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise CliError(f"error: error parsing {source}: error converting YAML to JSON: yaml: {error}") from error
    return manifests


def _objects(document: Any, source: str) -> Iterator[Object]:
    if not isinstance(document, dict):
        raise CliError(
            f'error: error validating "{source}": error validating data: invalid object to validate: '
            f"expected a map, got {type(document).__name__}"
        )
    if document.get("kind") == "List" and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _objects(item, source)
        return
    missing = [field for field in ("apiVersion", "kind") if not document.get(field)]
    if missing:
        what = ", ".join(f"{field} not set" for field in missing)
        raise CliError(
            f'error: error validating "{source}": error validating data: '
            f"{f'[{what}]' if len(missing) > 1 else what}; nothing of this document was sent"
        )
    for field in ("apiVersion", "kind"):
        if not isinstance(document[field], str):
            raise CliError(f'error: error validating "{source}": {field} must be a string')
    if not isinstance(document.get("metadata") or {}, dict):
        raise CliError(f'error: error validating "{source}": metadata must be a map')
    yield document


@functools.cache
def _loader() -> Any:
    """PyYAML with the scalars of go-yaml: a date is a text, `1:30` is no number, `0o17` is one."""
    import yaml

    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc, valid-type]
        pass

    dropped = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in dropped]
        for first, resolvers in base.yaml_implicit_resolvers.items()
    }
    integer = re.compile(r"^[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$")
    number = re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+\.?[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    )
    Loader.add_implicit_resolver("tag:yaml.org,2002:int", integer, list("-+0123456789"))
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789."))

    def construct_int(loader: Any, node: Any) -> int:
        text = loader.construct_scalar(node).replace("_", "")
        if re.match(r"[-+]?0o?[0-7]+$", text):
            return int(text.replace("o", ""), 8)
        return int(text, 0)

    def construct_map(loader: Any, node: Any) -> dict[str, Any]:
        loader.flatten_mapping(node)
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            text = key if isinstance(key, str) else json.dumps(key, default=str)
            if text in found:
                raise yaml.constructor.ConstructorError(
                    None, None, f'key "{text}" already set in map', key_node.start_mark
                )
            found[text] = loader.construct_object(value_node, deep=True)
        return found

    Loader.add_constructor("tag:yaml.org,2002:int", construct_int)
    Loader.add_constructor("tag:yaml.org,2002:map", construct_map)
    return Loader
