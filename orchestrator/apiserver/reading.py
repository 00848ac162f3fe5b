"""The verbs that read: get, list and watch, from the store or from what makes objects up.

Mirrors the reading half of kube-apiserver's generic registry and its watch cache.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object, name_of
from orchestrator.apiserver import conversion, listing
from orchestrator.apiserver.request import ApiRequest, ListResult, ObjectResult, check_verb, is_true
from orchestrator.apiserver.store_errors import translated
from orchestrator.apiserver.watching import ObjectWatch
from orchestrator.store import Key, Record, Store

ObjectReader = Callable[[ApiRequest], Awaitable[list[Object]]]
"""All objects that a get or list may be about: of its name (NotFound when there is none) or its namespace."""

WATCH_SECONDS_MIN = 1800.0
WATCH_SECONDS_MAX = 86_400.0


class Reader:
    """Serves get, list and watch requests that are authorized."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        indexed_fields: Mapping[str, Mapping[str, Callable[[Object], str]]],
        computed: Mapping[str, ObjectReader],
    ) -> None:
        """`computed`: group-resource → source of objects that no store has."""
        self._store = store
        self._clock = clock
        self._indexed_fields = indexed_fields
        self._computed = computed

    async def get(self, request: ApiRequest) -> ObjectResult:
        """One object; NotFound when there is none."""
        check_verb(request, "get")
        reader = self._computed.get(request.kind.resource.group_resource)
        if reader is not None:
            return ObjectResult((await reader(request))[0])
        record = await self.current(request, request.query.get("resourceVersion", ""))
        return await conversion.stored_result(request.kind, record)

    async def current(self, request: ApiRequest, resource_version: str = "") -> Record:
        """The record of one object, at least as new as a resource version; NotFound when there is none."""
        revision = listing.parse_resource_version(resource_version)
        with translated(request.kind, request.name):
            if revision is not None and revision > self._store.revision:
                # Raises FutureRevision: nobody can have seen a revision that has not happened.
                await self._store.get(request.key, revision=revision)
            record = await self._store.get(request.key)
        if record is None:
            raise errors.not_found(request.group, request.plural, request.name)
        return record

    async def list_objects(self, request: ApiRequest) -> ListResult:
        """What a list asks for, or a page of it; Expired when its moment is too long ago."""
        check_verb(request, "list")
        kind = request.kind
        match = listing.check_version_match(request.query, is_watch=False)
        selection = listing.parse_selection(request, self._indexed_fields)
        limit = listing.parse_limit(request)
        listing.check_timeout(request)
        if request.query.get("resourceVersion") == "0" and match != "Exact":
            limit = 0  # "any version" is answered in one piece, as from kube-apiserver's watch cache
        elif limit and not match and request.query.get("resourceVersion"):
            match = "Exact"  # what it meant before there was a parameter for it
        reader = self._computed.get(kind.resource.group_resource)
        if reader is not None:
            return self._computed_list(kind, [obj for obj in await reader(request) if selection.matches(obj)])
        token = request.query.get("continue", "")
        position = await self._list_position(request, match, token)
        revision, after, since = position
        resource = kind.stored_resource
        namespace = request.namespace or None
        convert = conversion.at_encoding(kind)
        if selection.name and (namespace or not kind.resource.namespaced) and not token and revision is None:
            revision = self._store.revision  # before the object is read: who watches from here on misses nothing
            record = await self._store.get(Key(resource, request.namespace, selection.name))
            records = await _selected(kind, selection, [record] if record is not None else [])
            return ListResult(kind, records, revision, convert=convert)
        if selection.is_everything:
            page = await self._page(request, resource, namespace, revision, limit, after)
            continue_token = ""
            if page.continue_name is not None:
                continue_token = listing.encode_continue(
                    page.revision, *page.continue_name, namespaced_list=bool(namespace), since=since
                )
            return ListResult(
                kind,
                await conversion.served_records(kind, page.records),
                page.revision,
                continue_token,
                page.remaining if continue_token else None,
                convert,
            )
        return await self._list_selected(request, selection, resource, namespace, limit, position)

    @staticmethod
    def _computed_list(kind: Kind, objects: list[Object]) -> ListResult:
        """A list of objects that no store has: in one piece, at no revision."""
        keys = (
            Key(kind.resource.group_resource, obj["metadata"].get("namespace", ""), name_of(obj)) for obj in objects
        )
        records = [Record(key, orjson.dumps(obj), 0, 0, obj) for key, obj in zip(keys, objects, strict=True)]
        return ListResult(kind, records, 0)

    async def _list_selected(
        self,
        request: ApiRequest,
        selection: listing.Selection,
        resource: str,
        namespace: str | None,
        limit: int,
        position: listing.Position,
    ) -> ListResult:
        """With selectors a page is filled from as many chunks of the store as it takes."""
        kind = request.kind
        revision, after, since = position
        convert = conversion.at_encoding(kind)
        records: list[Record] = []
        token = ""
        while True:
            chunk = max(limit * 2, 500) if limit else 0
            page = await self._page(request, resource, namespace, revision, chunk, after)
            if selection.is_of_served:
                page = page._replace(records=await conversion.served_records(kind, page.records))
            for index, record in enumerate(page.records):
                if not selection.matches(record.obj):
                    continue
                if limit and len(records) == limit:
                    previous = page.records[index - 1].key if index else None
                    last = (previous.namespace, previous.name) if previous else after
                    assert last is not None
                    token = listing.encode_continue(page.revision, *last, namespaced_list=bool(namespace), since=since)
                    break
                records.append(record)
            if token or page.continue_name is None:
                if not selection.is_of_served:
                    records = await conversion.served_records(kind, records)
                return ListResult(kind, records, page.revision, token, None, convert)
            after, revision = page.continue_name, page.revision

    async def _page(
        self,
        request: ApiRequest,
        resource: str,
        namespace: str | None,
        revision: int | None,
        limit: int,
        after: tuple[str, str] | None,
    ) -> Any:
        with translated(request.kind, ""):
            return await self._store.list(resource, namespace, revision=revision, limit=limit, after=after)

    async def _list_position(self, request: ApiRequest, match: str, token: str) -> listing.Position:
        """Which revision a list reads and after which key; Expired when that is too long ago."""
        now = int(self._clock.now().timestamp())
        version = request.query.get("resourceVersion", "")
        if token:
            listing.parse_resource_version(version)
            revision, after, since = listing.decode_continue(token, request.namespace)
            if version not in ("", "0"):
                raise errors.BadRequest("specifying resource version is not allowed when using continue")
            if revision == -1:
                return listing.Position(None, after, now)
            # Not only what the store has forgotten: clients may count on a token that has become old being refused.
            is_old = bool(since) and now - since > listing.CONTINUE_SECONDS_MAX
            if is_old or revision < self._store.compacted_revision:
                fresh = listing.encode_continue(-1, *after, namespaced_list=bool(request.namespace), since=now)
                raise listing.expired_continue(fresh)
            return listing.Position(revision, after, since)
        wanted = listing.parse_resource_version(version)
        if match == "Exact":
            return listing.Position(wanted, None, now)
        if wanted is not None and wanted > self._store.revision:
            with translated(request.kind, ""):
                await self._store.get(Key("", "", ""), revision=wanted)
        return listing.Position(None, None, now)

    async def watch(self, request: ApiRequest, bookmark_seconds: float, default_seconds: float) -> ObjectWatch:
        """Open a watch, with bookmarks so often if the client wants any, that lasts so long unless it says how long."""
        check_verb(request, "watch")
        kind, query = request.kind, request.query
        listing.check_version_match(query, is_watch=True)
        selection = listing.parse_selection(request, self._indexed_fields)
        timeout = _timeout_seconds(query.get("timeoutSeconds", ""), default_seconds)
        version = query.get("resourceVersion", "")
        since = listing.parse_resource_version(version)
        send_initial = is_true(query["sendInitialEvents"]) if "sendInitialEvents" in query else None
        resource, namespace = kind.stored_resource, request.namespace or None
        initial: list[Record] = []
        wants_initial = send_initial or (send_initial is None and since in (None, 0))
        if wants_initial:
            if since is not None and since > self._store.revision:
                with translated(kind, ""):
                    await self._store.get(Key("", "", ""), revision=since)
            page = await self._store.list(resource, namespace)
            initial = [one for one in page.records if not selection.name or one.key.name == selection.name]
            if selection.is_of_served:
                initial = await conversion.served_records(kind, initial)
            initial = [record for record in initial if selection.matches(record.obj)]
            since = page.revision
        elif since in (None, 0):
            since = self._store.revision
        assert since is not None
        name = selection.name if namespace or not kind.resource.namespaced else None
        with translated(kind, ""):
            source = self._store.watch(resource, namespace, name or None, index=selection.index, since=since)
        return ObjectWatch(
            kind=kind,
            selection=selection,
            source=source,
            clock=self._clock,
            initial=initial,
            initial_revision=since,
            send_initial_end=bool(send_initial),
            bookmarks=is_true(query.get("allowWatchBookmarks")),
            bookmark_seconds=bookmark_seconds,
            timeout_seconds=timeout,
        )


def _timeout_seconds(text: str, default_seconds: float) -> float:
    """How long a watch may last: what the client asked for, or a random-free default."""
    if not text:
        return default_seconds
    seconds = listing.parse_number(text)
    return min(float(seconds), WATCH_SECONDS_MAX) if seconds > 0 else WATCH_SECONDS_MIN


async def _selected(kind: Kind, selection: listing.Selection, records: list[Record]) -> list[Record]:
    """Those of the records that are selected, as they are served."""
    if selection.is_of_served:
        return [one for one in await conversion.served_records(kind, records) if selection.matches(one.obj)]
    return await conversion.served_records(kind, [one for one in records if selection.matches(one.obj)])
