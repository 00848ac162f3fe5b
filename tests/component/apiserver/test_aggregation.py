"""Aggregation: APIServices, local and remote; discovery, authentication and streaming through the front proxy."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api import errors
from orchestrator.api.objects import Object, condition_of
from orchestrator.api.resources import (
    API_SERVICES,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    SERVICES,
    Resource,
)
from orchestrator.apiserver import pki
from orchestrator.apiserver.aggregation.plan import plan_availability, plan_order
from orchestrator.apiserver.http.openapi_documents import V2_PROTOBUF
from orchestrator.apiserver.user import User
from orchestrator.client.client import Client
from orchestrator.client.transport import Request
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import eventually, running_cluster
from tests.golden.replay import anonymous_session_of, session_of

GROUP, VERSION = "wardle.example.com", "v1alpha1"
NAME = f"{VERSION}.{GROUP}"
BASE = f"/apis/{GROUP}/{VERSION}"
FLUNDERS = {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": ["list"]}
TOKENS = {"eve": User("eve", groups=("devs",), extra={"example.com/team": ("a", "b")}), "mallory": User("mallory")}
META, FLUNDER = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "com.example.wardle.v1alpha1.Flunder"
GET = {
    "operationId": "listFlunder",
    "parameters": [{"$ref": "#/parameters/pretty"}],
    "responses": {"200": {"description": "OK", "schema": {"$ref": f"#/definitions/{FLUNDER}"}}},
}
OPENAPI_V2: dict[str, Any] = {
    "swagger": "2.0",
    "paths": {f"{BASE}/flunders": {"get": GET}, "/version/": {"get": GET}},
    "parameters": {"pretty": {"name": "pretty", "in": "query", "type": "string", "uniqueItems": True}},
    "definitions": {
        FLUNDER: {"type": "object", "properties": {"metadata": {"$ref": f"#/definitions/{META}"}}},
        META: {"type": "object", "description": "Not what it is here."},
        "unused": {"type": "object"},
    },
}


class Extension:
    """An extension API server that believes the front proxy."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.fails = False
        self.port = 0
        self.ca = b""

    def headers_of(self, path: str) -> dict[str, list[str]]:
        """The headers of the last request for a path."""
        return next(headers for asked, headers in reversed(self.asked) if asked == path)

    def times_asked(self, path: str) -> int:
        return sum(asked == path for asked, _ in self.asked)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        certificate = request.transport.get_extra_info("peercert")
        subject = dict(pair for name in certificate["subject"] for pair in name)
        headers = {name: request.headers.getall(name) for name in request.headers}
        headers["peer"] = [subject["commonName"]]
        self.asked.append((request.path_qs, headers))
        if self.fails:
            return web.Response(status=500)
        if request.path == BASE:
            document = {"kind": "APIResourceList", "groupVersion": f"{GROUP}/{VERSION}", "resources": [FLUNDERS]}
            return web.json_response(document)
        if request.path == "/openapi/v3":
            url = f"/openapi/v3{BASE}?hash=1"
            return web.json_response({"paths": {BASE[1:]: {"serverRelativeURL": url}}})
        if request.path == f"/openapi/v3{BASE}":
            return web.json_response({"openapi": "3.0.0", "paths": {}})
        if request.path == "/openapi/v2":
            return web.json_response(OPENAPI_V2)
        if request.query.get("watch"):
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"type":"ADDED"}\n')
            await asyncio.get_running_loop().create_future()  # as a watch: never ends by itself
        return web.json_response({"path": request.path_qs, "method": request.method, "body": await request.text()})


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=0, https=True, controllers=(), scheduler=False, static_tokens=TOKENS) as cluster:
        yield cluster


@pytest.fixture
async def extension(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Extension]:
    own = pki.prepare(tmp_path, hosts=["sample-api.default.svc"], clock=SystemClock())
    published = await cluster.client().get(CONFIG_MAPS, "extension-apiserver-authentication", "kube-system")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "apiserver.crt", tmp_path / "apiserver.key")
    context.load_verify_locations(cadata=published["data"]["requestheader-client-ca-file"])
    context.verify_mode = ssl.CERT_REQUIRED
    extension = Extension()
    extension.ca = own.ca.certificate
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", extension.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    extension.port = runner.addresses[0][1]
    yield extension
    await runner.cleanup()


def api_service(port: int, **spec: Any) -> Object:
    return {
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP,
            "version": VERSION,
            "groupPriorityMinimum": 2000,
            "versionPriority": 200,
            "service": {"name": "sample-api", "namespace": "default", "port": port},
            **spec,
        },
    }


async def expose(client: Client) -> None:
    # Endpoints may not be on the loopback; a name may lead there.
    spec = {"type": "ExternalName", "externalName": "localhost"}
    await client.create(SERVICES, {"metadata": {"name": "sample-api", "namespace": "default"}, "spec": spec})


async def available(client: Client, reason: str) -> Object:
    def has_reason(services: list[Object]) -> bool:
        return any(
            (condition_of(one, "Available") or {}).get("reason") == reason
            for one in services
            if one["metadata"]["name"] == NAME
        )

    services = await eventually(client, API_SERVICES, has_reason)
    condition = condition_of(next(one for one in services if one["metadata"]["name"] == NAME), "Available")
    assert condition is not None
    return condition


async def get_json(session: aiohttp.ClientSession, path: str, **headers: str) -> Any:
    async with session.get(path, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json(content_type=None)


async def test_local_api_services_are_there_and_come_back(cluster: Cluster) -> None:
    client = cluster.client()
    listed = {one["metadata"]["name"]: one for one in (await client.list(API_SERVICES))["items"]}
    assert {"v1.", "v1.apps", "v2.autoscaling", "v1.rbac.authorization.k8s.io"} <= listed.keys()
    assert "v1.apiregistration.k8s.io" not in listed
    apps = listed["v1.apps"]
    assert apps["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
    assert apps["spec"] == {"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15}
    condition = condition_of(apps, "Available")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("True", "Local")
    await client.delete(API_SERVICES, "v1.apps")
    await eventually(client, API_SERVICES, lambda found: "v1.apps" in [one["metadata"]["name"] for one in found])


async def test_a_definition_registers_its_group_and_takes_it_back(cluster: Cluster) -> None:
    client = cluster.client()
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    definition = {
        "metadata": {"name": "things.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition)
    found = await eventually(
        client, API_SERVICES, lambda found: "v1.example.org" in [one["metadata"]["name"] for one in found]
    )
    service = next(one for one in found if one["metadata"]["name"] == "v1.example.org")
    assert service["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
    assert (service["spec"]["groupPriorityMinimum"], service["spec"]["versionPriority"]) == (1000, 100)
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "things.example.org")
    await eventually(
        client, API_SERVICES, lambda found: "v1.example.org" not in [one["metadata"]["name"] for one in found]
    )


async def test_requests_go_to_the_server_behind_the_service(cluster: Cluster, extension: Extension) -> None:
    client = cluster.client()
    await client.create(API_SERVICES, api_service(extension.port, caBundle=base64.b64encode(extension.ca).decode()))
    assert "is not present" in (await available(client, "ServiceNotFound"))["message"]
    async with session_of(cluster) as admin, anonymous_session_of(cluster) as others:
        async with admin.get(f"{BASE}/flunders") as response:
            assert (response.status, await response.text()) == (503, "service unavailable\n")
        await expose(client)
        assert (await available(client, "Passed"))["message"] == "all checks passed"
        path = f"{BASE}/namespaces/default/flunders?limit=5&labelSelector=a%3Db"
        async with admin.post(path, data=b"body", headers={"X-Remote-User": "forged", "X-Remote-Group": "x"}) as answer:
            assert await answer.json() == {"path": path, "method": "POST", "body": "body"}
        headers = extension.headers_of(path)
        assert headers["peer"] == ["front-proxy-client"]
        assert headers["X-Remote-User"] == ["kubernetes-admin"]
        assert headers["X-Remote-Group"] == ["system:masters", "system:authenticated"]
        [shown] = headers["X-Remote-Extra-authentication.kubernetes.io%2Fcredential-id"]
        assert re.fullmatch(r"X509SHA256=[0-9a-f]{64}", shown)
        count = extension.times_asked(path)
        async with others.get(path, headers={"Authorization": "Bearer mallory"}) as response:
            assert response.status == 403
        assert extension.times_asked(path) == count, "whom RBAC refuses does not get there"
        async with admin.get(f"{BASE}/flunders?watch=true") as response:
            assert await response.content.readline() == b'{"type":"ADDED"}\n'
        await get_json(admin, f"{BASE}?as=eve", **{"Impersonate-User": "eve", "Impersonate-Group": "system:masters",
                            "Impersonate-Extra-example.com%2Fteam": "a"}
        )  # fmt: skip
        headers = extension.headers_of(f"{BASE}?as=eve")
        assert headers["X-Remote-User"] == ["eve"]
        assert headers["X-Remote-Extra-example.com%2fteam".replace("%2f", "%2F")] == ["a"]
        assert not [name for name in headers if name.lower().startswith(("impersonate", "authorization"))]


async def test_components_read_there_as_themselves(cluster: Cluster, extension: Extension) -> None:
    flunders = Resource(GROUP, VERSION, "flunders", "Flunder")
    request = Request("get", flunders, "default", "*", "metric", {"labelSelector": "a in (b,c)"})
    with pytest.raises(errors.NotFound, match="could not find the requested resource"):
        await cluster.client().transport.send(request)
    client = cluster.client()
    await client.create(API_SERVICES, api_service(extension.port, caBundle=base64.b64encode(extension.ca).decode()))
    with pytest.raises(errors.ServiceUnavailable):
        await client.transport.send(request)
    await expose(client)
    await available(client, "Passed")
    answer = await cluster.client("somebody", ("system:masters",)).transport.send(request)
    path = f"{BASE}/namespaces/default/flunders/*/metric?labelSelector=a+in+%28b%2Cc%29"
    assert answer["path"] == path
    headers = extension.headers_of(path)
    assert headers["X-Remote-User"] == ["somebody"]
    assert "system:masters" in headers["X-Remote-Group"]
    with pytest.raises(errors.Forbidden, match='User "mallory" cannot get resource "flunders/metric"'):
        await cluster.client("mallory", ()).transport.send(request)
    extension.fails = True
    with pytest.raises(errors.InternalError):
        await cluster.client().transport.send(request)


async def test_discovery_and_openapi_of_all_servers_are_one(cluster: Cluster, extension: Extension) -> None:
    client = cluster.client()
    await expose(client)
    await client.create(API_SERVICES, api_service(extension.port, insecureSkipTLSVerify=True))
    await available(client, "Passed")
    async with session_of(cluster) as admin:
        groups = [one["name"] for one in (await get_json(admin, "/apis"))["groups"]]
        assert groups[:2] == ["apiregistration.k8s.io", "apps"]
        assert groups.index("flowcontrol.apiserver.k8s.io") < groups.index(GROUP)
        versions = next(one for one in (await get_json(admin, "/apis"))["groups"] if one["name"] == "autoscaling")
        assert [one["version"] for one in versions["versions"]] == ["v2", "v1"]
        assert (await get_json(admin, f"/apis/{GROUP}"))["preferredVersion"]["version"] == VERSION
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        aggregated = await get_json(admin, "/apis", Accept=accept)
        mine = next(one for one in aggregated["items"] if one["metadata"]["name"] == GROUP)
        assert mine["versions"][0]["freshness"] == "Current"
        assert [one["resource"] for one in mine["versions"][0]["resources"]] == ["flunders"]
        index = await get_json(admin, "/openapi/v3")
        url = index["paths"][BASE[1:]]["serverRelativeURL"]
        assert (await get_json(admin, url))["openapi"] == "3.0.0"
        v2 = await get_json(admin, "/openapi/v2")
        operation = v2["paths"][f"{BASE}/flunders"]["get"]
        assert operation["parameters"] == [OPENAPI_V2["parameters"]["pretty"]]
        assert "listFlunder" not in str(v2["paths"]["/version/"])
        definition = v2["definitions"][FLUNDER]
        assert definition["properties"]["metadata"] == {"$ref": f"#/definitions/{META}_v2"}
        assert v2["definitions"][f"{META}_v2"] == OPENAPI_V2["definitions"][META]
        assert "labels" in v2["definitions"][META]["properties"]
        assert "unused" not in v2["definitions"]
        async with admin.get("/openapi/v2", headers={"Accept": V2_PROTOBUF}) as response:
            assert FLUNDER.encode() in await response.read()
        assert extension.times_asked("/openapi/v2") == 1
        extension.fails = True
        await client.patch(API_SERVICES, NAME, {"spec": {"versionPriority": 10}})
        assert "bad status" in (await available(client, "FailedDiscoveryCheck"))["message"]
        aggregated = await get_json(admin, "/apis", Accept=accept)
        mine = next(one for one in aggregated["items"] if one["metadata"]["name"] == GROUP)
        assert mine["versions"][0]["freshness"] == "Stale"
        await client.delete(API_SERVICES, NAME)
        assert GROUP not in [one["name"] for one in (await get_json(admin, "/apis"))["groups"]]


async def test_a_certificate_that_is_not_trusted_is_not_used(cluster: Cluster, extension: Extension) -> None:
    client = cluster.client()
    await expose(client)
    await client.create(API_SERVICES, api_service(extension.port))
    assert "certificate" in (await available(client, "FailedDiscoveryCheck"))["message"]
    with pytest.raises(errors.Invalid):
        await client.create(API_SERVICES, api_service(443, caBundle="eA==", insecureSkipTLSVerify=True))


SPEC = {"service": {"name": "s", "namespace": "n", "port": 443}}
SERVICE = {"spec": {"ports": [{"name": "https", "port": 443}]}}


@pytest.mark.parametrize(
    ("service", "slices", "reason", "message"),
    [
        (None, [], "ServiceNotFound", 'service/s in "n" is not present'),
        ({"spec": {"ports": [{"port": 80}]}}, [], "ServicePortError", 'service/s in "n" is not listening on port 443'),
        (SERVICE, [], "MissingEndpoints", 'endpoints for service/s in "n" have no addresses with port name "https"'),
    ],
)
def test_what_the_objects_tell_about_availability(
    service: Object | None, slices: list[Object], reason: str, message: str
) -> None:
    condition = plan_availability(SPEC, service, slices)
    assert condition is not None
    assert (condition["reason"], condition["message"]) == (reason, message)


def test_priorities_decide_the_order() -> None:
    def one(group: str, version: str, minimum: int, priority: int) -> Object:
        return {
            "spec": {"group": group, "version": version, "groupPriorityMinimum": minimum, "versionPriority": priority}
        }

    services = [one("b", "v1", 10, 10), one("b", "v2", 5, 20), one("a", "v1", 10, 1), one("c", "v1", 11, 1)]
    services += [one("a", "v1beta1", 1, 1), one("a", "v2", 1, 1)]
    order = plan_order(services)
    assert list(order) == ["apiregistration.k8s.io", "c", "a", "b"]
    assert order["a"] == ["v2", "v1", "v1beta1"]
    assert order["b"] == ["v2", "v1"]
