"""`python -m tests.golden [--dir DIR] [--verbose] [ID-PATTERN ...]`: replay recordings, list every difference."""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import sys
from pathlib import Path

from tests.golden.recordings import directory, load
from tests.golden.replay import replay_all


def main() -> int:
    """Exit code 1 when anything differs without a reason."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("patterns", nargs="*", help="scenario ids or file names (without .json), * allowed")
    parser.add_argument("--dir", type=Path, default=directory())
    parser.add_argument("--verbose", action="store_true", help="also list expected differences")
    parser.add_argument("--summary", action="store_true", help="only the ids of what differs")
    arguments = parser.parse_args()
    same = different = 0
    for file in sorted(arguments.dir.glob("*.json")):
        scenarios = [
            scenario
            for scenario in load(file)
            if not arguments.patterns
            or any(
                fnmatch.fnmatch(scenario["id"], pattern) or fnmatch.fnmatch(file.stem, pattern)
                for pattern in arguments.patterns
            )
        ]
        for outcome in asyncio.run(replay_all(scenarios)) if scenarios else ():
            if outcome.is_same:
                same += 1
            else:
                different += 1
                print(f"{file.stem} {outcome.id}")
            if arguments.summary:
                continue
            for step in outcome.steps:
                shown = [("", d) for d in step.differences]
                if arguments.verbose:
                    shown += [("expected ", d) for d in step.expected]
                if shown:
                    print(f"  {step.number} {step.request}")
                for prefix, difference in shown:
                    print(f"     {prefix}{difference}")
    print(f"{same} the same, {different} different")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
