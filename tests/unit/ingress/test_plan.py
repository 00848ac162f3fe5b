"""Which backend a request goes to (kubernetes.io/docs/concepts/services-networking/ingress)."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.ingress.plan import (
    Backend,
    PathRule,
    addresses,
    endpoint_port,
    is_ours,
    normalized,
    plan_routes,
    plan_secrets,
)


def backend(name: str, port: Any = None) -> dict[str, Any]:
    return {"service": {"name": name, "port": port or {"number": 80}}}


def ingress(name: str, *rules: tuple[str, str, str, str], created: str = "2026-01-01T00:00:00Z", **spec: Any) -> Any:
    """`rules` are (host, path, path type, service)."""
    spec["rules"] = [
        {
            **({"host": host} if host else {}),
            "http": {"paths": [{"path": path, "pathType": kind, "backend": backend(service)}]},
        }
        for host, path, kind, service in rules
    ]
    return {"metadata": {"name": name, "namespace": "default", "creationTimestamp": created}, "spec": spec}


@pytest.mark.parametrize(
    ("kind", "rule", "path", "matches"),
    [
        # The table of "Examples" in the documentation.
        ("Prefix", "/", "/any/path", True),
        ("Exact", "/foo", "/foo", True),
        ("Exact", "/foo", "/bar", False),
        ("Exact", "/foo", "/foo/", False),
        ("Exact", "/foo/", "/foo", False),
        ("Prefix", "/foo", "/foo", True),
        ("Prefix", "/foo", "/foo/", True),
        ("Prefix", "/foo/", "/foo", True),
        ("Prefix", "/foo/", "/foo/", True),
        ("Prefix", "/aaa/bb", "/aaa/bbb", False),
        ("Prefix", "/aaa/bbb", "/aaa/bbb", True),
        ("Prefix", "/aaa/bbb/", "/aaa/bbb", True),
        ("Prefix", "/aaa/bbb", "/aaa/bbb/", True),
        ("Prefix", "/aaa/bbb", "/aaa/bbb/ccc", True),
        ("Prefix", "/aaa/bbb", "/aaa/bbbxyz", False),
    ],
)
def test_paths(kind: str, rule: str, path: str, matches: bool) -> None:
    one = PathRule(rule, kind == "Exact", Backend("default/a", 80))
    assert one.matches(path) == matches


@pytest.mark.parametrize(
    ("host", "path", "service"),
    [
        ("foo.com", "/", "exact-host"),
        ("FOO.com.", "/", "exact-host"),
        ("foo.com", "/aaa/ccc", "exact-host"),
        ("foo.com", "/aaa/bbb/ccc", "longer"),
        ("foo.com", "/aaa/bbb", "exact-path"),
        ("bar.foo.com", "/x", "wildcard"),
        ("baz.bar.foo.com", "/x", "any-host"),
        ("other.com", "/x", "any-host"),
        ("foo.com", "/public/../aaa/bbb", "exact-path"),
        ("other.com", "/nothing", "default"),
        ("", "/x", "any-host"),
    ],
)
def test_hosts_and_the_longest_path(host: str, path: str, service: str) -> None:
    routes = plan_routes(
        [
            ingress(
                "a",
                ("foo.com", "/", "Prefix", "exact-host"),
                ("foo.com", "/aaa/bbb", "Prefix", "longer"),
                ("foo.com", "/aaa/bbb", "Exact", "exact-path"),
                ("*.foo.com", "/", "Prefix", "wildcard"),
                ("", "/x", "ImplementationSpecific", "any-host"),
                defaultBackend=backend("default"),
            )
        ]
    )
    found = routes.find(host, path)
    assert found is not None
    assert found.service == f"default/{service}"


def test_the_older_of_two_ingresses_has_the_path() -> None:
    young = ingress("a", ("foo.com", "/", "Prefix", "young"), created="2026-02-01T00:00:00Z")
    old = ingress("b", ("foo.com", "/", "Prefix", "old"))
    found = plan_routes([young, old]).find("foo.com", "/")
    assert found is not None
    assert found.service == "default/old"


def test_nothing_matches() -> None:
    assert plan_routes([ingress("a", ("foo.com", "/", "Prefix", "a"))]).find("bar.com", "/") is None


def test_a_rule_without_paths_leads_to_the_default_backend_of_its_ingress() -> None:
    one = ingress("a", defaultBackend=backend("web", {"name": "http"}))
    one["spec"]["rules"] = [{"host": "foo.com"}]
    assert plan_routes([one]).find("foo.com", "/x") == Backend("default/web", "http")


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("/", "/"),
        ("", "/"),
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e%2e/b", "/b"),
        ("//a", "/a"),
        ("/a/", "/a/"),
        ("/..", "/"),
    ],
)
def test_normalized_paths(path: str, clean: str) -> None:
    assert normalized(path) == clean


def test_whose_ingress_it_is() -> None:
    by_field = {"metadata": {}, "spec": {"ingressClassName": "mine"}}
    by_annotation = {"metadata": {"annotations": {"kubernetes.io/ingress.class": "mine"}}, "spec": {}}
    assert is_ours(by_field, ["mine"])
    assert is_ours(by_annotation, ["mine"])
    assert not is_ours(by_field, ["other"])
    assert not is_ours({"metadata": {}, "spec": {}}, ["mine"])


def test_certificates_by_server_name() -> None:
    tls = [{"hosts": ["Foo.com", "*.foo.com"], "secretName": "a"}, {"secretName": "b"}, {"hosts": ["x.com"]}]
    one = ingress("a", ("bar.com", "/", "Prefix", "s"), tls=tls)
    assert plan_secrets([one]) == {"foo.com": "default/a", "*.foo.com": "default/a", "bar.com": "default/b"}


def test_ports_by_name_and_number() -> None:
    service = {"spec": {"ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 8080}]}}
    assert endpoint_port(service, "admin") == endpoint_port(service, 8080) == ("admin", 8080)
    assert endpoint_port(service, "none") is None


def test_endpoints_that_go_serve_while_there_is_no_other() -> None:
    def one(address: str, **conditions: bool) -> dict[str, Any]:
        return {"addresses": [address], "conditions": conditions}

    ready, going = one("10.0.0.1", ready=True), one("10.0.0.2", ready=False, serving=True, terminating=True)
    slices = [{"addressType": "IPv4", "ports": [{"name": "http", "port": 80}], "endpoints": [ready, going]}]
    assert addresses(slices, "http") == [("10.0.0.1", 80)]
    slices[0]["endpoints"] = [going]
    assert addresses(slices, "http") == [("10.0.0.2", 80)]
    assert addresses(slices, "other") == []
