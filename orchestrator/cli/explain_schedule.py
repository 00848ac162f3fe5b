"""`explain-schedule`: why a pod runs, or does not run, on each node, and what would have to change.

Asks nobody: it reads what a scheduler reads and decides as the scheduler does, with the profile that the
configuration gives the pod's schedulerName. So it works for pending and for placed pods, and changes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli.connection import Connection, Object, add_connection_flags, namespace_of, run_client
from orchestrator.cli.errors import CliError, ServerError
from orchestrator.cli.flags import Parser, UsageError
from orchestrator.cli.printing import aligned, to_json, wants_colors

if TYPE_CHECKING:
    from orchestrator.api.resources import Resource
    from orchestrator.scheduler.algorithm import Nominations
    from orchestrator.scheduler.cache import Cache
    from orchestrator.scheduler.configuration import SchedulerConfig
    from orchestrator.scheduler.explain import Explanation


def parser() -> Parser:
    """The flags of `explain-schedule`."""
    flags = Parser(
        "explain-schedule",
        "Show why a pod, pending or placed, runs or does not run on each node",
        usage="POD [flags]",
        examples=(
            "  orchestrator explain-schedule web-1\n"
            "  orchestrator explain-schedule web-1 -n shop -o json\n"
            "  orchestrator explain-schedule web-1 --config cluster.yaml\n"
        ),
    )
    flags.add_argument("pod", nargs="*", help=argparse.SUPPRESS)
    flags.add_argument("--config", metavar="FILE", help="the cluster's configuration file, for its scheduler profiles")
    flags.add_argument("-o", "--output", default="", metavar="FORMAT", help="json")
    add_connection_flags(flags)
    return flags


def run(arguments: Sequence[str]) -> int:
    """Explain one pod."""
    parsed = parser().parse(arguments)
    if len(parsed.pod) != 1:
        raise UsageError("error: exactly one pod is required\nSee 'orchestrator explain-schedule --help' for usage.")
    if parsed.output not in ("", "json"):
        raise UsageError(f'error: unable to match a printer suitable for the output format "{parsed.output}"')
    parsed.scheduler = scheduler_config(parsed.config)
    return run_client(_main, parsed)


def scheduler_config(file: str | None) -> SchedulerConfig:
    """The scheduler's configuration as `up` would read it; UsageError when it is wrong."""
    from orchestrator.config import ConfigError, load_config
    from orchestrator.scheduler.configuration import parse_configuration
    from orchestrator.scheduler.fields import ConfigurationError

    try:
        config = load_config(Path(file) if file else None, environ=os.environ)
        return parse_configuration(config.scheduler)
    except ConfigError as error:
        raise UsageError(f"error: {error}") from error
    except ConfigurationError as error:
        raise UsageError(f"error: scheduler: {error}") from error


async def _main(connection: Connection, arguments: argparse.Namespace) -> int:
    from orchestrator.api.resources import PODS
    from orchestrator.scheduler.explain import as_pending, explain
    from orchestrator.scheduler.listers import SnapshotListers

    namespace, name = namespace_of(arguments, connection), arguments.pod[0].removeprefix("pod/")
    pod: Object = await connection.get(_path(PODS, namespace, name))
    info = as_pending(pod)
    profiles = {profile.scheduler_name: profile for profile in arguments.scheduler.profiles}
    profile = profiles.get(info.scheduler_name)
    if profile is None:
        raise CliError(
            f'error: no profile of the scheduler is called "{info.scheduler_name}", the pod\'s schedulerName; '
            f"known are {', '.join(sorted(profiles))}"
        )
    objects = await _read(connection)
    cache, nominations = _picture(objects, without=info.uid)
    found = explain(profile, cache, info, listers=SnapshotListers(objects), nominations=nominations)
    if arguments.output == "json":
        sys.stdout.write(to_json(as_document(pod, profile.scheduler_name, found)))
    else:
        sys.stdout.write(as_text(pod, profile.scheduler_name, found, colors=wants_colors(sys.stdout)))
    return 0


def _path(resource: Resource, namespace: str = "", name: str = "") -> str:
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{scope}/{resource.plural}" + (f"/{name}" if name else "")


async def _read(connection: Connection) -> dict[Resource, list[Object]]:
    """Everything that plugins read; a resource that the server does not have counts as empty."""
    from orchestrator.api.resources import NAMESPACES, NODES, PODS
    from orchestrator.scheduler.scheduler import LISTED

    async def listed(resource: Resource) -> list[Object]:
        try:
            answer = await connection.get(_path(resource))
        except ServerError as error:
            if error.reason in ("NotFound", "Forbidden"):
                return []
            raise
        items: list[Object] = answer["items"]
        return items

    resources = (NODES, PODS, NAMESPACES, *LISTED)
    return dict(zip(resources, await asyncio.gather(*map(listed, resources)), strict=True))


def _picture(objects: Mapping[Resource, Sequence[Object]], *, without: str) -> tuple[Cache, Nominations]:
    """The cluster as the scheduler sees it, without one pod."""
    from orchestrator.api.objects import labels_of, name_of
    from orchestrator.api.resources import NAMESPACES, NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
    from orchestrator.scheduler.algorithm import Nominations
    from orchestrator.scheduler.cache import Cache
    from orchestrator.scheduler.pod_info import PodInfo

    cache, nominations = Cache(), Nominations()
    for namespace in objects[NAMESPACES]:
        cache.set_namespace(name_of(namespace), labels_of(namespace))
    for node in objects[NODES]:
        cache.set_node(node)
    for claim in objects[RESOURCE_CLAIMS]:
        cache.devices.on_claim(None, claim)
    for part in objects[RESOURCE_SLICES]:
        cache.devices.on_slice(None, part)
    for obj in objects[PODS]:
        info = PodInfo(obj)
        if info.uid == without or info.is_finished:
            continue
        if info.node_name:
            cache.set_pod(info)
        elif info.nominated_node_name:
            nominations.set(info, info.nominated_node_name)
    return cache, nominations


def state_of(pod: Object) -> str:
    """Where the pod is now, in words."""
    spec = pod.get("spec") or {}
    if node := spec.get("nodeName"):
        return f"runs on {node}"
    if gates := spec.get("schedulingGates"):
        return f"is held back by its scheduling gates: {', '.join(gate.get('name', '') for gate in gates)}"
    nominated = (pod.get("status") or {}).get("nominatedNodeName")
    return f"is pending, nominated to {nominated}" if nominated else "is pending"


def as_text(pod: Object, profile: str, found: Explanation, *, colors: bool = False) -> str:
    """The explanation as a table with a sentence before and the needed changes after."""
    metadata = pod["metadata"]
    here = (pod.get("spec") or {}).get("nodeName") or ""
    parts = [f"Pod {metadata.get('namespace')}/{metadata.get('name')} {state_of(pod)}; profile {profile}.\n"]
    if found.everywhere:
        parts.append(f"\nRefused before any node is looked at: {found.everywhere}\n")
    if found.nodes:
        plugins = [name for name in _scoring(found) if any(line.scores.get(name) for line in found.nodes)]
        rows = [["NODE", "FITS", "TOTAL", *(name.upper() for name in plugins), "REFUSED BY"]]
        for line in found.nodes:
            refused = "; ".join(f"{verdict.plugin}: {', '.join(verdict.reasons)}" for verdict in line.verdicts)
            scores = [str(line.scores.get(name, 0)) if line.is_feasible else "-" for name in plugins]
            total = str(line.total) if line.is_feasible else "-"
            name = f"{line.node} (here)" if line.node == here else line.node
            rows.append([name, "yes" if line.is_feasible else "no", total, *scores, refused or "-"])
        parts.append("\n" + aligned(rows, colors=colors))
    refused_lines = [line for line in found.nodes if not line.is_feasible]
    if refused_lines:
        parts.append("\nWhat would have to change:\n")
        parts += [f"  {line.node}: {change}\n" for line in refused_lines for change in line.changes]
    if found.evicts_on:
        parts.append(f"\nPreemption would make room on {found.evicts_on} by evicting {', '.join(found.victims)}.\n")
    if found.message:
        parts.append(f"\nFailedScheduling: {found.message}\n")
    return "".join(parts)


def _scoring(found: Explanation) -> list[str]:
    return list(dict.fromkeys(name for line in found.nodes for name in line.scores))


def as_document(pod: Object, profile: str, found: Explanation) -> dict[str, Any]:
    """The explanation as JSON."""
    metadata = pod["metadata"]
    return {
        "pod": f"{metadata.get('namespace')}/{metadata.get('name')}",
        "nodeName": (pod.get("spec") or {}).get("nodeName") or "",
        "profile": profile,
        "refusedEverywhere": found.everywhere,
        "message": found.message,
        "preemption": {"node": found.evicts_on, "victims": list(found.victims)} if found.evicts_on else None,
        "nodes": [
            {
                "name": line.node,
                "feasible": line.is_feasible,
                "total": line.total,
                "scores": line.scores,
                "refusals": [
                    {
                        "plugin": verdict.plugin,
                        "reasons": list(verdict.reasons),
                        "evictionCanHelp": verdict.resolvable,
                        "change": change,
                    }
                    for verdict, change in zip(line.verdicts, line.changes, strict=True)
                ],
            }
            for line in found.nodes
        ],
    }
