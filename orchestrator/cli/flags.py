"""The flags of all verbs: argparse, taught the ways in which kubectl's flags are written.

`--watch=false`, `--cascade` with or without a value, flags between and after positional arguments,
values given with or without `=`. Errors of usage are one line, never a page.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from orchestrator.config import durations

EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 2
"""Of `up` and `down`: the options or the configuration are wrong."""


class UsageError(Exception):
    """The command line is wrong; the message is for the user, the exit code for the process."""

    def __init__(self, message: str, exit_code: int = EXIT_ERROR) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Parser(argparse.ArgumentParser):
    """The flags of one verb."""

    def __init__(
        self, verb: str, summary: str, *, usage: str, examples: str = "", usage_exit_code: int = EXIT_ERROR
    ) -> None:
        super().__init__(
            prog=f"orchestrator {verb}",
            description=f"{summary}.",
            usage=f"orchestrator {verb} {usage}",
            epilog=f"Examples:\n{examples.rstrip()}" if examples else None,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
        self._usage_exit_code = usage_exit_code
        self._optional_values: dict[str, str] = {}
        self._booleans: set[str] = set()

    def add_flag(self, *names: str, default: bool = False, help: str = "") -> None:
        """A flag that is true when named, and takes `=true` and `=false`."""
        long = next(name for name in names if name.startswith("--"))
        destination = long[2:].replace("-", "_")
        self.add_argument(*names, dest=destination, action="store_true", default=default, help=help)
        self.add_argument(_negated(long), dest=destination, action="store_false", help=argparse.SUPPRESS)
        self._booleans.add(long)

    def add_optional_value(self, name: str, *, bare: str, default: str = "", help: str = "", metavar: str = "") -> None:
        """An option whose value may be left out (then it is `bare`) and otherwise follows after `=`."""
        self.add_argument(name, default=default, help=help, metavar=metavar or None)
        self._optional_values[name] = bare

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The flags; raises UsageError."""
        return self.parse_intermixed_args([self._normalized(each) for each in arguments])

    def _normalized(self, argument: str) -> str:
        name, equals, value = argument.partition("=")
        if not equals and name in self._optional_values:
            return f"{name}={self._optional_values[name]}"
        if equals and name in self._booleans:
            if value.lower() in ("true", "t", "1"):
                return name
            if value.lower() in ("false", "f", "0"):
                return _negated(name)
            self.error(f'invalid argument "{value}" for "{name}" flag: must be true or false')
        return argument

    def error(self, message: str) -> NoReturn:
        """Refuse the command line with one line that says why and one that says where help is."""
        if match := re.fullmatch(r"unrecognized arguments: (\S+).*", message):
            argument = match[1]
            what = "unknown flag: " if argument.startswith("-") else "unexpected argument: "
            message = f"{what}{argument.partition('=')[0]}"
        elif match := re.fullmatch(r"argument ([^:]+): expected one argument", message):
            message = f"flag needs an argument: {match[1].rpartition('/')[2]}"
        raise UsageError(f"error: {message}\nSee '{self.prog} --help' for usage.", self._usage_exit_code)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """One short page: the usage as written, options in two columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=110)

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, "Usage: " if prefix is None else prefix)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return ", ".join(action.option_strings) or str(action.metavar or action.dest)
        value = action.metavar or action.dest.upper()
        return f"{', '.join(action.option_strings)} {value}"


def _negated(name: str) -> str:
    return f"--no-{name[2:]}!"


def parse_duration(text: str) -> float:
    """Seconds of a duration in Go's notation (`1m30s`), or of a bare number; argparse's error otherwise."""
    if re.fullmatch(r"-?\d+", text):
        return float(text)
    try:
        return durations.parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
