"""`delete`: deletes what is named or matches, and waits until it is gone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import aclosing

from msgspec import Struct

from orchestrator.cli.apply import DRY_RUN_SUFFIX
from orchestrator.cli.connection import Connection, Object, add_connection_flags, namespace_of, run_client
from orchestrator.cli.discovery import ApiResource, Discovery
from orchestrator.cli.errors import CliError, ServerError, print_errors
from orchestrator.cli.flags import Parser, UsageError, parse_duration
from orchestrator.cli.manifests import add_filename_flags, read_manifests
from orchestrator.cli.printing import Progress
from orchestrator.cli.waiting import states, within

CASCADES = {"background": "Background", "foreground": "Foreground", "orphan": "Orphan"}


_NOTHING_NAMED = """error: You must provide one or more resources by argument or filename.
Example resource specifications include:
   '-f rsrc.yaml'
   '--filename=rsrc.json'
   '<resource> <name>'
   '<resource>'"""


def parser() -> Parser:
    """The flags of `delete`."""
    flags = Parser(
        "delete",
        "Delete objects",
        usage="TYPE NAME... | TYPE/NAME... | TYPE -l SELECTOR | TYPE --all | -f FILE [flags]",
        examples=(
            "  orchestrator delete pod web-1 --now\n"
            "  orchestrator delete deployments,services -l app=web\n"
            "  orchestrator delete -f web.yaml --ignore-not-found\n"
        ),
    )
    flags.add_argument("what", nargs="*", help=argparse.SUPPRESS)
    add_filename_flags(flags, what="the objects to delete")
    flags.add_argument("-l", "--selector", default="", metavar="SELECTOR", help="all with these labels")
    flags.add_argument("--field-selector", default="", metavar="SELECTOR", help="all with these fields")
    flags.add_flag("--all", help="all of the type in the namespace")
    flags.add_flag("-A", "--all-namespaces", help="of all namespaces")
    flags.add_flag("--ignore-not-found", help="an object that does not exist is no error")
    flags.add_optional_value(
        "--cascade", bare="background", default="background", metavar="background|foreground|orphan", help="dependents"
    )
    flags.add_argument("--grace-period", type=int, default=-1, metavar="SECONDS", help="time for a pod to stop")
    flags.add_flag("--now", help="one second to stop")
    flags.add_flag("--force", help="remove from the API at once, with --grace-period=0")
    flags.add_flag("--wait", default=True, help="wait until they are gone (true)")
    flags.add_argument("--timeout", type=parse_duration, default=0.0, metavar="DURATION", help="limit of the wait")
    flags.add_optional_value(
        "--dry-run", bare="unchanged", default="none", metavar="client|server", help="change nothing"
    )
    flags.add_argument("-o", "--output", default="", choices=("", "name"), metavar="name", help="print TYPE/NAME only")
    add_connection_flags(flags)
    return flags


def run(arguments: Sequence[str]) -> int:
    """Delete what is named."""
    parsed = parser().parse(arguments)
    if parsed.cascade in ("true", "false"):
        parsed.cascade = "background" if parsed.cascade == "true" else "orphan"
    if parsed.cascade not in CASCADES:
        raise UsageError(
            f'error: invalid cascade value ({parsed.cascade}). Must be "background", "foreground", or "orphan"'
        )
    if parsed.dry_run not in DRY_RUN_SUFFIX:
        raise UsageError(f'error: Invalid dry-run value ({parsed.dry_run}). Must be "none", "server", or "client".')
    if parsed.now and parsed.grace_period >= 0:
        raise UsageError("error: --now and --grace-period cannot be specified together")
    if parsed.grace_period == 0 and not parsed.force:
        parsed.grace_period = 1  # as kubectl: without force, zero means as soon as possible
    if parsed.force and parsed.grace_period > 0:
        raise UsageError("error: --force and --grace-period greater than 0 cannot be specified together")
    if parsed.now:
        parsed.grace_period = 1
    if parsed.force:
        parsed.grace_period = 0
        print(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been "
            "terminated. The resource may continue to run on the cluster indefinitely.",
            file=sys.stderr,
        )
    if not parsed.what and not parsed.filename:
        raise UsageError(_NOTHING_NAMED)
    if parsed.all and (parsed.selector or parsed.field_selector):
        raise UsageError("error: setting 'all' parameter but found a non empty selector. ")
    return run_client(_main, parsed)


class _Doomed(Struct, frozen=True):
    resource: ApiResource
    namespace: str
    name: str
    uid: str = ""


async def _main(connection: Connection, arguments: argparse.Namespace) -> int:
    discovery = await Discovery.load(connection)
    doomed, errors = await _find(connection, discovery, arguments)
    if not doomed and not errors:
        if not arguments.ignore_not_found:
            print("No resources found", file=sys.stderr)
        return 0
    deleted: list[_Doomed] = []
    for each in doomed:
        try:
            deleted.append(await _delete(connection, each, arguments))
        except ServerError as error:
            if not (error.reason == "NotFound" and arguments.ignore_not_found):
                errors.append(error)
            continue
        _report(each, arguments)
    if arguments.wait and arguments.dry_run == "none":
        try:
            await _wait_gone(connection, deleted, arguments.timeout)
        except TimeoutError:
            errors.append(CliError(f"error: timed out waiting for the condition on {_label(deleted[-1])}"))
    return print_errors(errors)


async def _find(
    connection: Connection, discovery: Discovery, arguments: argparse.Namespace
) -> tuple[list[_Doomed], list[CliError]]:
    namespace = namespace_of(arguments, connection)
    if arguments.filename:
        manifests, errors = await read_manifests(arguments.filename, recursive=arguments.recursive)
        doomed = []
        for manifest in manifests:
            try:
                resource = discovery.of_object(manifest.object, manifest.source)
            except CliError as error:
                errors.append(error)
                continue
            metadata = manifest.object.get("metadata") or {}
            home = metadata.get("namespace") or namespace if resource.namespaced else ""
            doomed.append(_Doomed(resource, home, metadata.get("name") or ""))
        return doomed, errors
    doomed = []
    for target in discovery.targets(arguments.what, verb="delete"):
        home = namespace if target.resource.namespaced else ""
        if target.names:
            if arguments.selector or arguments.all:
                raise CliError("error: name cannot be provided when a selector is specified")
            doomed += [_Doomed(target.resource, home, name) for name in target.names]
        elif arguments.all or arguments.selector or arguments.field_selector:
            query = {"labelSelector": arguments.selector, "fieldSelector": arguments.field_selector}
            listed = await connection.get(
                target.resource.path("" if arguments.all_namespaces else home),
                query={key: value for key, value in query.items() if value},
            )
            for item in listed["items"]:
                metadata = item["metadata"]
                doomed.append(_Doomed(target.resource, metadata.get("namespace", ""), metadata["name"]))
        else:
            raise CliError("error: resource(s) were provided, but no name was specified")
    return doomed, []


async def _delete(connection: Connection, each: _Doomed, arguments: argparse.Namespace) -> _Doomed:
    path = each.resource.path(each.namespace, each.name)
    if arguments.dry_run == "client":
        await connection.get(path)
        return each
    options: Object = {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": CASCADES[arguments.cascade],
    }
    if arguments.grace_period >= 0:
        options["gracePeriodSeconds"] = arguments.grace_period
    if arguments.dry_run == "server":
        options["dryRun"] = ["All"]
    answer = await connection.request("DELETE", path, body=options)
    # The answer is the object, or a Status whose details carry the uid.
    uid = (answer.get("metadata") or {}).get("uid") or (answer.get("details") or {}).get("uid") or ""
    return _Doomed(each.resource, each.namespace, each.name, uid)


def _report(each: _Doomed, arguments: argparse.Namespace) -> None:
    if arguments.output == "name":
        print(f"{each.resource.prefix}/{each.name}", flush=True)
        return
    word = "force deleted" if arguments.force else "deleted"
    where = f" from {each.namespace} namespace" if each.namespace else ""
    print(f'{each.resource.prefix} "{each.name}" {word}{where}{DRY_RUN_SUFFIX[arguments.dry_run]}', flush=True)


async def _wait_gone(connection: Connection, deleted: Sequence[_Doomed], timeout_seconds: float) -> None:
    """Return when each object is gone or another one has its name; TimeoutError."""
    with Progress() as progress:
        async with within(timeout_seconds):
            for number, each in enumerate(deleted):
                if "watch" not in each.resource.verbs:
                    continue
                async with aclosing(states(connection, each.resource, each.namespace, each.name)) as seen:
                    async for obj in seen:
                        if obj is None or (each.uid and obj["metadata"].get("uid") != each.uid):
                            break
                        finalizers = obj["metadata"].get("finalizers") or []
                        held = f", held by {', '.join(finalizers)}" if finalizers else ""
                        progress.show(f"waiting for {_label(each)} to be gone ({number} of {len(deleted)} are){held}")


def _label(each: _Doomed) -> str:
    return f"{each.resource.plural}/{each.name}"
