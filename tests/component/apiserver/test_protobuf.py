"""Protobuf over HTTPS: a client that speaks nothing else creates, reads, lists, watches and deletes."""

from __future__ import annotations

import base64
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from orchestrator.api.protobuf import decode_protobuf, encode_protobuf
from orchestrator.api.protobuf.messages import message
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import running_cluster

PROTOBUF = "application/vnd.kubernetes.protobuf"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
DEPLOYMENT = {
    "kind": "Deployment",
    "apiVersion": "apps/v1",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web", "ports": [{"containerPort": 80}]}]},
        },
    },
}


class Client:
    """Sends and expects protobuf."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def request(self, method: str, path: str, obj: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        headers = {"Accept": PROTOBUF, "Content-Type": PROTOBUF}
        body = encode_protobuf(obj) if obj is not None else None
        async with self.session.request(method, path, data=body, headers=headers) as response:
            assert response.headers["Content-Type"] == PROTOBUF
            return response.status, decode_protobuf(await response.read())


@asynccontextmanager
async def running_client(folder: Path) -> AsyncIterator[Client]:
    async with (
        running_cluster(https=True, nodes=0, controllers=(), scheduler=False) as cluster,
        aiohttp.ClientSession(cluster.url, connector=connector(cluster, folder)) as session,
    ):
        yield Client(session)


def connector(cluster: Cluster, folder: Path) -> aiohttp.TCPConnector:
    kubeconfig = yaml.safe_load(cluster.config.kubeconfig_path.read_text())
    server, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    pem = folder / "client.pem"
    pem.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
    context = ssl.create_default_context(cadata=base64.b64decode(server["certificate-authority-data"]).decode())
    context.load_cert_chain(pem)
    return aiohttp.TCPConnector(ssl=context)


async def read_event(response: aiohttp.ClientResponse) -> dict[str, Any]:
    (size,) = struct.unpack(">I", await response.content.readexactly(4))
    frame = await response.content.readexactly(size)
    return message("meta.v1.WatchEvent").read(frame, 0, size, 0)


async def test_a_client_that_speaks_protobuf_only(tmp_path: Path) -> None:
    async with running_client(tmp_path) as client:
        accept = {"Accept": f"{PROTOBUF};stream=watch"}
        async with client.session.get(f"{DEPLOYMENTS}?watch=1", headers=accept) as watch:
            assert watch.headers["Content-Type"] == f"{PROTOBUF};stream=watch"
            status, created = await client.request("POST", DEPLOYMENTS, DEPLOYMENT)
            assert (status, created["spec"]["replicas"]) == (201, 0)
            assert created["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"] == "TCP"
            event = await read_event(watch)
            assert (event["type"], event["object"]["metadata"]) == ("ADDED", created["metadata"])

        _, read = await client.request("GET", f"{DEPLOYMENTS}/web")
        async with client.session.get(f"{DEPLOYMENTS}/web") as response:
            assert read == await response.json()
        _, listed = await client.request("GET", "/apis/apps/v1/deployments")
        assert [item["metadata"]["name"] for item in listed["items"]] == ["web"]

        status, deleted = await client.request(
            "DELETE",
            f"{DEPLOYMENTS}/web",
            {"kind": "DeleteOptions", "apiVersion": "apps/v1", "propagationPolicy": "Foreground"},
        )
        assert (status, deleted["metadata"]["finalizers"]) == (200, ["foregroundDeletion"])
        status, failure = await client.request("GET", f"{DEPLOYMENTS}/missing")
        assert (status, failure["reason"]) == (404, "NotFound")


async def test_tables_come_as_json_to_who_would_rather_have_protobuf(tmp_path: Path) -> None:
    async with running_client(tmp_path) as client:
        accept = {"Accept": f"{PROTOBUF};as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io"}
        async with client.session.get("/api/v1/namespaces", headers=accept) as response:
            assert (await response.json())["kind"] == "Table"
