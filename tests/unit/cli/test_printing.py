"""Tables, YAML, names and columns as kubectl prints them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cli.errors import CliError
from orchestrator.cli.printing import (
    TableOptions,
    aligned,
    object_printer,
    sorted_rows,
    table_rows,
    to_json,
    without_managed_fields,
)

TABLE = {
    "kind": "Table",
    "columnDefinitions": [
        {"name": "Name", "priority": 0},
        {"name": "Ready", "priority": 0},
        {"name": "Node", "priority": 1},
    ],
    "rows": [
        {
            "cells": ["web-1", "1/1", "node-1"],
            "object": {"metadata": {"namespace": "shop", "labels": {"tier": "front", "app": "web"}}},
        },
        {"cells": ["a-much-longer-name", None, "node-2"], "object": {"metadata": {"namespace": "shop"}}},
    ],
}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (TableOptions(), "NAME                 READY\nweb-1                1/1\na-much-longer-name   \n"),
        (TableOptions(no_headers=True), "web-1                1/1\na-much-longer-name   \n"),
        (
            TableOptions(wide=True, with_kind="pod"),
            "NAME                     READY   NODE\n"
            "pod/web-1                1/1     node-1\n"
            "pod/a-much-longer-name           node-2\n",
        ),
        (
            TableOptions(with_namespace=True, show_labels=True),
            "NAMESPACE   NAME                 READY   LABELS\n"
            "shop        web-1                1/1     app=web,tier=front\n"
            "shop        a-much-longer-name           <none>\n",
        ),
        (
            TableOptions(label_columns=("example.com/app", "app")),
            "NAME                 READY   APP   APP\n"
            "web-1                1/1           web\n"
            "a-much-longer-name                 \n",
        ),
    ],
)
def test_tables(options: TableOptions, expected: str) -> None:
    assert aligned(table_rows(TABLE, options)) == expected


def test_a_cell_shows_its_first_line_and_cannot_steer_the_terminal() -> None:
    table = {"columnDefinitions": [{"name": "Message"}], "rows": [{"cells": ["first\nsecond"]}, {"cells": ["\x1b[2J"]}]}
    assert table_rows(table, TableOptions()) == [["MESSAGE"], ["first..."], ["^[[2J"]]


def test_a_watch_keeps_the_width_of_its_columns() -> None:
    widths: list[int] = []
    first = aligned([["NAME", "READY"], ["a-long-name", "1/1"]], widths=widths)
    later = aligned([["b", "0/1"]], widths=widths)
    assert first.splitlines()[1].index("1/1") == later.index("0/1")


def test_colours_are_not_counted_as_width() -> None:
    plain = aligned([["web", "Running", "x"], ["db", "Pending", "y"]])
    colored = aligned([["web", "Running", "x"], ["db", "Pending", "y"]], colors=True)
    assert "\x1b[32mRunning\x1b[0m" in colored
    assert colored.replace("\x1b[32m", "").replace("\x1b[33m", "").replace("\x1b[0m", "") == plain


def test_json_is_sorted_and_indented_by_four() -> None:
    assert to_json({"b": 1, "a": {"c": "ä"}}) == '{\n    "a": {\n        "c": "ä"\n    },\n    "b": 1\n}\n'


PODS: dict[str, Any] = {
    "kind": "List",
    "items": [
        {"kind": "Pod", "metadata": {"name": "b", "creationTimestamp": "2026-01-02T00:00:00Z"}, "spec": {"weight": 10}},
        {"kind": "Pod", "metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"weight": 9}},
        {"kind": "Pod", "metadata": {"name": "c"}},
    ],
}


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("name", "pod/b\npod/a\npod/c\n"),
        ("jsonpath={.items[*].metadata.name}", "b a c"),
        (
            "custom-columns=NAME:.metadata.name,WEIGHT:.spec.weight",
            "NAME   WEIGHT\nb      10\na      9\nc      <none>\n",
        ),
    ],
)
def test_printers(output: str, expected: str) -> None:
    printer = object_printer(output, prefix_of=lambda _obj: "pod")
    assert printer is not None
    assert printer(PODS) == expected


def test_tables_have_no_object_printer() -> None:
    assert object_printer("", prefix_of=str) is None
    assert object_printer("wide", prefix_of=str) is None


@pytest.mark.parametrize("output", ["xml", "jsonpath=", "jsonpath={.a", "custom-columns=NAME", "go-template={{.a}}"])
def test_what_cannot_be_printed_is_refused(output: str) -> None:
    with pytest.raises(CliError, match=r"^error: "):
        object_printer(output, prefix_of=str)


@pytest.mark.parametrize(
    ("path", "expected"), [(".metadata.name", "abc"), (".spec.weight", "cab"), ("{.metadata.creationTimestamp}", "cab")]
)
def test_sorting_knows_numbers_and_puts_what_is_missing_first(path: str, expected: str) -> None:
    order = sorted_rows(PODS["items"], path)
    assert "".join(PODS["items"][position]["metadata"]["name"] for position in order) == expected


def test_managed_fields_are_left_out_without_touching_the_object() -> None:
    obj = {"metadata": {"name": "a", "managedFields": [{}]}}
    assert without_managed_fields(obj) == {"metadata": {"name": "a"}}
    assert "managedFields" in obj["metadata"]
