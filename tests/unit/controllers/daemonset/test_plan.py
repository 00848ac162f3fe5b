"""DaemonSets as tables. A pod is written `node/letters`.

Letters: `n` of the new template, `x` not ready, `t` being deleted, `f` failed, `s` succeeded, `u` not
bound yet. A node is written `name`, `name!` when a pod may only stay, `name-` when none may be there.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.aiokit.clock import format_time
from orchestrator.controllers.daemonset.placement import Fit, new_pod, plan_fit, target_of
from orchestrator.controllers.daemonset.plan import DaemonPlan, plan_placement, plan_status, plan_update

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def daemon_set(rolling: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    strategy: dict[str, Any] = {"type": "RollingUpdate", "rollingUpdate": rolling or {}}
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": []}}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "d", "namespace": "n", "uid": "D", "generation": 2},
        "spec": {"updateStrategy": strategy, "template": template, **spec},
    }


def pods(text: str) -> list[dict[str, Any]]:
    made = []
    for number, part in enumerate(text.split()):
        node, _, letters = part.partition("/")
        metadata: dict[str, Any] = {"name": f"{node}{number}", "namespace": "n", "uid": part}
        metadata["labels"] = {"controller-revision-hash": "new" if "n" in letters else "old"}
        metadata["creationTimestamp"] = format_time(NOW - timedelta(hours=2) + timedelta(seconds=number))
        if "t" in letters:
            metadata["deletionTimestamp"] = format_time(NOW)
        phase = "Failed" if "f" in letters else "Succeeded" if "s" in letters else "Running"
        since = format_time(NOW - timedelta(hours=1))
        ready = {"type": "Ready", "status": "False" if set(letters) & set("xfs") else "True"}
        status = {"phase": phase, "conditions": [{**ready, "lastTransitionTime": since}]}
        field = {"key": "metadata.name", "operator": "In", "values": [node]}
        required: dict[str, Any] = {"nodeSelectorTerms": [{"matchFields": [field]}]}
        affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
        spec = {"affinity": affinity} if "u" in letters else {"nodeName": node}
        made.append({"metadata": metadata, "spec": spec, "status": status})
    return made


def nodes(text: str) -> dict[str, Fit]:
    fits = {"!": Fit(False, True), "-": Fit(False, False)}
    return {name.rstrip("!-"): fits.get(name[-1], Fit(True, True)) for name in text.split()}


def brief(plan: DaemonPlan) -> str:
    return " ".join([*(f"+{node}" for node in plan.create), *(f"-{one['metadata']['name']}" for one in plan.delete)])


SURGE = {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize(
    ("rolling", "cluster", "present", "expected"),
    [
        ({}, "a b", "", "+a +b"),
        ({}, "a b", "a/", "+b"),
        ({}, "a b", "a/t b/", ""),
        ({}, "a b", "a/ft b/", "+a"),
        ({}, "a! b-", "a/ b/", "-b1"),
        ({}, "a! b-", "", ""),
        ({}, "a", "a/ b/", ""),
        ({}, "a", "a/ b/u", "-b1"),
        ({}, "a", "a/ a/", "-a1"),
        ({}, "a", "a/x a/n", "-a1"),
        ({}, "a", "a/u a/", "-a0"),
        ({}, "a", "a/f", "-a0"),
        ({}, "a", "a/s", "-a0"),
        # With surge, an old and a new pod may be side by side until one of them decides it.
        (SURGE, "a", "a/ a/nx", ""),
        (SURGE, "a", "a/ a/n", "-a0"),
        (SURGE, "a", "a/x a/nx", "-a0"),
        (SURGE, "a", "a/ a/nx a/nx", "-a2"),
    ],
)
def test_placement(rolling: dict[str, Any], cluster: str, present: str, expected: str) -> None:
    plan = plan_placement(daemon_set(rolling), nodes(cluster), pods(present), "new", NOW)
    assert brief(plan) == expected


def test_a_failed_pod_lies_while_its_node_is_in_backoff() -> None:
    plan = plan_placement(daemon_set(), nodes("a b"), pods("a/f b/f"), "new", NOW, in_backoff={"a"})
    assert (brief(plan), plan.failed) == ("-b1", ["b"])
    assert plan.events == [
        ("Warning", "FailedDaemonPod", "Found failed daemon pod n/b1 on node b, will try to kill it")
    ]


@pytest.mark.parametrize(
    ("rolling", "present", "expected"),
    [
        ({}, "a/ b/ c/ d/", "-a0"),
        ({}, "a/n b/ c/ d/", "-b1"),
        ({}, "a/nx b/ c/ d/", ""),
        ({}, "a/t b/ c/ d/", ""),
        ({}, "a/n b/n c/n d/n", ""),
        ({"maxUnavailable": 2}, "a/nx b/ c/ d/", "-b1"),
        ({"maxUnavailable": "50%"}, "a/ b/ c/ d/", "-a0 -b1"),
        ({"maxUnavailable": "10%"}, "a/ b/ c/ d/", "-a0"),
        # What is broken already goes in any case.
        ({}, "a/x b/ c/x d/", "-a0 -c2"),
        ({"maxUnavailable": 2}, "a/x b/ c/ d/", "-a0 -b1"),
        (SURGE, "a/ b/ c/ d/", "+a"),
        (SURGE, "a/ a/nx b/ c/ d/", ""),
        (SURGE, "a/ a/n b/ c/ d/", "+b -a0"),
        (SURGE, "a/n b/ c/ d/", "+b"),
        (SURGE, "a/x b/x c/ d/", "+a +b +c"),
        ({"maxSurge": "50%", "maxUnavailable": 0}, "a/ b/ c/ d/", "+a +b"),
    ],
)
def test_update(rolling: dict[str, Any], present: str, expected: str) -> None:
    plan = plan_update(daemon_set(rolling), nodes("a b c d"), pods(present), "new", NOW)
    assert brief(plan) == expected


def test_status() -> None:
    status = plan_status(daemon_set(), nodes("a b c d! e-"), pods("a/n b/x d/"), "new", 0, NOW)
    assert status == {
        "desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberMisscheduled": 1, "numberReady": 1,
        "updatedNumberScheduled": 1, "numberAvailable": 1, "numberUnavailable": 2, "observedGeneration": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pod", "node", "expected"),
    [
        ({}, {}, Fit(True, True)),
        ({"nodeName": "other"}, {}, Fit(False, False)),
        ({"nodeSelector": {"a": "b"}}, {}, Fit(False, False)),
        ({"nodeSelector": {"a": "b"}}, {"labels": {"a": "b"}}, Fit(True, True)),
        ({}, {"taints": [{"key": "k", "effect": "NoSchedule"}]}, Fit(False, True)),
        ({}, {"taints": [{"key": "k", "effect": "NoExecute"}]}, Fit(False, False)),
        ({}, {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}, Fit(True, True)),
        ({}, {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]}, Fit(True, True)),
        ({}, {"taints": [{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}]}, Fit(False, True)),
        (
            {"hostNetwork": True},
            {"taints": [{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}]},
            Fit(True, True),
        ),
        (
            {"tolerations": [{"operator": "Exists"}]},
            {"taints": [{"key": "k", "effect": "NoExecute"}]},
            Fit(True, True),
        ),
    ],
)
def test_fit(pod: dict[str, Any], node: dict[str, Any], expected: Fit) -> None:
    one = daemon_set()
    one["spec"]["template"]["spec"].update(pod)
    metadata = {"name": "here", "labels": node.pop("labels", {})}
    assert plan_fit(one, {"metadata": metadata, "spec": node}) == expected


def test_a_pod_keeps_the_preferred_terms_of_its_template() -> None:
    one = daemon_set()
    preferred = [{"weight": 1, "preference": {}}]
    required: dict[str, Any] = {"nodeSelectorTerms": [{"matchExpressions": []}]}
    one["spec"]["template"]["spec"]["affinity"] = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": preferred,
            "requiredDuringSchedulingIgnoredDuringExecution": required,
        }
    }
    pod = new_pod(one, "here", "h")
    affinity = pod["spec"]["affinity"]["nodeAffinity"]
    assert affinity["preferredDuringSchedulingIgnoredDuringExecution"] == preferred
    assert target_of(pod) == "here"
    assert len(affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]) == 1
