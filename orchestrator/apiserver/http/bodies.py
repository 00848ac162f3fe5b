"""Request bodies: bytes to values, in the media types that Kubernetes accepts; all limited in size."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.json_syntax import syntax_problem
from orchestrator.apiserver.http.negotiation import JSON, PROTOBUF, YAML
from orchestrator.apiserver.http.yaml_bodies import decode_yaml
from orchestrator.httpkit.expectation import invite_body

BODY_BYTES_MAX = 3 * 1024 * 1024
"""As kube-apiserver's limit for one request."""
BODY_SECONDS_MAX = 60.0
"""As long as kube-apiserver lets a request take that is no watch and no stream (`--request-timeout`)."""


SUMMARY_BYTES_MAX = 30


class NotJson(errors.BadRequest):
    """The body is no JSON; `problem` says what is wrong with it, in the words of Go's decoder."""

    def __init__(self, body: bytes, problem: str) -> None:
        super().__init__(problem)
        self.body = body
        self.problem = problem

    def of_type(self, kind: str) -> errors.BadRequest:
        """The 400 where an object of this kind should have been."""
        return errors.BadRequest(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind;"
            f" json parse error: {self.problem} ({summary(self.body)})"
        )


class NotProtobuf(NotJson):
    """A body that is no protobuf message, although it says so."""

    def of_type(self, kind: str) -> errors.BadRequest:
        """The 400 where an object of this kind should have been."""
        return errors.BadRequest(
            f"the object provided is unrecognized (must be of type {kind}): {self.problem} ({summary(self.body)})"
        )


def summary(body: bytes) -> str:
    """The beginning of a body, as kube-apiserver quotes it: readable when it looks like an object."""
    head = body[:SUMMARY_BYTES_MAX]
    text = head.decode(errors="replace") if body.startswith(b"{") else head.hex()
    return f"{text} ..." if len(body) > SUMMARY_BYTES_MAX else text


async def read_body(request: web.BaseRequest, clock: Clock) -> bytes:
    """The body; 413 when it is larger than the limit, 504 when it takes longer to arrive than any request may."""
    if request.content_length is not None and request.content_length > BODY_BYTES_MAX:
        raise _too_large()
    if request.content.is_eof():
        return await _read(request)
    invite_body(request)
    late = errors.Timeout("Timeout: request did not complete within the allotted timeout")
    timer = clock.call_later(BODY_SECONDS_MAX, lambda: request.content.set_exception(late))
    try:
        return await _read(request)
    finally:
        timer.cancel()


async def _read(request: web.BaseRequest) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        chunk = await request.content.readany()
        if not chunk:
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            raise _too_large()
        chunks.append(chunk)


def decode_body(body: bytes, content_type: str, problems: list[str] | None = None) -> Any:
    """The value of a JSON or YAML body; 400 when it does not parse, 415 for another media type.

    `problems` gets what a strict decoder of YAML refuses (see `decode_yaml`).
    """
    media_type = content_type.partition(";")[0].strip().lower() or JSON
    if media_type == JSON or media_type.endswith("+json"):
        return decode_json(body)
    if media_type in (YAML, "text/yaml", "application/x-yaml") or media_type.endswith("+yaml"):
        return decode_yaml(body, problems)
    if media_type == PROTOBUF:
        from orchestrator.api.protobuf import decode_protobuf

        try:
            return decode_protobuf(body)
        except errors.BadRequest as error:
            raise NotProtobuf(body, str(error)) from error
    raise errors.UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {JSON}, {YAML}, {PROTOBUF}"
    )


def decode_json(body: bytes) -> Any:
    """The value of a JSON text; 400 in the words of Go's decoder."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson(body, syntax_problem(body) or str(error)) from error


def is_nested_too_deep(error: Exception) -> bool:
    """Whether the JSON encoder gave up on what a client sent: it follows 254 levels, the decoder more."""
    return isinstance(error, orjson.JSONEncodeError) and "Recursion limit" in str(error)


def _too_large() -> errors.RequestEntityTooLarge:
    return errors.RequestEntityTooLarge(f"Request entity too large: limit is {BODY_BYTES_MAX}")
