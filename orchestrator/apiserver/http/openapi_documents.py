"""`/openapi/v3`, `/openapi/v3/<group version>` and `/openapi/v2` over HTTP.

Documents are built when they are first asked for, in a thread, and kept as bytes until a kind they
describe changes. Mirrors k8s.io/kube-openapi's `handler` and `handler3`: content hashes in the
index, answers to `?hash=` that may be cached for ever, ETags.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from msgspec import Struct

from orchestrator.api import errors
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.apiserver.aggregation.api_services import ApiServices, Unreachable
from orchestrator.apiserver.aggregation.plan import GroupVersion
from orchestrator.apiserver.http.negotiation import JSON, not_acceptable
from orchestrator.apiserver.http.plain_text import page_not_found
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.server import HttpServer
from orchestrator.logs import get_logger

if TYPE_CHECKING:
    from orchestrator.apiserver.openapi.operations import Path

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
V2_PROTOBUF_ANSWER = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""The name that kube-openapi answers with: an @ is not allowed in a media type."""
COMPRESSED_BYTES_MIN = 128 * 1024


class _Document(Struct):
    """The bytes of one document."""

    body: bytes
    content_type: str
    kinds: tuple[Kind, ...]
    """What it was made from."""
    others: tuple[tuple[str, Any], ...] = ()
    """Documents of other servers that it contains, each with the prefix of its paths."""
    hash: str = ""
    compressed: bytes = b""

    def __post_init__(self) -> None:
        self.hash = hashlib.sha512(self.body).hexdigest().upper()

    def is_of(self, kinds: Sequence[Kind], others: Sequence[tuple[str, Any]] = ()) -> bool:
        """Whether it still describes just these: descriptors are immutable, so identity tells."""
        return (
            len(kinds) == len(self.kinds)
            and all(a is b for a, b in zip(kinds, self.kinds, strict=True))
            and len(others) == len(self.others)
            and all(a[0] == b[0] and a[1] is b[1] for a, b in zip(others, self.others, strict=True))
        )


class OpenApiDocuments:
    """Registers the OpenAPI documents with an HTTP server."""

    def __init__(self, http: HttpServer, *, product_version: str) -> None:
        self._http = http
        self._registry = http.api.registry
        self._version = product_version
        self._v3: dict[str, _Document] = {}
        self._v2: dict[str, _Document] = {}
        self._index: _Document | None = None
        self._generation = -1
        self._lock = asyncio.Lock()
        self._log = get_logger("apiserver/openapi")
        self.api_services: ApiServices | None = None
        """Knows the documents of other servers."""
        for path in ("/openapi/v3", "/openapi/v3/"):
            http.paths[path] = self.index
        http.path_prefixes["/openapi/v3/"] = self.group_version
        http.paths["/openapi/v2"] = self.v2

    async def index(self, request: HttpRequest) -> web.StreamResponse:
        """`/openapi/v3`: where each group version's document is, with its hash."""
        await self._update_v3()
        assert self._index is not None
        services = self.api_services
        if services is None or not services.openapi:
            return await self._answer(request, self._index)
        paths = orjson.loads(self._index.body)["paths"]
        for (group, version), url in services.openapi.items():
            paths[f"apis/{group}/{version}"] = {"serverRelativeURL": url}
        return await self._answer(request, _Document(orjson.dumps({"paths": dict(sorted(paths.items()))}), JSON, ()))

    def _remote(self, key: str) -> tuple[ApiServices, GroupVersion] | None:
        prefix, _, rest = key.partition("/")
        which = GroupVersion(*rest.split("/", 1)) if prefix == "apis" and rest.count("/") == 1 else None
        services = self.api_services
        return (services, which) if services is not None and which is not None and which in services.openapi else None

    async def _fetch(self, services: ApiServices, which: GroupVersion) -> _Document:
        """A document of another server, from where it is authentic."""
        try:
            value = await services.fetch(services.remote[which], services.openapi[which])
        except Unreachable as error:
            raise errors.ServiceUnavailable(f"error trying to reach service: {error}") from error
        return _Document(orjson.dumps(value), JSON, ())

    async def group_version(self, request: HttpRequest) -> web.StreamResponse:
        """`/openapi/v3/<key>`: one group version."""
        self._check_accept(request, (JSON,))
        key = request.path.removeprefix("/openapi/v3/").rstrip("/")
        remote = self._remote(key)
        if remote is not None:
            return await self._answer(request, await self._fetch(*remote))
        await self._update_v3()
        document = self._v3.get(key)
        if document is None:
            return page_not_found()
        headers: dict[str, str] = {}
        asked = request.query.get("hash")
        if asked:
            if asked != document.hash:
                return web.Response(status=301, headers={"Location": _url(key, document)})
            expires = self._http.clock.now() + timedelta(days=365)
            headers = {"Cache-Control": "public, immutable", "Expires": format_datetime(expires, usegmt=True)}
        return await self._answer(request, document, headers)

    async def v2(self, request: HttpRequest) -> web.StreamResponse:
        """`/openapi/v2`, as JSON or protobuf."""
        content_type = self._check_accept(request, (JSON, V2_PROTOBUF, V2_PROTOBUF_ANSWER))
        others: list[tuple[str, Any]] = []
        if self.api_services is not None and self.api_services.remote:
            others = await self.api_services.openapi_v2()
        kinds = tuple(self._registry)
        build = self._build_v2_json if content_type == JSON else self._build_v2_protobuf
        async with self._lock:
            document = self._v2.get(build.__name__)
            if document is None or not document.is_of(kinds, others):
                document = self._v2[build.__name__] = await asyncio.to_thread(build, kinds, tuple(others))
        return await self._answer(request, document)

    def _check_accept(self, request: HttpRequest, offered: tuple[str, ...]) -> str:
        accept = request.header("Accept")
        if not accept:
            return JSON
        for clause in accept.split(","):
            media_type = clause.partition(";")[0].strip().lower()
            if media_type in ("*/*", "application/*"):
                return JSON
            if media_type in offered:
                return media_type
        raise not_acceptable(offered)

    async def _answer(
        self, request: HttpRequest, document: _Document, headers: dict[str, str] | None = None
    ) -> web.StreamResponse:
        tag = f'"{document.hash}"'
        headers = {"Content-Type": document.content_type, "ETag": tag, "Vary": "Accept", **(headers or {})}
        if tag in [candidate.strip() for candidate in request.header("If-None-Match").split(",")]:
            return web.Response(status=304, headers=headers)
        if len(document.body) >= COMPRESSED_BYTES_MIN and "gzip" in request.header("Accept-Encoding"):
            if not document.compressed:
                document.compressed = await asyncio.to_thread(gzip.compress, document.body, 4, mtime=0)
            return web.Response(body=document.compressed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=document.body, headers=headers)

    async def _update_v3(self) -> None:
        async with self._lock:
            generation = self._registry.generation
            if generation == self._generation:
                return
            # The thread gets a snapshot: kinds come and go in the event loop only.
            kinds = tuple(self._registry)
            self._v3 = await asyncio.to_thread(self._build_v3, kinds, dict(self._v3))
            paths = {key: {"serverRelativeURL": _url(key, document)} for key, document in sorted(self._v3.items())}
            self._index = _Document(orjson.dumps({"paths": paths}), JSON, kinds)
            self._generation = generation

    # Built in a thread, with what only these documents need.

    def _build_v3(self, kinds: tuple[Kind, ...], known: dict[str, _Document]) -> dict[str, _Document]:
        from orchestrator.apiserver.openapi.documents import v3_document
        from orchestrator.apiserver.openapi.paths import DOCUMENTS, discovery_path, group_version_kinds, paths_of

        documents: dict[str, _Document] = {}

        def add(key: str, members: Sequence[Kind], paths: Callable[[], list[Path]]) -> None:
            document = known.get(key)
            if document is None or not document.is_of(members):
                document = _Document(v3_document(paths(), members, self._version), JSON, tuple(members))
            documents[key] = document

        for key in DOCUMENTS:
            add(key, (), lambda key=key: [discovery_path(key)])  # type: ignore[misc]
        for key, members in group_version_kinds(kinds).items():
            group = key.rpartition("/")[0]
            if group not in documents:
                add(group, (), lambda group=group: [discovery_path(group)])  # type: ignore[misc]
            add(
                key,
                members,
                lambda key=key, members=members: [  # type: ignore[misc]
                    discovery_path(key),
                    *(path for kind in members for path in paths_of(kind)),
                ],
            )
        return documents

    def _build_v2_json(self, kinds: tuple[Kind, ...], others: tuple[tuple[str, Any], ...]) -> _Document:
        from orchestrator.apiserver.openapi.documents import v2_document
        from orchestrator.apiserver.openapi.merging import merge_documents

        value = merge_documents(v2_document(kinds, self._version), others)
        return _Document(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), JSON, kinds, others)

    def _build_v2_protobuf(self, kinds: tuple[Kind, ...], others: tuple[tuple[str, Any], ...]) -> _Document:
        from orchestrator.apiserver.openapi.documents import v2_document
        from orchestrator.apiserver.openapi.merging import merge_documents
        from orchestrator.apiserver.openapi.protobuf import encode_document

        own = v2_document(kinds, self._version)
        try:
            encoded = encode_document(merge_documents(own, others))
        except (KeyError, TypeError, ValueError) as error:
            if not others:
                raise
            # Something that our encoder does not know: all the rest is more useful than nothing.
            self._log.warning("openapi.unencodable", others=[prefix for prefix, _ in others], error=repr(error))
            encoded = encode_document(own)
        return _Document(encoded, V2_PROTOBUF_ANSWER, kinds, others)


def _url(key: str, document: _Document) -> str:
    return f"/openapi/v3/{key}?hash={document.hash}"
