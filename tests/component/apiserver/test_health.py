"""The health endpoints, and the pages that say what runs here and with which options."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest

from orchestrator.cluster.cluster import Cluster
from orchestrator.component.supervisor import Supervised
from orchestrator.testing import running_cluster
from tests.golden.replay import anonymous_session_of, session_of

COMMON = [
    "ping",
    "log",
    "etcd",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/start-apiextensions-controllers",
    "autoregister-completion",
]
OF_READINESS = ["etcd-readiness", "informer-sync", "shutdown"]


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """An API server over HTTPS with nobody else at work."""
    async with running_cluster(nodes=0, https=True, controllers=(), scheduler=False) as cluster:
        await cluster.wait_ready()
        yield cluster


@pytest.fixture
async def session(cluster: Cluster) -> AsyncIterator[aiohttp.ClientSession]:
    """The administrator's HTTPS session."""
    async with session_of(cluster) as session:
        yield session


async def get(session: aiohttp.ClientSession, path: str, accept: str = "*/*") -> tuple[int, str]:
    """A page: (code, text)."""
    async with session.get(path, headers={"Accept": accept}) as response:
        assert "Server" not in response.headers
        return response.status, await response.text()


def break_component(cluster: Cluster, name: str) -> None:
    """Have the supervisor know this component as down."""
    cluster.supervisor.states()[name] = Supervised(datetime.now(UTC), is_failing=True, failure="OSError: no luck")


async def test_each_endpoint_asks_the_checks_that_scripts_know_by_name(session: aiohttp.ClientSession) -> None:
    for endpoint, names in (("healthz", COMMON), ("livez", COMMON), ("readyz", COMMON + OF_READINESS)):
        assert await get(session, f"/{endpoint}") == (200, "ok")
        code, text = await get(session, f"/{endpoint}?verbose")
        lines = text.splitlines()
        assert (code, lines[-1]) == (200, f"{endpoint} check passed")
        assert {f"[+]{name} ok" for name in names} <= set(lines)
        for name in names:
            assert await get(session, f"/{endpoint}/{name}") == (200, "ok")
    for path in ("/livez/shutdown", "/readyz/etcd-", "/readyz/", "/healthz/poststarthook"):
        assert await get(session, path) == (404, "404 page not found\n")


async def test_a_check_is_left_out_by_its_name(cluster: Cluster, session: aiohttp.ClientSession) -> None:
    break_component(cluster, "apiserver/aggregation")
    name = "poststarthook/apiservice-registration-controller"
    code, text = await get(session, "/livez")
    assert code == 500
    assert text.endswith("livez check failed\n")
    assert f"[-]{name} failed: reason withheld" in text
    failed = [line.split()[0].removeprefix("[-]") for line in text.splitlines() if line.startswith("[-]")]
    code, text = await get(session, f"/livez?verbose&exclude=nope&exclude={'&exclude='.join(failed)}")
    assert code == 200
    assert f"[+]{name} excluded: ok" in text
    assert 'warn: some health checks cannot be excluded: no matches for "nope"' in text
    assert await get(session, f"/livez/{name}") == (500, "internal server error: OSError: no luck\n")


async def test_everybody_may_ask_for_the_whole_and_monitors_for_the_parts(cluster: Cluster) -> None:
    async with anonymous_session_of(cluster) as anonymous:
        assert await get(anonymous, "/livez") == (200, "ok")
        for path in ("/livez/etcd", "/metrics/slis", "/statusz", "/flagz"):
            assert (await get(anonymous, path))[0] == 403


async def test_a_server_that_ends_is_alive_and_not_ready(cluster: Cluster, session: aiohttp.ClientSession) -> None:
    cluster._is_ending = True
    assert await get(session, "/readyz/shutdown") == (500, "internal server error: process is shutting down\n")
    assert await get(session, "/livez") == (200, "ok")


async def test_results_are_counted(cluster: Cluster, session: aiohttp.ClientSession) -> None:
    await get(session, "/livez/ping")
    await get(session, "/livez/ping")
    break_component(cluster, "apiserver/flowcontrol")
    await get(session, "/readyz/poststarthook/priority-and-fairness-config-consumer")
    _, text = await get(session, "/metrics/slis")
    lines = text.splitlines()
    assert 'kubernetes_healthcheck{name="ping",type="livez"} 1.0' in lines
    assert 'kubernetes_healthchecks_total{name="ping",status="success",type="livez"} 2.0' in lines
    hook = "poststarthook/priority-and-fairness-config-consumer"
    assert f'kubernetes_healthcheck{{name="{hook}",type="readyz"}} 0.0' in lines
    assert f'kubernetes_healthchecks_total{{name="{hook}",status="error",type="readyz"}} 1.0' in lines


@pytest.mark.parametrize("version", ["v1beta1", "v1alpha1"])
async def test_pages_are_objects_for_those_who_ask_in_full(session: aiohttp.ClientSession, version: str) -> None:
    async def read(path: str, kind: str) -> dict[str, object]:
        accept = f"application/json;v={version};g=config.k8s.io;as={kind}"
        async with session.get(path, headers={"Accept": accept}) as response:
            assert response.status == 200
            value = await response.json()
        assert (value["kind"], value["apiVersion"]) == (kind, f"config.k8s.io/{version}")
        assert value["metadata"] == {"name": "kube-apiserver"}
        return value  # type: ignore[no-any-return]

    status = await read("/statusz", "Statusz")
    assert (status["binaryVersion"], status["emulationVersion"]) == ("1.36.0", "1.36")
    assert {"/healthz", "/livez", "/metrics", "/readyz", "/statusz", "/version"} <= set(status["paths"])  # type: ignore[call-overload]
    flags = (await read("/flagz", "Flagz"))["flags"]
    assert (flags["runtime"], flags["ephemeral"], flags["controllers"]) == ("hollow", "true", "[]")  # type: ignore[index]


async def test_pages_are_texts_for_everybody_else(session: aiohttp.ClientSession) -> None:
    for path, title in (("/statusz", "kube-apiserver statusz"), ("/flagz", "kube-apiserver flags")):
        code, text = await get(session, path)
        assert (code, text.splitlines()[1]) == (200, title)
        code, text = await get(session, path, "application/json")
        assert code == 406
        assert "media type not acceptable" in text


async def test_a_scrape_tells_the_build_the_objects_and_the_process(session: aiohttp.ClientSession) -> None:
    _, text = await get(session, "/metrics")
    lines = text.splitlines()
    assert [line for line in lines if line.startswith('kubernetes_build_info{build_date="') and line.endswith(" 1.0")]
    assert 'apiserver_storage_objects{resource="namespaces"} 4.0' in lines
    assert 'apiserver_resource_objects{group="scheduling.k8s.io",resource="priorityclasses"} 2.0' in lines
    names = {line.partition("{")[0].partition(" ")[0] for line in lines if not line.startswith("#")}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"} <= names
    assert not [name for name in names if name.endswith("_created")]
