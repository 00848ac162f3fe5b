"""Pull policies and pull secrets."""

from __future__ import annotations

import base64
import json

import pytest

from orchestrator.api.objects import Object
from orchestrator.kubelet.images.rules import credentials_for, pull_policy_of, registry_of


@pytest.mark.parametrize(
    ("container", "policy"),
    [
        ({"image": "app"}, "Always"),
        ({"image": "app:latest"}, "Always"),
        ({"image": "app:1"}, "IfNotPresent"),
        ({"image": "host:5000/app"}, "Always"),
        ({"image": "app@sha256:" + "0" * 64}, "IfNotPresent"),
        ({"image": "app", "imagePullPolicy": "Never"}, "Never"),
    ],
)
def test_pull_policy(container: Object, policy: str) -> None:
    assert pull_policy_of(container) == policy


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("app", "index.docker.io"),
        ("team/app:1", "index.docker.io"),
        ("r.io/app", "r.io"),
        ("localhost/a", "localhost"),
        ("docker.io/library/app", "index.docker.io"),
    ],
)
def test_registry(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def secret(**auths: Object) -> Object:
    return {"data": {".dockerconfigjson": base64.b64encode(json.dumps({"auths": auths}).encode()).decode()}}


def users(image: str, *secrets: Object | None) -> list[str]:
    return [credentials.auth["username"] for credentials in credentials_for(image, secrets)]


def entry(name: str) -> Object:
    return {"username": name, "password": "x"}


def test_credentials_of_the_most_specific_entry_come_first() -> None:
    encoded = base64.b64encode(b"me:pass:word").decode()
    secrets = [secret(**{"r.io": entry("all")}), secret(**{"r.io/team": {"auth": encoded}})]
    first, second = credentials_for("r.io/team/app:1", secrets)
    assert first.auth == {"username": "me", "password": "pass:word", "serveraddress": "r.io"}
    assert second.auth["username"] == "all"
    assert users("r.io/other", *secrets) == ["all"]
    assert users("r.io/teams/app", *secrets) == ["all"]
    assert users("else.io/app", *secrets) == []


def test_credentials_of_docker_hub_by_any_of_its_names() -> None:
    for server in ("https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"):
        for image in ("app", "library/app:1", "docker.io/library/app"):
            assert users(image, secret(**{server: entry("hub")})) == ["hub"], (server, image)


def test_equally_specific_credentials_stay_in_the_order_of_the_secrets() -> None:
    old, new = secret(**{"r.io": entry("old")}), secret(**{"r.io": entry("new")})
    assert users("r.io/app", old, new, old) == ["old", "new"]
    assert users("r.io/app", new, old) == ["new", "old"]


@pytest.mark.parametrize("image", ["r.io/team/app", "r.io/team/app:1", "r.io/team/app:1@sha256:00", "r.io/team/app/x"])
def test_credentials_for_one_repository(image: str) -> None:
    assert users(image, secret(**{"r.io/team/app": entry("me")})) == ["me"]


@pytest.mark.parametrize(
    ("server", "image", "fits"),
    [
        ("*.r.io", "a.r.io/app", True),
        ("*.r.io", "r.io/app", False),
        ("*.r.io", "a.b.r.io/app", False),
        ("*.*.r.io/team", "a.b.r.io/team/app", True),
        ("*-good.r.io", "very-good.r.io/app", True),
        ("r.io:5000", "r.io:5000/app:1", True),
        ("r.io", "r.io:5000/app", False),
        ("r.io:5000", "r.io/app", False),
    ],
)
def test_credentials_for_hosts_with_globs_and_ports(server: str, image: str, fits: bool) -> None:
    assert users(image, secret(**{server: entry("me")})) == (["me"] if fits else [])


def test_broken_secrets_are_no_credentials() -> None:
    assert credentials_for("r.io/a", [None, {"data": {".dockerconfigjson": "%%%"}}]) == []
