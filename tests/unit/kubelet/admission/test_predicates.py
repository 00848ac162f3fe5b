"""What a node refuses."""

from __future__ import annotations

import pytest

from orchestrator.api.objects import Object
from orchestrator.kubelet.admission.predicates import (
    refuse_apparmor,
    refuse_host_ports,
    refuse_pod,
    refuse_sysctls,
    refuse_system,
)
from tests.unit.kubelet.pods import pod


def test_refusals() -> None:
    allocatable = {"cpu": "2", "pods": "2"}
    assert refuse_pod({"cpu": 1000}, [{"cpu": 1000}], 1, allocatable) is None
    assert refuse_pod({"cpu": 1001}, [{"cpu": 1000}], 1, allocatable) == (
        "OutOfcpu",
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 1001, used: 1000, capacity: 2000",
    )
    refused = refuse_pod({}, [{}, {}], 2, allocatable)
    assert refused is not None
    assert refused[0] == "OutOfpods"


@pytest.mark.parametrize(
    ("spec", "sysctl", "refused"),
    [
        ({}, "net.ipv4.tcp_syncookies", False),
        ({"hostNetwork": True}, "net.ipv4.tcp_syncookies", True),
        ({"hostIPC": True}, "kernel.shm_rmid_forced", True),
        ({"hostNetwork": True}, "kernel.shm_rmid_forced", False),
        ({}, "kernel.msgmax", True),
    ],
)
def test_sysctls_of_the_machine_are_not_for_pods(spec: Object, sysctl: str, refused: bool) -> None:
    obj = pod(securityContext={"sysctls": [{"name": sysctl, "value": "1"}]}, **spec)
    assert (refuse_sysctls(obj, ()) is not None) is refused


@pytest.mark.parametrize(
    ("spec", "refused"), [({}, False), ({"os": {"name": "linux"}}, False), ({"os": {"name": "windows"}}, True)]
)
def test_pods_for_another_system_are_refused(spec: Object, refused: bool) -> None:
    assert (refuse_system(pod(**spec)) is not None) is refused


@pytest.mark.parametrize(
    ("profile", "refused"),
    [(None, False), ("Unconfined", False), ("RuntimeDefault", True), ("Localhost", True)],
)
@pytest.mark.parametrize("is_of_pod", [False, True])
def test_profiles_need_apparmor(profile: str | None, refused: bool, is_of_pod: bool) -> None:
    context = {"appArmorProfile": {"type": profile}} if profile else {}
    container = {"name": "a", "image": "a", "securityContext": {} if is_of_pod else context}
    obj = pod(containers=[container], securityContext=context if is_of_pod else {})
    refusal = refuse_apparmor(obj, is_enabled=False)
    assert (refusal is not None) is refused
    assert refusal is None or refusal[0] == "AppArmor"
    assert refuse_apparmor(obj, is_enabled=True) is None


def with_port(number: int, **more: str) -> Object:
    return pod(containers=[{"name": "a", "image": "a", "ports": [{"containerPort": 80, "hostPort": number, **more}]}])


@pytest.mark.parametrize(
    ("wanted", "refused"),
    [
        (with_port(8080), True),
        (with_port(8080, hostIP="127.0.0.1"), True),
        (with_port(8081), False),
        (with_port(8080, protocol="UDP"), False),
        (pod(), False),
    ],
    ids=["the same", "one address of all", "another number", "another protocol", "none"],
)
def test_a_host_port_is_one_pods(wanted: Object, refused: bool) -> None:
    found = refuse_host_ports(wanted, [pod(), with_port(8080)])
    assert (found is not None) is refused
    if found is not None:
        assert found == (
            "NodePorts",
            "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
        )
