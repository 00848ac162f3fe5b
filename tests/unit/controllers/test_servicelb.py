"""Which address a Service of type LoadBalancer gets."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.controllers.servicelb import plan_address

A, B = "192.0.2.1", "192.0.2.2"
HTTP, HTTPS = ("TCP", 80), ("TCP", 443)


def spec(*ports: tuple[str, int], **fields: Any) -> dict[str, Any]:
    return {"ports": [{"protocol": protocol, "port": port} for protocol, port in ports], **fields}


@pytest.mark.parametrize(
    ("wanted", "current", "taken", "address"),
    [
        pytest.param(spec(HTTP), "", {}, A, id="the first free one"),
        pytest.param(spec(HTTP), "", {A: [HTTPS]}, B, id="one of its own while there are any"),
        pytest.param(spec(HTTP), "", {A: [HTTPS], B: [HTTP]}, A, id="shared when the ports differ"),
        pytest.param(spec(("UDP", 80)), "", {A: [HTTP], B: [HTTP]}, A, id="protocols are different ports"),
        pytest.param(spec(HTTP), "", {A: [HTTP], B: [HTTP]}, "", id="none is left"),
        pytest.param(spec(HTTP), B, {}, B, id="it keeps what it has"),
        pytest.param(spec(HTTP), B, {B: [HTTP]}, A, id="unless somebody has the port there"),
        pytest.param(spec(HTTP), "203.0.113.1", {}, A, id="an address of another pool is given up"),
        pytest.param(spec(HTTP, loadBalancerIP=B), A, {}, B, id="the one it asks for"),
        pytest.param(spec(HTTP, loadBalancerIP="203.0.113.1"), "", {}, "", id="never one outside of the pool"),
    ],
)
def test_addresses(wanted: dict[str, Any], current: str, taken: dict[str, Any], address: str) -> None:
    assert plan_address(wanted, current, taken, [A, B]) == address
