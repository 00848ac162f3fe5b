"""One object by TYPE/NAME, and the pods of a workload: what logs, exec, rollout and events look up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.cli.connection import Connection, Object
from orchestrator.cli.discovery import ApiResource, Discovery
from orchestrator.cli.errors import CliError


def pod_selector(obj: Object) -> str | None:
    """The label selector, as text, of the pods behind a workload or Service; None when it has none."""
    spec = obj.get("spec") or {}
    selector = spec.get("selector")
    if not selector:
        return None
    if obj.get("kind") in ("Service", "ReplicationController"):
        return selector_text({"matchLabels": selector})
    return selector_text(selector)


def selector_text(selector: Mapping[str, Any]) -> str:
    """A LabelSelector in the notation of the command line."""
    terms = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for requirement in selector.get("matchExpressions") or ():
        key, operator = requirement["key"], requirement["operator"]
        values = ",".join(requirement.get("values") or ())
        if operator in ("In", "NotIn"):
            terms.append(f"{key} {operator.lower()} ({values})")
        else:
            terms.append(key if operator == "Exists" else f"!{key}")
    return ",".join(terms)


def by_preference(pods: Sequence[Object]) -> list[Object]:
    """Pods with the most useful one first: assigned, running and ready, for the longest time (as kubectl picks)."""

    def rank(pod: Object) -> tuple[bool, int, bool, str, str]:
        status = pod.get("status") or {}
        phase = {"Pending": 0, "Unknown": 1, "Running": 2}.get(status.get("phase", ""), 0)
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ())
        created = pod["metadata"].get("creationTimestamp", "")
        return (not (pod.get("spec") or {}).get("nodeName"), -phase, not ready, created, pod["metadata"]["name"])

    return sorted(pods, key=rank)


async def find_object(
    connection: Connection, discovery: Discovery, words: Sequence[str], namespace: str, *, default_type: str = "pods"
) -> tuple[ApiResource, Object]:
    """The one object that `NAME`, `TYPE/NAME` or `TYPE NAME` names, with its apiVersion and kind."""
    if len(words) == 1 and "/" not in words[0]:
        resource, name = discovery.find(default_type), words[0]
    else:
        (target, *others) = discovery.targets(words, verb="use")
        if others or len(target.names) != 1:
            raise CliError("error: exactly one object must be named")
        resource, name = target.resource, target.names[0]
    obj = await connection.get(resource.path(namespace, name))
    return resource, {"apiVersion": resource.api_version, "kind": resource.kind, **obj}


async def pods_of(connection: Connection, resource: ApiResource, obj: Object, namespace: str) -> list[Object]:
    """The pods behind an object, the most useful one first; CliError when there can be none or are none."""
    if resource.kind == "Pod":
        return [obj]
    selector = pod_selector(obj)
    if selector is None:
        raise CliError(f"error: cannot find pods of {resource.prefix}/{obj['metadata']['name']}: it has no selector")
    listed = await connection.get(f"/api/v1/namespaces/{namespace}/pods", query={"labelSelector": selector})
    if not listed["items"]:
        raise CliError(f"error: no pods found for {resource.prefix}/{obj['metadata']['name']}")
    return by_preference(listed["items"])


def default_container(pod: Object) -> str:
    """The container that is meant when none is named."""
    annotated = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    names: list[str] = [container["name"] for container in pod["spec"]["containers"]]
    return annotated if annotated in names else names[0]


def all_containers(pod: Object) -> list[str]:
    """Init, ordinary and ephemeral containers, in this order."""
    spec = pod["spec"]
    return [
        container["name"]
        for field in ("initContainers", "containers", "ephemeralContainers")
        for container in spec.get(field) or ()
    ]
