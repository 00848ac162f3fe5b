"""How objects and tables are printed: kubectl's columns, JSON, YAML, names, JSONPath, custom columns.

Pure except for the writes: a printer gets what the server sent and makes text. Colour only on a
terminal, and never where `NO_COLOR` is set.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TextIO

from msgspec import Struct

from orchestrator.api.yaml_text import to_yaml
from orchestrator.cli.connection import Object
from orchestrator.cli.errors import CliError
from orchestrator.cli.jsonpath import JSONPathError, Template, find, parse_path, text_of

MIN_WIDTH: Final = 6
PADDING: Final = 3

FORMATS: Final = "json, yaml, name, wide, jsonpath=TEMPLATE, custom-columns=HEADER:PATH,..."

_GOOD = frozenset(("Running", "Active", "Ready", "Bound", "True", "Available", "Complete", "Succeeded"))
_PASSING = frozenset(
    ("Pending", "ContainerCreating", "PodInitializing", "Terminating", "SchedulingDisabled", "NotReady", "Unknown")
)
_BAD = frozenset(
    ("Failed", "Error", "CrashLoopBackOff", "ErrImagePull", "ImagePullBackOff", "OOMKilled", "Evicted", "Warning")
)


def wants_colors(stream: TextIO) -> bool:
    """Whether a person looks at this stream and did not ask for plain text."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, code: str, *, colors: bool) -> str:
    """The text in an ANSI colour."""
    return f"\x1b[{code}m{text}\x1b[0m" if colors and text else text


def _color_of(cell: str) -> str:
    words = cell.split(",") if cell else [""]
    for code, known in (("31", _BAD), ("33", _PASSING), ("32", _GOOD)):
        if any(word in known or (code == "31" and word.startswith("Err")) for word in words):
            return code
    return ""


def aligned(
    rows: Sequence[Sequence[str]],
    *,
    min_width: int = MIN_WIDTH,
    padding: int = PADDING,
    colors: bool = False,
    widths: list[int] | None = None,
) -> str:
    """Rows as columns, each as wide as its widest cell plus the padding; the last column is not padded.

    `widths` carries the widths from one call to the next, so that a watch keeps its columns.
    """
    if not rows:
        return ""
    widths = [] if widths is None else widths
    for row in rows:
        widths += [min_width] * (len(row) - 1 - len(widths))
        for column, cell in enumerate(row[:-1]):
            widths[column] = max(widths[column], len(cell) + padding)
    lines = []
    for row in rows:
        cells = [
            _painted_cell(cell, colors=colors) + " " * (widths[column] - len(cell))
            for column, cell in enumerate(row[:-1])
        ]
        lines.append("".join([*cells, _painted_cell(row[-1], colors=colors) if row else ""]))
    return "\n".join(lines) + "\n"


def _painted_cell(cell: str, *, colors: bool) -> str:
    return painted(cell, code, colors=True) if colors and (code := _color_of(cell)) else cell


class TableOptions(Struct, frozen=True):
    """How tables are printed."""

    wide: bool = False
    with_namespace: bool = False
    with_kind: str = ""
    """Stands before every name, e.g. `pod` in `pod/web`."""
    no_headers: bool = False
    show_labels: bool = False
    label_columns: tuple[str, ...] = ()


def table_rows(table: Object, options: TableOptions, *, headers: bool = True) -> list[list[str]]:
    """A `meta.k8s.io/v1` Table as rows of cells, the header first."""
    columns = [
        (position, column)
        for position, column in enumerate(table.get("columnDefinitions") or ())
        if options.wide or not column.get("priority")
    ]
    rows: list[list[str]] = []
    if headers and not options.no_headers:
        names = [str(column["name"]).upper() for _, column in columns]
        names += [key.rpartition("/")[2].upper() for key in options.label_columns]
        rows.append(
            [*(["NAMESPACE"] if options.with_namespace else []), *names, *(["LABELS"] if options.show_labels else [])]
        )
    for row in table.get("rows") or ():
        metadata = (row.get("object") or {}).get("metadata") or {}
        labels = metadata.get("labels") or {}
        cells = [cell_text(row["cells"][position]) for position, _ in columns]
        if options.with_kind and cells:
            cells[0] = f"{options.with_kind}/{cells[0]}"
        cells += [labels.get(key) or "" for key in options.label_columns]
        if options.show_labels:
            cells.append(labels_text(labels))
        rows.append([*([metadata.get("namespace") or ""] if options.with_namespace else []), *cells])
    return rows


def cell_text(cell: Any) -> str:
    """One cell: its first line, and what a terminal would obey made harmless."""
    if cell is None:
        return ""
    if not isinstance(cell, str):
        return json.dumps(cell)
    first, *rest = cell.replace("\r", "\n").replace("\f", "\n").split("\n", 1)
    return (first + "..." if rest else first).replace("\x1b", "^[")


def labels_text(labels: dict[str, str]) -> str:
    """`a=1,b=2`, or `<none>`."""
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) or "<none>"


def without_managed_fields(obj: Object) -> Object:
    """The object as people want to read it."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def to_json(value: Any) -> str:
    """As kubectl prints JSON: sorted keys, four spaces."""
    return json.dumps(value, indent=4, sort_keys=True, ensure_ascii=False) + "\n"


Printer = Callable[[Object], str]


def object_printer(output: str, *, prefix_of: Callable[[Object], str]) -> Printer | None:
    """The printer of an `-o` value for whole objects; None when it stands for a table. CliError when unknown.

    `prefix_of` gives `deployment.apps` for an object, for `-o name`.
    """
    kind, _, argument = output.partition("=")
    if output in ("", "wide"):
        return None
    if output == "json":
        return to_json
    if output == "yaml":
        return to_yaml
    if output == "name":
        return lambda obj: "".join(f"{prefix_of(each)}/{each['metadata']['name']}\n" for each in items_of(obj))
    if kind in ("jsonpath", "jsonpath-as-json"):
        return _jsonpath_printer(argument, as_json=kind == "jsonpath-as-json")
    if kind == "custom-columns":
        return custom_columns_printer(argument)
    raise CliError(
        f'error: unable to match a printer suitable for the output format "{output}", allowed formats are: {FORMATS}'
    )


def items_of(obj: Object) -> list[Object]:
    """The objects of a list, or the object alone."""
    items = obj.get("items")
    return items if str(obj.get("kind", "")).endswith("List") and isinstance(items, list) else [obj]


def _jsonpath_printer(source: str, *, as_json: bool) -> Printer:
    if not source:
        raise CliError("error: template format specified but no template given")
    try:
        template = Template(source)
        steps = parse_path(source.strip().removeprefix("{").removesuffix("}")) if as_json else ()
    except JSONPathError as error:
        raise CliError(f"error: error parsing jsonpath {source}, {error}") from error

    def render(obj: Object) -> str:
        try:
            return to_json(find(steps, obj)) if as_json else template.render(obj)
        except JSONPathError as error:
            raise CliError(f'error: error executing jsonpath "{source}": Error executing template: {error}.') from error

    return render


def custom_columns_printer(source: str) -> Printer:
    """`custom-columns=NAME:.metadata.name,...`; CliError when a column has no path."""
    if not source:
        raise CliError("error: custom-columns format specified but no custom columns given")
    columns = []
    for part in source.split(","):
        header, colon, path = part.partition(":")
        if not colon or not path:
            raise CliError(f"error: unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>")
        try:
            columns.append((header, parse_path(path.strip("{}"))))
        except JSONPathError as error:
            raise CliError(f"error: error parsing jsonpath {path}, {error}") from error

    def render(obj: Object) -> str:
        rows = [[header for header, _ in columns]]
        for item in items_of(obj):
            rows.append([",".join(map(text_of, find(steps, item))) or "<none>" for _, steps in columns])
        return aligned(rows)

    return render


def sorted_rows(items: Iterable[Object], path: str) -> list[int]:
    """The order of the objects by the value at a path; those without it come first."""
    try:
        steps = parse_path(path.strip("{}"))
    except JSONPathError as error:
        raise CliError(f"error: error parsing jsonpath {path}, {error}") from error
    keys: list[tuple[bool, bool, Any]] = []
    for item in items:
        value = next(iter(find(steps, item)), None)
        number = isinstance(value, int | float)
        keys.append((value is not None, not number, value if number else "" if value is None else text_of(value)))
    return sorted(range(len(keys)), key=keys.__getitem__)


class Progress:
    """What is being waited for, on one line that changes; nothing where nobody looks."""

    def __init__(self) -> None:
        self._status: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, text: str) -> None:
        """Replace the line."""
        if not wants_colors(sys.stderr):
            return
        if self._status is None:
            from rich.console import Console

            self._status = Console(stderr=True).status("")
            self._status.start()
        from rich.text import Text

        self._status.update(Text(text))
