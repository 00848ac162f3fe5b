"""One listener for everything that the proxy says over HTTP on the addresses of nodes.

Rules lead there, and each connection tells whom it was meant for: so a port of a node costs an element of a map,
not a socket in each node's network namespace. Owns the connections and their limits, not what is said.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from msgspec import Struct

from orchestrator.aiokit.original_destination import original_destination

REQUEST_SECONDS_MAX = 5.0
REQUEST_BYTES_MAX = 16 << 10
CONNECTIONS_MAX = 256
"""Those beyond are closed at once: who asks for health asks again."""

Listener = tuple[str, int]
"""Address of a node, and port."""


class Response(Struct, frozen=True):
    """What is answered to a request."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self, *, with_body: bool = True) -> bytes:
        """The whole HTTP response, after which the connection is closed."""
        fields = (
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("X-Content-Type-Options", "nosniff"),
            *self.headers,
            ("Connection", "close"),
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        head = f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n{lines}\r\n"
        return head.encode() + (self.body if with_body else b"")


class Asked(Struct, frozen=True):
    """A request: whom it was meant for, who sent it, and for what."""

    listener: Listener
    client: str
    """The address it comes from."""
    path: str = "/"


class NodeListener:
    """Accepts what rules lead here and has it answered."""

    def __init__(
        self,
        address: str,
        answer: Callable[[Asked], Response | None],
        *,
        destination: Callable[[Any], Listener | None] = original_destination,
    ) -> None:
        """`address` is one of this machine's that rules may lead to; None closes without an answer.

        `destination` finds out where the socket of a connection was addressed to.
        """
        self._address = address
        self._answer = answer
        self._destination = destination
        self._server: asyncio.Server | None = None
        self._connections = 0

    async def open(self) -> Listener:
        """Begin to listen; returns where. OSError."""
        self._server = await asyncio.start_server(self._serve, self._address, 0, limit=REQUEST_BYTES_MAX)
        host, port = self._server.sockets[0].getsockname()
        return host, port

    async def open_on(self, listening: socket.socket) -> None:
        """Listen on a bound socket, which is ours from now on; OSError."""
        self._server = await asyncio.start_server(self._serve, sock=listening, limit=REQUEST_BYTES_MAX)

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= CONNECTIONS_MAX:
            writer.close()
            return
        self._connections += 1
        try:
            listener = self._destination(writer.get_extra_info("socket"))
            if listener is not None:
                async with asyncio.timeout(REQUEST_SECONDS_MAX):
                    method, path = parse_request(await reader.readuntil(b"\r\n\r\n"))
                    client = str(writer.get_extra_info("peername")[0])
                    response = self._answer(Asked(listener, client, path))
                    if response is not None:
                        writer.write(response.encode(with_body=method != "HEAD"))
                        await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return  # not a request, or nobody there any more
        finally:
            self._connections -= 1
            writer.close()


def parse_request(head: bytes) -> tuple[str, str]:
    """Method and path, without a query, of a request; a path of "" when there is none."""
    method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    return method, rest.partition(" ")[0].partition("?")[0]
