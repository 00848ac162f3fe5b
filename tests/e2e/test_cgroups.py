"""The cgroups of pods and of their classes, as the kernel has them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator.kubelet.cgroups.files import CgroupFiles
from orchestrator.kubelet.cgroups.values import CgroupValues
from tests.e2e.manifests import Pod, apply, condition, container, pod, status_of, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl, docker, is_ready

MIB = 1 << 20
USE_40_MB = """exec awk 'BEGIN { text = sprintf("%40000000s", ""); system("sleep 1000"); print length(text) }'"""
FILES = CgroupFiles()


def place_of_container(running: Pod, name: str = "main") -> tuple[str, ...]:
    """Where the kernel has a container: the names down to its cgroup."""
    container_id = status_of(running, name)["containerID"].removeprefix("docker://")
    pid = docker("inspect", "-f", "{{.State.Pid}}", container_id).strip()
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    path = next(line.split(":")[2] for line in lines if line.split(":")[1] in ("memory", ""))
    return tuple(path.strip("/").split("/"))


def place_of(running: Pod, name: str = "main") -> tuple[str, ...]:
    """The names down to the cgroup of a container's pod."""
    return place_of_container(running, name)[:-1]


def plain(name: str) -> str:
    """What a cgroup is called: slices of systemd have the names of those above them in front, and no dashes."""
    return name.removesuffix(".slice").rpartition("-")[2].replace("_", "-") if name.endswith(".slice") else name


def values_of(running: Pod, name: str = "main") -> CgroupValues:
    return FILES.read(place_of(running, name))


def test_containers_are_below_the_cgroup_of_their_pod_and_its_class(k: Kubectl) -> None:
    small = {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m", "memory": "32Mi"}}
    exact = {"limits": {"cpu": "100m", "memory": "32Mi"}}
    apply(
        k,
        pod("burstable", container(resources=small), container(name="other", resources=small)),
        pod("guaranteed", container(resources=exact)),
        pod("besteffort"),
    )
    found = {name: wait_for_pod(k, name, is_ready) for name in ("burstable", "guaranteed", "besteffort")}
    places = {name: place_of(running) for name, running in found.items()}
    for name, running in found.items():
        of_class = [] if name == "guaranteed" else [name]
        assert [plain(one) for one in places[name][2:]] == ["kubepods", *of_class, f"pod{running['metadata']['uid']}"]
    assert place_of(found["burstable"], "other") == places["burstable"]
    burstable = values_of(found["burstable"])
    assert (burstable.cpu_quota_microseconds, burstable.memory_bytes) == (40_000, 64 * MIB)
    assert values_of(found["besteffort"]).memory_bytes == 0
    k("delete", "pod", "burstable", "guaranteed", "besteffort", "--wait=true")
    assert [name for name, place in places.items() if place[-1] in FILES.below(place[:-1])] == []


def test_containers_of_a_pod_share_its_own_limit(k: Kubectl) -> None:
    limit = {"limits": {"memory": "64Mi", "cpu": "500m"}}
    apply(
        k,
        pod(
            "shared",
            container(USE_40_MB, name="first"),
            container(USE_40_MB, name="second"),
            resources=limit,
            restartPolicy="Never",
        ),
        pod("alone", container(USE_40_MB), resources=limit, restartPolicy="Never"),
    )

    def is_one_killed(found: Pod) -> bool:
        ended = [status_of(found, name).get("state", {}).get("terminated") for name in ("first", "second")]
        return any(state and state.get("reason") == "OOMKilled" for state in ended)

    shared = wait_for_pod(k, "shared", lambda p: bool(p["status"].get("containerStatuses")) and is_one_killed(p))
    assert shared["status"]["qosClass"] == "Guaranteed"
    alone = wait_for_pod(k, "alone", is_ready)
    values = values_of(alone)
    assert (values.cpu_quota_microseconds, values.memory_bytes) == (50_000, 64 * MIB)


@pytest.mark.skipif(not FILES.is_v2, reason="only cgroup v2 ends the processes of a container together")
def test_a_container_without_memory_ends_as_a_whole(k: Kubectl) -> None:
    limit = {"limits": {"memory": "32Mi"}}
    command = f"while [ ! -e /tmp/go ]; do sleep 0.1; done; ({USE_40_MB}) & wait; sleep 1000"
    apply(k, pod("whole", container(command, resources=limit), restartPolicy="Never"))
    wait_for_pod(k, "whole", is_ready)
    k("exec", "whole", "--", "touch", "/tmp/go")
    ended = wait_for_pod(k, "whole", lambda p: p["status"]["phase"] == "Failed")
    assert status_of(ended)["state"]["terminated"]["reason"] == "OOMKilled"


def test_a_finished_pod_has_no_cgroup(k: Kubectl) -> None:
    apply(k, pod("ends", container("while [ ! -e /tmp/end ]; do sleep 0.1; done"), restartPolicy="Never"))
    place = place_of(wait_for_pod(k, "ends", is_ready))
    assert place[-1] in FILES.below(place[:-1])
    k("exec", "ends", "--", "touch", "/tmp/end")
    wait_for_pod(k, "ends", lambda p: p["status"]["phase"] == "Succeeded")
    k("delete", "pod", "ends", "--wait=true")
    assert place[-1] not in FILES.below(place[:-1])


def test_a_tiny_limit_is_enough_for_a_tiny_pod(k: Kubectl) -> None:
    tiny = {"limits": {"cpu": "20m", "memory": "8Mi"}}
    apply(k, pod("tiny", container("sleep 1000", resources=tiny)))
    running = wait_for_pod(k, "tiny", is_ready)
    assert values_of(running).memory_bytes == 8 * MIB


def test_oom_scores_follow_the_class(k: Kubectl) -> None:
    apply(k, pod("free"), pod("half", container(resources={"requests": {"memory": "64Mi"}})))
    scores = {
        name: int(k("exec", name, "--", "cat", "/proc/1/oom_score_adj"))
        for name in ("free", "half")
        if wait_for_pod(k, name, is_ready)
    }
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert scores["free"] == 1000
    assert abs(scores["half"] - (1000 - 1000 * 64 * MIB // memory)) <= 1


def test_a_pod_is_resized_as_a_whole(k: Kubectl) -> None:
    def sized(cpu: str, memory: str) -> dict[str, dict[str, str]]:
        return {"requests": {"cpu": "50m", "memory": "16Mi"}, "limits": {"cpu": cpu, "memory": memory}}

    restarts = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    apply(
        k,
        pod("whole", container(), resources=sized("100m", "64Mi")),
        pod("again", container(resizePolicy=restarts), resources=sized("100m", "64Mi")),
    )
    before = wait_for_pod(k, "whole", is_ready)
    assert before["status"]["resources"] == sized("100m", "64Mi")
    assert before["status"]["allocatedResources"] == {"cpu": "50m", "memory": "16Mi"}
    wait_for_pod(k, "again", is_ready)
    for name in ("whole", "again"):
        patch = json.dumps({"spec": {"resources": sized("200m", "96Mi")}})
        k("patch", "pod", name, "--subresource=resize", "-p", patch)

    def is_resized(found: Pod) -> bool:
        return found["status"].get("resources") == sized("200m", "96Mi") and is_ready(found)

    after = wait_for_pod(k, "whole", is_resized)
    assert not condition(after, "PodResizeInProgress")
    assert status_of(after)["restartCount"] == 0
    values = values_of(after)
    assert (values.cpu_quota_microseconds, values.memory_bytes) == (20_000, 96 * MIB)
    own = FILES.read(place_of_container(after))
    assert (own.cpu_quota_microseconds, own.memory_bytes) == (20_000, 96 * MIB)
    wait_for_pod(k, "again", lambda p: is_resized(p) and status_of(p)["restartCount"] == 1)


def test_memory_that_is_in_use_is_not_taken_away(k: Kubectl) -> None:
    def patch(limit: str) -> str:
        return json.dumps({"spec": {"containers": [{"name": "main", "resources": {"limits": {"memory": limit}}}]}})

    sized = {"requests": {"cpu": "10m", "memory": "8Mi"}, "limits": {"cpu": "500m", "memory": "80Mi"}}
    apply(k, pod("full", container(USE_40_MB, resources=sized)))
    wait_for_pod(k, "full", is_ready)
    k(
        "exec",
        "full",
        "--",
        "sh",
        "-c",
        "until [ $(awk '/VmRSS/{print $2}' /proc/1/status) -gt 38000 ]; do sleep 0.1; done",
    )
    k("patch", "pod", "full", "--subresource=resize", "-p", patch("16Mi"))
    held = wait_for_pod(k, "full", lambda p: condition(p, "PodResizeInProgress").get("reason") == "Error")
    assert f"memory limit ({16 * MIB}) below current usage" in condition(held, "PodResizeInProgress")["message"]
    assert status_of(held)["resources"]["limits"]["memory"] == "80Mi"
    k("patch", "pod", "full", "--subresource=resize", "-p", patch("80Mi"))
    wait_for_pod(k, "full", lambda p: not condition(p, "PodResizeInProgress"))
    assert values_of(held).memory_bytes == 80 * MIB
