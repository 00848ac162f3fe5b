"""The connection to the Engine, against a small Engine of our own on a Unix socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from orchestrator.aiokit.clock import SystemClock, TimerHandle
from orchestrator.config.engines import engine_address
from orchestrator.kubelet.docker.engine import WATCHDOG_PERIOD_SECONDS, DockerEngine, EngineError, subscription_key
from orchestrator.kubelet.runtime import RuntimeUnavailable

LABELS = {"orchestrator.dev/cluster": "c", "orchestrator.dev/node": "n"}
SECONDS_MAX = 10.0


class StepClock(SystemClock):
    """Sleepers wait until a test lets those of a certain length go on."""

    def __init__(self) -> None:
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.asleep = asyncio.Condition()

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((seconds, future))
        async with self.asleep:
            self.asleep.notify_all()
        await future

    def call_later(self, seconds: float, callback: Any) -> TimerHandle:
        raise AssertionError("not used here")

    async def let_go(self, *, watchdog: bool) -> None:
        """Wait until the watchdog (or somebody else) sleeps, and wake it."""

        def find() -> tuple[float, asyncio.Future[None]] | None:
            return next(
                (s for s in self.sleepers if (s[0] == WATCHDOG_PERIOD_SECONDS) is watchdog and not s[1].done()), None
            )

        async with self.asleep:
            await asyncio.wait_for(self.asleep.wait_for(find), SECONDS_MAX)
        sleeper = find()
        assert sleeper is not None
        self.sleepers.remove(sleeper)
        sleeper[1].set_result(None)


class SmallEngine:
    """What of an Engine a connection needs: version, info, networks, events, and a call that hangs."""

    def __init__(self, path: Path) -> None:
        self.url = f"unix://{path}"
        self.path = path
        self.event_streams = 0
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.networks_status = 200
        self.networks_asked = asyncio.Event()
        self.networks_free = asyncio.Event()
        self.networks_free.set()
        self.hanging = asyncio.Event()

    async def serve(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/{v}/version", self.version)
        app.router.add_get("/version", self.version)
        app.router.add_get("/{v}/info", self.info)
        app.router.add_get("/{v}/networks", self.networks)
        app.router.add_get("/{v}/events", self.stream)
        app.router.add_post("/{v}/hang", self.hang)
        app.router.add_post("/{v}/containers/a/start", self.start)
        app.router.add_get("/{v}/missing", self.missing)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(self.path)).start()
        return runner

    def json(self, data: Any, status: int = 200) -> web.Response:
        """An answer as the Engine sends it: without a charset."""
        return web.Response(body=json.dumps(data).encode(), status=status, headers={"Content-Type": "application/json"})

    async def version(self, _: web.Request) -> web.Response:
        return self.json({"ApiVersion": "1.41"})

    async def info(self, _: web.Request) -> web.Response:
        return self.json({"Architecture": "x86_64"})

    async def missing(self, _: web.Request) -> web.Response:
        return self.json({"message": "No such thing"}, 404)

    async def networks(self, _: web.Request) -> web.Response:
        self.networks_asked.set()
        await self.networks_free.wait()
        if self.networks_status != 200:
            return self.json({"message": "broken"}, self.networks_status)
        return self.json([])

    async def start(self, _: web.Request) -> web.Response:
        return web.Response(status=204)

    async def hang(self, _: web.Request) -> web.Response:
        self.hanging.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def stream(self, request: web.Request) -> web.StreamResponse:
        assert json.loads(request.query["filters"])["label"] == ["orchestrator.dev/cluster"]
        assert float(request.query["since"]) > 0
        self.event_streams += 1
        response = web.StreamResponse()
        await response.prepare(request)
        while (piece := await self.events.get()) is not None:
            await response.write(piece)
        return response

    def put_event(self, action: str, **attributes: str) -> None:
        event = {"Action": action, "Actor": {"ID": "id1", "Attributes": attributes}}
        self.events.put_nowait(json.dumps(event).encode() + b"\n")


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[SmallEngine]:
    engine = SmallEngine(tmp_path / "engine.sock")
    runner = await engine.serve()
    yield engine
    await runner.cleanup()


def subscribed(engine: DockerEngine) -> asyncio.Queue[dict[str, Any] | None]:
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    engine.subscribe(subscription_key(LABELS), queue.put_nowait)
    return queue


async def next_of(queue: asyncio.Queue[dict[str, Any] | None]) -> dict[str, Any] | None:
    return await asyncio.wait_for(queue.get(), SECONDS_MAX)


async def test_events_go_to_their_node_and_a_reconnect_is_a_gap(small: SmallEngine) -> None:
    clock = StepClock()
    async with DockerEngine(clock=clock, address=engine_address(small.url)) as engine:
        queue = subscribed(engine)
        assert await next_of(queue) is None, "the first connection"
        small.put_event("die", **{**LABELS, "orchestrator.dev/node": "another"})
        small.put_event("die", **LABELS)
        event = await next_of(queue)
        assert event is not None
        assert (event["Action"], event["Actor"]["ID"]) == ("die", "id1")
        small.events.put_nowait(None)
        assert await next_of(queue) is None, "unavailable"
        assert "event stream" in engine.unavailable_reason
        await clock.let_go(watchdog=False)
        assert await next_of(queue) is None, "available again"
        assert engine.unavailable_reason == ""
        assert await next_of(queue) is None, "the second connection"
        assert small.event_streams == 2


async def test_an_event_cut_in_two_is_read_whole(small: SmallEngine) -> None:
    async with DockerEngine(clock=StepClock(), address=engine_address(small.url)) as engine:
        queue = subscribed(engine)
        assert await next_of(queue) is None
        line = json.dumps({"Action": "start", "Actor": {"ID": "x" * 200_000, "Attributes": LABELS}}).encode() + b"\n"
        small.events.put_nowait(line[:70_000])
        small.events.put_nowait(line[70_000:])
        event = await next_of(queue)
        assert event is not None
        assert len(event["Actor"]["ID"]) == 200_000


async def test_the_end_of_an_exec_wakes_who_waits_for_it(small: SmallEngine) -> None:
    async with DockerEngine(clock=StepClock(), address=engine_address(small.url)) as engine:
        queue = subscribed(engine)
        assert await next_of(queue) is None
        ended, other = engine.watch_exec("e1"), engine.watch_exec("e2")
        small.put_event("exec_die", execID="e1", exitCode="3", **LABELS)
        assert await asyncio.wait_for(ended, SECONDS_MAX) == 3
        assert not other.done()
        small.put_event("exec_die", execID="e2", **LABELS)
        assert await asyncio.wait_for(other, SECONDS_MAX) is None  # one without a code is looked at


async def test_the_watchdog_frees_everybody_who_waits(small: SmallEngine) -> None:
    clock = StepClock()
    async with DockerEngine(clock=clock, address=engine_address(small.url)) as engine:
        queue = subscribed(engine)
        assert await next_of(queue) is None
        call = asyncio.create_task(engine.call("POST", "hang"))
        await asyncio.wait_for(small.hanging.wait(), SECONDS_MAX)
        small.networks_status = 500
        await clock.let_go(watchdog=True)
        with pytest.raises(RuntimeUnavailable, match="the Docker Engine hangs: the Docker Engine is not well: broken"):
            await asyncio.wait_for(call, SECONDS_MAX)
        with pytest.raises(RuntimeUnavailable, match="not well"):
            await engine.call("GET", "info")
        assert await next_of(queue) is None
        small.networks_status = 200
        await clock.let_go(watchdog=True)
        assert await next_of(queue) is None, "available again"
        assert (await engine.call("GET", "info"))["Architecture"] == "x86_64"


@pytest.mark.parametrize("is_working", [True, False])
async def test_an_engine_that_still_starts_containers_is_slow_and_does_not_hang(
    small: SmallEngine, monkeypatch: pytest.MonkeyPatch, is_working: bool
) -> None:
    monkeypatch.setattr("orchestrator.kubelet.docker.engine.WATCHDOG_SECONDS_MAX", 0.5)
    clock = StepClock()
    async with DockerEngine(clock=clock, address=engine_address(small.url)) as engine:
        assert await next_of(subscribed(engine)) is None
        small.networks_free.clear()
        small.networks_asked.clear()
        await clock.let_go(watchdog=True)
        await asyncio.wait_for(small.networks_asked.wait(), SECONDS_MAX)
        if is_working:
            await engine.call("POST", "containers/a/start")
        await clock.let_go(watchdog=True)  # the next round: this one is over
        assert ("hangs" in engine.unavailable_reason) is not is_working


async def test_errors_keep_the_engines_words(small: SmallEngine) -> None:
    async with DockerEngine(clock=StepClock(), address=engine_address(small.url)) as engine:
        with pytest.raises(EngineError, match="No such thing") as caught:
            await engine.call("GET", "missing")
        assert caught.value.status == 404


async def test_two_subscribers_of_one_node_are_a_mistake(small: SmallEngine) -> None:
    async with DockerEngine(clock=StepClock(), address=engine_address(small.url)) as engine:
        subscribed(engine)
        with pytest.raises(ValueError, match="c/n"):
            subscribed(engine)


async def test_a_closed_connection_says_so(small: SmallEngine) -> None:
    async with DockerEngine(clock=StepClock(), address=engine_address(small.url)) as engine:
        pass
    with pytest.raises(RuntimeUnavailable, match="closed"):
        await engine.call("GET", "info")
