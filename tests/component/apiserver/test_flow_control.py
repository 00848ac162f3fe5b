"""Requests go where the stored FlowSchemas say; a flooding client is answered 429 and starves nobody."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object, condition_of, name_of, uid_of
from orchestrator.api.resources import CONFIG_MAPS, FLOW_SCHEMAS, PRIORITY_LEVEL_CONFIGURATIONS, Resource
from orchestrator.apiserver.flowcontrol import Digest
from orchestrator.apiserver.http import bodies
from orchestrator.apiserver.user import User
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import eventually, running_cluster
from tests.golden.replay import anonymous_session_of, session_of

TOKENS = {"bob": User("bob", groups=("system:masters",)), "eve": User("eve")}


@asynccontextmanager
async def api() -> AsyncIterator[Cluster]:
    """An API server that knows bob, who is exempt, and eve."""
    async with running_cluster(nodes=0, https=True, controllers=(), scheduler=False, static_tokens=TOKENS) as cluster:
        yield cluster


async def until_one(cluster: Cluster, resource: Resource, name: str, is_so: Callable[[Object], bool]) -> Object:
    """The object, once it is so."""

    def found(objects: list[Object]) -> bool:
        return any(name_of(one) == name and is_so(one) for one in objects)

    return next(one for one in await eventually(cluster.client(), resource, found) if name_of(one) == name)


async def create_level(cluster: Cluster, name: str, **limited: Any) -> Object:
    limited = {"borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}} | limited
    level = {"metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited}}
    return await cluster.client().create(PRIORITY_LEVEL_CONFIGURATIONS, level)


async def create_schema(cluster: Cluster, name: str, level: str, user: str = "eve", **changes: Any) -> Object:
    rule = {
        "subjects": [{"kind": "User", "user": {"name": user}}],
        "resourceRules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"], "namespaces": ["*"]}],
    }
    spec = {"matchingPrecedence": 900, "priorityLevelConfiguration": {"name": level}, "rules": [rule]} | changes
    return await cluster.client().create(FLOW_SCHEMAS, {"metadata": {"name": name}, "spec": spec})


async def test_a_flood_is_refused_and_others_are_served() -> None:
    async with api() as cluster, anonymous_session_of(cluster) as session, session_of(cluster) as admin:
        assert cluster.https is not None
        # One of 100,246 shares: a single seat, and one place in front of it.
        queuing = {"queues": 1, "handSize": 1, "queueLengthLimit": 1}
        response = {"type": "Queue", "queuing": queuing}
        await create_level(cluster, "wide", nominalConcurrencyShares=100_000)
        await create_level(cluster, "tight", nominalConcurrencyShares=1, limitResponse=response)
        await create_schema(cluster, "tight", "tight")
        path = "/api/v1/namespaces/default/configmaps"
        ticket = cluster.https.flow_control.classify(Digest("eve", (), "list", "", "", "configmaps", "default"))
        await ticket.acquire()  # the only seat is taken

        async def ask() -> tuple[int, str | None, str]:
            async with session.get(path, headers={"Authorization": "Bearer eve"}) as response:
                return response.status, response.headers.get("Retry-After"), await response.text()

        waiting = asyncio.create_task(ticket.acquire(), name="waiting")
        await asyncio.sleep(0)  # lets it take the only place of the queue
        assert await ask() == (429, "1", "Too many requests, please try again later.\n")
        async with admin.get(path) as answer:
            assert answer.status == 200
        assert (await cluster.client().list(CONFIG_MAPS, "default"))["items"] == []
        ticket.release()
        await waiting
        ticket.release()
        assert (await ask())[0] == 403
        text = await metrics_of(admin)
    where = 'flow_schema="tight",priority_level="tight"'
    assert f'apiserver_flowcontrol_rejected_requests_total{{{where},reason="queue-full"}} 1' in text
    assert f"apiserver_flowcontrol_dispatched_requests_total{{{where}}} 3.0" in text
    assert 'apiserver_flowcontrol_nominal_limit_seats{priority_level="tight"} 1.0' in text
    assert (
        'apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="configmaps",'
        'scope="namespace",subresource="",verb="LIST",version="v1"} 1.0'
    ) in text
    assert 'apiserver_current_inflight_requests{request_kind="readOnly"} 1.0' in text


async def test_a_level_with_no_shares_refuses_everything_until_it_has_some() -> None:
    async with api() as cluster, anonymous_session_of(cluster) as session:
        await create_level(cluster, "jail", nominalConcurrencyShares=0)
        await create_schema(cluster, "jail", "jail")

        async def status(name: str = "") -> int:
            path = f"/api/v1/namespaces/default/configmaps{name}"
            async with session.get(path, headers={"Authorization": "Bearer eve"}) as response:
                return response.status

        assert await status() == 429
        assert await status("/one") == 403, "the rule is about lists"
        patch = {"spec": {"limited": {"nominalConcurrencyShares": 1}}}
        await cluster.client().patch(PRIORITY_LEVEL_CONFIGURATIONS, "jail", patch)
        assert await status() == 403


async def test_who_is_impersonated_is_classified() -> None:
    async with api() as cluster, session_of(cluster) as admin:
        level = await create_level(cluster, "own", nominalConcurrencyShares=1)
        rule = {
            "subjects": [{"kind": "User", "user": {"name": "noxu"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }
        schema = await create_schema(cluster, "own", "own", rules=[rule], distinguisherMethod={"type": "ByUser"})
        headers = {"Impersonate-User": "noxu", "Impersonate-Group": "system:authenticated"}
        async with admin.get("/version", headers=headers) as response:
            assert response.headers["X-Kubernetes-PF-FlowSchema-UID"] == uid_of(schema)
            assert response.headers["X-Kubernetes-PF-PriorityLevel-UID"] == uid_of(level)


async def test_a_schema_says_whether_its_level_exists() -> None:
    async with api() as cluster, session_of(cluster) as admin:
        client = cluster.client()
        await create_schema(cluster, "lost", "later")
        assert (await dangling(cluster, "lost", "True"))["message"] == (
            'This FlowSchema references the PriorityLevelConfiguration object named "later" but there is no such object'
        )
        await create_level(cluster, "later", nominalConcurrencyShares=1)
        assert (await dangling(cluster, "lost", "False"))["reason"] == "Found"
        await client.delete(PRIORITY_LEVEL_CONFIGURATIONS, "later")
        await dangling(cluster, "lost", "True")
        headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        async with admin.get("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/lost", headers=headers) as response:
            row = (await response.json())["rows"][0]["cells"]
        assert (row[0], row[-1]) == ("lost", "True")


async def dangling(cluster: Cluster, name: str, status: str) -> Object:
    """The condition, once it has this status."""

    def found(schema: Object) -> bool:
        return (condition_of(schema, "Dangling") or {}).get("status") == status

    condition = condition_of(await until_one(cluster, FLOW_SCHEMAS, name, found), "Dangling")
    assert condition is not None
    return condition


async def test_default_objects_come_back_and_mandatory_ones_are_fixed() -> None:
    async with api() as cluster:
        client = cluster.client()
        before = await client.get(FLOW_SCHEMAS, "catch-all")
        with pytest.raises(errors.Invalid, match="spec of 'catch-all' must equal the fixed value"):
            await client.patch(FLOW_SCHEMAS, "catch-all", {"spec": {"matchingPrecedence": 9999}})
        await client.delete(FLOW_SCHEMAS, "catch-all")
        await until_one(cluster, FLOW_SCHEMAS, "catch-all", lambda one: uid_of(one) != uid_of(before))
        # Suggested ones have their own spec unless an annotation says otherwise.
        shares = {"spec": {"limited": {"nominalConcurrencyShares": 77}}}
        await client.patch(PRIORITY_LEVEL_CONFIGURATIONS, "system", shares)
        await until_one(cluster, PRIORITY_LEVEL_CONFIGURATIONS, "system", lambda one: shares_of(one) == 30)
        own = {"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}, **shares}
        await client.patch(PRIORITY_LEVEL_CONFIGURATIONS, "system", own)
        # What is marked for automatic updates, and is no default, goes.
        await create_level(cluster, "old", nominalConcurrencyShares=1)
        mark = {"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}}}
        await client.patch(PRIORITY_LEVEL_CONFIGURATIONS, "old", mark)
        await eventually(client, PRIORITY_LEVEL_CONFIGURATIONS, lambda all: "old" not in map(name_of, all))
        assert shares_of(await client.get(PRIORITY_LEVEL_CONFIGURATIONS, "system")) == 77


def shares_of(level: Object) -> int:
    return int(level["spec"]["limited"]["nominalConcurrencyShares"])


async def test_every_answer_says_how_the_request_was_classified() -> None:
    async with api() as cluster, anonymous_session_of(cluster) as session:
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
        await create_level(cluster, "own", nominalConcurrencyShares=1)
        await create_schema(cluster, "own", "own")
        assert await asked("eve", maps) == await uids("own", "own")
        assert await asked("eve", f"{maps}/one") == await uids("global-default", "global-default")
        await client.delete(FLOW_SCHEMAS, "own")
        assert await asked("eve", maps) == await uids("global-default", "global-default")


async def test_a_body_that_does_not_arrive_ends_its_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS_MAX", 0.1)
    async with api() as cluster, session_of(cluster) as admin:
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
