"""The layout of descriptions: nested lines whose cells are separated by tabs, aligned block by block.

Lines that follow each other and have a cell in a column share its width (elastic tab stops, as Go's
text/tabwriter aligns them, which gives kubectl's descriptions their shape).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.utils import format_datetime
from typing import Any, Final

from orchestrator.cli.ages import parse_time
from orchestrator.cli.connection import Object

PADDING: Final = 2
NONE: Final = "<none>"

Related = Mapping[str, Sequence[Object]]
"""Other objects that a description tells of, by what they are to the one that is described."""


def aligned_text(lines: Sequence[str]) -> str:
    """The lines with tabs replaced by what aligns them."""
    out: list[str] = []
    _align([line.split("\t") for line in lines], [], out)
    return "\n".join(out) + "\n" if out else ""


def _align(lines: Sequence[Sequence[str]], widths: list[int], out: list[str]) -> None:
    column = len(widths)
    position = 0
    while position < len(lines):
        if column >= len(lines[position]) - 1:
            cells = lines[position]
            padded = [cell.ljust(widths[number]) for number, cell in enumerate(cells[:-1])]
            out.append(("".join(padded) + cells[-1]).rstrip() if cells else "")
            position += 1
            continue
        end = position
        width = 0
        while end < len(lines) and column < len(lines[end]) - 1:
            width = max(width, len(lines[end][column]) + PADDING)
            end += 1
        _align(lines[position:end], [*widths, width], out)
        position = end


def indented(lines: Sequence[str], level: int) -> list[str]:
    """The lines, further to the right; those that go on in the second column stay where they are."""
    return [line if line.startswith("\t") else f"{'  ' * level}{line}" for line in lines]


def map_lines(title: str, values: Mapping[str, Any] | None, *, separator: str = "=") -> list[str]:
    """`Labels:  a=1` and the others below it."""
    if not values:
        return [f"{title}:\t{NONE}"]
    first, *rest = [f"{key}{separator}{values[key]}" for key in sorted(values)]
    return [f"{title}:\t{first}", *(f"\t{line}" for line in rest)]


def list_lines(title: str, values: Sequence[str]) -> list[str]:
    """`Tolerations:  first` and the others below it."""
    if not values:
        return [f"{title}:\t{NONE}"]
    return [f"{title}:\t{values[0]}", *(f"\t{value}" for value in values[1:])]


def table_lines(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table under a title, its header underlined."""
    body = ["\t".join(headers), "\t".join("-" * len(header) for header in headers), *("\t".join(row) for row in rows)]
    return [f"{title}:", *indented(body, 1)]


def time_text(text: str | None) -> str:
    """A time of the API as RFC 1123 writes it."""
    moment = parse_time(text)
    return format_datetime(moment) if moment is not None else "<unknown>"


def bool_text(value: object) -> str:
    """`True` or `False`."""
    return "True" if value else "False"


def metadata_lines(obj: Mapping[str, Any], *, skip_annotations: Sequence[str] = ()) -> list[str]:
    """Labels and annotations, the bookkeeping of `apply` left out."""
    metadata = obj["metadata"]
    hidden = {"kubectl.kubernetes.io/last-applied-configuration", *skip_annotations}
    annotations = {
        key: str(value).strip().replace("\n", " ")
        for key, value in (metadata.get("annotations") or {}).items()
        if key not in hidden
    }
    return map_lines("Labels", metadata.get("labels")) + map_lines("Annotations", annotations, separator=": ")
