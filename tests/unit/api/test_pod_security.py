"""The Pod Security Standards, check by check, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.pod_security import BASELINE, PRIVILEGED, RESTRICTED, violations

SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def spec(context: dict[str, Any] | None = None, *, pod: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i", "securityContext": context or {}}
    return {"containers": [container], "securityContext": pod or {}, **fields}


def texts(level: str, given: dict[str, Any]) -> list[str]:
    return [str(violation) for violation in violations(level, given)]


def test_a_plain_pod_is_baseline_and_not_restricted() -> None:
    assert texts(BASELINE, spec()) == []
    assert texts(RESTRICTED, spec()) == [
        'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)',
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"])',
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)',
        'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or'
        ' "Localhost")',
    ]


def test_a_careful_pod_is_restricted() -> None:
    assert texts(RESTRICTED, spec(SAFE)) == []
    of_pod = {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}}
    context = {key: SAFE[key] for key in ("allowPrivilegeEscalation", "capabilities")}
    assert texts(RESTRICTED, spec(context, pod=of_pod)) == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (spec({"privileged": True}), 'privileged (container "c" must not set securityContext.privileged=true)'),
        (spec(hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)"),
        (spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), 'hostPath volumes (volume "v")'),
        (
            spec({"capabilities": {"add": ["CHOWN", "SYS_ADMIN"]}}),
            'non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add)',
        ),
        (
            spec({"procMount": "Unmasked"}),
            'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
        ),
        (spec({"seLinuxOptions": {"type": "spc_t"}}), 'seLinuxOptions (type "spc_t")'),
        (
            spec({"seccompProfile": {"type": "Unconfined"}}),
            'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (spec(pod={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}), "forbidden sysctl (kernel.msgmax)"),
    ],
)
def test_baseline_forbids(given: dict[str, Any], why: str) -> None:
    assert texts(BASELINE, given) == [why]
    assert texts(PRIVILEGED, given) == []


def test_host_ports() -> None:
    given = spec()
    given["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 8080}]
    assert texts(BASELINE, given) == ['hostPort (container "c" uses hostPort 8080)']


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (spec({**SAFE, "runAsUser": 0}), 'runAsUser=0 (container "c" must not set runAsUser=0)'),
        (
            spec(SAFE, volumes=[{"name": "v", "nfs": {}}]),
            'restricted volume types (volume "v" uses restricted volume type "nfs")',
        ),
        (
            spec({**SAFE, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}),
            'unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)',
        ),
        (
            spec({**SAFE, "runAsNonRoot": False}),
            'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)',
        ),
    ],
)
def test_restricted_forbids_more(given: dict[str, Any], why: str) -> None:
    assert texts(RESTRICTED, given) == [why]
