"""Port 10250 of the nodes: who sees what of a kubelet, without going through the API server."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from orchestrator.api.node_ports import KUBELET
from orchestrator.api.objects import Object
from orchestrator.api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, PODS, SERVICE_ACCOUNTS
from orchestrator.apiserver.user import User
from orchestrator.cluster.cluster import Cluster
from orchestrator.cluster.node_port import NodeStreams
from orchestrator.component.delegated_auth import DelegatedAuth
from orchestrator.component.secure_server import SecureServer
from orchestrator.kubelet.server.node_port import NodePort, plan_subresources
from orchestrator.testing import eventually, running_cluster
from orchestrator.testing.manual_clock import settle

NODES = {"172.30.0.2": "node-1", "172.30.0.3": "node-2"}
TOKEN = {"Authorization": "Bearer of-scraper"}


@pytest.mark.parametrize(
    ("path", "subresources"),
    [
        ("/metrics", ("metrics",)),
        ("/metrics/cadvisor", ("metrics",)),
        ("/metricsx", ("proxy",)),
        ("/stats/summary", ("stats",)),
        ("/logs/", ("log",)),
        ("/checkpoint/a/b/c", ("checkpoint",)),
        ("/pods", ("pods", "proxy")),
        ("/runningpods/", ("pods", "proxy")),
        ("/healthz", ("healthz", "proxy")),
        ("/configz", ("configz", "proxy")),
        ("/exec/a/b/c", ("proxy",)),
        ("/", ("proxy",)),
    ],
)
def test_what_has_to_be_allowed(path: str, subresources: tuple[str, ...]) -> None:
    assert plan_subresources(path) == subresources


class Asking:
    """Asks the server, which believes that connections were addressed to this."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.destination: tuple[str, int] | None = ("172.30.0.2", KUBELET)
        self.address = ("", 0)

    async def __call__(
        self, path: str, *, method: str = "GET", is_admin: bool = True, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """(code, text)."""
        pki = self.cluster.config.data_dir / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        if is_admin:
            context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        host, port = self.address
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.request(method, f"https://{host}:{port}{path}", headers=headers) as response,
        ):
            assert "Server" not in response.headers
            return response.status, await response.text()


@asynccontextmanager
async def serving(make: Callable[[], Asking], server_for: Callable[[Asking], SecureServer]) -> AsyncIterator[Asking]:
    asking = make()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        asking.address = listening.getsockname()
        task = asyncio.create_task(server_for(asking).serve(listening))
        try:
            yield asking
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def ask() -> AsyncIterator[Asking]:
    async with running_cluster(
        nodes=2, https=True, controllers=("serviceaccount",), static_tokens={"of-scraper": User("scraper")}
    ) as cluster:
        from orchestrator.apiserver import pki

        def server_for(asking: Asking) -> SecureServer:
            def destination(_: Any) -> tuple[str, int] | None:
                return asking.destination

            port = NodePort(
                cluster,
                nodes=NODES,
                auth_for=lambda node: DelegatedAuth(cluster.client(f"system:node:{node}", ("system:nodes",))),
                streams=NodeStreams(cluster.clock),
                destination=destination,
            )
            directory = cluster.config.data_dir / "pki"
            return SecureServer(
                port.answer,
                make_tls=lambda: pki.kubelet_context(directory, hosts=["127.0.0.1", *NODES], clock=cluster.clock),
            )

        async with serving(lambda: Asking(cluster), server_for) as asking:
            yield asking


async def allow(cluster: Cluster, *resources: str) -> None:
    client = cluster.client()
    rules = [{"apiGroups": [""], "resources": [*resources], "verbs": ["get"]}]
    await client.create(CLUSTER_ROLES, {"metadata": {"name": "scraper"}, "rules": rules})
    binding: Object = {
        "metadata": {"name": "scraper"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "scraper"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "scraper"}],
    }
    await client.create(CLUSTER_ROLE_BINDINGS, binding)


async def until_running(cluster: Cluster, name: str, node: str) -> None:
    await eventually(cluster.client(), SERVICE_ACCOUNTS, bool, namespace="default")
    pod = {"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}}
    await cluster.client().create(PODS, pod, "default")
    await eventually(
        cluster.client(),
        PODS,
        lambda pods: any(p["metadata"]["name"] == name and p["status"].get("phase") == "Running" for p in pods),
        namespace="default",
    )
    await settle()  # the kubelet's own watch shows it the same


async def test_each_address_is_that_of_its_node(ask: Asking) -> None:
    await until_running(ask.cluster, "one", "node-1")
    await until_running(ask.cluster, "two", "node-2")
    assert '"one"' in (await ask("/pods"))[1]
    ask.destination = ("172.30.0.3", KUBELET)
    code, text = await ask("/pods")
    assert code == 200
    assert '"two"' in text
    assert '"one"' not in text


@pytest.mark.parametrize("destination", [None, ("172.30.0.2", 80), ("172.30.0.9", KUBELET)])
async def test_what_is_meant_for_no_node_is_not_answered(ask: Asking, destination: tuple[str, int] | None) -> None:
    ask.destination = destination
    assert (await ask("/healthz"))[0] == 421


@pytest.mark.parametrize("authorization", ["", "Bearer unknown", "Basic abc", "Bearer "])
async def test_whom_nobody_knows_sees_nothing(ask: Asking, authorization: str) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    assert await ask("/healthz", is_admin=False, headers=headers) == (401, "Unauthorized")


async def test_a_token_sees_what_its_user_may(ask: Asking) -> None:
    code, text = await ask("/metrics", is_admin=False, headers=TOKEN)
    assert (code, text) == (403, "Forbidden (user=scraper, verb=get, resource=nodes, subresource(s)=[metrics])")
    await allow(ask.cluster, "nodes/metrics", "nodes/healthz")
    code, text = await ask("/metrics/resource", is_admin=False, headers=TOKEN)
    assert code == 200
    assert "node_cpu_usage_seconds_total" in text
    assert await ask("/healthz", is_admin=False, headers=TOKEN) == (200, "ok")
    code, text = await ask("/pods", is_admin=False, headers=TOKEN)
    assert (code, text) == (403, "Forbidden (user=scraper, verb=get, resource=nodes, subresource(s)=[pods proxy])")
    code, text = await ask("/run/a/b/c", method="POST", is_admin=False, headers=TOKEN)
    assert (code, text) == (403, "Forbidden (user=scraper, verb=create, resource=nodes, subresource(s)=[proxy])")


async def test_who_may_reach_all_of_a_kubelet_needs_no_finer_right(ask: Asking) -> None:
    await allow(ask.cluster, "nodes/proxy")
    assert (await ask("/pods", is_admin=False, headers=TOKEN))[0] == 200
    assert (await ask("/metrics", is_admin=False, headers=TOKEN))[0] == 403, "metrics are a right of their own"


async def test_logs_and_errors_are_those_of_a_kubelet(ask: Asking) -> None:
    await until_running(ask.cluster, "one", "node-1")
    code, text = await ask("/containerLogs/default/one/c?tailLines=5")
    assert (code, text) == (200, "c: a hollow container has no output\n")
    assert (await ask("/containerLogs/default/none/c"))[0] == 404
    assert (await ask("/containerLogs/default/one/c?tailLines=x"))[0] == 400
    assert (await ask("/containerLogs/default/one"))[0] == 404
    assert (await ask("/exec/default/one/c?command=ls&output=1"))[0] == 400
    assert (await ask("/run/default/one/c?cmd=ls", method="POST"))[0] == 500
    assert await ask("/nothing") == (404, "404 page not found\n")
    assert (await ask("/pods", method="DELETE"))[0] == 405
