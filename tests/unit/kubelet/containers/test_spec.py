"""From a pod to the runtime's terms: security, sandbox, names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.kubelet.containers.environment import ConfigurationError
from orchestrator.kubelet.containers.spec import (
    ContainerInputs,
    container_spec,
    kernel_hostname,
    sandbox_spec,
    security_of,
)
from orchestrator.kubelet.pod import ContainerKind
from orchestrator.kubelet.runtime import Image
from tests.unit.kubelet.pods import pod, sidecar

IMAGE = Image("sha256:1", ("app:1",), (), 1)


def security(context: Object, of_pod: Object | None = None, image_user: str = "", **more: Any) -> Any:
    obj = pod(securityContext=of_pod or {})
    obj["spec"]["containers"][0]["securityContext"] = context
    image = Image("sha256:1", (), (), 1, user=image_user)
    return security_of(obj, obj["spec"]["containers"][0], image, **more)


def test_container_context_wins_over_that_of_the_pod() -> None:
    found = security({"runAsUser": 1, "runAsGroup": 2}, {"runAsUser": 9, "supplementalGroups": [7], "fsGroup": 8})
    assert (found.user, found.groups) == ("1:2", ("7", "8"))
    assert security({}, {"runAsUser": 9}).user == "9"
    assert security({"runAsGroup": 5}, image_user="3:3").user == "3:5"


def test_profiles(tmp_path: Path) -> None:
    assert security({}).seccomp == "unconfined"
    assert security({"seccompProfile": {"type": "RuntimeDefault"}}).seccomp == ""
    (tmp_path / "p.json").write_text("{}")
    local = {"seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}}
    assert security(local, seccomp_root=tmp_path).seccomp == "{}"
    local = {"seccompProfile": {"type": "Localhost", "localhostProfile": "../p.json"}}
    with pytest.raises(ConfigurationError, match="outside"):
        security(local, seccomp_root=tmp_path / "sub")


@pytest.mark.parametrize(
    ("context", "image_user", "message"),
    [
        ({"runAsUser": 0}, "", "container's runAsUser breaks non-root policy"),
        ({}, "", "container has runAsNonRoot and image will run as root"),
        ({}, "0:1", "container has runAsNonRoot and image will run as root"),
        ({}, "nobody", r"image has non-numeric user \(nobody\), cannot verify user is non-root"),
    ],
)
def test_non_root_is_verified(context: Object, image_user: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        security({"runAsNonRoot": True, **context}, image_user=image_user)


def test_non_root_that_is_fine() -> None:
    assert security({"runAsNonRoot": True, "runAsUser": 5}).user == "5"
    assert security({"runAsNonRoot": True}, image_user="65532").user == ""


def test_host_names() -> None:
    assert kernel_hostname(pod(), "n1", "cluster.local") == "web"
    assert kernel_hostname(pod(hostname="h"), "n1", "cluster.local") == "h"
    assert kernel_hostname(pod(hostNetwork=True), "n1", "cluster.local") == "n1"
    full = pod(subdomain="s", setHostnameAsFQDN=True)
    assert kernel_hostname(full, "n1", "cluster.local") == "web.s.ns.svc.cluster.local"
    with pytest.raises(ConfigurationError, match="is too long"):
        kernel_hostname(pod(subdomain="s" * 60, setHostnameAsFQDN=True), "n1", "cluster.local")


def test_host_ports_of_what_keeps_running() -> None:
    once = {"name": "once", "ports": [{"containerPort": 1, "hostPort": 1}]}
    obj = pod(init=[once, {**sidecar("p"), "ports": [{"containerPort": 2, "hostPort": 2, "protocol": "UDP"}]}])
    obj["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 8080, "hostIP": "192.0.2.1"}]
    found = sandbox_spec(obj, 0, node_name="n1", cluster_domain="cluster.local")
    assert found.host_ports == (("", "UDP", 2, 2), ("192.0.2.1", "TCP", 8080, 80))


def test_command_args_and_directory_are_expanded() -> None:
    container = {"name": "a", "image": "i", "command": ["run", "$(A)"], "args": ["$$(A)"], "workingDir": "/$(A)"}
    spec = container_spec(pod(), container, ContainerKind.APP, 3, ContainerInputs(IMAGE, {"A": "1"}))
    assert (spec.command, spec.args, spec.working_dir, spec.attempt) == (("run", "1"), ("$(A)",), "/1", 3)
    bare = container_spec(pod(), {"name": "a"}, ContainerKind.APP, 0, ContainerInputs(IMAGE, {}))
    assert (bare.command, bare.args) == (None, None)
