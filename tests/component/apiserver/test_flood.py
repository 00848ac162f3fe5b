"""A flooding client is answered 429 and starves nobody; what happened is in the metrics."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import pytest

from orchestrator.api.resources import CONFIG_MAPS, FLOW_SCHEMAS, PRIORITY_LEVEL_CONFIGURATIONS
from orchestrator.apiserver.fairness import Level, LevelLimits
from orchestrator.apiserver.http import bodies
from orchestrator.apiserver.user import User
from orchestrator.testing import running_cluster
from tests.golden.replay import anonymous_session_of, session_of

TOKENS = {"bob": User("bob", groups=("system:masters",)), "eve": User("eve")}


async def test_a_flood_is_refused_and_others_are_served() -> None:
    async with (
        running_cluster(nodes=0, https=True, controllers=(), scheduler=False, static_tokens=TOKENS) as cluster,
        anonymous_session_of(cluster) as session,
        session_of(cluster) as admin,
    ):
        assert cluster.https is not None
        levels = cluster.https.fairness.levels
        tight = LevelLimits("global-default", seats=1, queue_per_user=1, queued=10)
        level = levels["global-default"] = Level(tight, cluster.clock)
        path = "/api/v1/namespaces/default/configmaps"
        await level.acquire("someone")  # the only seat is taken

        async def ask() -> tuple[int, str | None, str]:
            async with session.get(path, headers={"Authorization": "Bearer eve"}) as response:
                return response.status, response.headers.get("Retry-After"), await response.text()

        waiting = asyncio.create_task(level.acquire("eve"), name="waiting")
        await asyncio.sleep(0)  # lets it take the only place of the queue
        assert await ask() == (429, "1", "Too many requests, please try again later.\n")
        async with admin.get(path) as response:
            assert response.status == 200
        assert (await cluster.client().list(CONFIG_MAPS, "default"))["items"] == []
        level.release()
        await waiting
        level.release()
        assert (await ask())[0] == 403
        text = await metrics_of(admin)
    assert (
        'apiserver_flowcontrol_rejected_requests_total{priority_level="global-default",reason="queue-full"} 1' in text
    )
    assert (
        'apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="configmaps",'
        'scope="namespace",subresource="",verb="LIST",version="v1"} 1.0'
    ) in text
    assert 'apiserver_current_inflight_requests{request_kind="readOnly"} 1.0' in text


async def test_every_answer_says_how_the_request_was_classified() -> None:
    async with (
        running_cluster(nodes=0, https=True, controllers=(), scheduler=False, static_tokens=TOKENS) as cluster,
        anonymous_session_of(cluster) as session,
    ):
        client = cluster.client()

        async def uids(schema: str, level: str) -> tuple[str, str]:
            schemas, levels = FLOW_SCHEMAS, PRIORITY_LEVEL_CONFIGURATIONS
            found = [await client.get(schemas, schema), await client.get(levels, level)]
            return found[0]["metadata"]["uid"], found[1]["metadata"]["uid"]

        async def asked(user: str, path: str) -> tuple[str | None, str | None]:
            async with session.get(path, headers={"Authorization": f"Bearer {user}"}) as response:
                names = ("X-Kubernetes-PF-FlowSchema-UID", "X-Kubernetes-PF-PriorityLevel-UID")
                return response.headers.get(names[0]), response.headers.get(names[1])

        maps = "/api/v1/namespaces/default/configmaps"
        assert await asked("bob", maps) == await uids("exempt", "exempt")
        assert await asked("bob", f"{maps}?watch=true&timeoutSeconds=1") == await uids("exempt", "exempt")
        assert await asked("eve", maps) == await uids("global-default", "global-default")  # refused, and classified
        assert await asked("eve", "/healthz") == await uids("probes", "exempt")
        level = {
            "metadata": {"name": "own"},
            "spec": {
                "type": "Limited",
                "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}},
            },
        }
        await client.create(PRIORITY_LEVEL_CONFIGURATIONS, level)
        rule = {
            "subjects": [{"kind": "User", "user": {"name": "eve"}}],
            "resourceRules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"], "namespaces": ["*"]}],
        }
        spec = {"matchingPrecedence": 900, "priorityLevelConfiguration": {"name": "own"}, "rules": [rule]}
        await client.create(FLOW_SCHEMAS, {"metadata": {"name": "own"}, "spec": spec})
        assert await asked("eve", maps) == await uids("own", "own")
        assert await asked("eve", f"{maps}/one") == await uids("global-default", "global-default")
        await client.delete(FLOW_SCHEMAS, "own")
        assert await asked("eve", maps) == await uids("global-default", "global-default")


async def test_a_body_that_does_not_arrive_ends_its_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS_MAX", 0.1)
    async with (
        running_cluster(nodes=0, https=True, controllers=(), scheduler=False, static_tokens=TOKENS) as cluster,
        session_of(cluster) as admin,
    ):
        context = ssl.create_default_context(cafile=str(cluster.config.data_dir / "pki" / "ca.crt"))
        slow = []
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port, ssl=context)
            head = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bob\r\n"
            writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
            slow.append((reader, writer))
        async with admin.get("/api/v1/namespaces/default/configmaps") as response:
            assert response.status == 200, "others are served meanwhile"
        for reader, writer in slow:
            assert b" 504 " in await reader.readline()
            writer.close()


async def metrics_of(session: aiohttp.ClientSession) -> str:
    async with session.get("/metrics") as response:
        return await response.text()
