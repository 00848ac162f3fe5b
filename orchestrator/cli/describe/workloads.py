"""Descriptions of the workloads that own pods."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.api.durations import human_duration
from orchestrator.cli.ages import parse_time
from orchestrator.cli.connection import Object
from orchestrator.cli.describe.pods import template_lines
from orchestrator.cli.describe.text import (
    NONE,
    Related,
    map_lines,
    metadata_lines,
    time_text,
)
from orchestrator.cli.targets import selector_text


def condition_lines(conditions: Sequence[Object]) -> list[str]:
    """Type, status and reason of conditions."""
    if not conditions:
        return []
    rows = [f"  {each['type']}\t{each['status']}\t{each.get('reason', '')}" for each in conditions]
    return ["Conditions:", "  Type\tStatus\tReason", "  ----\t------\t------", *rows]


def deployment_lines(deployment: Object, related: Related) -> list[str]:
    """Everything about a Deployment except its events."""
    metadata, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status") or {}
    lines = [f"Name:\t{metadata['name']}", f"Namespace:\t{metadata['namespace']}"]
    lines.append(f"CreationTimestamp:\t{time_text(metadata.get('creationTimestamp'))}")
    lines += metadata_lines(deployment)
    lines.append(f"Selector:\t{selector_text(spec['selector'])}")
    lines.append(
        f"Replicas:\t{spec.get('replicas', 1)} desired | {status.get('updatedReplicas', 0)} updated | "
        f"{status.get('replicas', 0)} total | {status.get('availableReplicas', 0)} available | "
        f"{status.get('unavailableReplicas', 0)} unavailable"
    )
    strategy = spec.get("strategy") or {}
    lines.append(f"StrategyType:\t{strategy.get('type', '')}")
    lines.append(f"MinReadySeconds:\t{spec.get('minReadySeconds', 0)}")
    if rolling := strategy.get("rollingUpdate"):
        lines.append(
            f"RollingUpdateStrategy:\t{rolling.get('maxUnavailable', 0)} max unavailable, "
            f"{rolling.get('maxSurge', 0)} max surge"
        )
    lines += template_lines(spec["template"])
    lines += condition_lines(status.get("conditions") or ())
    sets = [
        each
        for each in related.get("ReplicaSet", ())
        if any(owner.get("uid") == metadata["uid"] for owner in each["metadata"].get("ownerReferences") or ())
    ]
    current = (metadata.get("annotations") or {}).get("deployment.kubernetes.io/revision")
    newest = [each for each in sets if _revision(each) == current]
    old = [each for each in sets if each not in newest]
    lines.append(f"OldReplicaSets:\t{', '.join(map(_replica_set, old)) or NONE}")
    lines.append(f"NewReplicaSet:\t{', '.join(map(_replica_set, newest)) or NONE}")
    return lines


def _revision(obj: Object) -> str | None:
    revision: str | None = (obj["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision")
    return revision


def _replica_set(obj: Object) -> str:
    created, wanted = (obj.get("status") or {}).get("replicas", 0), obj["spec"].get("replicas", 0)
    return f"{obj['metadata']['name']} ({created}/{wanted} replicas created)"


def _owner_lines(metadata: Object) -> list[str]:
    return [
        f"Controlled By:\t{owner['kind']}/{owner['name']}"
        for owner in metadata.get("ownerReferences") or ()
        if owner.get("controller")
    ]


def _pod_states(pods: Sequence[Object], owner: Object) -> str:
    """How many of an object's pods are in which phase."""
    uid = owner["metadata"]["uid"]
    owned = [
        (pod.get("status") or {}).get("phase")
        for pod in pods
        if any(each.get("uid") == uid for each in pod["metadata"].get("ownerReferences") or ())
    ]
    phases = (("Running", "Running"), ("Waiting", "Pending"), ("Succeeded", "Succeeded"), ("Failed", "Failed"))
    return " / ".join(f"{owned.count(phase)} {title}" for title, phase in phases)


def replica_set_lines(replica_set: Object, related: Related) -> list[str]:
    """Everything about a ReplicaSet except its events; `related` has the pods that its selector finds."""
    metadata, spec, status = replica_set["metadata"], replica_set["spec"], replica_set.get("status") or {}
    lines = [f"Name:\t{metadata['name']}", f"Namespace:\t{metadata['namespace']}"]
    lines.append(f"Selector:\t{selector_text(spec.get('selector') or {})}")
    lines += [*metadata_lines(replica_set), *_owner_lines(metadata)]
    lines.append(f"Replicas:\t{status.get('replicas', 0)} current / {spec.get('replicas', 1)} desired")
    lines.append(f"Pods Status:\t{_pod_states(related.get('Pod', ()), replica_set)}")
    return lines + template_lines(spec["template"]) + condition_lines(status.get("conditions") or ())


def stateful_set_lines(stateful_set: Object, related: Related) -> list[str]:
    """Everything about a StatefulSet except its events."""
    metadata, spec, status = stateful_set["metadata"], stateful_set["spec"], stateful_set.get("status") or {}
    lines = [f"Name:\t{metadata['name']}", f"Namespace:\t{metadata['namespace']}"]
    lines.append(f"CreationTimestamp:\t{time_text(metadata.get('creationTimestamp'))}")
    lines.append(f"Selector:\t{selector_text(spec.get('selector') or {})}")
    lines += metadata_lines(stateful_set)
    lines.append(f"Replicas:\t{spec.get('replicas', 1)} desired | {status.get('replicas', 0)} total")
    strategy = spec.get("updateStrategy") or {}
    lines.append(f"Update Strategy:\t{strategy.get('type', '')}")
    if rolling := strategy.get("rollingUpdate"):
        lines.append(f"  Partition:\t{rolling.get('partition', 0)}")
        if rolling.get("maxUnavailable") is not None:
            lines.append(f"  MaxUnavailable:\t{rolling['maxUnavailable']}")
    lines.append(f"Pods Status:\t{_pod_states(related.get('Pod', ()), stateful_set)}")
    lines += template_lines(spec["template"])
    templates = spec.get("volumeClaimTemplates") or ()
    if not templates:
        return [*lines, f"Volume Claims:\t{NONE}"]
    lines.append("Volume Claims:")
    for claim in templates:
        lines.append(f"  Name:\t{claim['metadata']['name']}")
        lines.append(f"  StorageClass:\t{claim['spec'].get('storageClassName', '')}")
        for title in ("Labels", "Annotations"):
            lines += [f"  {line}" for line in map_lines(title, claim["metadata"].get(title.lower()))]
        requests = (claim["spec"].get("resources") or {}).get("requests") or {}
        lines.append(f"  Capacity:\t{requests.get('storage', '<default>')}")
        lines.append(f"  Access Modes:\t[{' '.join(claim['spec'].get('accessModes') or ())}]")
    return lines


def daemon_set_lines(daemon_set: Object, related: Related) -> list[str]:
    """Everything about a DaemonSet except its events."""
    metadata, spec, status = daemon_set["metadata"], daemon_set["spec"], daemon_set.get("status") or {}
    lines = [f"Name:\t{metadata['name']}", f"Namespace:\t{metadata['namespace']}"]
    lines.append(f"Selector:\t{selector_text(spec.get('selector') or {})}")
    nodes = spec["template"]["spec"].get("nodeSelector") or {}
    lines.append(f"Node-Selector:\t{','.join(f'{key}={nodes[key]}' for key in sorted(nodes)) or NONE}")
    lines += metadata_lines(daemon_set)
    # kubectl does not align these.
    for title, field in (
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ):
        lines.append(f"{title}: {status.get(field, 0)}")
    lines.append(f"Pods Status:\t{_pod_states(related.get('Pod', ()), daemon_set)}")
    return lines + template_lines(spec["template"])


def job_lines(job: Object, _related: Related) -> list[str]:
    """Everything about a Job except its events."""
    metadata, spec, status = job["metadata"], job["spec"], job.get("status") or {}
    lines = [f"Name:\t{metadata['name']}", f"Namespace:\t{metadata['namespace']}"]
    if spec.get("selector"):
        lines.append(f"Selector:\t{selector_text(spec['selector'])}")
    lines += [*metadata_lines(job), *_owner_lines(metadata)]
    lines.append(f"Parallelism:\t{spec.get('parallelism', '<unset>')}")
    lines.append(f"Completions:\t{spec.get('completions', '<unset>')}")
    if spec.get("completionMode"):
        lines.append(f"Completion Mode:\t{spec['completionMode']}")
    lines.append(f"Suspend:\t{str(bool(spec.get('suspend'))).lower()}")
    lines.append(f"Backoff Limit:\t{spec.get('backoffLimit', 6)}")
    if spec.get("ttlSecondsAfterFinished") is not None:
        lines.append(f"TTL Seconds After Finished:\t{spec['ttlSecondsAfterFinished']}")
    started, ended = parse_time(status.get("startTime")), parse_time(status.get("completionTime"))
    if started is not None:
        lines.append(f"Start Time:\t{time_text(status['startTime'])}")
    if ended is not None:
        lines.append(f"Completed At:\t{time_text(status['completionTime'])}")
        if started is not None:
            lines.append(f"Duration:\t{human_duration((ended - started).total_seconds())}")
    if spec.get("activeDeadlineSeconds") is not None:
        lines.append(f"Active Deadline Seconds:\t{spec['activeDeadlineSeconds']}s")
    lines.append(
        f"Pods Statuses:\t{status.get('active', 0)} Active ({status.get('ready', 0)} Ready) / "
        f"{status.get('succeeded', 0)} Succeeded / {status.get('failed', 0)} Failed"
    )
    return lines + template_lines(spec["template"])
