"""The command line before a verb is known."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from orchestrator.cli.main import VERBS, run


def test_every_verb_has_a_module_that_runs_it() -> None:
    for module, _summary in VERBS.values():
        assert callable(importlib.import_module(f"orchestrator.cli.{module}").run)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help_names_every_verb(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    page = capsys.readouterr().out
    assert all(f"\n  {verb} " in page for verb in VERBS)


def test_an_unknown_verb_is_an_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["aply"]) == 1
    message = capsys.readouterr().err
    assert 'unknown command "aply"' in message
    assert "apply" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "nowhere"], "listen must be HOST:PORT"),
        (["--nodes", "many"], "--nodes"),
        (["--runtime", "podman"], "must be one of docker, hollow"),
        (["--config", "/does/not/exist"], "cannot read the config file /does/not/exist"),
        (["up", "--bogus"], "unknown flag: --bogus"),
    ],
)
def test_wrong_options_of_up_end_with_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert not shown.out


def test_nothing_heavy_is_imported_before_the_verb_is_known() -> None:
    script = (
        "import sys; from orchestrator.cli.main import run; run(['--help']); "
        "heavy = {'aiohttp', 'asyncio', 'cryptography', 'httpx2', 'lightkube', 'rich', 'yaml', 'structlog'}; "
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert shown.stderr.strip() == "[]"
