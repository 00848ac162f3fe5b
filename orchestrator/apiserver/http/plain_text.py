"""Answers that are plain text, as Go's `net/http` sends them: browsers are told not to guess another type."""

from __future__ import annotations

from aiohttp import web


def plain_text(text: str) -> web.Response:
    """A page for people."""
    return _response(200, text)


def plain_error(code: int, text: str) -> web.Response:
    """An error that is no Status: one line, or several."""
    return _response(code, text + "\n")


def page_not_found() -> web.Response:
    """The 404 for a path that nothing is behind."""
    return plain_error(404, "404 page not found")


def _response(code: int, text: str) -> web.Response:
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return web.Response(status=code, body=text.encode(), headers=headers)
