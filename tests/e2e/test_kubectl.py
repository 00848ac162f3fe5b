"""Unmodified kubectl, every version on the machine, through the life of a Deployment on real containers."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.orchestrator_process import Kubectl, is_ready

WEB = "orchestrator.test/web:1"


def all_ready(count: int) -> Callable[[list[Any]], bool]:
    """A predicate: this many pods, all ready."""
    return lambda pods: len(pods) == count and all(is_ready(pod) for pod in pods)


def test_the_life_of_a_deployment(each_k: Kubectl, tmp_path: Path) -> None:
    k = each_k
    assert k("create", "deployment", "web", f"--image={WEB}", "--replicas=2") == "deployment.apps/web created\n"
    assert "successfully rolled out" in k("rollout", "status", "deployment/web", "--timeout=60s")
    k("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")

    # get, in every format
    lines = k("get", "deployment", "web", "-o", "wide").splitlines()
    assert lines[0].split() == [
        "NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR",
    ]  # fmt: skip
    assert lines[1].split()[:4] == ["web", "2/2", "2", "2"]
    assert lines[1].split()[5:] == ["web", WEB, "app=web"]
    pods = k("get", "pods", "-o", "wide").splitlines()
    assert pods[0].split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert all(" Running " in line for line in pods[1:])
    assert "kind: Deployment" in k("get", "deployment", "web", "-o", "yaml")
    assert k.json("get", "deployment", "web")["status"]["readyReplicas"] == 2
    assert k("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "2"
    assert k("get", "deploy,rs,pods", "-o", "name").split()[0] == "deployment.apps/web"

    # describe and events tell who did what
    description = k("describe", "deployment", "web")
    assert "RollingUpdateStrategy:  25% max unavailable, 25% max surge" in description
    assert "ScalingReplicaSet" in description
    pod_name = k("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    described = k("describe", "pod", pod_name)
    for word in ("Scheduled", "Pulled", "Created", "Started", "Successfully assigned"):
        assert word in described
    assert "ScalingReplicaSet" in k("events", "--for", "deployment/web")

    # scale, roll, undo
    assert k("scale", "deployment", "web", "--replicas=3") == "deployment.apps/web scaled\n"
    k.wait_for("pods", all_ready(3), selector="app=web")
    k("set", "image", "deployment/web", "web=orchestrator.test/web:2")
    assert "successfully rolled out" in k("rollout", "status", "deployment/web", "--timeout=90s", timeout=100)
    history = k("rollout", "history", "deployment/web").split()
    assert "1" in history
    assert "2" in history
    assert k("rollout", "undo", "deployment/web") == "deployment.apps/web rolled back\n"
    assert "successfully rolled out" in k("rollout", "status", "deployment/web", "--timeout=90s", timeout=100)
    assert k("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}") == WEB
    k("rollout", "pause", "deployment/web")
    k("rollout", "resume", "deployment/web")
    k("rollout", "restart", "deployment/web")
    assert "successfully rolled out" in k("rollout", "status", "deployment/web", "--timeout=90s", timeout=100)

    # and away, with everything that it owns
    assert k("delete", "deployment", "web", "--wait=true").startswith('deployment.apps "web" deleted')
    k("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s", timeout=70)
    assert k("get", "replicasets,pods", "-o", "name") == ""


MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  color: blue
---
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"""


def test_apply_diff_and_edit_a_manifest_of_two_documents(each_k: Kubectl, tmp_path: Path) -> None:
    k = each_k
    file = tmp_path / "manifest.yaml"
    file.write_text(MANIFEST)
    assert k("apply", "-f", str(file)).splitlines() == ["configmap/settings created", "service/web created"]
    assert k("apply", "-f", str(file)).splitlines() == ["configmap/settings unchanged", "service/web unchanged"]
    file.write_text(MANIFEST.replace("blue", "red"))
    diff = k.run("diff", "-f", str(file))
    assert diff.returncode == 1, diff.stderr
    assert "-  color: blue" in diff.stdout
    assert "+  color: red" in diff.stdout
    assert k("apply", "-f", str(file)).splitlines() == ["configmap/settings configured", "service/web unchanged"]
    assert k.run("diff", "-f", str(file)).returncode == 0
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i s/red/green/ "$1"\n')
    editor.chmod(0o755)
    assert "edited" in k("edit", "-f", str(file), KUBE_EDITOR=str(editor), EDITOR=str(editor))
    assert k("get", "configmap", "settings", "-o", "jsonpath={.data.color}") == "green"
    k("delete", "-f", str(file))
    assert k.run("get", "configmap", "settings").returncode == 1


def test_discovery_and_explain(each_k: Kubectl) -> None:
    k = each_k
    resources = {line.split()[0] for line in k("api-resources", "--no-headers").splitlines()}
    assert {"pods", "deployments", "services", "endpointslices", "leases"} <= resources
    assert "v1" in k("api-versions").split()
    explained = k("explain", "pod.spec.containers.image")
    assert "image" in explained
    assert "string" in explained
    assert "strategy" in k("explain", "deployment.spec", "--recursive")
    assert "Server Version: v1.36" in k("version") or "1.36" in k("version")


def test_logs_are_followed(each_k: Kubectl) -> None:
    k = each_k
    count = "i=0; while [ $i -lt 5 ]; do echo line $i; i=$((i+1)); done; sleep 1; echo last"
    k("run", "counter", "--image=orchestrator.test/busybox:1", "--restart=Never", "--", "sh", "-c", count)
    k.wait_for("pods", lambda pods: any(p["status"].get("phase") in ("Running", "Succeeded") for p in pods))
    followed = k("logs", "-f", "counter").splitlines()
    assert followed == [*(f"line {i}" for i in range(5)), "last"]
    assert k("logs", "counter", "--tail=1") == "last\n"
    k.wait_for("pods", lambda pods: any(p["status"].get("phase") == "Succeeded" for p in pods))
    assert k("get", "pod", "counter", "--no-headers").split()[2] == "Completed"


def test_exec_over_spdy_and_websocket(each_k: Kubectl) -> None:
    """kubectl speaks SPDY up to 1.30, WebSocket from 1.31 on."""
    k = each_k
    k("run", "shell", "--image=orchestrator.test/busybox:1", "--", "sleep", "3600")
    k.wait_for("pods", all_ready(1))
    assert k("exec", "shell", "--", "echo", "hello") == "hello\n"
    assert k("exec", "-i", "shell", "--", "cat", stdin="through stdin\n") == "through stdin\n"
    failed = k.run("exec", "shell", "--", "sh", "-c", "echo oops >&2; exit 7")
    assert failed.returncode == 7
    assert "oops" in failed.stderr
    missing = k.run("exec", "shell", "--", "no-such-program")
    assert missing.returncode != 0
    assert "no-such-program" in missing.stderr
    assert "42" in in_terminal(
        k.arguments("exec", "-it", "shell", "--", "sh"), "echo $((6*7))\nexit\n", k.environment()
    )
    k("delete", "pod", "shell", "--grace-period=0", "--force")


def in_terminal(command: list[str], typed: str, environment: dict[str, str]) -> str:
    """Run a program on a pseudo-terminal, type, and return everything that it showed."""
    parent, child = pty.openpty()
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=environment, close_fds=True)
    os.close(child)
    shown = b""
    has_typed = False
    deadline = time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            readable, _, _ = select.select([parent], [], [], 1.0)
            if not readable:
                if process.poll() is not None:
                    break
                continue
            try:
                chunk = os.read(parent, 4096)
            except OSError:
                break  # the terminal closes with its last user
            if not chunk:
                break
            shown += chunk
            if not has_typed and b"#" in shown:
                os.write(parent, typed.encode())
                has_typed = True
    finally:
        process.kill()
        process.wait()
        os.close(parent)
    return shown.decode(errors="replace")


def test_errors_are_worded_as_kubernetes_words_them(k: Kubectl, tmp_path: Path) -> None:
    def refused(manifest: str, *arguments: str) -> str:
        file = tmp_path / "bad.yaml"
        file.write_text(textwrap.dedent(manifest))
        done = k.run("apply", "-f", str(file), *arguments)
        assert done.returncode != 0
        return done.stderr

    assert "error converting YAML to JSON" in refused("a: [")
    assert 'no matches for kind "Nothing"' in refused("apiVersion: v1\nkind: Nothing\nmetadata: {name: a}\n")
    unknown = refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatta: {a: b}\n")
    assert 'unknown field "datta"' in unknown
    wrong_type = refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: [1]}\n", "--validate=false")
    assert "cannot unmarshal array into Go struct field ConfigMap.data of type string" in wrong_type
    invalid = refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: A_b}\n")
    assert 'The ConfigMap "A_b" is invalid: metadata.name: Invalid value' in invalid
    assert k("get", "configmaps", "-o", "name").split() in ([], ["configmap/kube-root-ca.crt"])
    twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: twice}\n"
    k("create", "-f", "-", stdin=twice)
    refusal = k.run("create", "-f", "-", stdin=twice)
    assert "Error from server (AlreadyExists)" in refusal.stderr
    assert 'configmaps "twice" already exists' in refusal.stderr
    stale = json.loads(k("get", "configmap", "twice", "-o", "json"))
    k("label", "configmap", "twice", "a=b")
    stale["data"] = {"late": "yes"}
    (tmp_path / "stale.json").write_text(json.dumps(stale))
    conflict = k.run("replace", "-f", str(tmp_path / "stale.json"))
    assert "Error from server (Conflict)" in conflict.stderr
    assert "the object has been modified" in conflict.stderr


def test_kube_system_shows_what_the_cluster_is_made_of(k: Kubectl) -> None:
    nodes = [one["metadata"]["name"] for one in k.json("get", "nodes")["items"]]
    k("wait", "pod", "-n", "kube-system", "--for=condition=Ready", "-l", "tier=control-plane", "--timeout=20s")
    assert k("get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns", "-o", "name").split() == [
        "pod/coredns-node-1"
    ]
    proxies = k("get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-proxy", "-o", "name").split()
    assert proxies == [f"pod/kube-proxy-{node}" for node in nodes]
    assert "component.started" in k("logs", "-n", "kube-system", "kube-scheduler-node-1")
    refused = k.run("exec", "-n", "kube-system", "kube-scheduler-node-1", "--", "ls")
    assert refused.returncode == 1
    assert "has no container" in refused.stderr
    assert "kube-apiserver-node-1" in k("top", "pods", "-n", "kube-system", "--no-headers")
    k("delete", "pod", "-n", "kube-system", "kube-proxy-node-2")
    k("wait", "pod", "-n", "kube-system", "kube-proxy-node-2", "--for=create", "--timeout=20s")
    k("wait", "pod", "-n", "kube-system", "kube-proxy-node-2", "--for=condition=Ready", "--timeout=20s")
