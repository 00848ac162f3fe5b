"""HTTP to pods, Services and nodes through the API server: every method, path, query, redirect and upgrade.

The specs "Proxy ... A set of valid responses are returned for both pod and service" walk the same paths.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api.resources import ENDPOINT_SLICES, NODES, PODS, SERVICE_ACCOUNTS, SERVICES
from orchestrator.apiserver import pki
from orchestrator.client.client import Client
from orchestrator.testing import eventually, running_cluster
from tests.golden.replay import session_of

BODY = b"foo"
POD = "/api/v1/namespaces/default/pods/{}/proxy"
SERVICE = "/api/v1/namespaces/default/services/{}/proxy"
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


def address_of_this_machine() -> str:
    """An address that is not loopback, to which a proxy may lead; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback, where the API server's proxy never leads")
        return str(probe.getsockname()[0])


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    """Answer with what came in; some paths misbehave in a way of their own."""
    if request.path == "/redirect":
        return web.Response(status=302, headers={"Location": "/login?next=1"})
    if request.path == "/away":
        return web.Response(status=302, headers={"Location": "https://example.com/"})
    if request.path == "/page":
        page = web.Response(text='<a href="/rewriteme">test</a>', content_type="text/html")
        if request.query:
            page.enable_compression(web.ContentCoding.gzip)
        return page
    if request.path == "/socket":
        socket_ = web.WebSocketResponse(protocols=("echo",))
        await socket_.prepare(request)
        async for message in socket_:
            await socket_.send_str(message.data.upper())
        return socket_
    seen = {
        "method": request.method,
        "path": request.raw_path,
        "body": (await request.read()).decode(),
        "authorization": request.headers.get("Authorization", ""),
        "forwarded": request.headers.get("X-Forwarded-Uri", ""),
        "kept": request.headers.get("X-Kept", ""),
    }
    headers = {"Access-Control-Allow-Origin": "*", "X-Kept": "yes"}
    return web.json_response(seen, status=418 if request.path == "/teapot" else 200, headers=headers)


async def chatty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that sends a body whatever the method is, as naive ones do for HEAD."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Kind: chatty\r\nConnection: close\r\n\r\nfoo")
    await writer.drain()
    writer.close()


class Stage:
    """A session of the administrator, and what the pods serve."""

    def __init__(self, session: aiohttp.ClientSession, client: Client, address: str) -> None:
        self.session = session
        self.client = client
        self.address = address

    async def add_pod(self, name: str, port: int) -> None:
        """A pod whose first port is served by this test."""
        spec = {"containers": [{"name": "c", "image": "web", "ports": [{"containerPort": port}]}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
        await self.client.create(PODS, pod)
        status = {"phase": "Running", "podIP": self.address, "podIPs": [{"ip": self.address}]}
        await self.client.patch(PODS, name, {"status": status}, "default", subresource="status")

    async def add_service(self, name: str, ports: dict[str, int]) -> None:
        """A Service with these endpoints by port name; its own ports count from 80."""
        numbered = [{"name": key, "port": 80 + index} for index, key in enumerate(ports)]
        metadata = {"name": name, "namespace": "default"}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": numbered}}
        await self.client.create(SERVICES, service)
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [self.address], "conditions": {"ready": True}}],
            "ports": [{"name": key, "port": port, "protocol": "TCP"} for key, port in ports.items()],
        }
        await self.client.create(ENDPOINT_SLICES, slice_)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A pod and a Service `web`, a Service `mixed` with ports http and https, a pod `chatty`."""
    address = address_of_this_machine()
    runner = web.ServerRunner(web.Server(echo))
    await runner.setup()
    plain = web.TCPSite(runner, address, 0)
    await plain.start()
    certificates = pki.prepare(tmp_path, hosts=["web.example.com"], clock=SystemClock())
    secure = web.TCPSite(runner, address, 0, ssl_context=pki.server_context(certificates, tmp_path))
    await secure.start()
    plain_port, secure_port = (one[1] for one in runner.addresses)
    naive = await asyncio.start_server(chatty, address, 0)
    try:
        async with running_cluster(nodes=0, https=True, controllers=("serviceaccount",), scheduler=False) as cluster:
            client = cluster.client()
            await eventually(client, SERVICE_ACCOUNTS, bool, namespace="default")
            async with session_of(cluster) as session:
                stage = Stage(session, client, address)
                await stage.add_pod("web", plain_port)
                await stage.add_pod("chatty", naive.sockets[0].getsockname()[1])
                await stage.add_service("web", {"": plain_port})
                await stage.add_service("mixed", {"http": plain_port, "https": secure_port})
                yield stage
    finally:
        naive.close()
        await runner.cleanup()


async def test_a_backend_that_does_not_answer_loses_its_connection_with_the_client(stage: Stage) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        left.set()
        writer.close()

    async with await asyncio.start_server(silent, stage.address, 0) as server, asyncio.timeout(10):
        await stage.add_pod("silent", server.sockets[0].getsockname()[1])
        asking = asyncio.create_task(stage.session.request("GET", f"{POD.format('silent')}/"))
        await asked.wait()
        asking.cancel()
        await left.wait()


async def test_a_body_is_asked_for_where_its_client_waits_for_that(stage: Stage) -> None:
    path = f"{POD.format('web')}/x"
    async with asyncio.timeout(10), stage.session.post(path, data=BODY, expect100=True) as response:
        assert (await response.json())["body"] == BODY.decode()


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_gets_there(stage: Stage, method: str) -> None:
    for path in (POD.format("web"), SERVICE.format("web")):
        async with stage.session.request(method, f"{path}/some/path/with/{method}") as answer:
            assert answer.status == 200
            if method == "HEAD":
                assert not await answer.read()
                continue
            seen = await answer.json()
        assert (seen["method"], seen["path"]) == (method, f"/some/path/with/{method}")
        assert seen["forwarded"] == f"{path}/some/path/with/{method}"
        assert seen["authorization"] == ""


@pytest.mark.parametrize("method", METHODS)
async def test_without_a_path_pages_are_asked_for_again_below_a_slash(stage: Stage, method: str) -> None:
    for path in (POD.format("web"), SERVICE.format("web")):
        async with stage.session.request(method, f"{path}?method={method}", allow_redirects=False) as answer:
            if method in ("GET", "HEAD"):
                assert answer.status == 301
                assert answer.headers["Location"] == f"{path}/?method={method}"
            else:
                seen = await answer.json()
                assert (answer.status, seen["method"], seen["path"]) == (200, method, f"/?method={method}")


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ("/", "/"),
        ("/a/", "/a/"),
        ("/a//b", "/a/b"),
        ("/?a=1&b=%2F&a=2", "/?a=1&b=%2F&a=2"),
        ("/a%2Fb/c%20d", "/a/b/c%20d"),
        (
            "/a/?watch=true&dryRun=All&timeout=1s&fieldSelector=x",
            "/a/?watch=true&dryRun=All&timeout=1s&fieldSelector=x",
        ),
        ("/a;b=c?x", "/a;b=c?x"),
    ],
)
async def test_the_path_arrives_resolved_and_the_query_as_it_was_sent(stage: Stage, sent: str, arrives: str) -> None:
    from yarl import URL

    base = str(stage.session._base_url or "").rstrip("/")
    async with stage.session.get(URL(f"{base}{POD.format('web')}{sent}", encoded=True)) as answer:
        assert (answer.status, (await answer.json())["path"]) == (200, arrives)


async def test_bodies_headers_and_codes_go_both_ways(stage: Stage) -> None:
    path = POD.format("web")
    async with stage.session.post(f"{path}/teapot", data=BODY * 100_000, headers={"X-Kept": "yes"}) as answer:
        seen = await answer.json()
    assert (answer.status, len(seen["body"]), seen["kept"]) == (418, 300_000, "yes")
    assert answer.headers["X-Kept"] == "yes"
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_redirects_of_the_backend_stay_below_the_proxy(stage: Stage) -> None:
    path = SERVICE.format("web")
    for rest, location in (("/redirect", f"{path}/login?next=1"), ("/away", "https://example.com/")):
        async with stage.session.get(path + rest, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, location)


@pytest.mark.parametrize("query", ["", "?compressed"])
async def test_links_of_pages_stay_below_the_proxy(stage: Stage, query: str) -> None:
    """The spec "should proxy through a service and a pod" compares such a page byte by byte."""
    for path in (POD.format("web"), SERVICE.format("mixed:http"), POD.format("http:web:")):
        async with stage.session.get(f"{path}/page{query}", headers={"Accept-Encoding": "gzip"}) as answer:
            assert (answer.status, await answer.text()) == (200, f'<a href="{path}/rewriteme">test</a>')


@pytest.mark.parametrize(
    "name", ["mixed:http", "mixed:80", "http:mixed:http", "http:mixed:80", "https:mixed:https", "https:mixed:81"]
)
async def test_services_are_named_with_scheme_and_port(stage: Stage, name: str) -> None:
    async with stage.session.get(f"{SERVICE.format(name)}/x") as answer:
        assert (answer.status, (await answer.json())["path"]) == (200, "/x")


async def test_what_cannot_be_reached_is_said(stage: Stage) -> None:
    expected: list[tuple[str, int, Any]] = [
        (SERVICE.format("none"), 404, 'services "none" not found'),
        (SERVICE.format("mixed"), 503, 'no endpoints available for service "mixed"'),
        (SERVICE.format("mixed:9"), 503, 'no service port 9 found for service "mixed"'),
        (SERVICE.format("ftp:mixed:http"), 400, 'invalid service request "ftp:mixed:http"'),
        (POD.format("none"), 404, 'pods "none" not found'),
        (POD.format("web:1"), 503, f"error trying to reach service: dial tcp {stage.address}:1: connect: connection"),
    ]
    for path, code, message in expected:
        async with stage.session.get(f"{path}/") as answer:
            status = await answer.json()
        assert (answer.status, status["kind"], status["code"]) == (code, "Status", code)
        assert message in status["message"]


async def test_a_server_that_answers_head_with_a_body_is_understood(stage: Stage) -> None:
    async with stage.session.head(f"{POD.format('chatty')}/") as answer:
        assert (answer.status, answer.headers["X-Kind"]) == (200, "chatty")
        assert not await answer.read()
    async with stage.session.get(f"{POD.format('chatty')}/") as answer:
        assert await answer.read() == b"foo"


async def test_connections_are_upgraded(stage: Stage) -> None:
    for path in (POD.format("web"), SERVICE.format("web")):
        async with stage.session.ws_connect(f"{path}/socket", protocols=("echo",)) as connection:
            assert connection.protocol == "echo"
            await connection.send_str("foo")
            assert (await connection.receive()).data == "FOO"


async def test_another_port_of_a_node(stage: Stage) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}
    await stage.client.create(NODES, node)
    addresses = [{"type": "InternalIP", "address": stage.address}]
    await stage.client.patch(NODES, "n", {"status": {"addresses": addresses}}, subresource="status")
    pod = await stage.client.get(PODS, "web", "default")
    port = pod["spec"]["containers"][0]["ports"][0]["containerPort"]
    async with stage.session.put(f"/api/v1/nodes/n:{port}/proxy/x?y", data=BODY) as answer:
        seen = await answer.json()
    assert (answer.status, seen["method"], seen["path"], seen["body"]) == (200, "PUT", "/x?y", "foo")
