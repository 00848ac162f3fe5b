"""`events`: what happened, oldest first, for a namespace or for one object; `-w` follows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime

from orchestrator.cli.ages import age_text, parse_time
from orchestrator.cli.connection import Connection, Object, add_connection_flags, namespace_of, run_client
from orchestrator.cli.discovery import Discovery
from orchestrator.cli.errors import CliError
from orchestrator.cli.flags import Parser, UsageError
from orchestrator.cli.printing import aligned, object_printer, wants_colors, without_managed_fields


def parser() -> Parser:
    """The flags of `events`."""
    flags = Parser(
        "events",
        "Show events",
        usage="[--for TYPE/NAME] [flags]",
        examples=(
            "  orchestrator events\n"
            "  orchestrator events --for deployment/web -w\n"
            "  orchestrator events -A --types Warning\n"
        ),
    )
    flags.add_argument("unexpected", nargs="*", help=argparse.SUPPRESS)
    flags.add_argument("--for", dest="for_object", default="", metavar="TYPE/NAME", help="events of one object")
    flags.add_flag("-A", "--all-namespaces", help="of all namespaces")
    flags.add_argument("--types", default="", metavar="Normal|Warning", help="only of these types")
    flags.add_flag("-w", "--watch", help="show them, then every new one")
    flags.add_flag("--no-headers", help="rows only")
    flags.add_argument("-o", "--output", default="", metavar="FORMAT", help="json, yaml, name, jsonpath=TEMPLATE")
    add_connection_flags(flags)
    return flags


def run(arguments: Sequence[str]) -> int:
    """Show events."""
    parsed = parser().parse(arguments)
    if parsed.unexpected:
        raise UsageError(
            f"error: unexpected argument: {parsed.unexpected[0]}\nSee 'orchestrator events --help' for usage."
        )
    return run_client(_main, parsed)


async def _main(connection: Connection, arguments: argparse.Namespace) -> int:
    namespace = "" if arguments.all_namespaces else namespace_of(arguments, connection)
    fields = []
    if arguments.for_object:
        discovery = await Discovery.load(connection)
        targets = discovery.targets([arguments.for_object], verb="use") if "/" in arguments.for_object else []
        if len(targets) != 1:
            raise CliError(f"error: --for must be in resource/name form, not {arguments.for_object!r}")
        resource, (name,) = targets[0].resource, targets[0].names
        fields = [f"involvedObject.kind={resource.kind}", f"involvedObject.name={name}"]
        if not resource.namespaced:
            namespace = ""
    types = {each.lower() for each in arguments.types.split(",") if each}
    printer = object_printer(arguments.output, prefix_of=lambda _obj: "event")
    path = f"/api/v1/namespaces/{namespace}/events" if namespace else "/api/v1/events"
    query = {"fieldSelector": ",".join(fields)} if fields else {}
    listed = await connection.get(path, query=query)
    events = [event for event in listed["items"] if not types or event.get("type", "").lower() in types]
    events.sort(key=last_seen)
    with_namespace = bool(arguments.all_namespaces)
    colors = wants_colors(sys.stdout)
    widths: list[int] = []
    if printer is not None:
        items = [without_managed_fields({"apiVersion": "v1", "kind": "Event", **event}) for event in events]
        if items or not arguments.watch:
            sys.stdout.write(printer({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {}}))
    elif events:
        rows = event_rows(events, with_namespace=with_namespace, headers=not arguments.no_headers)
        sys.stdout.write(aligned(rows, colors=colors, widths=widths))
    elif not arguments.watch:
        print(f"No events found in {namespace} namespace." if namespace else "No events found.", file=sys.stderr)
    sys.stdout.flush()
    version = listed["metadata"]["resourceVersion"]
    headers = not events and not arguments.no_headers
    while arguments.watch:
        async with aclosing(connection.watch(path, query={**query, "resourceVersion": version})) as changes:
            async for kind, event in changes:
                version = event["metadata"]["resourceVersion"]
                if kind == "DELETED" or (types and event.get("type", "").lower() not in types):
                    continue
                if printer is not None:
                    sys.stdout.write(printer(without_managed_fields(event)))
                else:
                    rows = event_rows([event], with_namespace=with_namespace, headers=headers)
                    sys.stdout.write(aligned(rows, colors=colors, widths=widths))
                    headers = False
                sys.stdout.flush()
    return 0


def last_seen(event: Object) -> datetime:
    """When an event happened last."""
    series = event.get("series") or {}
    text = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    text = text or event["metadata"].get("creationTimestamp")
    return parse_time(text) or datetime.fromtimestamp(0, UTC)


def event_rows(events: Sequence[Object], *, with_namespace: bool = False, headers: bool = True) -> list[list[str]]:
    """The columns of `events`."""
    rows = []
    if headers:
        rows.append([*(["NAMESPACE"] if with_namespace else []), "LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"])
    for event in events:
        about = event.get("involvedObject") or {}
        rows.append(
            [
                *([event["metadata"].get("namespace", "")] if with_namespace else []),
                seen_text(event),
                event.get("type", ""),
                event.get("reason", ""),
                f"{about.get('kind', '')}/{about.get('name', '')}",
                (event.get("message") or "").strip(),
            ]
        )
    return rows


def seen_text(event: Object) -> str:
    """`5s`, or `5s (x3 over 2m)` for what happened several times."""
    series = event.get("series") or {}
    count = series.get("count") or event.get("count") or 1
    latest = age_text(last_seen(event).isoformat())
    if count <= 1:
        return latest
    first = event.get("firstTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    return f"{latest} (x{count} over {age_text(first)})"
