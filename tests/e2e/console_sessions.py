"""Console sessions: a table of commands with what they must print, written as one would see it on a screen.

A file holds scenarios; a scenario has a title, files, and steps that run one after the other in a namespace of its own:

    ## a title
    [file settings.yaml]
    apiVersion: v1
    ...
    [end]
    $ kubectl apply -f settings.yaml
    configmap/settings created
    $ kubectl get configmap nothing
    ! Error from server (NotFound): configmaps "nothing" not found
    ? 1

`$ ` starts a step, run by sh (`> ` continues it); then stdout line by line, `! ` before a line of stderr, `? ` before
an exit code that is not zero. A line that begins with `# ` before the first step is a remark. Before any of these
`{>=1.31} ` restricts a line to some versions of kubectl. `[alone]` below a title: the scenario changes what others
rely on, so it runs by itself.

In commands, files and output `$NS` is the namespace. In output `<age>`, `<ip>` and the other names of `PLACEHOLDERS`
stand for what no two runs share, and a line `...` for any number of lines. Two or more spaces inside a line match
two or more, since columns are as wide as their widest value.
"""

from __future__ import annotations

import difflib
import operator
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

STEP_SECONDS_MAX = 60.0
EXIT_TIMEOUT = 124
"""As of timeout(1)."""

PLACEHOLDERS = {
    "age": r"(?:\d+[smhdy])+",
    "date": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}",
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z",
    "ip": r"\d+\.\d+\.\d+\.\d+",
    "port": r"\d+",
    "number": r"\d+",
    "uid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "hash": r"[a-z0-9]+",
    "id": r"[a-z0-9]+",
    "*": r".*",
}
"""What a name in angle brackets matches; any other text in angle brackets stands for itself."""

_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    ">=": operator.ge, "<=": operator.le, "<": operator.lt, ">": operator.gt, "=": operator.eq,
}  # fmt: skip
_CONDITION = re.compile(r"\{(>=|<=|<|>|=)1\.(\d+)\} ?")
_TOKEN = re.compile(r"<(" + "|".join(re.escape(name) for name in PLACEHOLDERS) + r")>|(?<=\S) {2,}")


@dataclass
class Step:
    """One row of the table."""

    line: int
    command: str
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)
    exit_code: int = 0


@dataclass
class Scenario:
    """Steps that build on each other."""

    source: Path
    line: int
    title: str
    flags: set[str] = field(default_factory=set)
    files: dict[str, str] = field(default_factory=dict)
    lines: list[tuple[int, str]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Unique among all files, usable in the name of a namespace."""
        slug = re.sub(r"[^a-z0-9]+", "-", f"{self.source.stem} {self.title}".lower())
        return slug[:50].strip("-")

    def steps(self, minor: int) -> list[Step]:
        """The steps for a minor version of kubectl."""
        steps: list[Step] = []
        skipped = False
        for number, text in self.lines:
            line = text
            applies = True
            while match := _CONDITION.match(line):
                applies = applies and _COMPARISONS[match[1]](minor, int(match[2]))
                line = line[match.end() :]
            if line.startswith("$ "):
                skipped = not applies
                if applies:
                    steps.append(Step(number, line[2:]))
                continue
            if skipped or not applies:
                continue
            _add(steps, line, number)
        return steps


def _add(steps: list[Step], line: str, number: int) -> None:
    """Add a line below a `$ ` to the step it belongs to."""
    if not steps:
        if line.strip() and not line.startswith("# "):
            raise ValueError(f"line {number}: {line!r} stands before the first command")
        return
    step = steps[-1]
    if line.startswith("> "):
        step.command += "\n" + line[2:]
    elif line == "!" or line.startswith("! "):
        step.stderr.append(line[2:])
    elif line.startswith("? "):
        step.exit_code = int(line[2:])
    else:
        step.stdout.append(line)


def parse_sessions(path: Path) -> list[Scenario]:
    """The scenarios of a file; ValueError with the line number where it cannot be read."""
    scenarios: list[Scenario] = []
    file: list[str] | None = None
    name = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if file is not None:
            if line == "[end]":
                scenarios[-1].files[name] = "\n".join(file) + "\n"
                file = None
            else:
                file.append(line)
        elif line.startswith("## "):
            scenarios.append(Scenario(path, number, line[3:]))
        elif not scenarios:
            continue  # a preface
        elif match := re.fullmatch(r"\[file (\S+)\]", line):
            file, name = [], match[1]
        elif line == "[alone]":
            scenarios[-1].flags.add(line.strip("[]"))
        else:
            scenarios[-1].lines.append((number, line))
    if file is not None:
        raise ValueError(f"{path}: [file {name}] has no [end]")
    return scenarios


@dataclass
class Outcome:
    """What a step did."""

    step: Step
    stdout: str
    stderr: str
    exit_code: int

    def complaint(self, namespace: str) -> str:
        """Empty if all is as the table says, else a difference to read."""
        wanted = _screen(self.step.stdout, self.step.stderr, self.step.exit_code)
        got = _screen(self.stdout.splitlines(), self.stderr.splitlines(), self.exit_code)
        if (
            matches(self.step.stdout, self.stdout, namespace)
            and matches(self.step.stderr, self.stderr, namespace)
            and self.exit_code == self.step.exit_code
        ):
            return ""
        wanted = [line.replace("$NS", namespace) for line in wanted]
        difference = difflib.unified_diff(wanted, got, "expected", "got", n=100, lineterm="")
        return f"line {self.step.line}: $ {self.step.command}\n" + "\n".join(difference)


def _screen(stdout: list[str], stderr: list[str], exit_code: int) -> list[str]:
    lines = [*_trimmed(stdout), *(f"! {line}".rstrip() for line in _trimmed(stderr))]
    return [*lines, f"? {exit_code}"] if exit_code else lines


def _trimmed(lines: list[str]) -> list[str]:
    lines = [line.rstrip() for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def matches(expected: list[str], text: str, namespace: str) -> bool:
    """Whether the text is what the lines with placeholders describe; spaces at line ends do not count."""
    pattern = ""
    for line in _trimmed(expected):
        pattern += "(?:.*\n)*?" if line == "..." else _line_pattern(line.replace("$NS", namespace)) + "\n"
    return re.fullmatch(pattern, "".join(line + "\n" for line in _trimmed(text.splitlines()))) is not None


def _line_pattern(line: str) -> str:
    pattern = ""
    end = 0
    for token in _TOKEN.finditer(line):
        pattern += re.escape(line[end : token.start()])
        pattern += PLACEHOLDERS[token[1]] if token[1] else " {2,}"
        # The width of a placeholder decides how many spaces follow.
        end = token.end()
    return pattern + re.escape(line[end:])


def run_scenario(
    scenario: Scenario, minor: int, *, folder: Path, namespace: str, environment: Mapping[str, str]
) -> list[Outcome]:
    """Run all steps in the folder, also after one that is not as it should be: later ones may tidy up."""
    folder.mkdir(parents=True)
    for name, text in scenario.files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("$NS", namespace))
    return [_run(step, folder, {**environment, "NS": namespace}) for step in scenario.steps(minor)]


def _run(step: Step, folder: Path, environment: Mapping[str, str]) -> Outcome:
    try:
        done = subprocess.run(
            ["sh", "-c", step.command], cwd=folder, env=environment, input="",
            capture_output=True, text=True, errors="replace", timeout=STEP_SECONDS_MAX, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Outcome(step, "", f"no end within {STEP_SECONDS_MAX} s", EXIT_TIMEOUT)
    return Outcome(step, done.stdout, done.stderr, done.returncode)
