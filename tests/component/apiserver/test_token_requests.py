"""Tokens for service accounts: what a TokenRequest must agree with before one is made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest

from orchestrator.testing import running_cluster
from tests.golden.replay import session_of

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
POD = {"spec": {"serviceAccountName": "builder", "containers": [{"name": "a", "image": "a"}]}}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """The administrator's HTTPS session with a cluster that has the accounts builder and other, and a pod of each."""
    async with (
        running_cluster(nodes=0, https=True, controllers=(), scheduler=False) as cluster,
        session_of(cluster) as session,
    ):
        for name in ("builder", "other"):
            await call(session, "POST", ACCOUNTS, {"metadata": {"name": name}})
            spec = {**POD["spec"], "serviceAccountName": name, "automountServiceAccountToken": False}
            await call(session, "POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": name}, "spec": spec})
        yield session


async def call(session: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    """(code, answer)."""
    async with session.request(method, path, json=body) as response:
        return response.status, await response.json()


async def ask(session: aiohttp.ClientSession, **body: Any) -> tuple[int, dict[str, Any]]:
    """POST a TokenRequest for the account builder."""
    return await call(session, "POST", f"{ACCOUNTS}/builder/token", body)


async def test_a_request_may_name_the_account_only_as_it_is(session: aiohttp.ClientSession) -> None:
    _, account = await call(session, "GET", f"{ACCOUNTS}/builder")
    uid = account["metadata"]["uid"]
    code, answer = await ask(session, metadata={"name": "builder", "namespace": "default", "uid": uid})
    assert code == 201
    assert [answer["metadata"][key] for key in ("name", "namespace", "uid")] == ["builder", "default", uid]
    assert (await ask(session))[1]["metadata"]["uid"] == uid

    code, answer = await ask(session, metadata={"name": "other"})
    assert (code, answer["reason"]) == (422, "Invalid")
    assert "must match the service account name if specified" in answer["message"]
    code, answer = await ask(session, metadata={"namespace": "other"})
    assert (code, answer["reason"]) == (400, "BadRequest")
    assert "does not match the namespace" in answer["message"]
    code, answer = await ask(session, metadata={"uid": "wrong"})
    assert (code, answer["reason"]) == (409, "Conflict")
    assert answer["message"] == (
        'Operation cannot be fulfilled on TokenRequest.authentication.k8s.io "builder": the UID in the token request'
        f" (wrong) does not match the UID of the service account ({uid})"
    )


async def test_a_token_is_bound_to_pods_of_its_account_only(session: aiohttp.ClientSession) -> None:
    def bound_to(name: str) -> dict[str, Any]:
        return {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name}}

    assert (await ask(session, spec=bound_to("builder")))[0] == 201
    code, answer = await ask(session, spec=bound_to("other"))
    assert (code, answer["message"]) == (
        400,
        'cannot bind token for serviceaccount "builder" to pod running with different serviceaccount name.',
    )
    assert (await ask(session, spec=bound_to("nobody")))[0] == 404


async def test_others_can_check_tokens_with_what_the_issuer_publishes(session: aiohttp.ClientSession) -> None:
    async def read(path: str, content_type: str) -> dict[str, Any]:
        async with session.get(path) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == content_type
            assert response.headers["Cache-Control"] == "public, max-age=3600"
            value: dict[str, Any] = await response.json(content_type=content_type)
            return value

    found = await read("/.well-known/openid-configuration", "application/json")
    assert found["jwks_uri"].endswith("/openid/v1/jwks")
    keys = await read("/openid/v1/jwks", "application/jwk-set+json")
    _, answer = await ask(session, spec={"audiences": ["vault"]})
    token = answer["status"]["token"]
    key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
    algorithms = found["id_token_signing_alg_values_supported"]
    claims = jwt.decode(token, key, algorithms=algorithms, audience="vault", issuer=found["issuer"])
    assert claims["sub"] == "system:serviceaccount:default:builder"
