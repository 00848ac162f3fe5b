"""`logs`: the output of containers, of one pod or of all that match; `-f` follows."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from msgspec import Struct

from orchestrator.cli.connection import Connection, Object, add_connection_flags, namespace_of, run_client
from orchestrator.cli.discovery import Discovery
from orchestrator.cli.errors import CliError, print_error
from orchestrator.cli.flags import Parser, UsageError, parse_duration
from orchestrator.cli.targets import all_containers, by_preference, default_container, find_object, pods_of

TAIL_OF_MANY = 10
"""Lines of each container when a selector names the pods and nobody says how many (as kubectl)."""
LINE_BYTES_MAX = 1 << 20


def parser() -> Parser:
    """The flags of `logs`."""
    flags = Parser(
        "logs",
        "Print the logs of containers",
        usage="POD | TYPE/NAME | -l SELECTOR [-c CONTAINER] [flags]",
        examples=(
            "  orchestrator logs web-1 -f\n"
            "  orchestrator logs deployment/web --tail 20\n"
            "  orchestrator logs web-1 -c sidecar -p\n"
            "  orchestrator logs -l app=web --all-containers --prefix --since 5m\n"
        ),
    )
    flags.add_argument("what", nargs="*", help=argparse.SUPPRESS)
    flags.add_argument("-c", "--container", default="", metavar="NAME", help="which container")
    flags.add_flag("--all-containers", help="all of the pod")
    flags.add_flag("--all-pods", help="all pods of TYPE/NAME, with --prefix")
    flags.add_flag("-f", "--follow", help="print what is written from now on")
    flags.add_flag("-p", "--previous", help="of the instance before the last restart")
    flags.add_argument("--tail", type=int, metavar="N", help="the last N lines (-1: all)")
    flags.add_argument("--since", type=parse_duration, metavar="DURATION", help="not older, e.g. 5m")
    flags.add_argument("--since-time", default="", metavar="TIME", help="not older than an RFC 3339 time")
    flags.add_flag("--timestamps", help="each line with its time")
    flags.add_argument("--limit-bytes", type=int, metavar="N", help="stop after so many bytes")
    flags.add_flag("--prefix", help="each line with its pod and container")
    flags.add_argument("-l", "--selector", default="", metavar="SELECTOR", help="of all pods with these labels")
    flags.add_argument("--max-log-requests", type=int, default=5, metavar="N", help="containers to follow at once (5)")
    flags.add_flag("--ignore-errors", help="go on when a container has no log")
    add_connection_flags(flags)
    return flags


def run(arguments: Sequence[str]) -> int:
    """Print logs."""
    parsed = parser().parse(arguments)
    if not parsed.what and not parsed.selector:
        raise UsageError(
            "error: expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is required"
        )
    if parsed.what and parsed.selector:
        raise UsageError("error: only a selector (-l) or a POD name is allowed")
    if len(parsed.what) == 2 and "/" not in parsed.what[0] and not parsed.container:
        parsed.container = parsed.what.pop()  # logs POD CONTAINER
    if len(parsed.what) > 1:
        raise UsageError("error: expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.")
    if parsed.since is not None and parsed.since_time:
        raise UsageError("error: at most one of `sinceTime` or `sinceSeconds` may be specified")
    if parsed.container and parsed.all_containers:
        raise UsageError("error: --all-containers=true should not be specified with container name " + parsed.container)
    return run_client(_main, parsed)


class _Source(Struct, frozen=True):
    pod: str
    container: str


async def _main(connection: Connection, arguments: argparse.Namespace) -> int:
    namespace = namespace_of(arguments, connection)
    pods = await _pods(connection, arguments, namespace)
    if not pods:
        print(f"No resources found in {namespace} namespace.", file=sys.stderr)
        return 0
    sources = [_Source(pod["metadata"]["name"], container) for pod in pods for container in _containers(pod, arguments)]
    if arguments.follow and len(sources) > arguments.max_log_requests:
        raise CliError(
            f"error: you are attempting to follow {len(sources)} log streams, but maximum allowed concurrency is "
            f"{arguments.max_log_requests}, use --max-log-requests to increase the limit"
        )
    prefixed = arguments.prefix or arguments.all_pods
    if not arguments.follow or len(sources) == 1:
        failed = False
        for source in sources:
            try:
                await _print_log(connection, namespace, source, arguments, prefixed=prefixed)
            except CliError as error:
                if not arguments.ignore_errors:
                    raise
                print_error(error)
                failed = True
        return int(failed)
    async with asyncio.TaskGroup() as group:
        for source in sources:
            group.create_task(
                _print_log_or_error(connection, namespace, source, arguments, prefixed=prefixed),
                name=f"logs/{source.pod}/{source.container}",
            )
    return 0


async def _print_log_or_error(
    connection: Connection, namespace: str, source: _Source, arguments: argparse.Namespace, *, prefixed: bool
) -> None:
    try:
        await _print_log(connection, namespace, source, arguments, prefixed=prefixed)
    except CliError as error:
        # One stream that ends badly leaves the others running.
        print_error(error)


async def _pods(connection: Connection, arguments: argparse.Namespace, namespace: str) -> list[Object]:
    if arguments.selector:
        query = {"labelSelector": arguments.selector}
        listed = await connection.get(f"/api/v1/namespaces/{namespace}/pods", query=query)
        pods: list[Object] = listed["items"]
        return pods
    if "/" not in arguments.what[0]:
        return [await connection.get(f"/api/v1/namespaces/{namespace}/pods/{arguments.what[0]}")]
    discovery = await Discovery.load(connection)
    resource, obj = await find_object(connection, discovery, arguments.what, namespace)
    pods = by_preference(await pods_of(connection, resource, obj, namespace))
    if len(pods) > 1 and not arguments.all_pods:
        print(f"Found {len(pods)} pods, using pod/{pods[0]['metadata']['name']}", file=sys.stderr)
        return pods[:1]
    return pods


def _containers(pod: Object, arguments: argparse.Namespace) -> list[str]:
    known = all_containers(pod)
    if arguments.all_containers:
        return known
    if arguments.container:
        if arguments.container not in known:
            raise CliError(f"error: container {arguments.container} is not valid for pod {pod['metadata']['name']}")
        return [arguments.container]
    chosen = default_container(pod)
    if len(known) > 1 and "kubectl.kubernetes.io/default-container" not in (pod["metadata"].get("annotations") or {}):
        others = ", ".join(
            name if name in {each["name"] for each in pod["spec"]["containers"]} else f"{name} (init)"
            for name in [chosen, *(name for name in known if name != chosen)]
        )
        print(f'Defaulted container "{chosen}" out of: {others}', file=sys.stderr)
    return [chosen]


async def _print_log(
    connection: Connection, namespace: str, source: _Source, arguments: argparse.Namespace, *, prefixed: bool
) -> None:
    query = {"container": source.container}
    for flag in ("follow", "previous", "timestamps"):
        if getattr(arguments, flag):
            query[flag] = "true"
    tail = arguments.tail
    if tail is None and arguments.selector:
        tail = TAIL_OF_MANY
    if tail is not None and tail >= 0:
        query["tailLines"] = str(tail)
    if arguments.since is not None:
        query["sinceSeconds"] = str(max(1, round(arguments.since)))
    if arguments.since_time:
        query["sinceTime"] = arguments.since_time
    if arguments.limit_bytes:
        query["limitBytes"] = str(arguments.limit_bytes)
    prefix = f"[pod/{source.pod}/{source.container}] ".encode() if prefixed else b""
    path = f"/api/v1/namespaces/{namespace}/pods/{source.pod}/log"
    output = sys.stdout.buffer
    async with connection.stream(path, query=query) as response:
        if not prefix:
            async for chunk in response.aiter_bytes():
                output.write(chunk)
                output.flush()
            return
        rest = b""
        async for chunk in response.aiter_bytes():
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                lines, rest = [*lines, rest], b""
            output.write(b"".join(prefix + line + b"\n" for line in lines))
            output.flush()
        if rest:
            output.write(prefix + rest)
            output.flush()
