"""The command line as people use it: `python -m orchestrator` in a process of its own, verbs in others."""

from __future__ import annotations

import json
import os
import pty
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.orchestrator_process import OrchestratorProcess, clean_environment

MANIFESTS = Path(__file__).parents[2] / "config" / "demo"
COMMAND = [sys.executable, "-m", "orchestrator"]


class Verbs:
    """The client verbs, on one cluster and in one namespace."""

    def __init__(self, process: OrchestratorProcess, namespace: str) -> None:
        self.process = process
        self.namespace = namespace
        self.environment = {**clean_environment(), "KUBECONFIG": str(process.kubeconfig)}

    def run(self, *arguments: str, stdin: str = "", own_namespace: bool = True) -> subprocess.CompletedProcess[str]:
        """Run to the end, whatever the exit code."""
        own = arguments.index("--") if "--" in arguments else len(arguments)
        place = ["-n", self.namespace] if own_namespace else []
        return subprocess.run(
            [*COMMAND, *arguments[:own], *place, *arguments[own:]],
            input=stdin, capture_output=True, text=True, timeout=60, check=False, env=self.environment,
        )  # fmt: skip

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        """Run to the end; the output, or AssertionError with everything that helps."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}\n{self.process.tail()}"
        # Python reports what was not closed on stderr, after the work is done and with exit code 0.
        for complaint in ("Traceback", "Exception ignored", "never retrieved"):
            assert complaint not in done.stderr, f"{arguments}: {done.stderr}"
        return done.stdout

    def error(self, *arguments: str, stdin: str = "") -> str:
        """What a verb that must fail says."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 1, f"{arguments}: exit code {done.returncode}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stderr.strip()

    def json(self, *arguments: str) -> Any:
        """Run with `-o json`."""
        return json.loads(self(*arguments, "-o", "json"))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run in the background, but with SIGINT as in the foreground: a shell has its background jobs ignore it."""
        return subprocess.Popen(
            [*COMMAND, arguments[0], "-n", self.namespace, *arguments[1:]],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip


@pytest.fixture(scope="module")
def hollow(start_orchestrator: Callable[..., OrchestratorProcess]) -> OrchestratorProcess:
    """A cluster without containers."""
    return start_orchestrator("--runtime", "hollow", "--nodes", "3", "--ephemeral")


@pytest.fixture
def verbs(hollow: OrchestratorProcess, request: pytest.FixtureRequest) -> Iterator[Verbs]:
    """The verbs in a namespace of the test's own."""
    yield from _in_namespace(hollow, request)


@pytest.fixture
def container_verbs(cluster: OrchestratorProcess, request: pytest.FixtureRequest) -> Iterator[Verbs]:
    """The verbs where containers are real."""
    yield from _in_namespace(cluster, request)


def _in_namespace(process: OrchestratorProcess, request: pytest.FixtureRequest) -> Iterator[Verbs]:
    name = request.node.name.split("[")[0].replace("_", "-")[:50].strip("-")
    verbs = Verbs(process, name)
    manifest = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    assert verbs.run("apply", "-f", "-", stdin=manifest, own_namespace=False).returncode == 0
    yield verbs
    assert verbs.run("delete", "namespace", name, own_namespace=False).returncode == 0


def _deployment(image: str = "example.com/web:1", replicas: int = 2) -> str:
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": image}]},
                },
            },
        }
    )


# What people do.


def test_apply_says_what_it_did_and_changes_only_what_differs(verbs: Verbs) -> None:
    assert verbs("apply", "-f", "-", stdin=_deployment()) == "deployment.apps/web created\n"
    assert verbs("apply", "-f", "-", stdin=_deployment()) == "deployment.apps/web unchanged\n"
    changed = _deployment("example.com/web:2")
    assert verbs("apply", "-f", "-", "--dry-run=server", stdin=changed) == (
        "deployment.apps/web configured (server dry run)\n"
    )
    assert verbs("apply", "-f", "-", "--dry-run=client", stdin=changed) == "deployment.apps/web configured (dry run)\n"
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert verbs("get", "deploy", "web", "-o", image) == "example.com/web:1"
    assert verbs("apply", "-f", "-", stdin=changed) == "deployment.apps/web configured\n"
    assert verbs("get", "deploy", "web", "-o", image) == "example.com/web:2"


def test_apply_removes_what_left_the_manifest_and_keeps_what_others_wrote(verbs: Verbs) -> None:
    manifest: dict[str, Any] = json.loads(_deployment())
    manifest["metadata"]["annotations"] = {"ours": "1", "dropped": "1"}
    verbs("apply", "-f", "-", stdin=json.dumps(manifest))
    verbs("scale", "deployment/web", "--replicas", "4")
    del manifest["metadata"]["annotations"]["dropped"]
    del manifest["spec"]["replicas"]
    manifest["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "example.com/side"})
    verbs("apply", "-f", "-", stdin=json.dumps(manifest))
    found = verbs.json("get", "deployment", "web")
    assert "dropped" not in found["metadata"]["annotations"]
    assert found["metadata"]["annotations"]["ours"] == "1"
    assert [each["name"] for each in found["spec"]["template"]["spec"]["containers"]] == ["web", "side"]


def test_a_folder_is_applied_and_deleted(verbs: Verbs) -> None:
    created = verbs("apply", "-f", str(MANIFESTS))
    assert created == "configmap/web created\ndeployment.apps/web created\nsecret/web created\nservice/web created\n"
    deleted = verbs("delete", "-f", str(MANIFESTS))
    assert f'deployment.apps "web" deleted from {verbs.namespace} namespace\n' in deleted
    assert verbs("delete", "-f", str(MANIFESTS), "--ignore-not-found") == ""


def test_a_rollout_is_watched_undone_paused_and_restarted(verbs: Verbs) -> None:
    verbs("apply", "-f", "-", stdin=_deployment(replicas=3))
    status = verbs("rollout", "status", "deployment/web", "--timeout", "30s")
    assert status.splitlines()[-1] == 'deployment "web" successfully rolled out'
    verbs("apply", "-f", "-", stdin=_deployment("example.com/web:2", 3))
    verbs("rollout", "status", "deployment/web", "--timeout", "30s")
    history = verbs("rollout", "history", "deployment/web")
    assert history == "deployment.apps/web \nREVISION  CHANGE-CAUSE\n1         <none>\n2         <none>\n\n"
    assert "example.com/web:1" in verbs("rollout", "history", "deployment/web", "--revision", "1")
    assert verbs("rollout", "undo", "deployment/web") == "deployment.apps/web rolled back\n"
    verbs("rollout", "status", "deployment/web", "--timeout", "30s")
    image = "jsonpath={.items[*].spec.containers[0].image}"
    assert set(verbs("get", "pods", "-l", "app=web", "-o", image).split()) == {"example.com/web:1"}
    assert "unable to find the specified revision" in verbs.error(
        "rollout", "history", "deployment/web", "--revision", "9"
    )
    assert "unable to find specified revision 9" in verbs.error("rollout", "undo", "deploy/web", "--to-revision", "9")
    assert verbs("rollout", "pause", "deployment/web") == "deployment.apps/web paused\n"
    assert verbs.error("rollout", "pause", "deployment/web") == 'error: deployments.apps "web" is already paused'
    assert "can't restart paused deployment" in verbs.error("rollout", "restart", "deployment/web")
    assert verbs("rollout", "resume", "deployment/web") == "deployment.apps/web resumed\n"
    assert verbs("rollout", "restart", "deployment/web") == "deployment.apps/web restarted\n"
    verbs("rollout", "status", "deployment/web", "--timeout", "30s")


def test_a_wait_that_ends_while_its_watch_is_open_ends_quietly(verbs: Verbs) -> None:
    manifest = json.loads(_deployment(replicas=1))
    manifest["spec"]["minReadySeconds"] = 2  # the watch is open when the rollout is done
    verbs("apply", "-f", "-", stdin=json.dumps(manifest))
    done = verbs.run("rollout", "status", "deployment/web", "--timeout", "30s")
    assert done.returncode == 0
    assert done.stdout.startswith('Waiting for deployment "web" rollout to finish: 0 of 1 updated replicas')
    assert done.stdout.splitlines()[-1] == 'deployment "web" successfully rolled out'
    assert done.stderr == ""


def test_a_rollout_that_cannot_finish_ends_with_the_time_out(verbs: Verbs) -> None:
    manifest = json.loads(_deployment(replicas=1))
    manifest["spec"]["template"]["spec"]["nodeSelector"] = {"no": "such-node"}
    verbs("apply", "-f", "-", stdin=json.dumps(manifest))
    assert verbs.error("rollout", "status", "deploy/web", "--timeout", "1s") == (
        "error: timed out waiting for the condition"
    )


def test_get_prints_what_was_asked_for(verbs: Verbs) -> None:
    verbs("apply", "-f", "-", stdin=_deployment())
    verbs("rollout", "status", "deployment/web", "--timeout", "30s")
    table = verbs("get", "deployments")
    assert table.splitlines()[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert table.splitlines()[1].startswith("web    2/2     2            2           ")
    several = verbs("get", "deploy,rs,pods", "-l", "app=web")
    assert several.startswith("NAME                  READY")
    assert "\n\nNAME                             DESIRED" in several
    assert several.count("\npod/web-") == 2
    names = verbs("get", "pods", "-o", "name").split()
    assert [name.startswith("pod/web-") for name in names] == [True, True]
    pod = verbs.json("get", names[0])
    assert (pod["apiVersion"], pod["kind"]) == ("v1", "Pod")
    assert "managedFields" not in pod["metadata"]
    assert "managedFields:" in verbs("get", names[0], "-o", "yaml", "--show-managed-fields")
    listed = verbs.json("get", "pods")
    assert (listed["kind"], len(listed["items"])) == ("List", 2)
    assert "NODE" in verbs("get", "pods", "-o", "wide")
    assert f"{verbs.namespace}   web-" in verbs("get", "pods", "-A", "--no-headers")
    assert "app=web,pod-template-hash=" in verbs("get", "pods", "--show-labels")
    assert len(verbs("get", "pods", "--chunk-size=1").splitlines()) == 3
    assert verbs("get", "pods", "--field-selector", "status.phase=Failed") == ""
    assert "deployment.apps/web" in verbs("get", "all")


def test_get_without_anything_there_says_so(verbs: Verbs) -> None:
    done = verbs.run("get", "pods")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"No resources found in {verbs.namespace} namespace.\n"


def test_get_follows_changes(verbs: Verbs) -> None:
    verbs("apply", "-f", "-", stdin=_deployment(replicas=1))
    watching = verbs.start("get", "deployment", "web", "-w")
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith("NAME ")
        assert watching.stdout.readline().startswith("web ")
        verbs("scale", "deployment/web", "--replicas", "3")
        while not (line := watching.stdout.readline()).startswith("web    3/3 "):
            assert line.startswith("web ")
    finally:
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=10)


def test_describe_shows_an_object_and_its_events(verbs: Verbs) -> None:
    verbs("apply", "-f", "-", stdin=_deployment())
    verbs("rollout", "status", "deployment/web", "--timeout", "30s")
    text = verbs("describe", "deployment", "web")
    assert "Replicas:               2 desired | 2 updated | 2 total | 2 available | 0 unavailable" in text
    assert "ScalingReplicaSet" in text
    pod = verbs("describe", "pods", "-l", "app=web")
    assert "Controlled By:  ReplicaSet/web-" in pod
    assert "Successfully assigned" in pod
    assert "Non-terminated Pods" in verbs("describe", "node", "node-1")
    assert "Name:  " in verbs("describe", "pod", "web-")  # the beginning of names is enough
    assert verbs.error("describe", "pod", "bogus") == 'Error from server (NotFound): pods "bogus" not found'


def test_events_are_told_for_one_object_and_for_all(verbs: Verbs) -> None:
    verbs("apply", "-f", "-", stdin=_deployment())
    verbs("rollout", "status", "deployment/web", "--timeout", "30s")
    header, *rows = verbs("events", "--for", "deployment/web").splitlines()
    assert header.split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert rows
    assert all("Deployment/web" in row for row in rows)
    assert "Pod/web-" in verbs("events")
    assert verbs.run("events", "--types", "Warning").stderr == f"No events found in {verbs.namespace} namespace.\n"


def test_scale_checks_what_was_there(verbs: Verbs) -> None:
    verbs("apply", "-f", "-", stdin=_deployment())
    assert verbs("scale", "deployment/web", "--replicas=3", "--timeout", "30s") == "deployment.apps/web scaled\n"
    refused = verbs.error("scale", "deployment/web", "--current-replicas=1", "--replicas=2")
    assert refused == "error: Expected replicas to be 1, was 3"
    assert verbs.error("scale", "deployment/web") == 'error: required flag(s) "replicas" not set'


def test_delete_waits_until_objects_are_gone(verbs: Verbs) -> None:
    verbs("apply", "-f", "-", stdin=_deployment())
    verbs("rollout", "status", "deployment/web", "--timeout", "30s")
    deleted = verbs("delete", "deployment", "web", "--cascade=foreground")
    assert deleted == f'deployment.apps "web" deleted from {verbs.namespace} namespace\n'
    assert verbs.run("get", "deploy,rs,pods", "-o", "name").stdout == ""
    assert verbs.error("delete", "deployment", "web") == (
        'Error from server (NotFound): deployments.apps "web" not found'
    )
    assert verbs.run("delete", "pods", "--all").stderr == "No resources found\n"
    assert "no name was specified" in verbs.error("delete", "pods")


def test_logs_choose_the_pod_of_a_workload(verbs: Verbs) -> None:
    verbs("apply", "-f", "-", stdin=_deployment())
    verbs("rollout", "status", "deployment/web", "--timeout", "30s")
    done = verbs.run("logs", "deployment/web", "--tail", "1")
    assert done.returncode == 0
    assert done.stderr.startswith("Found 2 pods, using pod/web-")
    assert done.stdout
    prefixed = verbs("logs", "-l", "app=web", "--prefix").splitlines()
    assert len(prefixed) == 2
    assert all(line.startswith("[pod/web-") and "/web] " in line for line in prefixed)
    assert "container bogus is not valid for pod" in verbs.error("logs", "deploy/web", "-c", "bogus")


# What people get wrong.


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("a: b: c", "error: error parsing STDIN: error converting YAML to JSON: yaml: line 1: mapping values are not"),
        ("kind: Pod\nmetadata: {name: x}", "apiVersion not set"),
        (
            "{apiVersion: v1, kind: Bogus, metadata: {name: x}}",
            'resource mapping not found for name: "x" namespace: "" from "STDIN": no matches for kind "Bogus"',
        ),
        (
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, bogus: 1}",
            'Error from server (BadRequest): error when creating "STDIN": ConfigMap in version "v1" cannot be handled',
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: []}}",
            'The Pod "x" is invalid: spec.containers: Required value',
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: 7}}",
            "Error from server (BadRequest): error when creating",
        ),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: other}}", "does not match the namespace"),
        ("", "error: no objects passed to apply"),
    ],
)
def test_a_wrong_manifest_is_refused_and_nothing_is_stored(verbs: Verbs, manifest: str, message: str) -> None:
    assert message in verbs.error("apply", "-f", "-", stdin=manifest)
    assert verbs.run("get", "pods", "-o", "name").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get", "bogus"], 'error: the server doesn\'t have a resource type "bogus"'),
        (["get", "pod", "bogus"], 'Error from server (NotFound): pods "bogus" not found'),
        (["get", "pods", "-o", "xml"], 'unable to match a printer suitable for the output format "xml"'),
        (["get", "pods", "-l", "a in"], "Error from server (BadRequest): unable to parse requirement"),
        (["get", "pods", "--kubeconfig", "/does/not/exist"], "the kubeconfig /does/not/exist does not exist"),
        (["apply", "-f", "/does/not/exist.yaml"], 'the path "/does/not/exist.yaml" does not exist'),
        (["logs", "bogus"], 'Error from server (NotFound): pods "bogus" not found'),
        (["exec", "bogus", "--", "ls"], 'Error from server (NotFound): pods "bogus" not found'),
        (["rollout", "status", "pod/bogus"], 'Error from server (NotFound): pods "bogus" not found'),
    ],
)
def test_errors_are_worded_as_kubectl_words_them(verbs: Verbs, arguments: list[str], message: str) -> None:
    assert message in verbs.error(*arguments)


def test_a_server_that_is_not_there_is_told_plainly(tmp_path: Path, hollow: OrchestratorProcess) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(hollow.kubeconfig.read_text().replace(hollow.url, "https://127.0.0.1:1"))
    done = subprocess.run(
        [*COMMAND, "get", "pods", "--kubeconfig", kubeconfig], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("The connection to the server 127.0.0.1:1 was refused")


# The process itself.


def _up(*options: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """`up` with options that it must refuse."""
    return subprocess.run(
        [*COMMAND, "up", *options],
        capture_output=True, text=True, check=False, timeout=60, env={**clean_environment(), **extra},
    )  # fmt: skip


def test_a_wrong_key_in_the_config_file_stops_the_start_with_one_line(tmp_path: Path) -> None:
    config = tmp_path / "orchestrator.yaml"
    config.write_text("nodez: 3\n")
    done = _up("--config", str(config))
    assert done.returncode == 2
    assert done.stderr == f"error: {config}: unknown option 'nodez'; did you mean 'nodes'?\n"
    assert not done.stdout


def test_a_wrong_environment_variable_stops_the_start() -> None:
    done = _up(ORCHESTRATOR_NODES="many")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: ORCHESTRATOR_NODES: 'many' is not a number\n"


def test_a_data_dir_serves_one_orchestrator(hollow: OrchestratorProcess) -> None:
    done = _up("--runtime", "hollow", "--listen", "127.0.0.1:0", "--data-dir", str(hollow.data_dir))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"is in use by process {hollow.pid}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_serves_one_program(hollow: OrchestratorProcess, tmp_path: Path) -> None:
    address = hollow.url.removeprefix("https://")
    done = _up("--runtime", "hollow", "--listen", address, "--data-dir", str(tmp_path / "data"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(f"error: {address} is in use by another program")
    assert "Traceback" not in done.stderr


def test_no_engine_is_told_plainly(tmp_path: Path) -> None:
    done = _up("--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:0", ORCHESTRATOR_ENGINE="unix:///no/engine")
    assert (done.returncode, done.stdout) == (1, "")
    assert "/no/engine" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_signal_ends_it_and_the_next_start_finds_everything(tmp_path: Path) -> None:
    process = OrchestratorProcess(tmp_path / "data", "--runtime", "hollow")
    process.start()
    verbs = Verbs(process, "default")
    verbs("apply", "-f", "-", stdin='{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}}')
    started = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - started < 5
    process.start()
    try:
        assert verbs("get", "configmap", "kept", "-o", "name") == "configmap/kept\n"
    finally:
        assert process.stop() == 0


def test_an_ephemeral_cluster_leaves_no_folder(tmp_path: Path) -> None:
    environment = {**clean_environment(), "TMPDIR": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "share")}
    process = subprocess.Popen(
        [*COMMAND, "--runtime", "hollow", "--ephemeral", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready https://127.0.0.1:")
    assert Path(line.strip().partition("kubeconfig=")[2]).is_relative_to(tmp_path)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=10)
    assert (process.returncode, rest) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_down_without_anything_there_is_fine(tmp_path: Path) -> None:
    for _ in range(2):
        done = subprocess.run(
            [*COMMAND, "down", "--data-dir", str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "nothing to remove" in done.stdout


# With real containers.


POD = """
apiVersion: v1
kind: Pod
metadata: {name: box}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: box
    image: orchestrator.test/busybox:1
    command: [sh, -c, "echo started; exec sleep 1000"]
"""


@pytest.fixture
def box(container_verbs: Verbs) -> Verbs:
    """A pod with a shell in it."""
    container_verbs("apply", "-f", "-", stdin=POD)
    watching = container_verbs.start("get", "pod", "box", "-w", "-o", 'jsonpath={.status.phase}{"\\n"}')
    try:
        assert watching.stdout is not None
        while watching.stdout.readline().strip() != "Running":
            assert watching.poll() is None
    finally:
        watching.kill()
        watching.communicate()
    return container_verbs


def test_exec_carries_input_output_and_the_exit_code(box: Verbs) -> None:
    assert box("exec", "box", "--", "echo", "hello") == "hello\n"
    assert box("exec", "-i", "box", "--", "cat", stdin="from here\n") == "from here\n"
    failed = box.run("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (failed.returncode, failed.stdout) == (7, "out\n")
    assert failed.stderr == "err\ncommand terminated with exit code 7\n"
    assert "no-such-program" in box.run("exec", "box", "--", "no-such-program").stderr


def test_exec_carries_many_bytes_both_ways(box: Verbs) -> None:
    content = "0123456789abcdef" * 64 * 1024
    assert box("exec", "-i", "box", "--", "cat", stdin=content) == content


def test_exec_gives_a_terminal(box: Verbs) -> None:
    terminal, other_end = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "exec", "-it", "-n", box.namespace, "box", "--", "sh"],
        stdin=other_end, stdout=other_end, stderr=other_end, env=box.environment, start_new_session=True,
    )  # fmt: skip
    os.close(other_end)
    try:
        _read_until(terminal, b"# ", seconds=30)
        os.write(terminal, b"tty && echo from-the-$((6 * 7)); exit 3\n")
        seen = _read_until(terminal, None, seconds=30)
        assert b"/dev/pts/" in seen
        assert b"from-the-42" in seen
        assert process.wait(30) == 3
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def _read_until(descriptor: int, wanted: bytes | None, *, seconds: float) -> bytes:
    """Everything up to the wanted bytes, or until the other end is closed."""
    seen = b""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            try:
                part = os.read(descriptor, 65536)
            except OSError:  # Linux: EIO, when the last one closed the terminal
                return seen
            if not part:
                return seen
            seen += part
            if wanted is not None and wanted in seen:
                return seen
    raise AssertionError(f"within {seconds} s the terminal shows only {seen!r}")


def test_logs_follow_a_container(box: Verbs) -> None:
    assert box("logs", "box") == "started\n"
    assert box("logs", "box", "--timestamps").endswith("Z started\n")
    following = box.start("logs", "box", "-f")
    try:
        assert following.stdout is not None
        assert following.stdout.readline() == "started\n"
        box("exec", "box", "--", "sh", "-c", "echo more > /proc/1/fd/1")
        assert following.stdout.readline() == "more\n"
    finally:
        following.kill()
        following.communicate()
    assert box("logs", "box", "--tail", "1") == "more\n"
