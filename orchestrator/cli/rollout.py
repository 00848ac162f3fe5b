"""`rollout`: status, history, undo, pause, resume and restart of Deployments, StatefulSets and DaemonSets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

from orchestrator.api.yaml_text import to_yaml
from orchestrator.cli.connection import (
    FIELD_MANAGER,
    JSON_PATCH,
    STRATEGIC_MERGE_PATCH,
    Connection,
    Object,
    add_connection_flags,
    namespace_of,
    run_client,
)
from orchestrator.cli.describe.pods import pod_template_text
from orchestrator.cli.discovery import ApiResource, Discovery
from orchestrator.cli.errors import CliError, print_errors
from orchestrator.cli.flags import Parser, UsageError, parse_duration
from orchestrator.cli.printing import Progress, aligned, to_json
from orchestrator.cli.rollout_status import JUDGES
from orchestrator.cli.targets import selector_text
from orchestrator.cli.waiting import states, timed_out, within

REVISION: Final = "deployment.kubernetes.io/revision"
CHANGE_CAUSE: Final = "kubernetes.io/change-cause"
RESTARTED_AT: Final = "kubectl.kubernetes.io/restartedAt"
KEPT_ANNOTATIONS: Final = frozenset(
    (
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        "deployment.kubernetes.io/revision-history",
        "deployment.kubernetes.io/desired-replicas",
        "deployment.kubernetes.io/max-replicas",
        "deprecated.deployment.rollback.to",
    )
)
"""Annotations that an undo leaves on the Deployment as they are."""

ACTIONS: Final = {
    "status": "Wait until a rollout is done",
    "history": "Show the revisions",
    "undo": "Go back to an earlier revision",
    "pause": "Make changes without a rollout",
    "resume": "Roll out what was changed while paused",
    "restart": "Replace all pods",
}


def parser(action: str) -> Parser:
    """The flags of one action."""
    flags = Parser(
        f"rollout {action}",
        ACTIONS[action],
        usage="TYPE/NAME... | TYPE NAME... [flags]",
        examples=f"  orchestrator rollout {action} deployment/web\n",
    )
    flags.add_argument("what", nargs="*", help=argparse.SUPPRESS)
    flags.add_argument("-l", "--selector", default="", metavar="SELECTOR", help="all with these labels")
    if action == "status":
        flags.add_flag("-w", "--watch", default=True, help="wait until it is done (true)")
        flags.add_argument("--timeout", type=parse_duration, default=0.0, metavar="DURATION", help="limit of the wait")
        flags.add_argument("--revision", type=int, default=0, metavar="N", help="fail when another one starts")
    elif action == "history":
        flags.add_argument("--revision", type=int, default=0, metavar="N", help="the pod template of a revision")
        flags.add_argument(
            "-o", "--output", default="", choices=("", "json", "yaml"), metavar="json|yaml", help="whole"
        )
    elif action == "undo":
        flags.add_argument("--to-revision", type=int, default=0, metavar="N", help="which revision (the last but one)")
    add_connection_flags(flags)
    return flags


def run(arguments: Sequence[str]) -> int:
    """Run one action."""
    if not arguments or arguments[0] in ("-h", "--help"):
        listed = "\n".join(f"  {name:<8} {summary}" for name, summary in ACTIONS.items())
        print(f"Watch and steer the rollout of a workload.\n\nActions:\n{listed}\n")
        print("Usage: orchestrator rollout ACTION TYPE/NAME [flags]")
        return 0 if arguments else 1
    action = arguments[0]
    if action not in ACTIONS:
        raise UsageError(f'error: unknown command "{action}" for "orchestrator rollout"')
    parsed = parser(action).parse(arguments[1:])
    if not parsed.what:
        raise UsageError("error: required resource not specified")

    async def main(connection: Connection, flags: argparse.Namespace) -> int:
        return await _main(connection, flags, _HANDLERS[action])

    return run_client(main, parsed)


Handler = Callable[["_Workload", argparse.Namespace], Awaitable[None]]


class _Workload:
    def __init__(self, connection: Connection, resource: ApiResource, obj: Object) -> None:
        self.connection = connection
        self.resource = resource
        self.obj = obj
        self.name: str = obj["metadata"]["name"]
        self.namespace: str = obj["metadata"]["namespace"]

    @property
    def label(self) -> str:
        return f"{self.resource.prefix}/{self.name}"

    @property
    def path(self) -> str:
        return self.resource.path(self.namespace, self.name)

    async def patch(self, patch: Any, content_type: str = STRATEGIC_MERGE_PATCH) -> None:
        query = {"fieldManager": f"{FIELD_MANAGER}-rollout"}
        await self.connection.request("PATCH", self.path, query=query, body=patch, content_type=content_type)


async def _main(connection: Connection, arguments: argparse.Namespace, handler: Handler) -> int:
    discovery = await Discovery.load(connection)
    namespace = namespace_of(arguments, connection)
    errors: list[CliError] = []
    for target in discovery.targets(arguments.what, verb="rollout"):
        names = target.names
        if not names:
            query = {"labelSelector": arguments.selector} if arguments.selector else {}
            listed = await connection.get(target.resource.path(namespace), query=query)
            names = tuple(item["metadata"]["name"] for item in listed["items"])
            if not names:
                raise CliError("error: no matching resources found")
        for name in names:
            try:
                obj = await connection.get(target.resource.path(namespace, name))
                typed = {"apiVersion": target.resource.api_version, "kind": target.resource.kind, **obj}
                await handler(_Workload(connection, target.resource, typed), arguments)
            except CliError as error:
                errors.append(error)
    return print_errors(errors)


# status


async def _status(workload: _Workload, arguments: argparse.Namespace) -> None:
    judge = JUDGES.get(workload.resource.kind)
    if judge is None:
        raise CliError(f"error: no status viewer has been implemented for {workload.resource.kind}")
    last = ""
    with Progress() as progress:
        try:
            following = states(workload.connection, workload.resource, workload.namespace, workload.name)
            async with within(arguments.timeout), aclosing(following) as seen:
                async for obj in seen:
                    if obj is None:
                        raise CliError("error: object has been deleted")
                    _check_revision(obj, arguments.revision)
                    text, done = judge(obj)
                    if text != last:
                        print(text, flush=True)
                        last = text
                    if done or not arguments.watch:
                        return
                    progress.show(f"waiting for {workload.label}")
        except TimeoutError:
            raise timed_out() from None


def _check_revision(obj: Object, wanted: int) -> None:
    if wanted and (revision := revision_of(obj)) != wanted:
        raise CliError(f"error: desired revision ({wanted}) is different from the running revision ({revision})")


# history


def revision_of(obj: Object) -> int:
    """The revision of a Deployment, ReplicaSet or ControllerRevision; 0 when it has none."""
    if obj.get("kind") == "ControllerRevision" or "revision" in obj:
        return int(obj.get("revision") or 0)
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "")
    return int(text) if text.isdigit() else 0


async def _revisions(workload: _Workload) -> dict[int, Object]:
    """Revision → the ReplicaSet or ControllerRevision that keeps it."""
    if workload.resource.kind == "Deployment":
        plural, kind = "replicasets", "ReplicaSet"
    elif workload.resource.kind in ("StatefulSet", "DaemonSet"):
        plural, kind = "controllerrevisions", "ControllerRevision"
    else:
        raise CliError(f"error: no history viewer has been implemented for {workload.resource.kind}")
    listed = await workload.connection.get(
        f"/apis/apps/v1/namespaces/{workload.namespace}/{plural}",
        query={"labelSelector": selector_text(workload.obj["spec"]["selector"])},
    )
    uid = workload.obj["metadata"]["uid"]
    owned = [
        {"apiVersion": "apps/v1", "kind": kind, **item}
        for item in listed["items"]
        if any(
            owner.get("controller") and owner["uid"] == uid for owner in item["metadata"].get("ownerReferences") or ()
        )
    ]
    return {revision_of(item): item for item in sorted(owned, key=revision_of) if revision_of(item)}


def _template_of(workload: _Workload, keeper: Object) -> Object:
    """The pod template of one revision."""
    if keeper["kind"] == "ReplicaSet":
        template: Object = keeper["spec"]["template"]
        return template
    kept: Object = keeper["data"]["spec"]["template"]
    return {key: value for key, value in kept.items() if key != "$patch"}


async def _history(workload: _Workload, arguments: argparse.Namespace) -> None:
    revisions = await _revisions(workload)
    if arguments.output:
        shown: Any = {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": list(revisions.values())}
        if arguments.revision:
            shown = _of_revision(workload, revisions, arguments.revision)
        sys.stdout.write(to_json(shown) if arguments.output == "json" else to_yaml(shown))
        return
    if arguments.revision:
        keeper = _of_revision(workload, revisions, arguments.revision)
        template = _template_of(workload, keeper)
        print(f"{workload.label} with revision #{arguments.revision}")
        sys.stdout.write(pod_template_text(template))
        return
    if not revisions:
        print(f"{workload.label} \nNo rollout history found.")
        return
    rows = [["REVISION", "CHANGE-CAUSE"]]
    for number, keeper in revisions.items():
        cause = (keeper["metadata"].get("annotations") or {}).get(CHANGE_CAUSE)
        rows.append([str(number), cause or "<none>"])
    print(f"{workload.label} \n{aligned(rows, min_width=0, padding=2)}")


def _of_revision(workload: _Workload, revisions: Mapping[int, Object], number: int) -> Object:
    if number not in revisions:
        raise CliError("error: unable to find the specified revision")
    return revisions[number]


# undo, pause, resume, restart


async def _undo(workload: _Workload, arguments: argparse.Namespace) -> None:
    revisions = await _revisions(workload)
    wanted = arguments.to_revision
    if wanted < 0:
        raise CliError(f"error: revision must be zero or more, not {wanted}")
    if not wanted:
        if len(revisions) < 2:
            raise CliError(f'error: no rollout history found for {workload.resource.singular} "{workload.name}"')
        wanted = sorted(revisions)[-2]
    if (workload.obj["spec"]).get("paused"):
        raise CliError(
            "error: you cannot rollback a paused deployment; resume it first with 'orchestrator rollout resume' "
            "and try again"
        )
    if wanted not in revisions:
        raise CliError(f"error: unable to find specified revision {wanted} in history")
    keeper = revisions[wanted]
    if wanted == max(revisions):
        print(f"{workload.label} skipped rollback (current template already matches revision {wanted})")
        return
    if workload.resource.kind == "Deployment":
        await workload.patch(plan_undo(workload.obj, keeper), JSON_PATCH)
    else:
        await workload.patch(keeper["data"])
    print(f"{workload.label} rolled back")


def plan_undo(deployment: Object, replica_set: Object) -> list[dict[str, Any]]:
    """The JSON patch that gives a Deployment the template and the annotations of an earlier ReplicaSet."""
    template = replica_set["spec"]["template"]
    labels = {
        key: value for key, value in (template["metadata"].get("labels") or {}).items() if key != "pod-template-hash"
    }
    current = deployment["metadata"].get("annotations") or {}
    earlier = replica_set["metadata"].get("annotations") or {}
    annotations = {key: value for key, value in current.items() if key in KEPT_ANNOTATIONS}
    annotations |= {key: value for key, value in earlier.items() if key not in KEPT_ANNOTATIONS}
    return [
        {
            "op": "replace",
            "path": "/spec/template",
            "value": {**template, "metadata": {**template["metadata"], "labels": labels}},
        },
        {"op": "replace" if current else "add", "path": "/metadata/annotations", "value": annotations},
    ]


async def _pause(workload: _Workload, _arguments: argparse.Namespace) -> None:
    _only_deployments(workload, "pausing")
    if workload.obj["spec"].get("paused"):
        raise CliError(f'error: {workload.resource.group_resource} "{workload.name}" is already paused')
    await workload.patch({"spec": {"paused": True}})
    print(f"{workload.label} paused")


async def _resume(workload: _Workload, _arguments: argparse.Namespace) -> None:
    _only_deployments(workload, "resuming")
    if not workload.obj["spec"].get("paused"):
        raise CliError(f'error: {workload.resource.group_resource} "{workload.name}" is not paused')
    await workload.patch({"spec": {"paused": None}})
    print(f"{workload.label} resumed")


async def _restart(workload: _Workload, _arguments: argparse.Namespace) -> None:
    if workload.resource.kind not in JUDGES:
        raise CliError(f'error: {workload.resource.group_resource} "{workload.name}" restarting is not supported')
    if workload.obj["spec"].get("paused"):
        raise CliError(
            f'error: {workload.resource.group_resource} "{workload.name}" can\'t restart paused deployment '
            "(run rollout resume first)"
        )
    now = datetime.now().astimezone().replace(microsecond=0).isoformat()
    await workload.patch({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}})
    print(f"{workload.label} restarted")


def _only_deployments(workload: _Workload, what: str) -> None:
    if workload.resource.kind != "Deployment":
        raise CliError(f'error: {workload.resource.group_resource} "{workload.name}" {what} is not supported')


_HANDLERS: Final[Mapping[str, Handler]] = {
    "status": _status,
    "history": _history,
    "undo": _undo,
    "pause": _pause,
    "resume": _resume,
    "restart": _restart,
}
