"""The GETs of probes and hooks: requests byte by byte, answers in pieces, against real sockets on the loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.kubelet.probes.dialing import DialError
from orchestrator.kubelet.probes.http_get import BODY_BYTES_MAX, Answer, AnswerReader, BadAnswer, BrokenBody, get
from tests.certificates import write_certificates

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def read(*pieces: bytes, ends: bool = True) -> Answer | None:
    reader = AnswerReader()
    for piece in pieces:
        if (answer := reader.feed(piece, has_ended=False)) is not None:
            return answer
    return reader.feed(b"", has_ended=True) if ends else None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OK, Answer(200, "", "ok")),
        (b"HTTP/1.0 200\nServer: old\n\nuntil the end", Answer(200, "", "until the end")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, "", "")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, Answer(200, "", "ok")),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Answer(101, "", "")),
        (b"HTTP/1.1 302 Found\r\nlocation: /x\r\nContent-Length: 0\r\n\r\n", Answer(302, "/x", "")),
        (
            b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n3;a=b\r\n it\r\n0\r\n\r\n",
            Answer(500, "", "no it"),
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n", Answer(200, "", "")),
    ],
)
def test_answers_whole_and_byte_by_byte(answer: bytes, expected: Answer) -> None:
    assert read(answer) == expected
    assert read(*(answer[at : at + 1] for at in range(len(answer)))) == expected


@pytest.mark.parametrize(
    "head",
    ["Content-Length: 1000000\r\n\r\n", "\r\n", "Transfer-Encoding: chunked\r\n\r\nfffff\r\n"],
)
def test_no_more_of_a_body_is_read_than_is_shown(head: str) -> None:
    start = b"HTTP/1.1 200 OK\r\n" + head.encode()
    assert read(start, b"x" * (BODY_BYTES_MAX - 1), ends=False) is None
    answer = read(start, b"x" * (BODY_BYTES_MAX + 500), ends=False)
    assert answer is not None
    assert answer.body == "x" * BODY_BYTES_MAX


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        (b"", BadAnswer, "EOF"),
        (b"HTTP/1.1 200 OK\r\n", BadAnswer, "unexpected EOF"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", BadAnswer, 'malformed HTTP response "SSH-2.0-OpenSSH_9.2"'),
        (b"HTTP/1.1 abc\r\n\r\n", BadAnswer, "malformed HTTP response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", BadAnswer, 'bad Content-Length "x"'),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, BadAnswer, "exceeded"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", BrokenBody, "unexpected EOF"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", BrokenBody, "chunk length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabcdef\r\n", BrokenBody, "malformed chunked"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", BrokenBody, "unexpected EOF"),
    ],
)
def test_what_is_no_answer(answer: bytes, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        read(answer)


@asynccontextmanager
async def serving(answers: list[bytes], asked: list[str], security: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Answers one request after the other; the last answer again and again."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(answers.pop(0) if len(answers) > 1 else answers[0])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=security)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_request_has_what_the_kubelet_sends() -> None:
    asked: list[str] = []
    async with serving([OK], asked) as port:
        headers = [{"name": "x-one-TWO", "value": "1"}, {"name": "content-length", "value": "9"}]
        assert (await get(f"http://127.0.0.1:{port}/a b?q=c d#e", headers, agent="kube-probe/1.36")).status == 200
    assert asked == [
        f"GET /a%20b?q=c%20d HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n"
        "X-One-Two: 1\r\nConnection: close\r\n\r\n"
    ]


async def test_a_host_that_was_asked_for_goes_with_relative_redirects_only() -> None:
    asked: list[str] = []
    moved = b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\nLocation: "
    answers = [moved + b"/second\r\n\r\n", moved + b"//127.0.0.1:%d/third\r\n\r\n", OK]
    async with serving(answers, asked) as port:
        answers[1] %= port
        await get(f"http://127.0.0.1:{port}/first", [{"name": "Host", "value": "a.example"}], agent="x")
    assert [line.split("\r\n")[:2] for line in asked] == [
        ["GET /first HTTP/1.1", "Host: a.example"],
        ["GET /second HTTP/1.1", "Host: a.example"],
        ["GET /third HTTP/1.1", f"Host: 127.0.0.1:{port}"],
    ]


async def test_what_cannot_be_sent_or_followed() -> None:
    asked: list[str] = []
    with pytest.raises(ValueError, match='invalid header field value for "X"'):
        await get("http://127.0.0.1:1/", [{"name": "x", "value": "a\r\nb: c"}], agent="x")
    async with serving(
        [b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"], asked
    ) as port:
        with pytest.raises(ValueError, match="unsupported protocol scheme 'ftp'"):
            await get(f"http://127.0.0.1:{port}/", [], agent="x")
    with pytest.raises(DialError, match=f"dial tcp 127.0.0.1:{port}: connect: connection refused"):
        await get(f"http://127.0.0.1:{port}/", [], agent="x")


async def test_nobodys_certificate_is_good_enough(tmp_path: Path) -> None:
    write_certificates(tmp_path)
    security = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    security.load_cert_chain(tmp_path / "server.pem", tmp_path / "server-key.pem")
    async with serving([OK], [], security) as port:
        assert await get(f"https://127.0.0.1:{port}/", [], agent="x") == Answer(200, "", "ok")
