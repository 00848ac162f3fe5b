"""Stub domains and upstream servers (kubernetes.io "Customizing DNS Service")."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.dns.forwarding import Forwarding, parse_forwarding


def config(**data: Any) -> dict[str, Any]:
    return {"data": {key: value if isinstance(value, str) else json.dumps(value) for key, value in data.items()}}


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("acme.local", "10.0.0.1"),
        ("www.acme.local", "10.0.0.1"),
        ("www.deep.acme.local", "10.0.0.2"),
        ("notacme.local", "8.8.8.8"),
        ("example.com", "8.8.8.8"),
    ],
)
def test_the_longest_domain_decides(name: str, server: str) -> None:
    stubs = {"ACME.local.": ["10.0.0.1"], "deep.acme.local": ["10.0.0.2:5353"]}
    forwarding = parse_forwarding(config(stubDomains=stubs, upstreamNameservers=["8.8.8.8"]))
    assert forwarding.servers_for(name)[0][0] == server


def test_ports() -> None:
    assert parse_forwarding(config(upstreamNameservers=["8.8.8.8", "8.8.4.4:5353"])).upstream == (
        ("8.8.8.8", 53), ("8.8.4.4", 5353),
    )  # fmt: skip


@pytest.mark.parametrize("nothing", [None, {}, {"data": {}}])
def test_without_configuration_the_machines_resolvers_are_asked(nothing: Any) -> None:
    assert parse_forwarding(nothing) == Forwarding()
    assert Forwarding().servers_for("example.com") == ()


@pytest.mark.parametrize(
    "wrong",
    [
        config(stubDomains="{"), config(stubDomains=[]), config(upstreamNameservers={}),
        config(upstreamNameservers=["dns.example"]), config(upstreamNameservers=["8.8.8.8:0"]),
        config(stubDomains={"a": "8.8.8.8"}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^(stubDomains|upstreamNameservers): "):
        parse_forwarding(wrong)
