"""Certificate signing requests, bootstrap tokens, accounts, the root CA and node ranges on a running cluster."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.aiokit.clock import format_time
from orchestrator.api.objects import Object, condition_of, name_of
from orchestrator.api.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    CONFIG_MAPS,
    EVENTS,
    NAMESPACES,
    NODES,
    SECRETS,
)
from orchestrator.client.informer import Informers
from orchestrator.cluster.users import CONTROLLER_MANAGER, controller_groups, controller_user
from orchestrator.component.events import EventRecorder
from orchestrator.controllers.nodeipam import NodeIpamController
from orchestrator.testing import ManualClock
from tests.signing_requests import signing_request

from .conftest import TimedStage, stage_with


@pytest.fixture
async def signed() -> AsyncIterator[TimedStage]:
    """A cluster with a CA, on a clock that stands still."""
    async with stage_with("*", "-podgc", "-nodelifecycle", clock=ManualClock(), https=True) as one:
        one.__class__ = TimedStage
        assert isinstance(one, TimedStage)
        yield one


async def decide(stage: TimedStage, name: str, kind: str) -> None:
    request = await stage.client.get(CERTIFICATE_SIGNING_REQUESTS, name)
    condition = {"type": kind, "status": "True", "reason": "Test", "message": "Decided by a test"}
    status = {**(request.get("status") or {}), "conditions": [condition]}
    await stage.client.update(CERTIFICATE_SIGNING_REQUESTS, {**request, "status": status}, subresource="approval")


async def read(stage: TimedStage, name: str = "request") -> Object:
    return await stage.client.get(CERTIFICATE_SIGNING_REQUESTS, name)


async def test_a_person_approves_and_the_signer_signs(signed: TimedStage) -> None:
    signer = "kubernetes.io/kube-apiserver-client"
    await signed.client.create(
        CERTIFICATE_SIGNING_REQUESTS, signing_request("jane", organizations=["team"], signer=signer)
    )
    await signed.after(60)
    assert (await read(signed)).get("status") in (None, {})
    await decide(signed, "request", "Approved")
    await signed.after(1)
    pem = base64.b64decode((await read(signed))["status"]["certificate"])
    assert pem.startswith(b"-----BEGIN CERTIFICATE-----")
    await signed.after(3590)
    await read(signed)
    await signed.after(20)
    assert (await signed.client.list(CERTIFICATE_SIGNING_REQUESTS))["items"] == []


async def test_denied_requests_get_no_certificate(signed: TimedStage) -> None:
    await signed.client.create(CERTIFICATE_SIGNING_REQUESTS, signing_request("system:node:n"))
    await decide(signed, "request", "Denied")
    await signed.after(10)
    assert "certificate" not in (await read(signed))["status"]
    await signed.after(3600)
    assert (await signed.client.list(CERTIFICATE_SIGNING_REQUESTS))["items"] == []


async def test_what_a_signer_may_not_sign_fails(signed: TimedStage) -> None:
    await signed.client.create(
        CERTIFICATE_SIGNING_REQUESTS, signing_request("system:node:n", organizations=["system:masters-not"])
    )
    await decide(signed, "request", "Approved")
    await signed.after(1)
    failed = condition_of(await read(signed), "Failed")
    assert failed is not None
    assert failed["reason"] == "SignerValidationFailure"
    assert failed["message"] == "subject organization is not system:nodes"


async def test_requests_of_other_signers_are_left_to_them(signed: TimedStage) -> None:
    await signed.client.create(CERTIFICATE_SIGNING_REQUESTS, signing_request("x", signer="example.com/own"))
    await decide(signed, "request", "Approved")
    await signed.after(10)
    assert "certificate" not in (await read(signed))["status"]
    await signed.after(24 * 3600)
    assert (await signed.client.list(CERTIFICATE_SIGNING_REQUESTS))["items"] == []


def token(token_id: str, end: str = "", **fields: str) -> Object:
    data = {"token-id": token_id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true", **fields}
    if end:
        data["expiration"] = end
    metadata = {"name": f"bootstrap-token-{token_id}", "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data,
            "type": "bootstrap.kubernetes.io/token"}  # fmt: skip


async def test_tokens_sign_while_they_last(timed: TimedStage) -> None:
    async def signatures() -> set[str]:
        await timed.after(1)
        data = (await timed.client.get(CONFIG_MAPS, "cluster-info", "kube-public"))["data"]
        return {key.removeprefix("jws-kubeconfig-") for key in data} - {"kubeconfig"}

    metadata = {"name": "cluster-info", "namespace": "kube-public"}
    await timed.client.create(
        CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"kubeconfig": "x"}}
    )
    assert await signatures() == set()
    end = format_time(timed.clock.now().replace(minute=10))
    await timed.client.create(SECRETS, token("aaaaaa", end))
    await timed.client.create(SECRETS, token("bbbbbb"))
    await timed.client.create(SECRETS, token("cccccc", **{"usage-bootstrap-signing": "false"}))
    assert await signatures() == {"aaaaaa", "bbbbbb"}
    before = (await timed.client.get(CONFIG_MAPS, "cluster-info", "kube-public"))["data"]
    await timed.client.patch(CONFIG_MAPS, "cluster-info", {"data": {"kubeconfig": "y"}}, "kube-public")
    assert await signatures() == {"aaaaaa", "bbbbbb"}
    after = (await timed.client.get(CONFIG_MAPS, "cluster-info", "kube-public"))["data"]
    assert before["jws-kubeconfig-bbbbbb"] != after["jws-kubeconfig-bbbbbb"]
    await timed.after(600)
    assert await signatures() == {"bbbbbb"}
    names = {name_of(one) for one in (await timed.client.list(SECRETS, "kube-system"))["items"]}
    assert names == {"bootstrap-token-bbbbbb", "bootstrap-token-cccccc"}


async def test_the_root_ca_is_in_every_namespace_and_put_right(signed: TimedStage) -> None:
    await signed.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    await signed.after(1)
    first = await signed.client.get(CONFIG_MAPS, "kube-root-ca.crt", "team")
    assert first["data"]["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")
    await signed.client.delete(CONFIG_MAPS, "kube-root-ca.crt", "team")
    await signed.after(1)
    again = await signed.client.get(CONFIG_MAPS, "kube-root-ca.crt", "team")
    assert again["data"] == first["data"]
    await signed.client.patch(CONFIG_MAPS, "kube-root-ca.crt", {"data": {"ca.crt": "wrong", "more": "x"}}, "team")
    await signed.after(1)
    assert (await signed.client.get(CONFIG_MAPS, "kube-root-ca.crt", "team"))["data"] == first["data"]


async def test_nodes_get_ranges_of_their_own_and_wait_when_none_is_left() -> None:
    clock = ManualClock()
    async with stage_with("serviceaccount", clock=clock) as stage:
        informers = Informers(stage.cluster.client(CONTROLLER_MANAGER, ()), clock=clock)
        client = stage.cluster.client(controller_user("nodeipam"), controller_groups())
        recorder = EventRecorder(client, component="cidrAllocator", clock=clock)
        ipam = NodeIpamController(
            client=client, informers=informers, recorder=recorder, clock=clock, pod_cidr="10.0.0.0/23"
        )
        tasks = [asyncio.create_task(part.run()) for part in (informers, recorder, ipam)]
        try:
            nodes: list[dict[str, Any]] = [
                {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}} for name in ("a", "b", "c")
            ]
            for node in nodes:
                await stage.client.create(NODES, node)
                await clock.run(1)

            async def ranges() -> dict[str, str]:
                found = (await stage.client.list(NODES))["items"]
                return {name_of(one): one["spec"].get("podCIDR", "") for one in found}

            assert await ranges() == {"a": "10.0.0.0/24", "b": "10.0.1.0/24", "c": ""}
            reasons = [event["reason"] for event in (await stage.client.list(EVENTS))["items"]]
            assert reasons == ["CIDRNotAvailable"]
            await stage.client.delete(NODES, "a")
            await clock.run(1)
            assert await ranges() == {"b": "10.0.1.0/24", "c": "10.0.0.0/24"}
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
