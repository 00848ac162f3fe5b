"""Tokens that stand in Secrets: good until the Secret or its account goes."""

from __future__ import annotations

import base64
from typing import Any

from orchestrator.api.objects import Object, annotations_of, name_of, uid_of
from orchestrator.api.resources import SECRETS, SERVICE_ACCOUNTS, Resource
from orchestrator.client.client import Client
from orchestrator.testing import eventually, running_cluster

TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
ROBOT: Object = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "robot", "namespace": "default"},
}


def secret(name: str, account: str = "robot", **annotations: str) -> Object:
    marks = {f"kubernetes.io/service-account.{key}": value for key, value in annotations.items()}
    marks["kubernetes.io/service-account.name"] = account
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "default", "annotations": marks},
        "type": "kubernetes.io/service-account-token",
    }


async def review(client: Client, token: str, *audiences: str) -> Object:
    spec: dict[str, Any] = {"token": token, **({"audiences": list(audiences)} if audiences else {})}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    status: Object = (await client.create(TOKEN_REVIEWS, body))["status"]
    return status


async def token_in(client: Client, name: str) -> str:
    def is_filled(secrets: list[Object]) -> bool:
        return any(name_of(one) == name and (one.get("data") or {}).get("token") for one in secrets)

    await eventually(client, SECRETS, is_filled, namespace="default")
    one = await client.get(SECRETS, name, "default")
    data = {key: base64.b64decode(value).decode() for key, value in one["data"].items()}
    assert (data["namespace"], data["ca.crt"][:27]) == ("default", "-----BEGIN CERTIFICATE-----")
    return data["token"]


async def until_gone(client: Client, name: str) -> None:
    await eventually(client, SECRETS, lambda secrets: name not in map(name_of, secrets), namespace="default")


async def test_a_token_secret_is_filled_and_works_until_it_goes() -> None:
    async with running_cluster(https=True, nodes=0, scheduler=False) as cluster:
        client = cluster.client()
        account = await client.create(SERVICE_ACCOUNTS, ROBOT)
        await client.create(SECRETS, secret("one"))
        token = await token_in(client, "one")
        one = await client.get(SECRETS, "one", "default")
        assert annotations_of(one)["kubernetes.io/service-account.uid"] == uid_of(account)
        status = await review(client, token)
        assert status["authenticated"] is True
        assert status["user"] == {
            "username": "system:serviceaccount:default:robot",
            "uid": uid_of(account),
            "groups": ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
        }
        assert not (await review(client, token, "somebody-else")).get("authenticated")
        # What the Secret does not hold any more is worth nothing.
        await client.patch(SECRETS, "one", {"data": {"token": base64.b64encode(b"other").decode()}}, "default")
        assert not (await review(client, token)).get("authenticated")
        await client.patch(SECRETS, "one", {"data": {"token": None}}, "default")
        again = await token_in(client, "one")
        assert (await review(client, again))["authenticated"]
        await client.delete(SECRETS, "one", "default")
        assert not (await review(client, again)).get("authenticated")


async def test_token_secrets_go_with_their_account() -> None:
    async with running_cluster(https=True, nodes=0, scheduler=False) as cluster:
        client = cluster.client()
        await client.create(SERVICE_ACCOUNTS, ROBOT)
        await client.create(SECRETS, secret("one"))
        token = await token_in(client, "one")
        await client.create(SECRETS, secret("stranger", account="nobody"))
        await until_gone(client, "stranger")
        await client.create(SECRETS, secret("outdated", uid="another"))
        await until_gone(client, "outdated")
        await client.delete(SERVICE_ACCOUNTS, "robot", "default")
        assert not (await review(client, token)).get("authenticated")
        await until_gone(client, "one")
