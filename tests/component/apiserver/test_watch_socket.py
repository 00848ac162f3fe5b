"""Watches over a WebSocket: one message for each event."""

from __future__ import annotations

import aiohttp

from orchestrator.testing import running_cluster
from tests.golden.replay import session_of

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


async def test_each_event_is_a_message_and_the_end_of_the_watch_closes_the_connection() -> None:
    async with (
        running_cluster(nodes=0, https=True, controllers=(), scheduler=False) as cluster,
        session_of(cluster) as session,
        session.ws_connect(f"{CONFIG_MAPS}?watch=true&resourceVersion=0") as socket,
    ):
        for name in ("a", "b"):
            async with session.post(CONFIG_MAPS, json={"metadata": {"name": name}}) as response:
                assert response.status == 201
            message = await socket.receive()
            assert message.type is aiohttp.WSMsgType.TEXT
            event = message.json()
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", name)


async def test_a_watch_that_is_over_closes() -> None:
    async with (
        running_cluster(nodes=0, https=True, controllers=(), scheduler=False) as cluster,
        session_of(cluster) as session,
        session.ws_connect(f"{CONFIG_MAPS}?watch=true&timeoutSeconds=1") as socket,
    ):
        message = await socket.receive(timeout=10)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        assert socket.close_code == aiohttp.WSCloseCode.OK, "the client's own close was not waited for"
