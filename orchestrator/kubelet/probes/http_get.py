"""The GETs of probes and hooks: each on a connection of its own.

Owns just enough of HTTP/1.1 for that: at most the first 10 KiB of a body are read, and nothing is kept for later. A
general client costs three times as much, and a probe is what a node does most often. Mirrors pkg/probe/http.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.kubelet.probes.dialing import dial

if TYPE_CHECKING:
    import ssl

BODY_BYTES_MAX = 10_240
HEAD_BYTES_MAX = 64 * 1024
CHUNK_HEAD_BYTES_MAX = 4096
REDIRECTS_MAX = 10
REDIRECT_STATUSES = frozenset((301, 302, 303, 307, 308))

_STATUS_LINE = re.compile(rb"HTTP/\d\.\d (\d{3})(?: [^\r\n]*)?\r?\n")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")
_FORBIDDEN_IN_VALUES = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OWN_HEADERS = frozenset(("host", "user-agent", "content-length", "transfer-encoding", "trailer", "connection"))
"""Those that the client sets by itself or never sends."""
_PORTS = {"http": 80, "https": 443}


class BadAnswer(Exception):
    """What came back is not HTTP, or ended too soon."""


class BrokenBody(Exception):
    """The head of an answer came, but not all of its body: nobody can tell what it would have said."""


class Answer(Struct, frozen=True):
    """A response: its status code, where it leads to, and the first bytes of its body."""

    status: int
    location: str
    body: str

    @property
    def is_redirect(self) -> bool:
        return self.status in REDIRECT_STATUSES and bool(self.location)


async def get(url: str, headers: Iterable[Object], *, agent: str, leaves_host: bool = False) -> Answer:
    """Ask, and ask again where a redirect leads; one to another host is the answer unless `leaves_host`.

    `headers` are those of an httpGet action. Raises DialError, OSError, BadAnswer, BrokenBody, or ValueError for what
    cannot be sent or followed.
    """
    where = urlsplit(url)
    first_host = where.hostname
    given = tuple((header["name"], header.get("value") or "") for header in headers)
    asked_host = next((value for name, value in given if name.lower() == "host"), "")
    for _ in range(REDIRECTS_MAX):
        answer = await _exchange(where, _request(where, given, agent, asked_host))
        if not answer.is_redirect:
            return answer
        following = urlsplit(urljoin(where.geturl(), answer.location))
        if following.hostname != first_host and not leaves_host:
            return answer
        if following.scheme not in _PORTS:
            raise ValueError(f"unsupported protocol scheme {following.scheme!r}")
        if urlsplit(answer.location).netloc:
            asked_host = ""  # a name that was asked for goes only with the address that it was meant for
        where = following
    raise ValueError(f"stopped after {REDIRECTS_MAX} redirects")


def _request(where: SplitResult, given: tuple[tuple[str, str], ...], agent: str, asked_host: str) -> bytes:
    names = {name.lower() for name, _ in given}
    agents = [value for name, value in given if name.lower() == "user-agent"]
    lines = [f"GET {_target(where)} HTTP/1.1", f"Host: {asked_host or where.netloc}"]
    if user_agent := agents[0] if agents else agent:
        lines.append(f"User-Agent: {user_agent}")
    if "accept" not in names:
        lines.append("Accept: */*")
    for name, value in given:
        if name.lower() not in _OWN_HEADERS and (value or name.lower() != "accept"):
            lines.append(f"{'-'.join(part.capitalize() for part in name.split('-'))}: {value}")
    lines.append("Connection: close")
    for line in lines[1:]:
        if _FORBIDDEN_IN_VALUES.search(line):
            raise ValueError(f'net/http: invalid header field value for "{line.partition(":")[0]}"')
    return "\r\n".join((*lines, "", "")).encode()


def _target(where: SplitResult) -> str:
    """Path and query as they were given, with what must not stand in a request line escaped."""
    path = quote(where.path or "/", safe="/%!$&'()*+,;=:@~")
    return f"{path}?{quote(where.query, safe='/%!$&()*+,;=:@~?')}" if where.query else path


async def _exchange(where: SplitResult, request: bytes) -> Answer:
    port = where.port or _PORTS[where.scheme]
    security = _unverified() if where.scheme == "https" else None
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    transport, _ = await dial(lambda: _Exchange(answer), where.hostname or "", port, security=security)
    try:
        transport.write(request)
        return await answer
    finally:
        transport.close()


@functools.cache
def _unverified() -> ssl.SSLContext:
    """Probes trust whatever certificate the pod shows."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Exchange(asyncio.Protocol):
    """Reads until the answer is known."""

    __slots__ = ("_answer", "_reader")

    def __init__(self, answer: asyncio.Future[Answer]) -> None:
        self._answer = answer
        self._reader = AnswerReader()

    def data_received(self, data: bytes) -> None:
        if not self._answer.done():
            self._read(data, has_ended=False)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer.done():
            return
        if exc is not None and not self._reader.has_head:
            self._answer.set_exception(exc)
        else:
            self._read(b"", has_ended=True)

    def _read(self, data: bytes, *, has_ended: bool) -> None:
        try:
            answer = self._reader.feed(data, has_ended=has_ended)
        except (BadAnswer, BrokenBody) as error:
            self._answer.set_exception(error)
        else:
            if answer is not None:
                self._answer.set_result(answer)


class AnswerReader:
    """Takes an HTTP/1 response apart as it comes in."""

    def __init__(self) -> None:
        self.has_head = False
        self._buffer = b""
        self._status = 0
        self._location = ""
        self._length: int | None = None
        """Of the body; None when it ends with the connection."""
        self._is_chunked = False
        self._content = b""
        """Of the chunks so far."""

    def feed(self, data: bytes, *, has_ended: bool) -> Answer | None:
        """The answer once it is known; None while more is needed. BadAnswer, BrokenBody."""
        self._buffer += data
        while not self.has_head:
            end = _END_OF_HEAD.search(self._buffer)
            if end is None:
                if len(self._buffer) > HEAD_BYTES_MAX:
                    raise BadAnswer("net/http: server response headers exceeded the limit; aborted")
                if has_ended:
                    raise BadAnswer("unexpected EOF" if self._buffer else "EOF")
                if not b"HTTP/".startswith(self._buffer[:5]):
                    raise BadAnswer(_malformed(self._buffer))
                return None
            self._read_head(self._buffer[: end.end()])
            self._buffer = self._buffer[end.end() :]
        body, is_whole = self._body()
        if len(body) >= BODY_BYTES_MAX or is_whole or (has_ended and self._length is None and not self._is_chunked):
            return Answer(self._status, self._location, body[:BODY_BYTES_MAX].decode(errors="replace"))
        if has_ended:
            raise BrokenBody("unexpected EOF")
        return None

    def _read_head(self, head: bytes) -> None:
        line = _STATUS_LINE.match(head)
        if line is None:
            raise BadAnswer(_malformed(head))
        self._status = int(line[1])
        self.has_head = self._status >= 200 or self._status == 101  # the others only say that the answer is coming
        self._length = 0 if self._status in (101, 204, 304) else None
        for field in head[line.end() :].split(b"\n"):
            name, _, value = field.partition(b":")
            match name.strip().lower():
                case b"location":
                    self._location = value.strip().decode(errors="replace")
                case b"content-length" if self._length is None:
                    if not value.strip().isdigit():
                        raise BadAnswer(f'bad Content-Length "{value.strip().decode(errors="replace")}"')
                    self._length = int(value)
                case b"transfer-encoding":
                    self._is_chunked = self._length != 0 and value.strip().lower() == b"chunked"
        if self._is_chunked:
            self._length = None

    def _body(self) -> tuple[bytes, bool]:
        """(what is there of it, whether that is all)."""
        if self._is_chunked:
            return self._chunks()
        if self._length is None:
            return self._buffer, False
        return self._buffer[: self._length], len(self._buffer) >= self._length

    def _chunks(self) -> tuple[bytes, bool]:
        """The same for a body in chunks; those that are there as a whole move from the buffer to the content."""
        while len(self._content) < BODY_BYTES_MAX:
            head = _CHUNK_SIZE.match(self._buffer)
            if head is None:
                if b"\n" in self._buffer or len(self._buffer) > CHUNK_HEAD_BYTES_MAX:
                    raise BrokenBody("invalid byte in chunk length")
                break
            length = int(head[1], 16)
            if length == 0:
                return self._content, True
            end = head.end() + length
            if len(self._buffer) < end + 2:
                return self._content + self._buffer[head.end() : end], False
            if self._buffer[end : end + 2] != b"\r\n":
                raise BrokenBody("malformed chunked encoding")
            self._content += self._buffer[head.end() : end]
            self._buffer = self._buffer[end + 2 :]
        return self._content, False


def _malformed(data: bytes) -> str:
    line = data.partition(b"\n")[0].strip()[:100].decode(errors="replace")
    return f'net/http: HTTP/1.x transport connection broken: malformed HTTP response "{line}"'
