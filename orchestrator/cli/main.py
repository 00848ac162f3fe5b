"""Finds the verb on the command line and runs its module.

A command line without a verb is `up`. Nothing but the standard library is imported before the verb
is known.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

from orchestrator.cli.flags import EXIT_ERROR, UsageError

VERBS: Final = {
    "up": ("up", "Run a cluster in this process (also without any verb)"),
    "down": ("down", "Remove what a cluster left on this machine: containers, network rules, mounts"),
    "apply": ("apply", "Create or change objects as manifests say"),
    "get": ("get", "Show objects"),
    "describe": ("describe", "Show everything about objects, with their events"),
    "delete": ("delete", "Delete objects"),
    "logs": ("logs", "Print the logs of containers"),
    "exec": ("exec", "Run a command in a container"),
    "rollout": ("rollout", "Watch and steer the rollout of a workload"),
    "scale": ("scale", "Set the number of replicas"),
    "events": ("events", "Show events"),
    "explain-schedule": ("explain_schedule", "Show why a pod runs, or does not run, on each node"),
}
"""Verb → (module in this package, what it does)."""

EXIT_INTERRUPTED = 130


def run(argv: Sequence[str]) -> int:
    """Run one command line; returns the exit code of the process."""
    arguments = list(argv)
    if arguments and arguments[0] in ("-h", "--help", "help"):
        if arguments[0] == "help" and len(arguments) > 1:
            arguments = [*arguments[1:], "--help"]
        else:
            print(_overview(), end="")
            return 0
    if arguments == ["--version"]:
        from orchestrator import __version__

        print(f"orchestrator {__version__}")
        return 0
    verb = "up" if not arguments or arguments[0].startswith("-") else arguments.pop(0)
    if verb not in VERBS:
        print(_unknown(verb), file=sys.stderr)
        return EXIT_ERROR
    module = importlib.import_module(f"orchestrator.cli.{VERBS[verb][0]}")
    try:
        code: int = module.run(arguments)
        sys.stdout.flush()
    except UsageError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    return code


def _overview() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, (_module, summary) in VERBS.items())
    return (
        "A whole Kubernetes cluster in one process.\n\n"
        f"Verbs:\n{verbs}\n\n"
        "Usage:\n"
        "  orchestrator [up] [options]\n"
        "  orchestrator VERB [options]\n\n"
        'Use "orchestrator VERB --help" for the options and examples of a verb.\n'
    )


def _unknown(verb: str) -> str:
    import difflib

    close = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"\n\nDid you mean this?\n\t{close[0]}\n" if close else ""
    return f'error: unknown command "{verb}" for "orchestrator"{hint}'
