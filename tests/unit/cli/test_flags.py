"""Flags as kubectl's users write them."""

from __future__ import annotations

import argparse

import pytest

from orchestrator.cli import apply, delete, get, logs, rollout
from orchestrator.cli.flags import Parser, UsageError, parse_duration


@pytest.mark.parametrize(
    "arguments",
    [
        ["pods", "web-1", "-n", "shop", "-o", "wide"],
        ["-n", "shop", "pods", "-o", "wide", "web-1"],
        ["-n=shop", "pods", "web-1", "-o=wide"],
        ["pods", "--namespace=shop", "web-1", "-owide"],
        ["pods", "--namespace", "shop", "web-1", "--output", "wide"],
    ],
)
def test_flags_may_stand_anywhere_and_be_written_in_every_form(arguments: list[str]) -> None:
    parsed = get.parser().parse(arguments)
    assert (parsed.what, parsed.namespace, parsed.output) == (["pods", "web-1"], "shop", "wide")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [([], True), (["--wait"], True), (["--wait=true"], True), (["--wait=false"], False), (["--wait=0"], False)],
)
def test_a_boolean_takes_a_value_only_after_an_equals_sign(arguments: list[str], expected: bool) -> None:
    parsed = delete.parser().parse(["pod", *arguments, "web"])
    assert parsed.wait is expected
    assert parsed.what == ["pod", "web"]


def test_an_option_whose_value_may_be_left_out_never_takes_the_next_word() -> None:
    parsed = delete.parser().parse(["--cascade", "pod", "web", "--dry-run=server"])
    assert (parsed.cascade, parsed.dry_run, parsed.what) == ("background", "server", ["pod", "web"])


def test_short_flags_combine() -> None:
    parsed = logs.parser().parse(["-fp", "web", "-lapp=web"])
    assert (parsed.follow, parsed.previous, parsed.selector, parsed.what) == (True, True, "app=web", ["web"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bogus"], "error: unknown flag: --bogus"),
        (["--bogus=1", "pods"], "error: unknown flag: --bogus"),
        (["-o"], "error: flag needs an argument: --output"),
        (["--watch=maybe"], 'error: invalid argument "maybe" for "--watch" flag'),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        get.parser().parse(arguments)
    first, second = str(raised.value).split("\n")
    assert first.startswith(message)
    assert second == "See 'orchestrator get --help' for usage."
    assert raised.value.exit_code == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("30s", 30), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), ("0", 0), ("-1s", -1)],
)
def test_durations_are_those_of_go(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5x", "s", "1 m", "m5"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    "parser", [get.parser(), apply.parser(), delete.parser(), logs.parser(), rollout.parser("status")]
)
def test_help_is_one_short_page(parser: Parser) -> None:
    page = parser.format_help()
    assert page.startswith(f"Usage: {parser.prog} ")
    assert "Examples:" in page
    assert "--no-" not in page.replace("--no-headers", ""), "the hidden forms of boolean flags are not shown"
    assert len(page.splitlines()) < 50
    assert max(map(len, page.splitlines())) <= 120
