"""A CSI driver for tests: volumes are directories (or device nodes) that it really mounts, unless told otherwise.

In a test's own process, or, as a program, in a pod as any other driver: it takes the paths that it is told as they
are. It serves its node service and its registration, which is the work of the sidecar node-driver-registrar, and notes
every call.

    python -m tests.csi_driver <driver name> <kubelet dir> <folder of the volumes>
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from orchestrator.kubelet.csi.messages import MESSAGES
from tests.plugin_drivers import Registrar, Service, serve_on, stop, unary

ALL = (1, 2, 3)
"""STAGE_UNSTAGE_VOLUME, GET_VOLUME_STATS and EXPAND_VOLUME."""
_LOOP = 7
_MS_BIND, _MNT_DETACH = 4096, 2


class Driver:
    """A driver on a node."""

    def __init__(
        self,
        name: str,
        kubelet_dir: Path,
        volumes: Path,
        *,
        capabilities: tuple[int, ...] = ALL,
        topology: Mapping[str, str] | None = None,
        on_machine: Callable[[str], Path] = Path,
        mounts: bool = True,
    ) -> None:
        """`on_machine`: where the paths are that it is told, when it does not run in a pod."""
        self.name = name
        self.volumes = volumes
        self.capabilities = capabilities
        self.topology = dict(topology or {})
        self.on_machine = on_machine
        self.mounts = mounts
        self.volumes_max = 7
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failures: dict[str, str] = {}
        """By method: what it says instead of doing it."""
        self.hangs: set[str] = set()
        """Methods that never answer."""
        self._socket = kubelet_dir / "plugins" / name / "csi.sock"
        self._registration = kubelet_dir / "plugins_registry" / f"{name}-reg.sock"
        self._registrar = Registrar(
            "CSIPlugin", name, endpoint=f"/var/lib/kubelet/plugins/{name}/csi.sock", versions=("1.0.0",)
        )
        self._called = asyncio.Event()
        self._servers: list[tuple[Server, Path]] = []

    def named(self, method: str) -> list[dict[str, Any]]:
        """The calls of one method."""
        return [fields for name, fields in self.calls if name == method]

    async def until_called(self, method: str, *, times: int) -> None:
        """Wait until a method was called so often."""
        while len(self.named(method)) < times:
            self._called.clear()
            await self._called.wait()

    async def start(self) -> None:
        """Listen, and register."""
        methods = ("GetInfo", "GetCapabilities", "StageVolume", "UnstageVolume", "PublishVolume", "UnpublishVolume",
                   "GetVolumeStats", "ExpandVolume")  # fmt: skip
        handlers = {
            f"/csi.v1.Node/Node{one}": unary(
                self._serve(f"Node{one}"), MESSAGES[f"Node{one}Request"], MESSAGES[f"Node{one}Response"]
            )
            for one in methods
        }
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        for socket, service in ((self._socket, Service(handlers)), (self._registration, self._registrar.service())):
            socket.unlink(missing_ok=True)
            self._servers.append((await serve_on(socket, service), socket))

    async def registered(self) -> None:
        """Wait until the kubelet has taken the driver."""
        is_taken, error = await self._registrar.told.get()
        assert is_taken, error

    async def stop(self) -> None:
        """End as a driver does that is asked to, which takes its sockets along."""
        for server, socket in reversed(self._servers):
            await stop(server, socket)
        self._servers.clear()

    def _serve(self, method: str) -> Callable[[Any], Any]:
        async def serve(request: Any) -> Any:
            self.calls.append((method, MessageToDict(request, preserving_proto_field_name=True)))
            self._called.set()
            self.note(method)
            if method in self.hangs:
                await asyncio.Event().wait()
            if method in self.failures:
                raise GRPCError(Status.INTERNAL, self.failures[method])
            reply = MESSAGES[f"{method}Response"]()
            await asyncio.to_thread(getattr(self, f"_{method}"), request, reply)
            return reply

        return serve

    def note(self, method: str) -> None:
        """What a driver that is no part of a test shows of its calls."""

    def _NodeGetInfo(self, request: Any, reply: Any) -> None:
        reply.node_id, reply.max_volumes_per_node = "node-of-the-test", self.volumes_max
        reply.accessible_topology.segments.update(self.topology)

    def _NodeGetCapabilities(self, request: Any, reply: Any) -> None:
        for one in self.capabilities:
            reply.capabilities.add().rpc.type = one

    def _NodeStageVolume(self, request: Any, reply: Any) -> None:
        pass

    def _NodeUnstageVolume(self, request: Any, reply: Any) -> None:
        pass

    def _NodePublishVolume(self, request: Any, reply: Any) -> None:
        source, target = self.volumes / request.volume_id, self.on_machine(request.target_path)
        if request.volume_capability.HasField("block"):
            source.parent.mkdir(parents=True, exist_ok=True)
            if not source.exists():  # a device that nobody opens
                os.mknod(source, stat.S_IFBLK | 0o600, os.makedev(_LOOP, 0))
            target.touch()
        else:
            source.mkdir(parents=True, exist_ok=True)
            target.mkdir(exist_ok=True)
        if self.mounts and not is_mounted(target):
            _check(_libc().mount(os.fsencode(source), os.fsencode(target), b"", _MS_BIND, None), target)

    def _NodeUnpublishVolume(self, request: Any, reply: Any) -> None:
        target = self.on_machine(request.target_path)
        while is_mounted(target):
            _check(_libc().umount2(os.fsencode(target), _MNT_DETACH), target)

    def _NodeGetVolumeStats(self, request: Any, reply: Any) -> None:
        reply.usage.add(unit=1, total=1000, used=10, available=990)
        reply.usage.add(unit=2, total=100, used=1, available=99)

    def _NodeExpandVolume(self, request: Any, reply: Any) -> None:
        reply.capacity_bytes = request.capacity_range.required_bytes


def is_mounted(path: Path) -> bool:
    """Whether a path is a mount point, as this process sees it."""
    return any(line.split(" ")[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(outcome: int, path: Path) -> None:
    if outcome != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))


class _Printing(Driver):
    def note(self, method: str) -> None:
        print(json.dumps(self.calls[-1]), flush=True)


async def _main(name: str, kubelet_dir: str, volumes: str) -> None:
    await _Printing(name, Path(kubelet_dir), Path(volumes)).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
