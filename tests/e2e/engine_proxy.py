"""A socket in front of the Engine's, which a test can cut, or use to do something at a certain request.

The shared Engine itself is never stopped: to an orchestrator behind the proxy a cut looks the same.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.setup.engine import find

T = TypeVar("T")

_REQUEST = re.compile(rb"(GET|POST|DELETE|PUT|HEAD) /v[0-9.]+/(\S+)")
Watch = Callable[[str, str], bool]
"""Method and path of a request; True: do not pass it on."""


class EngineProxy:
    """Passes connections on to the Engine, on a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = urlsplit(find()[0].address).path
        self.before: Watch = lambda method, path: False
        self.after: Callable[[str, str], None] = lambda method, path: None
        """Called when the answer begins."""
        self._hangs: Watch = lambda method, path: False
        self._is_hanging = asyncio.Event()
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine-proxy", daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._run(self._listen())

    def close(self) -> None:
        """Cut everything and end the thread."""
        self.cut()
        self._run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """As if the Engine were stopped: every connection breaks, new ones are refused."""
        self._run(self._cut())

    def mend(self) -> None:
        """The Engine is back."""
        self._run(self._listen())

    def hang(self, what: Watch) -> None:
        """From now on requests of this kind wait, unanswered, as in an Engine that is deadlocked in part."""
        self._goes_on.clear()
        self._is_hanging.clear()
        self._hangs = what

    def wait_hanging(self, seconds: float) -> None:
        """Until the first request waits."""
        asyncio.run_coroutine_threadsafe(self._is_hanging.wait(), self._loop).result(seconds)

    def go_on(self) -> None:
        """What waits reaches the Engine now, although nobody may wait for the answer any more."""
        self._hangs = lambda method, path: False
        self._loop.call_soon_threadsafe(self._goes_on.set)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def _cut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.path.unlink(missing_ok=True)
        for writer in self._writers:
            writer.transport.abort()

    async def _finish(self) -> None:
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine_reader, engine_writer = await asyncio.open_unix_connection(self._engine)
        self._writers |= {writer, engine_writer}
        asked: list[tuple[str, str]] = []

        async def requests() -> None:
            while data := await reader.read(1 << 16):
                if match := _REQUEST.match(data):
                    request = match[1].decode(), match[2].decode()
                    if self.before(*request):
                        writer.transport.abort()
                        return
                    asked.append(request)
                    if self._hangs(*request):
                        self._is_hanging.set()
                        await self._goes_on.wait()
                engine_writer.write(data)
                await engine_writer.drain()
            engine_writer.write_eof()

        async def answers() -> None:
            while data := await engine_reader.read(1 << 16):
                while asked:
                    self.after(*asked.pop(0))
                writer.write(data)
                await writer.drain()
            writer.close()

        try:
            await asyncio.gather(requests(), answers())
        except (OSError, RuntimeError):
            pass  # one side is gone
        finally:
            self._writers -= {writer, engine_writer}
            writer.transport.abort()
            engine_writer.transport.abort()
