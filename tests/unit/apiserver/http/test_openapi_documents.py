"""The OpenAPI documents over HTTP: hashes, ETags, media types, compression, change of kinds."""

from __future__ import annotations

import gzip
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api import errors
from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.resources import Resource
from orchestrator.api.schema import schema_from_openapi_v3
from orchestrator.apiserver.authentication.authenticator import Authenticator
from orchestrator.apiserver.http.openapi_documents import V2_PROTOBUF, OpenApiDocuments
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.server import HttpServer
from orchestrator.apiserver.server import ApiServer
from orchestrator.apiserver.user import User

CRON_TAB = Kind(
    resource=Resource("stable.example.com", "v1", "crontabs", "CronTab"),
    definition="",
    singular="crontab",
    schema=schema_from_openapi_v3({"type": "object", "properties": {"spec": {"type": "object"}}}),
)


class Served:
    """The documents behind an HTTP server that does not listen."""

    def __init__(self) -> None:
        self.registry = Registry(builtin_kinds())
        api = cast(ApiServer, SimpleNamespace(registry=self.registry, store=SimpleNamespace(observe=lambda *_: None)))
        self.http = HttpServer(api, authenticator=Authenticator(), clock=SystemClock())
        OpenApiDocuments(self.http, product_version="v1.36.0")

    async def get(self, path: str, **headers: str) -> web.Response:
        raw = make_mocked_request("GET", path, {name.replace("_", "-"): value for name, value in headers.items()})
        request = HttpRequest(raw, User("me"))
        handler = self.http.paths.get(request.path) or self.http.path_prefixes["/openapi/v3/"]
        return cast(web.Response, await handler(request))

    async def index(self) -> dict[str, str]:
        document: dict[str, Any] = orjson.loads(cast(bytes, (await self.get("/openapi/v3")).body))
        return {key: entry["serverRelativeURL"] for key, entry in document["paths"].items()}


@pytest.fixture
def served() -> Served:
    return Served()


async def test_the_index_leads_to_documents_that_may_be_cached_for_ever(served: Served) -> None:
    index = await served.index()
    assert {"api", "apis", "version", "api/v1", "apis/apps", "apis/apps/v1"} <= set(index)
    for url in index.values():
        response = await served.get(url)
        assert response.status == 200
        assert response.headers["Cache-Control"] == "public, immutable"
        assert response.headers["ETag"].strip('"') in url
        assert orjson.loads(cast(bytes, response.body))["openapi"] == "3.0.0"


async def test_an_old_hash_is_sent_to_the_new_one(served: Served) -> None:
    index = await served.index()
    response = await served.get("/openapi/v3/apis/apps/v1?hash=OLD")
    assert response.status == 301
    assert response.headers["Location"] == index["apis/apps/v1"]


async def test_an_unchanged_document_is_not_sent_again(served: Served) -> None:
    for path in ("/openapi/v3", "/openapi/v3/api/v1", "/openapi/v2"):
        tag = (await served.get(path)).headers["ETag"]
        response = await served.get(path, If_None_Match=tag)
        assert (response.status, response.body) == (304, None)


async def test_large_documents_are_compressed_for_who_wants_it(served: Served) -> None:
    plain = await served.get("/openapi/v3/api/v1")
    packed = await served.get("/openapi/v3/api/v1", Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(cast(bytes, packed.body)) == plain.body


async def test_media_types(served: Served) -> None:
    protobuf = await served.get("/openapi/v2", Accept=V2_PROTOBUF)
    assert protobuf.headers["Content-Type"] == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert cast(bytes, protobuf.body).startswith(b"\n\x032.0")
    both = await served.get("/openapi/v2", Accept=f"{V2_PROTOBUF}, application/json")
    assert both.headers["Content-Type"].endswith("protobuf")
    assert (await served.get("/openapi/v2", Accept="*/*")).headers["Content-Type"] == "application/json"
    with pytest.raises(errors.NotAcceptable):
        await served.get("/openapi/v3/api/v1", Accept="application/xml")


async def test_unknown_groups_are_not_found(served: Served) -> None:
    assert (await served.get("/openapi/v3/apis/nothing.example.com/v1")).status == 404


async def test_a_new_kind_appears_at_once_and_leaves_the_others_alone(served: Served) -> None:
    before = await served.index()
    old_v2 = await served.get("/openapi/v2")
    served.registry.register(CRON_TAB)
    after = await served.index()
    key = "apis/stable.example.com/v1"
    assert {name for name in after if after[name] != before.get(name)} == {key, "apis/stable.example.com"}
    assert b"com.example.stable.v1.CronTab" in cast(bytes, (await served.get(after[key])).body)
    new_v2 = await served.get("/openapi/v2")
    assert b"com.example.stable.v1.CronTab" in cast(bytes, new_v2.body)
    served.registry.unregister(CRON_TAB)
    assert await served.index() == before
    assert (await served.get("/openapi/v2")).headers["ETag"] == old_v2.headers["ETag"]
