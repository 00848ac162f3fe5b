"""Security contexts on real containers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.manifests import apply, container, output_of, pod, status_of, wait_for_event, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl, docker, is_ready

CAPABILITY_NET_RAW = 1 << 13
CAPABILITY_NET_ADMIN = 1 << 12
CAPABILITY_CHOWN = 1


def process_status(output: str) -> dict[str, str]:
    """`/proc/self/status` as a map."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in output.splitlines())}


def shown_by(k: Kubectl, name: str, context: dict[str, Any], **spec: Any) -> dict[str, str]:
    """The status of a process in a container with this security context."""
    return process_status(output_of(k, pod(name, container("cat /proc/self/status", securityContext=context), **spec)))


def test_users_and_groups(k: Kubectl) -> None:
    spec = {"securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "supplementalGroups": [4000]}}
    inherited = shown_by(k, "inherited", {}, **spec)
    assert inherited["Uid"].split()[0] == "1000"
    assert inherited["Gid"].split()[0] == "3000"
    assert "4000" in inherited["Groups"].split()
    own = shown_by(k, "own", {"runAsUser": 2000}, **spec)
    assert own["Uid"].split()[0] == "2000"


@pytest.mark.parametrize(
    ("policy", "group", "groups"),
    [
        ("Merge", 1000, {1000, 50000, 60000}),
        ("Strict", 1000, {1000, 60000}),
        ("Merge", None, {1000, 50000, 60000}),
        ("Strict", None, {1000, 60000}),
    ],
)
def test_groups_of_the_image_are_merged_or_left_out(
    k: Kubectl, policy: str, group: int | None, groups: set[int]
) -> None:
    context: dict[str, Any] = {"runAsUser": 1000, "supplementalGroups": [60000], "supplementalGroupsPolicy": policy}
    if group is not None:
        context["runAsGroup"] = group
    main = {**container("id -G"), "image": "orchestrator.test/users:1"}
    assert {*output_of(k, pod("groups", main, securityContext=context)).split()} == {str(g) for g in groups}
    apply(k, pod("told", {**container(), "image": "orchestrator.test/users:1"}, securityContext=context))
    user = status_of(wait_for_pod(k, "told", is_ready))["user"]["linux"]
    assert (user["uid"], user["gid"], {*user["supplementalGroups"]}) == (1000, 1000, groups)


def test_who_shares_a_process_namespace_does_not_reach_the_machine_through_the_sandbox(k: Kubectl) -> None:
    setting = "/proc/1/root/proc/sys/vm/swappiness"
    script = f"cat /proc/1/comm; value=$(cat {setting}) && echo $value > {setting} && echo written"
    said = output_of(k, pod("sharing", container(f"( {script} ) 2>&1; true"), shareProcessNamespace=True))
    assert said.split()[0] == "pause"
    assert "Read-only file system" in said
    assert "written" not in said


def test_user_namespaces_are_refused(k: Kubectl) -> None:
    apply(k, pod("own-users", hostUsers=False))
    wait_for_event(k, "FailedCreatePodSandBox", "user namespaces")


def test_a_container_that_must_not_be_root_is_not_started_as_root(k: Kubectl) -> None:
    apply(
        k,
        pod("image-root", container(securityContext={"runAsNonRoot": True})),
        pod("user-root", container(securityContext={"runAsNonRoot": True, "runAsUser": 0})),
        pod("fine", container(securityContext={"runAsNonRoot": True, "runAsUser": 7})),
    )

    def refused(p: dict[str, Any]) -> bool:
        return bool(status_of(p).get("state", {}).get("waiting", {}).get("reason") == "CreateContainerConfigError")

    wait_for_pod(k, "image-root", refused)
    wait_for_pod(k, "user-root", refused)
    wait_for_pod(k, "fine", is_ready)
    wait_for_event(k, "Failed", "container has runAsNonRoot and image will run as root")
    wait_for_event(k, "Failed", "container's runAsUser breaks non-root policy")


def test_capabilities(k: Kubectl) -> None:
    default = int(shown_by(k, "default", {})["CapEff"], 16)
    assert default & CAPABILITY_CHOWN
    assert not default & CAPABILITY_NET_ADMIN
    changed = shown_by(k, "changed", {"capabilities": {"add": ["NET_ADMIN"], "drop": ["CHOWN"]}})
    assert int(changed["CapEff"], 16) == default & ~CAPABILITY_CHOWN | CAPABILITY_NET_ADMIN
    none = shown_by(k, "none", {"capabilities": {"drop": ["ALL"]}})
    assert int(none["CapEff"], 16) == 0
    one = shown_by(k, "one", {"capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}})
    assert int(one["CapEff"], 16) == CAPABILITY_NET_RAW


def test_privileges_are_not_escalated_when_forbidden(k: Kubectl) -> None:
    assert shown_by(k, "allowed", {})["NoNewPrivs"] == "0"
    assert shown_by(k, "forbidden", {"allowPrivilegeEscalation": False})["NoNewPrivs"] == "1"


def test_seccomp_profiles(k: Kubectl) -> None:
    assert shown_by(k, "none", {})["Seccomp"] == "0"
    assert shown_by(k, "default", {"seccompProfile": {"type": "RuntimeDefault"}})["Seccomp"] == "2"
    profiles = k.process.data_dir / "kubelet" / "seccomp"
    profiles.mkdir(parents=True, exist_ok=True)
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }
    (profiles / "no-mkdir.json").write_text(json.dumps(profile))
    local = {"seccompProfile": {"type": "Localhost", "localhostProfile": "no-mkdir.json"}}
    script = "mkdir /tmp/x 2>/dev/null && echo made || echo refused"
    assert output_of(k, pod("local", container(script, securityContext=local))) == "refused\n"
    gone = {"seccompProfile": {"type": "Localhost", "localhostProfile": "nowhere.json"}}
    apply(k, pod("gone", container(securityContext=gone)))
    wait_for_event(k, "Failed", "cannot load seccomp profile")


def test_apparmor_profiles_apply_or_keep_the_pod_away(k: Kubectl) -> None:
    wanted = {"appArmorProfile": {"type": "RuntimeDefault"}}
    free = {"appArmorProfile": {"type": "Unconfined"}}
    script = "cat /proc/self/attr/current 2>/dev/null || echo none"
    if "name=apparmor" in docker("info", "--format", "{{.SecurityOptions}}"):
        assert output_of(k, pod("profile", container(script, securityContext=wanted))).endswith("(enforce)\n")
        assert output_of(k, pod("free", container(script, securityContext=free))) == "unconfined\n"
        return
    assert output_of(k, pod("free", container(script, securityContext=free)))
    apply(k, pod("profile", container(script, securityContext=wanted)))
    refused = wait_for_pod(k, "profile", lambda p: p["status"].get("phase") == "Failed")
    assert refused["status"]["reason"] == "AppArmor"
    assert not refused["status"].get("containerStatuses")


def test_a_read_only_root(k: Kubectl) -> None:
    script = "touch /file 2>/dev/null || echo refused; touch /scratch/file && echo written"
    main = container(
        script,
        securityContext={"readOnlyRootFilesystem": True},
        volumeMounts=[{"name": "scratch", "mountPath": "/scratch"}],
    )
    assert output_of(k, pod("ro", main, volumes=[{"name": "scratch", "emptyDir": {}}])) == "refused\nwritten\n"


def test_privileged(k: Kubectl) -> None:
    script = "mount -t tmpfs none /tmp && echo mounted; cat /proc/self/status"
    shown = output_of(k, pod("privileged", container(script, securityContext={"privileged": True})))
    first, rest = shown.split("\n", 1)
    assert first == "mounted"
    assert process_status(rest)["Seccomp"] == "0"
    refused = "mount -t tmpfs none /tmp 2>/dev/null || echo refused"
    assert output_of(k, pod("plain", container(refused))) == "refused\n"


def test_sysctls(k: Kubectl) -> None:
    sysctls = [
        {"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"},
        {"name": "kernel.shm_rmid_forced", "value": "1"},
    ]
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced"
    assert output_of(k, pod("tuned", container(script), securityContext={"sysctls": sysctls})) == "80\n1\n"
    apply(
        k,
        pod("unsafe", securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}),
    )
    refused = wait_for_pod(k, "unsafe", lambda p: p.get("status", {}).get("phase") == "Failed")
    assert refused["status"]["reason"] == "SysctlForbidden"
    assert refused["status"]["message"] == ('Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted')


def test_masked_paths_of_proc(k: Kubectl) -> None:
    apply(k, pod("proc", container(securityContext={"procMount": "Default"})))
    running = wait_for_pod(k, "proc", is_ready)
    host = json.loads(docker("inspect", status_of(running)["containerID"].removeprefix("docker://")))[0]
    assert host["HostConfig"]["MaskedPaths"]
    unmasked = pod("bad", container(securityContext={"procMount": "Unmasked"}))
    refused = k.run("create", "-f", "-", stdin=json.dumps(unmasked))
    assert "`hostUsers` must be false to use `Unmasked`" in refused.stderr


def test_limits_are_enforced_by_cgroups(k: Kubectl) -> None:
    resources = {"requests": {"cpu": "100m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "32Mi"}}
    apply(k, pod("limited", container(resources=resources)))
    running = wait_for_pod(k, "limited", is_ready)
    host = json.loads(docker("inspect", status_of(running)["containerID"].removeprefix("docker://")))[0]["HostConfig"]
    assert (host["CpuShares"], host["CpuQuota"], host["Memory"]) == (102, 50_000, 32 << 20)
    assert running["status"]["qosClass"] == "Burstable"
