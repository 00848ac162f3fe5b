"""One connection to a Docker Engine, shared by all nodes of this process.

Owns the HTTP session, the limit on starts and removals in flight, the one event stream and the
watchdog. Turns every failure into the runtime's errors: an Engine that does not answer is
`RuntimeUnavailable` for everybody, at once. Knows nothing of pods. Mirrors dockershim's libdocker.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.fair_slots import FairSlots
from orchestrator.config.engines import EngineAddress, engine_of_environment
from orchestrator.kubelet.docker.tunnel import Tunnel, tunnel_to
from orchestrator.kubelet.runtime import RuntimeFailure, RuntimeUnavailable
from orchestrator.logs import get_logger

if TYPE_CHECKING:
    import aiohttp
    from aiodocker.stream import Stream

TUNNEL_KEEPALIVE_SECONDS = 300.0
"""How long a connection is kept that took a handshake or a process to make."""
STARTS_IN_FLIGHT_MAX = 4
"""More starts and removals at once only add latency, and provoke an old Engine's deadlock."""
CALL_SECONDS_MAX = 120.0
WATCHDOG_PERIOD_SECONDS = 10.0
WATCHDOG_SECONDS_MAX = 10.0
EVENT_LINE_BYTES_MAX = 4 * 1024 * 1024
EVENT_KINDS = ("start", "die", "oom", "destroy", "exec_die")
MINIMUM_API_VERSION = (1, 40)
ANNOTATIONS_API_VERSION = (1, 43)

ErrorStatus = int
EventHandler = Callable[[dict[str, Any] | None], None]
"""Called with each container event as the Engine words it, and with None after a gap."""


class EngineError(RuntimeFailure):
    """The Engine answered with an error; `str(error)` is its own message."""

    def __init__(self, status: ErrorStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class DockerEngine:
    """A Docker Engine; use it as `async with DockerEngine(clock=clock) as engine`."""

    def __init__(
        self, *, clock: Clock, address: EngineAddress | None = None, starts_in_flight_max: int = STARTS_IN_FLIGHT_MAX
    ) -> None:
        """Without an address it is the Engine that Docker's own variables name, else the local socket; ValueError."""
        self.address = address or engine_of_environment(os.environ)
        self.url = self.address.url
        self.info: dict[str, Any] = {}
        self.version: dict[str, Any] = {}
        self._clock = clock
        self._docker: Any = None
        self._connector: aiohttp.BaseConnector | None = None
        self._tunnel: Tunnel | None = None
        self._changes = FairSlots(starts_in_flight_max)
        self._in_flight: set[asyncio.Timeout] = set()
        self._unavailable = ""
        self._proofs = 0
        """How many calls ended that a hanging Engine does not finish."""
        self._handlers: dict[str, EventHandler] = {}
        self._exec_waiters: dict[str, asyncio.Future[int | None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._log = get_logger("kubelet/engine", engine=self.url)

    # ------------------------------------------------------------ life

    async def connect(self) -> None:
        """Open the session and greet the Engine; RuntimeUnavailable with a message that helps."""
        if self._docker is None:
            try:
                await self._open_session()
            except OSError as error:
                raise RuntimeUnavailable(f"the Docker Engine at {self.url} cannot be used: {error}") from error
        try:
            self.version = await self.call("GET", "version", seconds_max=WATCHDOG_SECONDS_MAX, watchdog=True)
            self.info = await self.call("GET", "info", seconds_max=WATCHDOG_SECONDS_MAX, watchdog=True)
        except RuntimeUnavailable as error:
            raise RuntimeUnavailable(
                f"no Docker Engine answers at {self.url} ({error}); is dockerd running, and may this user open the "
                "socket? DOCKER_HOST names another one"
            ) from error
        api = self.api_version
        if api < MINIMUM_API_VERSION:
            wanted = ".".join(map(str, MINIMUM_API_VERSION))
            raise RuntimeUnavailable(f"the Docker Engine at {self.url} is too old: API {api}, {wanted} is needed")

    @property
    def api_version(self) -> tuple[int, ...]:
        """The newest version of its API that the Engine speaks, e.g. (1, 41)."""
        return tuple(int(part) for part in str(self.version.get("ApiVersion", "0.0")).split("."))

    @property
    def passes_annotations(self) -> bool:
        """Whether annotations of containers reach the low-level runtime."""
        return self.api_version >= ANNOTATIONS_API_VERSION

    async def _open_session(self) -> None:
        import aiodocker
        import aiohttp

        self._tunnel = tunnel_to(self.address)
        # aiodocker's own pool of 100 is shared with endless streams; with a connector it wants any host name.
        if self._tunnel is not None:
            path = await self._tunnel.open()
            self._connector = aiohttp.UnixConnector(str(path), limit=0, keepalive_timeout=TUNNEL_KEEPALIVE_SECONDS)
        elif self.address.parts.scheme == "unix":
            self._connector = aiohttp.UnixConnector(self.address.parts.path, limit=0)
        else:
            self._connector = aiohttp.TCPConnector(limit=0)
        host, port = self.address.endpoint
        is_direct = self._tunnel is None and self.address.parts.scheme == "tcp"
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}" if is_direct else "unix://localhost"
        self._docker = aiodocker.Docker(url, connector=self._connector)

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self._close_session()
            raise
        self._tasks = [
            asyncio.create_task(self._follow_events(), name="docker-events"),
            asyncio.create_task(self._watch_engine(), name="docker-watchdog"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._task_ended)
        return self

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """A background task never ends by itself: an error in it is ours, and must not look like a quiet Engine."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("a background task of the Engine's connection failed", task=task.get_name(), exc_info=error)
            self._mark_unavailable(f"{task.get_name()} failed: {error!r}")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop the background tasks and close every connection; containers keep running."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._close_session()

    async def _close_session(self) -> None:
        docker, self._docker = self._docker, None
        if docker is not None:
            await docker.close()
        if self._connector is not None:
            await self._connector.close()
        if self._tunnel is not None:
            await self._tunnel.close()

    # ------------------------------------------------------------ calls

    @property
    def unavailable_reason(self) -> str:
        """Why the Engine cannot be used just now; empty while it can."""
        return self._unavailable

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        import aiodocker
        import aiohttp

        try:
            yield
        except aiodocker.exceptions.DockerError as error:
            if error.status == 900:  # aiodocker's own number for: no connection
                raise RuntimeUnavailable(self._with_reason(error.message)) from error
            raise EngineError(error.status, error.message) from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError) as error:
            message = self._with_reason(f"the connection to the Docker Engine broke: {error}")
            raise RuntimeUnavailable(message) from error

    def _with_reason(self, message: str) -> str:
        """What a broken connection looks like from here, and what the way to the Engine says of it."""
        return f"{message}: {self._tunnel.failure}" if self._tunnel is not None and self._tunnel.failure else message

    def _session(self, *, watchdog: bool = False) -> Any:
        if self._docker is None:
            raise RuntimeUnavailable("the connection to the Docker Engine is closed")
        if self._unavailable and not watchdog:
            raise RuntimeUnavailable(self._unavailable)
        return self._docker

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        seconds_max: float | None = CALL_SECONDS_MAX,
        watchdog: bool = False,
    ) -> Any:
        """The decoded answer of one short request; EngineError with a status, or RuntimeUnavailable.

        `body` is sent as JSON unless it is bytes. A call is given up as soon as the watchdog finds the
        Engine hanging; the Engine may finish it all the same, so callers reconcile by name.
        """
        docker = self._session(watchdog=watchdog)
        try:
            async with asyncio.timeout(seconds_max) as scope:
                if not watchdog:
                    self._in_flight.add(scope)
                with self._translated_errors():
                    answer = await docker._query_json(
                        path, method, params=params, data=body, headers=headers, timeout=None
                    )
            if needs_network_lock(method, path):
                self._proofs += 1
            return answer
        except TimeoutError:
            reason = self._unavailable or f"no answer to {method} /{path} within {seconds_max} s"
            raise RuntimeUnavailable(f"the Docker Engine hangs: {reason}") from None
        finally:
            self._in_flight.discard(scope)

    def changes(self, key: str = "") -> AbstractAsyncContextManager[None]:
        """A place among the few starts and removals that may be in flight at once; keys take turns."""
        return self._changes.take(key)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        watchdog: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response that is read piece by piece; its connection is closed at the end, whatever happened."""
        docker = self._session(watchdog=watchdog)
        with self._translated_errors():
            response = await docker._do_query(
                path, method, params=params, data=body, headers=headers, timeout=None, read_until_eof=True
            )
            try:
                yield response
            finally:
                response.close()

    async def hijack(self, path: str, *, tty: bool, body: bytes | None = None) -> Stream:
        """A POST whose connection becomes a byte stream in both directions (exec, attach); the caller closes it."""
        from aiodocker.stream import Stream
        from yarl import URL

        async def setup() -> tuple[URL, bytes | None, bool]:
            return URL(path), body, tty

        docker = self._session()
        stream = Stream(docker, setup, None)
        try:
            async with asyncio.timeout(CALL_SECONDS_MAX):
                with self._translated_errors():
                    await stream._init()
        except TimeoutError:
            raise RuntimeUnavailable(f"the Docker Engine hangs: no answer to POST /{path}") from None
        return stream

    # ------------------------------------------------------------ events

    def subscribe(self, key: str, handler: EventHandler) -> Callable[[], None]:
        """Have `handler` called for events whose labels give this `subscription_key`; returns the opposite."""
        if key in self._handlers:
            raise ValueError(f"the events of {key} have a subscriber already")
        self._handlers[key] = handler

        def unsubscribe() -> None:
            if self._handlers.get(key) is handler:
                del self._handlers[key]

        return unsubscribe

    def _dispatch(self, event: dict[str, Any]) -> None:
        attributes = event.get("Actor", {}).get("Attributes", {})
        if event.get("Action") == "exec_die":
            code = str(attributes.get("exitCode", ""))
            self._wake_exec(attributes.get("execID", ""), int(code) if code.isdigit() else None)
            return
        handler = self._handlers.get(subscription_key(attributes))
        if handler is not None:
            handler(event)

    def watch_exec(self, exec_id: str) -> asyncio.Future[int | None]:
        """A future for the exit code of an exec; None when events may have been missed, and it must be inspected.

        `forget_exec` ends the watch; a second one takes the place of the first.
        """
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._exec_waiters[exec_id] = future
        return future

    def forget_exec(self, exec_id: str) -> None:
        """Nobody waits for this exec any more."""
        self._exec_waiters.pop(exec_id, None)

    def _wake_exec(self, exec_id: str, code: int | None = None) -> None:
        future = self._exec_waiters.pop(exec_id, None)
        if future is not None and not future.done():
            future.set_result(code)

    def _report_gap(self) -> None:
        for exec_id in list(self._exec_waiters):
            self._wake_exec(exec_id)
        for handler in list(self._handlers.values()):
            handler(None)

    async def _follow_events(self) -> None:
        """Read the Engine's event stream for ever; after each reconnect everybody looks everything up."""
        backoff = ItemBackoff(base_seconds=0.1, max_seconds=10.0)
        filters = {"type": ["container"], "event": list(EVENT_KINDS), "label": ["orchestrator.dev/cluster"]}
        while True:
            # The Engine sends headers before it subscribes us: ask for the last second as well.
            since = (self._clock.now() - timedelta(seconds=1)).timestamp()
            params = {"filters": json.dumps(filters), "since": f"{since:.9f}"}
            try:
                async with self.stream("GET", "events", params=params, watchdog=True) as response:
                    backoff.forget("events")
                    self._report_gap()
                    async for line in read_lines(response, EVENT_LINE_BYTES_MAX):
                        self._dispatch(json.loads(line))
                reason = "the stream ended"
            except (RuntimeFailure, ValueError) as error:
                reason = str(error)
            self._mark_unavailable(f"the event stream of the Docker Engine broke: {reason}")
            await self._clock.sleep(backoff.next_delay("events"))
            await self._probe()

    # ------------------------------------------------------------ watchdog

    async def _watch_engine(self) -> None:
        """Ask for something that needs the Engine's network lock, which is where an old Engine hangs."""
        while True:
            await self._clock.sleep(WATCHDOG_PERIOD_SECONDS)
            await self._probe()

    async def _probe(self) -> None:
        filters = json.dumps({"driver": ["host"]})
        before = self._proofs
        try:
            await self.call(
                "GET", "networks", params={"filters": filters}, seconds_max=WATCHDOG_SECONDS_MAX, watchdog=True
            )
        except RuntimeUnavailable as error:
            if self._proofs == before:
                self._mark_unavailable(str(error))
            else:  # it is late because much is asked of it, not because it hangs
                self._log.info("the Docker Engine is slow", reason=str(error))
        except EngineError as error:
            self._mark_unavailable(f"the Docker Engine is not well: {error}")
        else:
            self._mark_available()

    def _mark_unavailable(self, reason: str) -> None:
        if not self._unavailable:
            self._log.error("the Docker Engine is unavailable", reason=reason)
            self._unavailable = reason
            self._report_gap()
        now = asyncio.get_running_loop().time()
        for scope in list(self._in_flight):
            if not scope.expired():
                scope.reschedule(now)

    def _mark_available(self) -> None:
        if self._unavailable:
            self._log.info("the Docker Engine is back")
            self._unavailable = ""
            self._report_gap()


def needs_network_lock(method: str, path: str) -> bool:
    """Whether an Engine whose network code is stuck cannot finish this call."""
    return method == "DELETE" or path.endswith("/start")


def subscription_key(labels: Mapping[str, str]) -> str:
    """Which subscriber the events of a container with these labels go to: `<cluster>/<node>`."""
    return f"{labels.get('orchestrator.dev/cluster', '')}/{labels.get('orchestrator.dev/node', '')}"


async def read_lines(response: aiohttp.ClientResponse, line_bytes_max: int) -> AsyncIterator[bytes]:
    """Lines of a streamed response without their ends, each at most `line_bytes_max`; ValueError beyond."""
    buffer = bytearray()
    async for chunk in response.content.iter_any():
        buffer += chunk
        start = 0
        while (end := buffer.find(b"\n", start)) >= 0:
            if line := bytes(buffer[start:end]).strip():
                yield line
            start = end + 1
        del buffer[:start]
        if len(buffer) > line_bytes_max:
            raise ValueError(f"a line of the Docker Engine is longer than {line_bytes_max} bytes")
    if line := bytes(buffer).strip():
        yield line
