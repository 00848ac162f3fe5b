"""Image references as Docker and the kubelet read them."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kubelet.docker.images import (
    image_from_inspect,
    is_image_id,
    parse_reference,
    pull_failure,
    registry_auth_header,
)
from orchestrator.kubelet.runtime import ImageNameInvalid

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("reference", "normalised"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("library/nginx", "docker.io/library/nginx:latest"),
        ("someone/app:v1", "docker.io/someone/app:v1"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:2", "localhost:5000/app:2"),
        ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("orchestrator.test/busybox:1", "orchestrator.test/busybox:1"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1@{DIGEST}", f"docker.io/library/nginx:1@{DIGEST}"),
        ("a__b/c-d_e.f", "docker.io/a__b/c-d_e.f:latest"),
        ("REGISTRY:80/app", "REGISTRY:80/app:latest"),
    ],
)
def test_references_are_normalised(reference: str, normalised: str) -> None:
    assert str(parse_reference(reference)) == normalised


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("", "invalid reference format"),
        ("Nginx", "repository name must be lowercase"),
        ("nginx:", "invalid reference format"),
        ("nginx:tag:tag", "invalid reference format"),
        ("nginx latest", "invalid reference format"),
        ("-nginx", "invalid reference format"),
        ("nginx@sha256:abc", "invalid reference format"),
        ("a" * 300, "must not be more than 255"),
        ("nginx\n", "invalid reference format"),
    ],
)
def test_bad_references_are_named_with_the_reason(reference: str, reason: str) -> None:
    with pytest.raises(ImageNameInvalid, match=reason) as caught:
        parse_reference(reference)
    assert f'couldn\'t parse image name "{reference}"' in str(caught.value)


@given(st.from_regex(r"[a-z0-9]+(/[a-z0-9]+){0,3}(:[a-zA-Z0-9]{1,9})?", fullmatch=True))
def test_normalising_is_stable(reference: str) -> None:
    once = str(parse_reference(reference))
    assert str(parse_reference(once)) == once


def test_a_digest_wins_over_a_tag_in_a_pull() -> None:
    assert parse_reference("nginx:1").pull_parameters == {"fromImage": "docker.io/library/nginx", "tag": "1"}
    assert parse_reference(f"nginx:1@{DIGEST}").pull_parameters["tag"] == DIGEST


def test_image_ids_are_told_from_names() -> None:
    assert is_image_id(DIGEST)
    assert is_image_id("b" * 64)
    assert not is_image_id("nginx")
    assert not is_image_id("b" * 63)


def test_credentials_in_either_form() -> None:
    encoded = base64.b64encode(b"user:pass:word").decode()
    header = registry_auth_header({"auth": encoded, "unknown": 1})["X-Registry-Auth"]
    assert json.loads(base64.urlsafe_b64decode(header)) == {"username": "user", "password": "pass:word"}
    assert registry_auth_header(None) == {}


def test_pull_failures_are_the_engines_own_words() -> None:
    assert pull_failure({"status": "Pulling"}) == ""
    assert pull_failure({"errorDetail": {"message": "denied"}, "error": "x"}) == "denied"
    assert pull_failure({"error": "gone"}) == "gone"


def test_an_inspected_image() -> None:
    image = image_from_inspect(
        {
            "Id": DIGEST,
            "RepoTags": ["a:1", "<none>:<none>"],
            "RepoDigests": None,
            "Size": 7,
            "Config": {"User": "65534", "Entrypoint": None, "Cmd": ["sh"], "Env": ["A=1"], "StopSignal": "SIGQUIT"},
        }
    )
    assert (image.tags, image.digests, image.size_bytes, image.user) == (("a:1",), (), 7, "65534")
    assert (image.entrypoint, image.command, image.env, image.stop_signal) == ((), ("sh",), ("A=1",), "SIGQUIT")
