"""`apply`: makes the cluster's objects what manifests say.

Client-side apply is kubectl's: the manifest that was applied last is kept in an annotation, and the
patch is the three-way merge of that, the manifest, and what is there now; strategic for kinds whose
schema is published, a JSON merge patch for others. `--server-side` leaves the merge to the server.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, Final

from orchestrator.cli.connection import (
    APPLY_PATCH,
    FIELD_MANAGER,
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    Connection,
    Object,
    add_connection_flags,
    namespace_of,
    run_client,
)
from orchestrator.cli.discovery import ApiResource, Discovery
from orchestrator.cli.errors import CliError, ServerError, print_errors
from orchestrator.cli.flags import Parser, UsageError
from orchestrator.cli.manifests import Manifest, add_filename_flags, read_manifests
from orchestrator.cli.printing import object_printer, without_managed_fields

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
CLIENT_SIDE_MANAGER: Final = "kubectl-client-side-apply"
CONFLICT_RETRIES: Final = 5
DRY_RUN_SUFFIX: Final = {"none": "", "client": " (dry run)", "server": " (server dry run)"}


def parser() -> Parser:
    """The flags of `apply`."""
    flags = Parser(
        "apply",
        "Create or change objects as manifests say",
        usage="-f FILE|DIR|URL|- [flags]",
        examples=(
            "  orchestrator apply -f web.yaml\n"
            "  orchestrator apply -R -f manifests/\n"
            "  sed s/web:1/web:2/ web.yaml | orchestrator apply -f -\n"
            "  orchestrator apply --server-side -f web.yaml\n"
        ),
    )
    flags.add_argument("unexpected", nargs="*", help=argparse.SUPPRESS)
    add_filename_flags(flags, what="the objects")
    flags.add_argument("-l", "--selector", default="", metavar="SELECTOR", help="only objects with these labels")
    flags.add_optional_value(
        "--dry-run", bare="unchanged", default="none", metavar="client|server", help="change nothing"
    )
    flags.add_flag("--server-side", help="let the server merge (server-side apply)")
    flags.add_flag("--force-conflicts", help="with --server-side: take over fields of other managers")
    flags.add_argument("--field-manager", default="", metavar="NAME", help="who the changes are attributed to")
    flags.add_optional_value(
        "--validate", bare="strict", default="strict", metavar="strict|warn|ignore", help="what unknown fields are"
    )
    flags.add_flag("--overwrite", default=True, help="replace values that were changed by others (true)")
    flags.add_argument("-o", "--output", default="", metavar="FORMAT", help="json, yaml, name, jsonpath=TEMPLATE")
    add_connection_flags(flags)
    return flags


def run(arguments: Sequence[str]) -> int:
    """Apply everything that the command line names."""
    parsed = parser().parse(arguments)
    if parsed.unexpected:
        raise UsageError(
            f"error: Unexpected args: {parsed.unexpected}\nSee 'orchestrator apply -h' for help and examples"
        )
    if not parsed.filename:
        raise UsageError("error: must specify one of -f and -k\nSee 'orchestrator apply --help' for usage.")
    if parsed.dry_run not in DRY_RUN_SUFFIX:
        raise UsageError(f'error: Invalid dry-run value ({parsed.dry_run}). Must be "none", "server", or "client".')
    if parsed.dry_run == "client" and parsed.server_side:
        raise UsageError(
            "error: --dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)"
        )
    if parsed.force_conflicts and not parsed.server_side:
        raise UsageError("error: --force-conflicts only works with --server-side")
    validation = {"true": "strict", "false": "ignore"}.get(parsed.validate, parsed.validate)
    if validation not in ("strict", "warn", "ignore"):
        raise UsageError(f"error: invalid - validate option {parsed.validate!r}")
    parsed.validate = validation
    return run_client(_main, parsed)


async def _main(connection: Connection, arguments: argparse.Namespace) -> int:
    from orchestrator.api.selectors import parse_label_selector

    discovery = await Discovery.load(connection)
    manifests, errors = await read_manifests(arguments.filename, recursive=arguments.recursive)
    if arguments.selector:
        selector = parse_label_selector(arguments.selector)
        manifests = [
            each for each in manifests if selector.matches((each.object.get("metadata") or {}).get("labels") or {})
        ]
    if not manifests and not errors:
        raise CliError("error: no objects passed to apply")
    applier = _Applier(connection, discovery, arguments)
    printer = object_printer(arguments.output, prefix_of=lambda obj: discovery.of_object(obj, "the server").prefix)
    for manifest in manifests:
        try:
            resource = discovery.of_object(manifest.object, manifest.source)
            obj, outcome = await applier.apply(resource, manifest)
        except CliError as error:
            errors.append(error)
            continue
        if printer is not None:
            sys.stdout.write(printer(without_managed_fields(obj)))
        else:
            print(
                f"{resource.prefix}/{obj['metadata']['name']} {outcome}{DRY_RUN_SUFFIX[arguments.dry_run]}", flush=True
            )
    return print_errors(errors)


class _Applier:
    def __init__(self, connection: Connection, discovery: Discovery, arguments: argparse.Namespace) -> None:
        self._connection = connection
        self._discovery = discovery
        self._arguments = arguments
        self._query = {
            "fieldManager": arguments.field_manager
            or (FIELD_MANAGER if arguments.server_side else CLIENT_SIDE_MANAGER),
            "fieldValidation": arguments.validate.capitalize(),
        }
        if arguments.dry_run == "server":
            self._query["dryRun"] = "All"

    async def apply(self, resource: ApiResource, manifest: Manifest) -> tuple[Object, str]:
        """The object as it is now, and the word for what was done."""
        obj = self._placed(resource, manifest)
        if self._arguments.server_side:
            return await self._apply_server_side(resource, obj, manifest.source)
        metadata = obj["metadata"]
        if not metadata.get("name"):
            generated = metadata.get("generateName")
            if generated:
                raise CliError(f"error: from {generated}: cannot use generate name with apply")
            raise CliError(
                f'error: error when retrieving current configuration of "{manifest.source}": '
                "resource name may not be empty"
            )
        modified = with_last_applied(obj)
        for attempt in range(CONFLICT_RETRIES + 1):
            current = await self._current(resource, obj, manifest.source)
            if current is None:
                return await self._create(resource, modified, manifest.source), "created"
            try:
                return await self._patch(resource, modified, current, manifest.source)
            except ServerError as error:
                if error.reason != "Conflict" or attempt == CONFLICT_RETRIES:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _placed(self, resource: ApiResource, manifest: Manifest) -> Object:
        """The manifest's object with its namespace; CliError when it contradicts the command line."""
        metadata = dict(manifest.object.get("metadata") or {})
        if resource.namespaced:
            wanted = self._arguments.namespace
            own = metadata.get("namespace")
            if wanted and own and own != wanted:
                raise CliError(
                    f'error: the namespace from the provided object "{own}" does not match the namespace "{wanted}". '
                    f"You must pass '--namespace={own}' to perform this operation."
                )
            metadata["namespace"] = own or namespace_of(self._arguments, self._connection)
        return {**manifest.object, "metadata": metadata}

    async def _current(self, resource: ApiResource, obj: Object, source: str) -> Object | None:
        metadata = obj["metadata"]
        try:
            found: Object = await self._connection.get(resource.path(metadata.get("namespace", ""), metadata["name"]))
        except ServerError as error:
            if error.reason == "NotFound" and error.code == 404:
                return None
            raise error.while_doing(f'error when retrieving current configuration of "{source}"') from error
        return found

    async def _create(self, resource: ApiResource, obj: Object, source: str) -> Object:
        if self._arguments.dry_run == "client":
            return obj
        try:
            created: Object = await self._connection.request(
                "POST", resource.path(obj["metadata"].get("namespace", "")), query=self._query, body=obj
            )
        except ServerError as error:
            raise error.while_doing(f'error when creating "{source}"') from error
        return created

    async def _patch(self, resource: ApiResource, modified: Object, current: Object, source: str) -> tuple[Object, str]:
        from orchestrator.api.patch import PatchFailed, PatchRejected

        last_applied = ((current["metadata"].get("annotations")) or {}).get(LAST_APPLIED)
        if last_applied is None and self._arguments.dry_run != "client":
            print(
                f"Warning: {resource.plural}/{modified['metadata']['name']} was not created with apply: it has no "
                f"annotation {LAST_APPLIED}, which is added now",
                file=sys.stderr,
            )
        try:
            original = json.loads(last_applied) if last_applied else {}
        except ValueError:
            original = {}
        try:
            content_type, patch = plan_patch(resource, original, modified, current)
        except (PatchFailed, PatchRejected) as error:
            raise CliError(f'error: error when creating patch for "{source}": {error}') from error
        if not patch:
            return current, "unchanged"
        if self._arguments.dry_run == "client":
            return self._patched_locally(resource, current, patch, content_type), "configured"
        path = resource.path(modified["metadata"].get("namespace", ""), modified["metadata"]["name"])
        try:
            patched: Object = await self._connection.request(
                "PATCH", path, query=self._query, body=patch, content_type=content_type
            )
        except ServerError as error:
            raise error.while_doing(f'error when applying patch to "{source}"') from error
        is_same = patched["metadata"].get("resourceVersion") == current["metadata"].get("resourceVersion")
        return patched, "unchanged" if is_same and self._arguments.dry_run == "none" else "configured"

    def _patched_locally(self, resource: ApiResource, current: Object, patch: Any, content_type: str) -> Object:
        from orchestrator.api.patch import apply_merge_patch, apply_strategic_merge_patch
        from orchestrator.api.schema import for_kind

        if content_type == MERGE_PATCH:
            return apply_merge_patch(current, patch)
        schema = for_kind(resource.group, resource.version, resource.kind)
        return apply_strategic_merge_patch(current, patch, schema)

    async def _apply_server_side(self, resource: ApiResource, obj: Object, source: str) -> tuple[Object, str]:
        query = {**self._query, "force": "true"} if self._arguments.force_conflicts else self._query
        name = obj["metadata"].get("name")
        if not name:
            raise CliError(f'error: error when applying "{source}": resource name may not be empty')
        try:
            applied: Object = await self._connection.request(
                "PATCH",
                resource.path(obj["metadata"].get("namespace", ""), name),
                query=query,
                body=obj,
                content_type=APPLY_PATCH,
            )
        except ServerError as error:
            if error.reason != "Conflict":
                raise error.while_doing(f'error when applying patch to "{source}"') from error
            causes = (error.status.get("details") or {}).get("causes") or ()
            if any(cause.get("reason") == "FieldManagerConflict" for cause in causes):
                raise CliError(
                    f"error: {error.status.get('message')}\n"
                    "Remove the fields that others manage from the manifest, or take them over with --force-conflicts."
                ) from error
            raise
        return applied, "serverside-applied"


def with_last_applied(obj: Object) -> Object:
    """The object with itself in the annotation that the next apply compares with."""
    metadata = obj["metadata"]
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED}
    plain = {**obj, "metadata": {**metadata, "annotations": annotations}}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    return {**plain, "metadata": {**metadata, "annotations": {**annotations, LAST_APPLIED: text}}}


def plan_patch(resource: ApiResource, original: Object, modified: Object, current: Object) -> tuple[str, Object]:
    """(content type, three-way patch); an empty patch means that there is nothing to change."""
    from orchestrator.api.patch import three_way_json_merge_patch, three_way_merge_patch
    from orchestrator.api.schema import for_kind, has_kind

    if has_kind(resource.group, resource.version, resource.kind):
        schema = for_kind(resource.group, resource.version, resource.kind)
        return STRATEGIC_MERGE_PATCH, three_way_merge_patch(original, modified, current, schema)
    return MERGE_PATCH, three_way_json_merge_patch(original, modified, current)
