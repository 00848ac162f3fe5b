"""Where requests through the proxy subresources lead, and what is changed on the way."""

from __future__ import annotations

import errno

import pytest

from orchestrator.api import errors
from orchestrator.apiserver.http.proxies import backend_path, check_address, first_port, parse_target, service_port
from orchestrator.apiserver.http.reverse_proxy import describe_failure, rewritten_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", ("", "web", "")),
        ("web:80", ("", "web", "80")),
        ("web:http", ("", "web", "http")),
        ("https:web:443", ("https", "web", "443")),
        ("http:web:", ("http", "web", "")),
    ],
)
def test_a_target_has_a_scheme_a_name_and_a_port(text: str, expected: tuple[str, str, str]) -> None:
    assert parse_target(text, "service") == expected


@pytest.mark.parametrize("text", ["", ":80", "ftp:web:80", "a:b:c:d"])
def test_what_is_no_target_is_a_bad_request(text: str) -> None:
    with pytest.raises(errors.BadRequest, match="invalid pod request"):
        parse_target(text, "pod")


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("", ""),
        ("/", "/"),
        ("/%2F", "/"),
        ("//", "/"),
        ("/stats%2Fsummary", "/stats/summary"),
        ("/a//b/", "/a/b/"),
        ("/a/./../b", "/b"),
        ("/../../etc", "/etc"),
        ("/a%20b/%C3%A4/%FF%3F%23", "/a%20b/%C3%A4/%FF%3F%23"),
        ("/x;y=1,2:3@z", "/x;y=1,2:3@z"),
    ],
)
def test_the_path_on_the_backend_is_resolved_and_quoted_anew(rest: str, expected: str) -> None:
    assert backend_path(f"/api/v1/nodes/node-1/proxy{rest}", segments=6) == expected


def test_a_pods_port_is_the_first_that_is_declared() -> None:
    containers = [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 81}, {"containerPort": 82}]}]
    assert first_port({"spec": {"containers": containers}}) == "81"
    assert first_port({"spec": {"containers": containers[:1]}}) == ""


def test_a_services_port_is_found_by_number() -> None:
    service = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80, "name": "http"}, {"port": 81}]}}
    assert [service_port(service, text) for text in ("80", "81", "http", "")] == ["http", "", "http", ""]
    with pytest.raises(errors.ServiceUnavailable, match='no service port 9 found for service "web"'):
        service_port(service, "9")


@pytest.mark.parametrize("address", ["", "127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0", "localhost", "::1"])
def test_addresses_that_lead_nowhere_good_are_refused(address: str) -> None:
    with pytest.raises(errors.BadRequest, match="address not allowed"):
        check_address(address)


def test_the_address_of_a_pod_is_fine() -> None:
    check_address("10.244.0.3")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/login?next=/", "/prefix/login?next=/"),
        ("http://10.0.0.1:80/a#b", "/prefix/a#b"),
        ("http://10.0.0.1:80", "http://10.0.0.1:80"),
        ("https://api:6443/a/", "https://api:6443/prefix/a/"),
        ("/prefix/a", "/prefix/a"),
        ("/a/../b//c", "/prefix/b/c"),
        ("http://[", "http://["),
        ("https://example.com/a", "https://example.com/a"),
        ("next", "next"),
    ],
)
def test_redirects_stay_below_the_proxy(location: str, expected: str) -> None:
    assert rewritten_url(location, target="http://10.0.0.1:80/x", prefix="/prefix", host="api:6443") == expected


@pytest.mark.parametrize(
    ("target", "error", "expected"),
    [
        (
            "http://10.0.0.1:81/",
            ConnectionRefusedError(errno.ECONNREFUSED, "x"),
            "dial tcp 10.0.0.1:81: connect: connection refused",
        ),
        ("https://10.0.0.1/", OSError(errno.EHOSTUNREACH, "x"), "dial tcp 10.0.0.1:443: connect: no route to host"),
        ("http://10.0.0.1/", TimeoutError(), "dial tcp 10.0.0.1:80: i/o timeout"),
    ],
)
def test_failures_read_as_kube_apiserver_words_them(target: str, error: Exception, expected: str) -> None:
    assert describe_failure(target, error) == expected
