"""Pods that were given devices wait for the drivers, which cannot register here; others go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.client.client import Client
from orchestrator.client.transport import Request, WatchStream
from orchestrator.kubelet.device_claims import DevicesNotReady, prepare_devices

POD: Object = {
    "metadata": {"name": "p", "namespace": "default", "uid": "u"},
    "spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}]},
}
RESERVED = [{"resource": "pods", "name": "p", "uid": "u"}]


class OneClaim:
    """A transport to an API that has at most one claim."""

    def __init__(self, claim: Object | None) -> None:
        self._claim = claim

    async def send(self, request: Request) -> Object:
        if self._claim is None:
            raise errors.NotFound("gone")
        return self._claim

    async def open_watch(self, request: Request) -> WatchStream:
        raise NotImplementedError

    async def close(self) -> None:
        pass


def claim(status: Mapping[str, Any]) -> Object:
    return {"metadata": {"name": "c", "namespace": "default", "uid": "v"}, "status": dict(status)}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "failed to fetch ResourceClaim c referenced by pod p"),
        (claim({}), r"pod p\(u\) is not allowed to use ResourceClaim c\(v\)"),
        (
            claim({"reservedFor": RESERVED, "allocation": {"devices": {"results": [{"driver": "gpu.example.com"}]}}}),
            "DRA driver gpu.example.com is not registered",
        ),
    ],
)
async def test_why_devices_are_not_ready(found: Object | None, message: str) -> None:
    with pytest.raises(DevicesNotReady, match=message):
        await prepare_devices(Client(OneClaim(found)), POD)


async def test_a_claim_without_devices_needs_no_driver() -> None:
    await prepare_devices(Client(OneClaim(claim({"reservedFor": RESERVED, "allocation": {}}))), POD)
    await prepare_devices(Client(OneClaim(None)), {"metadata": POD["metadata"], "spec": {}})


async def test_a_claim_that_is_still_to_be_made() -> None:
    waiting = {**POD, "spec": {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]}}
    with pytest.raises(DevicesNotReady, match='pod "default/p": ResourceClaim not created yet'):
        await prepare_devices(Client(OneClaim(None)), waiting)
    unneeded = {**waiting, "status": {"resourceClaimStatuses": [{"name": "gpu"}]}}
    await prepare_devices(Client(OneClaim(None)), unneeded)
