"""kubectl of three versions against the table in `kubectl_sessions`.

Scenarios of `kubectl_sessions` run on hollow nodes, a cluster for each version; those of `kubectl_sessions/containers`
run on the shared cluster. Those of one version run at the same time; the tests then look at what each of them did.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import find_kubectls
from tests.e2e.console_sessions import Outcome, Scenario, parse_sessions, run_scenario
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess

SESSIONS = Path(__file__).parent / "kubectl_sessions"
AT_ONCE = 6
ROWS_MIN = 150

FIRST = """#!/bin/sh
# first N COMMAND...: the first lines of a command that does not end by itself, and then its end.
lines=$1; shift
pipe=$(mktemp -u); mkfifo "$pipe"
exec 3<&0
"$@" <&3 > "$pipe" & followed=$!
sed -u "${lines}q" "$pipe"
kill "$followed" 2>/dev/null; wait "$followed" 2>/dev/null
rm -f "$pipe"; exit 0
"""


def of_three_versions() -> list[Path]:
    """The oldest, a middle and the newest kubectl of this machine."""
    found = find_kubectls()
    return [found[0], found[len(found) // 2], found[-1]] if len(found) > 3 else found


SCENARIOS = {
    where: [scenario for path in sorted(folder.glob("*.txt")) for scenario in parse_sessions(path)]
    for where, folder in (("hollow", SESSIONS), ("containers", SESSIONS / "containers"))
}


def test_the_table_is_large_enough() -> None:
    scenarios = [scenario for group in SCENARIOS.values() for scenario in group]
    assert len({scenario.id for scenario in scenarios}) == len(scenarios), "two scenarios have the same name"
    assert sum(len(scenario.steps(30)) for scenario in scenarios) >= ROWS_MIN


@dataclass
class Screening:
    """Runs scenarios with one kubectl on one cluster."""

    process: OrchestratorProcess
    program: Path
    folder: Path

    def run(self, scenarios: Iterable[Scenario]) -> dict[str, tuple[str, list[Outcome]]]:
        """Namespace and outcomes by scenario: first those that must be alone, then all others side by side."""
        scenarios = list(scenarios)
        minor = Kubectl(self.program, self.process).minor
        names = {scenario.id: f"{scenario.id}-{minor}" for scenario in scenarios}
        tools = self.folder / "bin"
        tools.mkdir()
        (tools / "kubectl").symlink_to(self.program)
        (tools / "first").write_text(FIRST)
        (tools / "first").chmod(0o755)
        self._make_namespaces(names.values())

        def run_one(scenario: Scenario) -> list[Outcome]:
            namespace = names[scenario.id]
            return run_scenario(
                scenario,
                minor,
                folder=self.folder / scenario.id,
                namespace=namespace,
                environment=self._environment(tools, namespace),
            )

        alone = [scenario for scenario in scenarios if "alone" in scenario.flags]
        others = [scenario for scenario in scenarios if "alone" not in scenario.flags]
        outcomes = [run_one(scenario) for scenario in alone]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            outcomes += pool.map(run_one, others)
        return {
            scenario.id: (names[scenario.id], outcome)
            for scenario, outcome in zip([*alone, *others], outcomes, strict=True)
        }

    def _make_namespaces(self, names: Iterable[str]) -> None:
        names = set(names)
        items = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in sorted(names)]
        k = Kubectl(self.program, self.process)
        k("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        everywhere = Kubectl(self.program, self.process, namespace="")
        everywhere.wait_for(
            "serviceaccounts",
            lambda accounts: (
                names <= {a["metadata"]["namespace"] for a in accounts if a["metadata"]["name"] == "default"}
            ),
            options=("-A",),
        )

    def _environment(self, tools: Path, namespace: str) -> dict[str, str]:
        """kubectl's environment: the namespace comes from the kubeconfig, caches are shared by all scenarios."""
        kubeconfig = self.folder / f"{namespace}.kubeconfig"
        kubeconfig.write_text(self.process.kubeconfig.read_text())
        kubeconfig.chmod(0o600)
        environment = Kubectl(self.program, self.process).environment(
            KUBECONFIG=str(kubeconfig), PATH=f"{tools}:{os.environ['PATH']}", KUBE_EDITOR="false", TZ="UTC"
        )
        subprocess.run(
            [self.program, "config", "set-context", "--current", f"--namespace={namespace}"],
            env=environment, check=True, capture_output=True,
        )  # fmt: skip
        return environment


@pytest.fixture(scope="module")
def run_once(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    start_orchestrator: Callable[..., OrchestratorProcess],
) -> Callable[[str, Path], dict[str, tuple[str, list[Outcome]]]]:
    """Runs the selected scenarios of one place and version when the first of them is asked for."""
    done: dict[tuple[str, Path], dict[str, tuple[str, list[Outcome]]]] = {}
    selected: dict[tuple[str, Path], list[Scenario]] = {}
    for item in request.session.items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if "scenario" in parameters and "where" in parameters:
            key = (parameters["where"], parameters["program"])
            selected.setdefault(key, []).append(parameters["scenario"])

    def run(where: str, program: Path) -> dict[str, tuple[str, list[Outcome]]]:
        key = (where, program)
        if key not in done:
            folder = tmp_path_factory.mktemp(f"sessions-{where}-{program.name}")
            if where == "containers":
                process = request.getfixturevalue("cluster")
                done[key] = Screening(process, program, folder).run(selected[key])
            else:
                process = start_orchestrator("--runtime", "hollow", "--nodes", "4", "--ephemeral")
                done[key] = Screening(process, program, folder).run(selected[key])
                process.stop()
        return done[key]

    return run


@pytest.mark.parametrize(
    ("where", "program", "scenario"),
    [
        pytest.param(where, program, scenario, id=f"{program.name}-{scenario.id}")
        for where, scenarios in SCENARIOS.items()
        for program in of_three_versions()
        for scenario in scenarios
    ],
)
def test_session(
    where: str,
    program: Path,
    scenario: Scenario,
    run_once: Callable[[str, Path], dict[str, tuple[str, list[Outcome]]]],
) -> None:
    namespace, outcomes = run_once(where, program)[scenario.id]
    complaints = [complaint for outcome in outcomes if (complaint := outcome.complaint(namespace))]
    assert not complaints, f"{scenario.source.name} " + "\n".join(complaints)
