"""Whether an Engine's containers run in this machine's kernel, on this machine's files: pods need both.

A pod's interface is made in the kernel, its volumes are directories of the machine. An Engine behind a socket is
believed; one behind an address could be anywhere, so it is asked for something that would then be seen here.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Mapping
from typing import Any

from orchestrator.kubelet.docker.engine import DockerEngine
from orchestrator.kubelet.runtime import RuntimeUnavailable

PROBE_PREFIX = "orchestrator-probe-"
PROBE_BYTES = 16


async def require_this_machine(engine: DockerEngine) -> None:
    """RuntimeUnavailable for an Engine whose containers are not here."""
    if engine.address.parts.scheme == "unix":
        return
    if (reason := another_kernel(engine.info, os.uname().release)) or (reason := await _other_files(engine)):
        raise RuntimeUnavailable(
            f"the Docker Engine at {engine.url} runs on another machine ({reason}): networks and volumes of pods are "
            "made in this machine's kernel, so its containers could not be given any"
        )


def another_kernel(info: Mapping[str, Any], release: str) -> str:
    """How what the Engine says of its kernel shows that it is not this one; empty when it does not."""
    told = str(info.get("KernelVersion") or "")
    return f"{info.get('Name') or 'its name is not known'} has kernel {told}" if told and told != release else ""


async def _other_files(engine: DockerEngine) -> str:
    """Have the Engine make a directory with a name that nobody else has, and look for it here."""
    name = PROBE_PREFIX + secrets.token_hex(PROBE_BYTES)
    made = await engine.call("POST", "volumes/create", body=json.dumps({"Name": name}))
    try:
        directory = str(made.get("Mountpoint") or "")
        return "" if await asyncio.to_thread(os.path.isdir, directory) else f"it has {directory}, which is not here"
    finally:
        await engine.call("DELETE", f"volumes/{name}")
