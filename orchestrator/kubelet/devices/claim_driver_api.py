"""The calls of `DRAPlugin` and `DRAResourceHealth`, which drivers of ResourceClaims' devices serve.

https://github.com/kubernetes/kubelet/blob/master/pkg/apis/dra/v1/api.proto; v1beta1 has the same messages.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from orchestrator.kubelet.plugins.connection import PluginConnection
from orchestrator.kubelet.plugins.messages import declare

PACKAGE = "k8s.io.kubelet.pkg.apis.dra"
MESSAGES = declare(
    f"{PACKAGE}.v1",
    {
        "Claim": {"namespace": "1 string", "uid": "2 string", "name": "3 string"},
        "Device": {
            "request_names": "1 repeated string",
            "pool_name": "2 string",
            "device_name": "3 string",
            "cdi_device_ids": "4 repeated string",
        },
        "NodePrepareResourcesRequest": {"claims": "1 repeated Claim"},
        "NodePrepareResourcesResponse": {"claims": "1 map NodePrepareResourceResponse"},
        "NodePrepareResourceResponse": {"devices": "1 repeated Device", "error": "2 string"},
        "NodeUnprepareResourcesRequest": {"claims": "1 repeated Claim"},
        "NodeUnprepareResourcesResponse": {"claims": "1 map NodeUnprepareResourceResponse"},
        "NodeUnprepareResourceResponse": {"error": "1 string"},
    },
)
HEALTH = declare(
    "v1alpha1",
    {
        "NodeWatchResourcesRequest": {},
        "NodeWatchResourcesResponse": {"devices": "1 repeated DeviceHealth"},
        "DeviceIdentifier": {"pool_name": "1 string", "device_name": "2 string"},
        "DeviceHealth": {
            "device": "1 DeviceIdentifier",
            "health": "2 int32",
            "last_updated_time": "3 int64",
            "health_check_timeout_seconds": "4 int64",
            "message": "5 string",
        },
    },
)
WATCH_HEALTH = "/v1alpha1.DRAResourceHealth/NodeWatchResources"
CALL_SECONDS = 45.0


async def call(connection: PluginConnection, version: str, method: str, claims: Sequence[tuple[str, str, str]]) -> Any:
    """The answer to NodePrepareResources or NodeUnprepareResources for (namespace, uid, name)s; PluginError."""
    claim = MESSAGES["Claim"]
    request = MESSAGES[f"{method}Request"](
        claims=[claim(namespace=namespace, uid=uid, name=name) for namespace, uid, name in claims]
    )
    path = f"/{PACKAGE}.{version}.DRAPlugin/{method}"
    return await connection.call(path, request, MESSAGES[f"{method}Response"], seconds=CALL_SECONDS)


def watch_health(connection: PluginConnection) -> AsyncIterator[Any]:
    """The health of all devices of a driver, again with every change; PluginError."""
    request, reply = HEALTH["NodeWatchResourcesRequest"](), HEALTH["NodeWatchResourcesResponse"]
    return connection.stream(WATCH_HEALTH, request, reply)
