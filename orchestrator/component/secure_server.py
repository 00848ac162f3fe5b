"""An HTTPS server of a component beside the API server, made when somebody first knocks.

Owns connections and their limits, not what is said. Until then it costs a socket at most: neither certificate nor HTTP
machinery. Mirrors k8s.io/apiserver's secure serving.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from orchestrator.aiokit.readable import until_readable
from orchestrator.aiokit.socket_stream import SocketStream

if TYPE_CHECKING:
    from aiohttp import web

    from orchestrator.httpkit.connections import Connections

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

SHUTDOWN_SECONDS = 1.0


class SecureServer:
    """Serves one handler."""

    def __init__(self, handler: Handler, *, make_tls: Callable[[], ssl.SSLContext]) -> None:
        """`make_tls` may block: it is called once, in a thread."""
        self._handler = handler
        self._make_tls = make_tls
        self._tls: ssl.SSLContext | None = None
        self._server: Connections | None = None
        self._making = asyncio.Lock()
        self._handshakes: set[asyncio.Task[None]] = set()

    async def _made(self) -> tuple[Connections, ssl.SSLContext]:
        async with self._making:
            if self._server is None or self._tls is None:
                from orchestrator.httpkit.connections import Connections

                self._tls = await asyncio.to_thread(self._make_tls)
                self._server = Connections(self._handler)
        return self._server, self._tls

    async def serve(self, listening: socket.socket) -> None:
        """Serve who connects to a socket that listens already, until cancelled; the socket stays open. OSError."""
        loop = asyncio.get_running_loop()
        await until_readable(listening.fileno())
        server, tls = await self._made()
        accepting = await loop.create_server(server, sock=listening.dup(), ssl=tls)
        try:
            await accepting.serve_forever()
        finally:
            accepting.close()
            await self.close()

    async def connect(self) -> SocketStream:
        """A connection from within this process: the client's side of it."""
        server, tls = await self._made()
        ours, theirs = socket.socketpair()
        for one in (ours, theirs):
            one.setblocking(False)
        try:
            reader, writer = await asyncio.open_connection(sock=theirs)
        except BaseException:
            ours.close()
            raise
        # The handshake needs the client, who only begins once it has its side.
        task = asyncio.create_task(self._accept(server, ours, tls), name="secure-server/handshake")
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)
        return SocketStream(reader, writer)

    @staticmethod
    async def _accept(server: Connections, connection: socket.socket, tls: ssl.SSLContext) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(server, connection, ssl=tls)
        except OSError:
            connection.close()  # no handshake came of it: the client spoke no TLS, or is gone

    async def close(self) -> None:
        """End all connections."""
        for task in [*self._handshakes]:
            task.cancel()
        server, self._server = self._server, None
        if server is not None:
            await server.shutdown(SHUTDOWN_SECONDS)
