"""Runs benchmarks, each in a process of its own: `python -m tests.benchmarks [NAME ...]`.

A benchmark is a file `bench_<name>.py` here with `run()`, plain or async, that returns figures by name.
Each result goes to build/bench/<name>.json with the circumstances of the run, all figures as one table
to stdout. A benchmark that fails is shown, the others still run, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RESULTS = ROOT / "build" / "bench"
TIMEOUT_SECONDS = 900


def names() -> list[str]:
    """All benchmarks, by name."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def measure(name: str, result: Path) -> None:
    """Run one benchmark in this process and write its figures to a file."""
    run = importlib.import_module(f"tests.benchmarks.bench_{name}").run
    figures = asyncio.run(run()) if inspect.iscoroutinefunction(run) else run()
    if not isinstance(figures, Mapping) or not all(isinstance(value, int | float) for value in figures.values()):
        raise TypeError(f"run() of {name} must return numbers by name, not {figures!r}")
    # A file, because a benchmark may print what it likes.
    result.write_text(json.dumps(dict(figures)))


def run_apart(name: str) -> dict[str, Any]:
    """Run one benchmark in a new process; its figures, or why there are none."""
    started = datetime.now(UTC)
    before = time.monotonic()
    outcome: dict[str, Any] = {"benchmark": name, "started": started.isoformat(timespec="seconds")}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "tests.benchmarks", "--one", name, str(result)]
        try:
            subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=True, timeout=TIMEOUT_SECONDS)
            outcome["figures"] = json.loads(result.read_text())
        except subprocess.TimeoutExpired:
            outcome["error"] = f"not finished after {TIMEOUT_SECONDS} s"
        except subprocess.CalledProcessError as error:
            outcome["error"] = f"exit code {error.returncode}, see the output above"
    outcome["seconds"] = round(time.monotonic() - before, 1)
    outcome["machine"] = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "load_average_before": os.getloadavg()[0],
    }
    return outcome


def table(outcomes: list[dict[str, Any]]) -> str:
    """All figures, one a line, in columns."""
    rows = [("BENCHMARK", "FIGURE", "VALUE")]
    for outcome in outcomes:
        if "error" in outcome:
            rows.append((outcome["benchmark"], "FAILED", outcome["error"]))
        rows += [(outcome["benchmark"], key, number(value)) for key, value in outcome.get("figures", {}).items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{row[0]:<{widths[0]}}   {row[1]:<{widths[1]}}   {row[2]}" for row in rows)


def number(value: float) -> str:
    """Four significant digits; thousands are set apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="run benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(names())}")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.one[0], Path(arguments.one[1]))
        return 0
    unknown = sorted(set(arguments.names) - set(names()))
    if unknown:
        parser.error(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(names())}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for name in arguments.names or names():
        print(f"bench: {name}", file=sys.stderr, flush=True)
        outcome = run_apart(name)
        (RESULTS / f"{name}.json").write_text(json.dumps(outcome, indent=2) + "\n")
        outcomes.append(outcome)
    print(table(outcomes))
    return 1 if any("error" in outcome for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
