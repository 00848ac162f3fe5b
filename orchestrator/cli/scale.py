"""`scale`: sets the number of replicas through the scale subresource."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import aclosing

from orchestrator.cli.apply import DRY_RUN_SUFFIX
from orchestrator.cli.connection import (
    FIELD_MANAGER,
    MERGE_PATCH,
    Connection,
    Object,
    add_connection_flags,
    namespace_of,
    run_client,
)
from orchestrator.cli.discovery import ApiResource, Discovery
from orchestrator.cli.errors import CliError, print_errors
from orchestrator.cli.flags import Parser, UsageError, parse_duration
from orchestrator.cli.manifests import add_filename_flags, read_manifests
from orchestrator.cli.printing import Progress
from orchestrator.cli.waiting import states, timed_out, within


def parser() -> Parser:
    """The flags of `scale`."""
    flags = Parser(
        "scale",
        "Set the number of replicas of a Deployment, ReplicaSet, StatefulSet or ReplicationController",
        usage="--replicas N TYPE/NAME... | TYPE NAME... | -f FILE [flags]",
        examples=(
            "  orchestrator scale deployment/web --replicas 5\n"
            "  orchestrator scale deployment web --current-replicas 2 --replicas 3 --timeout 1m\n"
        ),
    )
    flags.add_argument("what", nargs="*", help=argparse.SUPPRESS)
    flags.add_argument("--replicas", type=int, metavar="N", help="how many there should be")
    flags.add_argument("--current-replicas", type=int, metavar="N", help="only when there are this many")
    flags.add_argument("--resource-version", default="", metavar="VERSION", help="only at this version")
    flags.add_argument("-l", "--selector", default="", metavar="SELECTOR", help="all with these labels")
    flags.add_flag("--all", help="all of the type in the namespace")
    flags.add_argument(
        "--timeout", type=parse_duration, metavar="DURATION", help="wait until it is done, at most so long"
    )
    flags.add_optional_value(
        "--dry-run", bare="unchanged", default="none", metavar="client|server", help="change nothing"
    )
    add_filename_flags(flags, what="what to scale")
    add_connection_flags(flags)
    return flags


def run(arguments: Sequence[str]) -> int:
    """Scale what is named."""
    parsed = parser().parse(arguments)
    if parsed.replicas is None:
        raise UsageError('error: required flag(s) "replicas" not set')
    if parsed.replicas < 0:
        raise UsageError("error: The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0")
    if parsed.dry_run not in DRY_RUN_SUFFIX:
        raise UsageError(f'error: Invalid dry-run value ({parsed.dry_run}). Must be "none", "server", or "client".')
    return run_client(_main, parsed)


async def _main(connection: Connection, arguments: argparse.Namespace) -> int:
    discovery = await Discovery.load(connection)
    namespace = namespace_of(arguments, connection)
    errors: list[CliError] = []
    named: list[tuple[ApiResource, str, str]] = []
    if arguments.filename:
        manifests, errors = await read_manifests(arguments.filename, recursive=arguments.recursive)
        for each in manifests:
            metadata = each.object.get("metadata") or {}
            resource = discovery.of_object(each.object, each.source)
            named.append((resource, metadata.get("namespace") or namespace, metadata.get("name") or ""))
    else:
        for target in discovery.targets(arguments.what, verb="scale"):
            names = list(target.names)
            if not names:
                if not (arguments.all or arguments.selector):
                    raise CliError("error: resource(s) were provided, but no name was specified")
                query = {"labelSelector": arguments.selector} if arguments.selector else {}
                listed = await connection.get(target.resource.path(namespace), query=query)
                names = [item["metadata"]["name"] for item in listed["items"]]
            named += [(target.resource, namespace, name) for name in names]
    if not named and not errors:
        print("error: no objects passed to scale", file=sys.stderr)
        return 1
    for resource, home, name in named:
        try:
            await _scale(connection, resource, home, name, arguments)
        except CliError as error:
            errors.append(error)
    return print_errors(errors)


async def _scale(
    connection: Connection, resource: ApiResource, namespace: str, name: str, arguments: argparse.Namespace
) -> None:
    path = resource.path(namespace, name, "scale")
    patch: Object = {"spec": {"replicas": arguments.replicas}}
    if arguments.current_replicas is not None or arguments.resource_version:
        scale = await connection.get(path)
        current = (scale.get("spec") or {}).get("replicas", 0)
        version = scale["metadata"].get("resourceVersion")
        if arguments.current_replicas is not None and current != arguments.current_replicas:
            raise CliError(f"error: Expected replicas to be {arguments.current_replicas}, was {current}")
        if arguments.resource_version and version != arguments.resource_version:
            raise CliError(f"error: Expected resource version to be {arguments.resource_version}, was {version}")
        patch["metadata"] = {"resourceVersion": version}
    query = {"fieldManager": FIELD_MANAGER}
    if arguments.dry_run == "server":
        query["dryRun"] = "All"
    if arguments.dry_run != "client":
        await connection.request("PATCH", path, query=query, body=patch, content_type=MERGE_PATCH)
    print(f"{resource.prefix}/{name} scaled{DRY_RUN_SUFFIX[arguments.dry_run]}", flush=True)
    if arguments.timeout is not None and arguments.dry_run == "none":
        await _wait_scaled(connection, resource, namespace, name, arguments)


async def _wait_scaled(
    connection: Connection, resource: ApiResource, namespace: str, name: str, arguments: argparse.Namespace
) -> None:
    with Progress() as progress:
        try:
            following = states(connection, resource, namespace, name)
            async with within(arguments.timeout), aclosing(following) as seen:
                async for obj in seen:
                    if obj is None:
                        raise CliError(f"error: {resource.plural}/{name} was deleted")
                    status = obj.get("status") or {}
                    there = status.get("replicas", 0)
                    observed = status.get("observedGeneration", 0) >= obj["metadata"].get("generation", 0)
                    if observed and there == arguments.replicas:
                        return
                    progress.show(f"{there} of {arguments.replicas} replicas")
        except TimeoutError:
            raise timed_out() from None
