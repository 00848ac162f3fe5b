"""Images of pods: pulled or there, with credentials or without."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.api.resources import SECRETS
from orchestrator.kubelet.runtime import Image, ImagePullError
from tests.component.kubelet.hollow_node import Node, state


async def test_image_is_pulled_when_the_policy_says_so(node: Node) -> None:
    await node.create("web", containers=[{"name": "a", "image": "app:1", "imagePullPolicy": "Always"}])
    await node.wait_phase("web", "Running")
    assert (await node.event_messages("web"))[:2] == [
        'Pulling: Pulling image "app:1"',
        'Pulled: Successfully pulled image "app:1" in 1ms (1ms including waiting). Image size: 1048576 bytes.',
    ]


async def test_image_that_cannot_be_pulled(node: Node) -> None:
    await node.create("web", containers=[{"name": "a", "image": "missing:1"}])
    pod = await node.wait("web", lambda p: bool(p["status"].get("containerStatuses")))
    assert state(pod)["waiting"]["reason"] == "ErrImagePull"
    assert pod["status"]["phase"] == "Pending"
    await node.clock.run(3)
    pod = await node.get("web")
    assert state(pod)["waiting"]["reason"] == "ImagePullBackOff"
    assert state(pod)["waiting"]["message"].startswith('Back-off pulling image "missing:1": ErrImagePull: ')
    node.runtime.missing_images = None
    await node.clock.run(8)
    await node.wait_phase("web", "Running")
    messages = await node.event_messages("web")
    assert 'BackOff: Back-off pulling image "missing:1"' in messages
    assert "Failed: Error: ErrImagePull" in messages


def pull_secret(name: str, user: str) -> dict[str, Any]:
    auths = {"auths": {"r.io": {"username": user, "password": "x"}}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "default"},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(json.dumps(auths).encode()).decode()},
    }


async def test_pull_secrets_are_tried_in_the_pods_order_until_one_is_taken(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    users: list[object] = []
    pull = node.runtime.pull_image

    async def guarded(reference: str, auth: Mapping[str, Any] | None = None) -> Image:
        user = (auth or {}).get("username")
        users.append(user)
        if user != "good":
            raise ImagePullError(f"unauthorized: {user}")
        return await pull(reference)

    monkeypatch.setattr(node.runtime, "pull_image", guarded)
    for name, user in (("a", "good"), ("b", "worse"), ("z", "bad")):
        await node.client.create(SECRETS, pull_secret(name, user))
    containers = [{"name": "a", "image": "r.io/app", "imagePullPolicy": "Always"}]

    refs = [{"name": name} for name in ("z", "missing", "b")]
    await node.create("refused", containers=containers, imagePullSecrets=refs)
    pod = await node.wait("refused", lambda p: bool(p["status"].get("containerStatuses")))
    assert state(pod)["waiting"]["reason"] == "ErrImagePull"
    assert state(pod)["waiting"]["message"].endswith("[unauthorized: bad, unauthorized: worse]")
    assert users == ["bad", "worse"]

    await node.create("web", containers=containers, imagePullSecrets=[*refs, {"name": "a"}])
    await node.wait_phase("web", "Running")
    assert users == ["bad", "worse"] * 2 + ["good"]
    messages = await node.event_messages("web")
    missing = (
        "FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (missing); "
        "attempting to pull the image may not succeed."
    )
    assert messages.index(missing) < messages.index('Pulling: Pulling image "r.io/app"')


async def test_an_image_volume_that_cannot_be_pulled_is_named_in_the_events(node: Node) -> None:
    node.runtime.missing_images = re.compile("missing")
    await node.create(
        "web",
        containers=[{"name": "a", "image": "app:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        volumes=[{"name": "v", "image": {"reference": "missing:1", "pullPolicy": "IfNotPresent"}}],
    )
    await node.wait("web", lambda p: bool(p["status"].get("containerStatuses")))
    await node.clock.run(3)
    messages = await node.event_messages("web")
    assert 'BackOff: Back-off pulling image "missing:1"' in messages


async def test_an_image_that_needed_credentials_is_only_for_pods_that_have_them(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    users: list[object] = []
    node.runtime.missing_images = re.compile("private")

    async def guarded(reference: str, auth: Mapping[str, Any] | None = None) -> Image:
        user = (auth or {}).get("username")
        users.append(user)
        if user not in ("good", "better"):
            raise ImagePullError(f"unauthorized: {user}")
        return node.runtime.images.setdefault(reference, Image("sha256:00", (reference,), (), 1))

    monkeypatch.setattr(node.runtime, "pull_image", guarded)
    for name, user in (("a", "good"), ("same", "good"), ("b", "better"), ("wrong", "bad")):
        await node.client.create(SECRETS, pull_secret(name, user))

    async def run(name: str, policy: str, *secrets: str, image: str = "r.io/private:1") -> None:
        containers = [{"name": "a", "image": image, "imagePullPolicy": policy}]
        await node.create(name, containers=containers, imagePullSecrets=[{"name": secret} for secret in secrets])

    async def reason(name: str) -> str:
        pod = await node.wait(name, lambda p: bool(p["status"].get("containerStatuses")))
        return str(state(pod)["waiting"]["reason"])

    await run("owner", "IfNotPresent", "a")
    await node.wait_phase("owner", "Running")
    assert users == ["good"]
    # The same credentials, of this Secret or another one, need no registry.
    for name, policy, secret in (("again", "IfNotPresent", "a"), ("never", "Never", "a"), ("other", "Never", "same")):
        await run(name, policy, secret)
        await node.wait_phase(name, "Running")
    assert users == ["good"]
    # Others have to show that the registry takes theirs.
    await run("nobody", "IfNotPresent")
    assert await reason("nobody") == "ErrImagePull"
    await run("wrong", "IfNotPresent", "wrong")
    assert await reason("wrong") == "ErrImagePull"
    await run("nobody-never", "Never")
    assert await reason("nobody-never") == "ErrImageNeverPull"
    await run("better-never", "Never", "b")
    assert await reason("better-never") == "ErrImageNeverPull"
    assert users == ["good", None, "bad"]
    await run("better", "IfNotPresent", "b")
    await node.wait_phase("better", "Running")
    await run("better-now", "Never", "b")
    await node.wait_phase("better-now", "Running")
    assert users == ["good", None, "bad", "better"]
    # What nobody pulled is for everybody.
    await run("preloaded", "Never", image="app:1")
    await node.wait_phase("preloaded", "Running")
