"""An orchestrator that takes its pods along when it is asked to stop (graceful node shutdown)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.e2e.manifests import apply, condition, container, pod, status_of, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess, docker, is_ready


def test_pods_end_with_the_orchestrator(
    start_orchestrator: Callable[..., OrchestratorProcess], kubectl: Path, tmp_path: Path
) -> None:
    config = tmp_path / "orchestrator.yaml"
    config.write_text(json.dumps({"shutdownGracePeriod": "4s", "shutdownGracePeriodCriticalPods": "2s"}))
    process = start_orchestrator("--config", str(config))
    k = Kubectl(kubectl, process)
    k.wait_for("serviceaccounts", lambda accounts: any(a["metadata"]["name"] == "default" for a in accounts))
    said = "trap 'echo bye > /log/said; exit 3' TERM; while :; do sleep 1000 & wait $!; done"
    volume = {"name": "log", "hostPath": {"path": str(tmp_path)}}
    apply(
        k,
        pod("polite", container(said, volumeMounts=[{"name": "log", "mountPath": "/log"}]), volumes=[volume]),
        pod("stubborn", container("trap '' TERM; while :; do sleep 1; done"), terminationGracePeriodSeconds=600),
    )
    running = [wait_for_pod(k, name, is_ready) for name in ("polite", "stubborn")]
    assert process.stop() == 0
    assert (tmp_path / "said").read_text() == "bye\n"
    for found in running:
        container_id = status_of(found)["containerID"].removeprefix("docker://")
        assert docker("inspect", "-f", "{{.State.Running}}", container_id).strip() == "false"
    process.start()
    for name, code in (("polite", 3), ("stubborn", 137)):
        ended = k.json("get", "pod", name)
        assert (ended["status"]["phase"], ended["status"]["reason"]) == ("Failed", "Terminated")
        assert status_of(ended)["state"]["terminated"]["exitCode"] == code
        assert condition(ended, "DisruptionTarget")["reason"] == "TerminationByKubelet"
