"""What the proxy says of itself on every node."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from orchestrator.api.node_ports import KUBE_PROXY_HEALTH, KUBE_PROXY_STATUS
from orchestrator.proxy.listener import Asked, Response, parse_request
from orchestrator.proxy.pages import LATE_SECONDS, ProxyPages, plan_kubelet_listeners, plan_listeners
from orchestrator.testing.manual_clock import ManualClock

NODES = {"10.192.0.2": "node-1", "10.192.0.3": "node-2"}
MACHINE = "10.192.0.1"
STATUS = (MACHINE, KUBE_PROXY_STATUS)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def pages(clock: ManualClock) -> ProxyPages:
    return ProxyPages(clock)


def health(
    pages: ProxyPages, *leaving: str, to: str = "10.192.0.2", client: str = "10.244.0.9", path: str = "/healthz"
) -> Response:
    answer = pages.answer(Asked((to, KUBE_PROXY_HEALTH), client, path), NODES, leaving)
    assert answer is not None
    return answer


def test_every_node_and_the_machine_in_the_name_of_their_loopbacks_are_listened_on() -> None:
    assert plan_listeners(["10.192.0.2", ""], MACHINE) == [("10.192.0.2", 10256), (MACHINE, 10256), (MACHINE, 10249)]


def test_a_proxy_that_is_up_to_date_is_healthy(pages: ProxyPages) -> None:
    answer = health(pages)
    assert answer.status == HTTPStatus.OK
    content = json.loads(answer.body)
    assert content["nodeEligible"] is True
    assert content["lastUpdated"] == content["currentTime"]
    assert answer.content_type == "application/json"


def test_a_change_that_is_late_makes_it_unhealthy_until_it_is_there(pages: ProxyPages, clock: ManualClock) -> None:
    pages.queued()
    clock.advance(LATE_SECONDS - 1)
    pages.queued()
    assert health(pages).status == HTTPStatus.OK
    clock.advance(1)
    assert health(pages).status == health(pages, path="/livez").status == HTTPStatus.SERVICE_UNAVAILABLE
    pages.synced(0.1)
    assert health(pages).status == HTTPStatus.OK


def test_a_node_that_is_about_to_go_is_not_healthy_but_alive(pages: ProxyPages) -> None:
    assert health(pages, "node-1").status == HTTPStatus.SERVICE_UNAVAILABLE
    assert health(pages, "node-2").status == HTTPStatus.OK
    assert health(pages, "node-1", path="/livez").status == HTTPStatus.OK
    # From a loopback it comes to the machine's address; the client tells which node it is.
    assert health(pages, "node-1", to=MACHINE, client="10.192.0.2").status == HTTPStatus.SERVICE_UNAVAILABLE


def test_the_status_is_for_the_node_itself(pages: ProxyPages) -> None:
    assert pages.answer(Asked(STATUS, "10.244.0.9", "/proxyMode"), NODES, ()) is None
    answers = {
        path: pages.answer(Asked(STATUS, "10.192.0.3", path), NODES, ())
        for path in ("/proxyMode", "/healthz", "/metrics", "/configz", "/other")
    }
    bodies = {path: answer.body for path, answer in answers.items() if answer is not None}
    assert bodies["/proxyMode"] == b"nftables"
    assert bodies["/healthz"] == b"ok"
    assert json.loads(bodies["/configz"])["kubeproxy.config.k8s.io"]["mode"] == "nftables"
    assert bodies["/other"] == b"404 page not found\n"


def test_metrics_have_the_names_of_kube_proxy(pages: ProxyPages, clock: ManualClock) -> None:
    pages.queued()
    clock.advance(0.25)
    pages.synced(0.25)
    health(pages)
    answer = pages.answer(Asked(STATUS, "10.192.0.2", "/metrics"), NODES, ())
    assert answer is not None
    lines = answer.body.decode().splitlines()
    assert 'kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1.0' in lines
    assert 'kubeproxy_sync_proxy_rules_duration_seconds_sum{ip_family="IPv4"} 0.25' in lines
    assert 'kubeproxy_proxy_healthz_total{code="200"} 1.0' in lines
    assert any(line.startswith("kubeproxy_sync_proxy_rules_last_timestamp_seconds{") for line in lines)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", ("GET", "/healthz")),
        (b"HEAD /metrics?x=y HTTP/1.0\r\n\r\n", ("HEAD", "/metrics")),
        (b"nonsense\r\n\r\n", ("nonsense", "")),
    ],
)
def test_requests(head: bytes, expected: tuple[str, str]) -> None:
    assert parse_request(head) == expected


def test_the_port_of_kubelets_is_on_every_node_too() -> None:
    assert plan_kubelet_listeners(["10.192.0.2", ""], MACHINE) == [("10.192.0.2", 10250), (MACHINE, 10250)]
