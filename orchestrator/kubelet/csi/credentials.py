"""What drivers get to identify themselves or the pod with: secrets, and tokens of the pod's account."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable

from orchestrator.api.objects import Object, name_of, namespace_of, uid_of
from orchestrator.api.resources import SECRETS
from orchestrator.client.client import Client
from orchestrator.kubelet.pod import spec_of

RequestToken = Callable[[Object], Awaitable[Object]]
"""Sends a TokenRequest; namespace and account stand in its metadata."""


async def read_secret(client: Client, reference: Object | None) -> dict[str, str]:
    """The values of a secret, by a `SecretReference`; nothing without one. ApiError."""
    if not reference or not reference.get("name"):
        return {}
    found = await client.get(SECRETS, reference["name"], reference.get("namespace") or "")
    return {
        key: base64.b64decode(value).decode(errors="surrogateescape")
        for key, value in (found.get("data") or {}).items()
    }


async def request_token(pod: Object, wanted: Object, request: RequestToken) -> Object:
    """The status of a TokenRequest for one of the `tokenRequests` of a CSIDriver. ApiError."""
    audience = wanted.get("audience") or ""
    spec: Object = {
        "audiences": [audience] if audience else [],
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name_of(pod), "uid": uid_of(pod)},
    }
    if wanted.get("expirationSeconds"):
        spec["expirationSeconds"] = wanted["expirationSeconds"]
    account = spec_of(pod).get("serviceAccountName") or "default"
    answer = await request(
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"namespace": namespace_of(pod), "name": account},
            "spec": spec,
        }
    )
    status: Object = answer.get("status") or {}
    return status
