"""`describe`: everything about objects, for people: specifics by kind, conditions, and their events."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from orchestrator.cli.connection import Connection, Object, add_connection_flags, namespace_of, run_client
from orchestrator.cli.discovery import ApiResource, Discovery
from orchestrator.cli.errors import CliError, ServerError, print_errors
from orchestrator.cli.flags import Parser, UsageError
from orchestrator.cli.manifests import add_filename_flags, read_manifests


def parser() -> Parser:
    """The flags of `describe`."""
    flags = Parser(
        "describe",
        "Show everything about objects, with their events",
        usage="TYPE [NAME_PREFIX...] | TYPE/NAME... | -f FILE [flags]",
        examples=(
            "  orchestrator describe pod web-1\n"
            "  orchestrator describe deployment/web\n"
            "  orchestrator describe nodes\n"
            "  orchestrator describe pods -l app=web\n"
        ),
    )
    flags.add_argument("what", nargs="*", help=argparse.SUPPRESS)
    flags.add_flag("-A", "--all-namespaces", help="of all namespaces")
    flags.add_argument("-l", "--selector", default="", metavar="SELECTOR", help="all with these labels")
    flags.add_flag("--show-events", default=True, help="with the events (true)")
    add_filename_flags(flags, what="the objects to describe")
    add_connection_flags(flags)
    return flags


def run(arguments: Sequence[str]) -> int:
    """Describe what is named."""
    parsed = parser().parse(arguments)
    if not parsed.what and not parsed.filename:
        raise UsageError("error: You must specify the type of resource to describe. ")
    return run_client(_main, parsed)


async def _main(connection: Connection, arguments: argparse.Namespace) -> int:
    from orchestrator.cli.describe.describers import describe

    discovery = await Discovery.load(connection)
    found, errors = await _find(connection, discovery, arguments)
    if not found and not errors:
        where = "" if arguments.all_namespaces else f" in {namespace_of(arguments, connection)} namespace."
        print(f"No resources found{where}", file=sys.stderr)
        return 0
    for number, (resource, obj) in enumerate(found):
        related = await _related(connection, resource, obj, with_events=arguments.show_events)
        if number:
            print("\n")
        sys.stdout.write(describe(obj, related))
    return print_errors(errors)


async def _find(
    connection: Connection, discovery: Discovery, arguments: argparse.Namespace
) -> tuple[list[tuple[ApiResource, Object]], list[CliError]]:
    namespace = namespace_of(arguments, connection)
    wanted: list[tuple[ApiResource, str, str]] = []
    found: list[tuple[ApiResource, Object]] = []
    errors: list[CliError] = []
    if arguments.filename:
        manifests, errors = await read_manifests(arguments.filename, recursive=arguments.recursive)
        for each in manifests:
            metadata = each.object.get("metadata") or {}
            resource = discovery.of_object(each.object, each.source)
            home = metadata.get("namespace") or namespace
            wanted.append((resource, home if resource.namespaced else "", metadata.get("name") or ""))
    else:
        for target in discovery.targets(arguments.what, verb="describe"):
            resource = target.resource
            home = namespace if resource.namespaced else ""
            wanted += [(resource, home, name) for name in target.names]
            if not target.names:
                query = {"labelSelector": arguments.selector} if arguments.selector else {}
                listed = await connection.get(resource.path("" if arguments.all_namespaces else home), query=query)
                found += [(resource, _typed(resource, item)) for item in listed["items"]]
    for resource, home, name in wanted:
        try:
            found.append((resource, _typed(resource, await connection.get(resource.path(home, name)))))
        except ServerError as error:
            if error.reason != "NotFound":
                raise
            # As kubectl: a name that does not exist may be the beginning of names.
            listed = await connection.get(resource.path(home))
            matching = [item for item in listed["items"] if item["metadata"]["name"].startswith(name)]
            found += [(resource, _typed(resource, item)) for item in matching]
            if not matching:
                errors.append(error)
    return found, errors


def _typed(resource: ApiResource, obj: Object) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **obj}


async def _related(
    connection: Connection, resource: ApiResource, obj: Object, *, with_events: bool
) -> dict[str, list[Object]]:
    """What else a description shows: kind → objects. What this user may not read is left out."""
    metadata = obj["metadata"]
    namespace = metadata.get("namespace", "")
    reads: dict[str, tuple[str, dict[str, str]]] = {}
    if with_events:
        fields = [f"involvedObject.kind={obj['kind']}", f"involvedObject.name={metadata['name']}"]
        # The events of a node carry its name as uid in some versions of the kubelet.
        if obj["kind"] != "Node":
            fields.append(f"involvedObject.uid={metadata['uid']}")
        path = f"/api/v1/namespaces/{namespace}/events" if namespace else "/api/v1/events"
        reads["Event"] = path, {"fieldSelector": ",".join(fields)}
    if obj["kind"] == "Deployment":
        from orchestrator.cli.targets import selector_text

        query = {"labelSelector": selector_text(obj["spec"]["selector"])}
        reads["ReplicaSet"] = f"/apis/apps/v1/namespaces/{namespace}/replicasets", query
    elif obj["kind"] == "Node":
        active = f"spec.nodeName={metadata['name']},status.phase!=Succeeded,status.phase!=Failed"
        reads["Pod"] = "/api/v1/pods", {"fieldSelector": active}
        lease = f"metadata.name={metadata['name']}"
        reads["Lease"] = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", {"fieldSelector": lease}
    elif obj["kind"] == "Service":
        query = {"labelSelector": f"kubernetes.io/service-name={metadata['name']}"}
        reads["EndpointSlice"] = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices", query
    elif obj["kind"] in ("ReplicaSet", "StatefulSet", "DaemonSet"):
        from orchestrator.cli.targets import selector_text

        query = {"labelSelector": selector_text(obj["spec"]["selector"])}
        reads["Pod"] = f"/api/v1/namespaces/{namespace}/pods", query
    elif obj["kind"] == "PersistentVolumeClaim":
        reads["Pod"] = f"/api/v1/namespaces/{namespace}/pods", {}
    answers = await asyncio.gather(
        *(connection.get(path, query=query) for path, query in reads.values()), return_exceptions=True
    )
    related: dict[str, list[Object]] = {}
    for kind, answer in zip(reads, answers, strict=True):
        if isinstance(answer, ServerError):
            continue
        if isinstance(answer, BaseException):
            raise answer
        related[kind] = answer["items"]
    return related
