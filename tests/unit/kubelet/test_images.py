"""Pull policies and pull secrets."""

from __future__ import annotations

import base64
import json

import pytest

from orchestrator.api.objects import Object
from orchestrator.kubelet.images import credentials_for, pull_policy_of, registry_of


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
    [("app", "index.docker.io"), ("team/app:1", "index.docker.io"), ("r.io/app", "r.io"), ("localhost/a", "localhost")],
)
def test_registry(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def secret(**auths: Object) -> Object:
    return {"data": {".dockerconfigjson": base64.b64encode(json.dumps({"auths": auths}).encode()).decode()}}


def test_credentials_of_the_most_specific_entry() -> None:
    encoded = base64.b64encode(b"me:pass:word").decode()
    secrets = [secret(**{"r.io": {"username": "all", "password": "x"}}), secret(**{"r.io/team": {"auth": encoded}})]
    found = credentials_for("r.io/team/app:1", secrets)
    assert found == {"username": "me", "password": "pass:word", "serveraddress": "r.io"}
    assert (credentials_for("r.io/other", secrets) or {})["username"] == "all"
    assert credentials_for("else.io/app", secrets) is None
    hub = [secret(**{"https://index.docker.io/v1/": {"username": "hub", "password": "x"}})]
    assert (credentials_for("library/app", hub) or {})["username"] == "hub"


def test_broken_secrets_are_no_credentials() -> None:
    assert credentials_for("r.io/a", [None, {"data": {".dockerconfigjson": "%%%"}}]) is None
