"""The calls of `pluginregistration.Registration`, which every plugin of the kubelet serves.

https://github.com/kubernetes/kubelet/blob/master/pkg/apis/pluginregistration/v1/api.proto
"""

from __future__ import annotations

from typing import Any

from orchestrator.kubelet.plugins.connection import PluginConnection
from orchestrator.kubelet.plugins.messages import declare

MESSAGES = declare(
    "pluginregistration",
    {
        "InfoRequest": {},
        "PluginInfo": {
            "type": "1 string",
            "name": "2 string",
            "endpoint": "3 string",
            "supported_versions": "4 repeated string",
        },
        "RegistrationStatus": {"plugin_registered": "1 bool", "error": "2 string"},
        "RegistrationStatusResponse": {},
    },
)
_SERVICE = "/pluginregistration.Registration"


async def get_info(connection: PluginConnection, *, seconds: float) -> Any:
    """The plugin's `PluginInfo`; PluginError."""
    return await connection.call(
        f"{_SERVICE}/GetInfo", MESSAGES["InfoRequest"](), MESSAGES["PluginInfo"], seconds=seconds
    )


async def notify(connection: PluginConnection, error: str, *, seconds: float) -> None:
    """Tell a plugin that it is registered, or why not; PluginError."""
    status = MESSAGES["RegistrationStatus"](plugin_registered=not error, error=error)
    reply = MESSAGES["RegistrationStatusResponse"]
    await connection.call(f"{_SERVICE}/NotifyRegistrationStatus", status, reply, seconds=seconds)
