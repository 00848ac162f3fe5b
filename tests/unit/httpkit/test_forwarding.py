"""Which headers go along when a request is handed on (RFC 9110, section 7.6)."""

from __future__ import annotations

from aiohttp.test_utils import make_mocked_request

from orchestrator.httpkit.forwarding import end_to_end_headers, forwarded_headers

HEADERS = {
    "Host": "example.com",
    "Connection": "close, X-Private",
    "X-Private": "1",
    "Transfer-Encoding": "chunked",
    "Authorization": "Bearer secret",
    "X-Forwarded-For": "192.0.2.1",
    "Accept": "*/*",
}


def test_headers_of_one_connection_stay_behind() -> None:
    request = make_mocked_request("GET", "/", headers=HEADERS)
    names = [name for name, _ in end_to_end_headers(request.headers)]
    assert names == ["Host", "Authorization", "X-Forwarded-For", "Accept"]


def test_what_is_meant_for_the_proxy_alone_is_left_out() -> None:
    request = make_mocked_request("GET", "/", headers=HEADERS)
    names = {name for name, _ in forwarded_headers(request, "", without=("authorization",))}
    assert "Authorization" not in names
    assert "Host" in names


def test_an_upgrade_is_asked_for_again() -> None:
    request = make_mocked_request("GET", "/", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    assert forwarded_headers(request, "websocket")[:2] == [("Connection", "Upgrade"), ("Upgrade", "websocket")]
