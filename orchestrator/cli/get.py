"""`get`: objects as tables that the server makes, or whole as JSON, YAML, names or templates; `-w` follows them."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing

from msgspec import Struct

from orchestrator.cli.connection import JSON, TABLE, Connection, Object, add_connection_flags, namespace_of, run_client
from orchestrator.cli.discovery import ApiResource, Discovery, Target
from orchestrator.cli.errors import CliError, ServerError, print_errors
from orchestrator.cli.flags import Parser, UsageError
from orchestrator.cli.manifests import add_filename_flags, read_manifests
from orchestrator.cli.printing import (
    FORMATS,
    TableOptions,
    aligned,
    items_of,
    object_printer,
    sorted_rows,
    table_rows,
    wants_colors,
    without_managed_fields,
)

CHUNK_SIZE = 500


def parser() -> Parser:
    """The flags of `get`."""
    flags = Parser(
        "get",
        "Show objects",
        usage="TYPE[,TYPE...] [NAME...] | TYPE/NAME... | -f FILE [flags]",
        examples=(
            "  orchestrator get pods -o wide\n"
            "  orchestrator get deployments,services -l app=web\n"
            "  orchestrator get pod/web-1 -o yaml\n"
            "  orchestrator get pods -A -w\n"
            "  orchestrator get pods -o jsonpath='{.items[*].status.podIP}'\n"
        ),
    )
    flags.add_argument("what", nargs="*", help=argparse.SUPPRESS)
    flags.add_argument("-o", "--output", default="", metavar="FORMAT", help=FORMATS.replace("%", "%%"))
    flags.add_flag("-A", "--all-namespaces", help="of all namespaces")
    flags.add_argument("-l", "--selector", default="", metavar="SELECTOR", help="label selector, e.g. app=web,tier!=db")
    flags.add_argument("--field-selector", default="", metavar="SELECTOR", help="e.g. spec.nodeName=node-1")
    flags.add_flag("-w", "--watch", help="show them, then every change")
    flags.add_flag("--watch-only", help="show changes only")
    flags.add_flag("--output-watch-events", help="with -w: show the type of each event")
    flags.add_flag("--show-labels", help="a last column with the labels")
    flags.add_argument("-L", "--label-columns", action="append", default=[], metavar="KEY", help="a column per label")
    flags.add_argument("--sort-by", default="", metavar="PATH", help="e.g. .metadata.creationTimestamp")
    flags.add_flag("--no-headers", help="rows only")
    flags.add_flag("--show-kind", help="TYPE/NAME instead of NAME")
    flags.add_flag("--show-managed-fields", help="keep metadata.managedFields in json and yaml")
    flags.add_flag("--ignore-not-found", help="an object that does not exist is no error")
    flags.add_argument("--chunk-size", type=int, default=CHUNK_SIZE, metavar="N", help="objects per request (500)")
    flags.add_argument("--subresource", default="", metavar="NAME", help="status or scale")
    add_filename_flags(flags, what="the objects to show")
    add_connection_flags(flags)
    return flags


def run(arguments: Sequence[str]) -> int:
    """Show what is named."""
    parsed = parser().parse(arguments)
    if not parsed.what and not parsed.filename:
        raise UsageError(
            "error: You must specify the type of resource to get. See 'orchestrator get --help' for usage."
        )
    return run_client(_main, parsed)


async def _main(connection: Connection, arguments: argparse.Namespace) -> int:
    discovery = await Discovery.load(connection)
    namespace = "" if arguments.all_namespaces else namespace_of(arguments, connection)
    errors: list[CliError] = []
    if arguments.filename:
        manifests, errors = await read_manifests(arguments.filename, recursive=arguments.recursive)
        listing = []
        for each in manifests:
            resource = discovery.of_object(each.object, each.source)
            metadata = each.object.get("metadata") or {}
            target = Target(resource, (metadata.get("name", ""),))
            listing.append(_listing(target, metadata.get("namespace") or namespace or connection.namespace))
    else:
        targets = discovery.targets(arguments.what, verb="get")
        listing = [_listing(target, namespace) for target in targets]
    for one in listing:
        if one.names and arguments.all_namespaces and one.resource.namespaced:
            raise CliError("error: a resource cannot be retrieved by name across all namespaces")
        if one.names and (arguments.selector or arguments.field_selector):
            raise CliError("error: name cannot be provided when a selector is specified")
    printer = object_printer(arguments.output, prefix_of=lambda obj: _prefix_of(discovery, obj))
    getter = _Getter(connection, arguments)
    if arguments.watch or arguments.watch_only:
        if len(listing) != 1 or len(listing[0].names) > 1:
            raise CliError("error: you may only specify a single resource type")
        return await getter.watch(listing[0], printer)
    if printer is not None:
        objects, found = await getter.objects(listing)
        errors += found
        is_single = len(listing) == 1 and len(listing[0].names) == 1 and not arguments.filename
        if objects or not errors:
            if is_single and objects:
                shown = objects[0]
            else:
                shown = {"apiVersion": "v1", "items": objects, "kind": "List", "metadata": {"resourceVersion": ""}}
            if not (is_single and not objects):
                sys.stdout.write(printer(shown))
    else:
        errors += await getter.print_tables(listing)
    return print_errors(errors)


def _prefix_of(discovery: Discovery, obj: Object) -> str:
    return discovery.of_object(obj, "the server").prefix


class _Listing(Struct, frozen=True):
    """Objects of one resource in one namespace (empty: all, or none); no names means all of them."""

    resource: ApiResource
    names: tuple[str, ...]
    namespace: str


def _listing(target: Target, namespace: str) -> _Listing:
    return _Listing(target.resource, target.names, namespace if target.resource.namespaced else "")


class _Getter:
    def __init__(self, connection: Connection, arguments: argparse.Namespace) -> None:
        self._connection = connection
        self._arguments = arguments
        self._colors = wants_colors(sys.stdout)

    def _query(self) -> dict[str, str]:
        query = {}
        if self._arguments.selector:
            query["labelSelector"] = self._arguments.selector
        if self._arguments.field_selector:
            query["fieldSelector"] = self._arguments.field_selector
        return query

    async def _read(self, each: _Listing, *, accept: str) -> tuple[list[Object], list[ServerError]]:
        """The documents of one target: one for each name, or the pages of a list."""
        if each.names:
            path = [each.resource.path(each.namespace, name, self._arguments.subresource) for name in each.names]
            answers = await asyncio.gather(
                *(self._connection.get(one, query=self._table_query(accept), accept=accept) for one in path),
                return_exceptions=True,
            )
            documents, errors = [], []
            for answer in answers:
                if isinstance(answer, ServerError):
                    if not (answer.reason == "NotFound" and self._arguments.ignore_not_found):
                        errors.append(answer)
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    documents.append(answer)
            return documents, errors
        query = {**self._query(), **self._table_query(accept)}
        if self._arguments.chunk_size:
            query["limit"] = str(self._arguments.chunk_size)
        pages: list[Object] = []
        while True:
            try:
                page = await self._connection.get(each.resource.path(each.namespace), query=query, accept=accept)
            except ServerError as error:
                return pages, [error]
            pages.append(page)
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return pages, []
            query["continue"] = token

    def _table_query(self, accept: str) -> dict[str, str]:
        return {"includeObject": "Object"} if accept == TABLE and self._arguments.sort_by else {}

    async def objects(self, listing: Sequence[_Listing]) -> tuple[list[Object], list[CliError]]:
        """Whole objects, each with its apiVersion and kind."""
        found: list[Object] = []
        errors: list[CliError] = []
        for each in listing:
            documents, refused = await self._read(each, accept=JSON)
            errors += refused
            for document in documents:
                for item in items_of(document):
                    typed = {"apiVersion": each.resource.api_version, "kind": each.resource.kind, **item}
                    found.append(typed if self._arguments.show_managed_fields else without_managed_fields(typed))
        if self._arguments.sort_by:
            found = [found[position] for position in sorted_rows(found, self._arguments.sort_by)]
        return found, errors

    async def print_tables(self, listing: Sequence[_Listing]) -> list[CliError]:
        """Print every target as the server's table."""
        answers = await asyncio.gather(*(self._read(each, accept=TABLE) for each in listing))
        errors: list[CliError] = []
        printed = 0
        several = len({each.resource for each in listing}) > 1
        for each, (tables, refused) in zip(listing, answers, strict=True):
            errors += refused
            rows = [row for table in tables for row in table.get("rows") or ()]
            if not rows:
                continue
            table = {"columnDefinitions": tables[0].get("columnDefinitions"), "rows": rows}
            if self._arguments.sort_by:
                order = sorted_rows([row.get("object") or {} for row in rows], self._arguments.sort_by)
                table["rows"] = [rows[position] for position in order]
            if printed:
                print()
            printed += 1
            self._write(table_rows(table, self._options(each, with_kind=several)), None)
        if not printed and not errors and not self._arguments.ignore_not_found:
            namespaced = any(each.resource.namespaced for each in listing) and not self._arguments.all_namespaces
            where = f" in {listing[0].namespace or 'default'} namespace" if namespaced else ""
            print(f"No resources found{where}{'.' if where else ''}", file=sys.stderr)
        return errors

    def _options(self, each: _Listing, *, with_kind: bool) -> TableOptions:
        arguments = self._arguments
        return TableOptions(
            wide=arguments.output == "wide",
            with_namespace=arguments.all_namespaces and each.resource.namespaced,
            with_kind=each.resource.prefix if with_kind or arguments.show_kind else "",
            no_headers=arguments.no_headers,
            show_labels=arguments.show_labels,
            label_columns=tuple(key for part in arguments.label_columns for key in part.split(",")),
        )

    def _write(self, rows: list[list[str]], widths: list[int] | None) -> None:
        sys.stdout.write(aligned(rows, colors=self._colors, widths=widths))
        sys.stdout.flush()

    async def watch(self, each: _Listing, printer: object) -> int:
        """Print what is there, then follow it until interrupted."""
        accept = TABLE if printer is None else JSON
        query = self._query()
        if each.names:
            name = f"metadata.name={each.names[0]}"
            query["fieldSelector"] = f"{query['fieldSelector']},{name}" if "fieldSelector" in query else name
            if not self._arguments.watch_only:  # a name that does not exist is an error, an empty list is not
                await self._connection.get(each.resource.path(each.namespace, each.names[0]))
        path = each.resource.path(each.namespace)
        columns: list[Object] = []
        widths: list[int] = []
        headers_printed = False
        options = self._options(each, with_kind=False)

        def show(event: str, document: Object) -> None:
            nonlocal columns, headers_printed
            if accept == JSON:
                assert callable(printer)
                shown = document if self._arguments.show_managed_fields else without_managed_fields(document)
                if self._arguments.output_watch_events:
                    shown = {"object": shown, "type": event}
                sys.stdout.write(printer(shown))
                sys.stdout.write("---\n" if self._arguments.output == "yaml" else "")
                sys.stdout.flush()
                return
            columns = document.get("columnDefinitions") or columns
            rows = table_rows({**document, "columnDefinitions": columns}, options, headers=not headers_printed)
            if self._arguments.output_watch_events:
                first = 0 if headers_printed or options.no_headers else 1
                rows = [[("EVENT" if number < first else event), *row] for number, row in enumerate(rows)]
            if document.get("rows") or rows:
                headers_printed = True
                self._write(rows, widths)

        listed = await self._connection.get(path, query=query, accept=accept)
        version = listed["metadata"]["resourceVersion"]
        if not self._arguments.watch_only:
            if accept == JSON:
                for item in items_of(listed):
                    show("ADDED", {"apiVersion": each.resource.api_version, "kind": each.resource.kind, **item})
            elif listed.get("rows"):
                show("ADDED", listed)
        while True:
            following = {**query, "resourceVersion": version, "allowWatchBookmarks": "true"}
            async with aclosing(self._connection.watch(path, query=following, accept=accept)) as changes:
                async for event, document in changes:
                    version = _version_of(document) or version
                    if event != "BOOKMARK":
                        show(event, document)


def _version_of(document: Object) -> str:
    rows = document.get("rows")
    if rows:
        document = rows[-1].get("object") or {}
    version = (document.get("metadata") or {}).get("resourceVersion") or ""
    return str(version)
