"""A Docker Engine in memory, and connections to it that can be cut at any call.

`Docker` is the daemon: it outlives everybody. `FakeEngine` is one process' connection, with the methods of
`DockerEngine` that the runtime uses. `FakeNetwork` keeps addresses on disk as the real one does, and veths by name.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from orchestrator.aiokit.fair_slots import FairSlots
from orchestrator.kubelet.docker.engine import EngineError, EventHandler, subscription_key
from orchestrator.kubelet.docker.pause import DIGEST_LABEL, PAUSE_IMAGE, pause_digest
from orchestrator.kubelet.network.plan import ClusterCidrs, veth_name
from orchestrator.kubelet.network.reservations import Reservations
from orchestrator.kubelet.runtime import RuntimeUnavailable

STAMP = "2026-01-01T00:00:00.000000000Z"
NEVER = "0001-01-01T00:00:00Z"
Interrupt = Callable[[str, str], None]
"""Called with method and path of a call; may raise."""


class Docker:
    """The daemon: containers by id, and how often each was started."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.starts: Counter[str] = Counter()
        """By the name of the container."""
        self.subscribers: dict[str, EventHandler] = {}
        self._pids = itertools.count(1000)
        self._changed = asyncio.Event()

    def call(self, method: str, path: str, params: Mapping[str, Any], body: Any) -> Any:
        """Answer everything that does not wait."""
        parts = path.split("/")
        match method, parts:
            case "GET", ["info"]:
                return {"Architecture": "x86_64", "OSType": "linux", "NCPU": 2, "MemTotal": 1 << 32}
            case "GET", ["images", "json"]:
                return []
            case "GET", ["images", *_]:
                labels = {DIGEST_LABEL: pause_digest("amd64")} if path == f"images/{PAUSE_IMAGE}/json" else {}
                return {"Id": "sha256:1", "RepoTags": ["app:1"], "Size": 1, "Config": {"Labels": labels}}
            case "GET", ["containers", "json"]:
                return self._list(json.loads(params["filters"])["label"])
            case "GET", ["containers", reference, "json"]:
                return self._find(reference)
            case "POST", ["containers", "create"]:
                return {"Id": self._create(params["name"], json.loads(body))}
            case "POST", ["containers", reference, "start"]:
                return self._start(self._find(reference))
            case "POST", ["containers", reference, "kill"]:
                return self._end(self._find(reference))
            case "DELETE", ["containers", reference]:
                return self._remove(self._find(reference))
        raise AssertionError(f"the fake Engine does not know {method} /{path}")

    async def wait(self, reference: str) -> Any:
        """`POST /containers/{id}/wait`."""
        while self._find(reference)["State"]["Status"] == "running":
            self._changed.clear()
            await self._changed.wait()
        return {"StatusCode": 0}

    def _find(self, reference: str) -> dict[str, Any]:
        for container in self.containers.values():
            if reference in (container["Id"], container["Name"]):
                return container
        raise EngineError(404, f"No such container: {reference}")

    def _list(self, labels: list[str]) -> list[dict[str, Any]]:
        wanted = dict(label.split("=", 1) for label in labels)
        return [
            {"Id": one["Id"], "Labels": one["Config"]["Labels"], "State": one["State"]["Status"]}
            for one in self.containers.values()
            if wanted.items() <= one["Config"]["Labels"].items()
        ]

    def _create(self, name: str, config: dict[str, Any]) -> str:
        if any(one["Name"] == name for one in self.containers.values()):
            raise EngineError(409, f"Conflict. The container name {name} is already in use")
        joined = config["HostConfig"]["NetworkMode"]
        if joined.startswith("container:"):
            self._find(joined.removeprefix("container:"))
        container_id = hashlib.sha256(f"{name} {next(self._pids)}".encode()).hexdigest()
        state = {"Status": "created", "ExitCode": 0, "Pid": 0, "StartedAt": NEVER, "FinishedAt": NEVER}
        self.containers[container_id] = {
            "Id": container_id, "Name": name, "Config": config, "HostConfig": config["HostConfig"],
            "State": state, "Created": STAMP, "Image": config["Image"],
        }  # fmt: skip
        return container_id

    def _start(self, container: dict[str, Any]) -> None:
        if container["State"]["Status"] == "running":
            return
        joined = container["HostConfig"]["NetworkMode"].removeprefix("container:")
        if joined != "none" and self._find(joined)["State"]["Status"] != "running":
            raise EngineError(409, "cannot join network of a non running container")
        self.starts[container["Name"]] += 1
        container["State"] |= {"Status": "running", "Pid": next(self._pids), "StartedAt": STAMP}
        self._tell("start", container)

    def _end(self, container: dict[str, Any]) -> None:
        if container["State"]["Status"] != "running":
            raise EngineError(409, "is not running")
        container["State"] |= {"Status": "exited", "Pid": 0, "FinishedAt": STAMP}
        self._tell("die", container)

    def _remove(self, container: dict[str, Any]) -> None:
        if container["State"]["Status"] == "running":
            self._end(container)
        del self.containers[container["Id"]]
        self._tell("destroy", container)

    def _tell(self, action: str, container: dict[str, Any]) -> None:
        self._changed.set()
        labels = container["Config"]["Labels"]
        handler = self.subscribers.get(subscription_key(labels))
        if handler is not None:
            handler({"Action": action, "Actor": {"ID": container["Id"], "Attributes": labels}})


class FakeEngine:
    """One connection to a `Docker`."""

    def __init__(self, docker: Docker) -> None:
        self.docker = docker
        self.info: dict[str, Any] = {"Architecture": "x86_64"}
        self.version: dict[str, Any] = {"ApiVersion": "1.41"}
        self.before: Interrupt = lambda method, path: None
        self.after: Interrupt = lambda method, path: None
        self.is_cut = False
        self.passes_annotations = False
        self._changes = FairSlots(4)

    async def call(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None, **others: Any
    ) -> Any:
        """One request; what `before` raises is the answer to a request that never arrived."""
        self._check()
        await asyncio.sleep(0)
        self.before(method, path)
        self._check()
        if path.endswith("/wait"):
            answer = await self.docker.wait(path.split("/")[1])
        else:
            answer = self.docker.call(method, path, params or {}, body)
        await asyncio.sleep(0)
        self.after(method, path)
        self._check()
        return answer

    def _check(self) -> None:
        if self.is_cut:
            raise RuntimeUnavailable("this process is dead")

    def changes(self, key: str = "") -> AbstractAsyncContextManager[None]:
        return self._changes.take(key)

    def subscribe(self, key: str, handler: EventHandler) -> Callable[[], None]:
        self.docker.subscribers[key] = handler
        return lambda: None


class FakeNetwork:
    """A pod network without a kernel: reservations in files, and the names of the veths that there are."""

    def __init__(self, cluster_id: str, state_dir: Path, veths: set[str]) -> None:
        self.cluster_id = cluster_id
        networks = (IPv4Network(one) for one in ("10.244.0.0/16", "10.96.0.0/16", "10.192.0.0/24"))
        self.reservations = Reservations(state_dir / "addresses", ClusterCidrs(*networks))
        self.reservations.load()
        self.veths = veths
        self._cidr = IPv4Network("10.244.1.0/24")
        self.enters_namespaces = True

    async def start(self) -> None:
        return

    def helper_settings(self, node_name: str) -> None:
        return

    def namespace_by(self, node_name: str, ensure: Callable[[], Awaitable[str]]) -> None:
        return

    def endpoint(self, name: str, **others: Any) -> None:
        return

    def claim(self, name: str, sandbox_id: str) -> None:
        return

    async def ensure_node(self, *names: str, namespace_id: str = "", namespace_pid: int = 0) -> None:
        return

    def reserved_sandboxes(self, node_name: str) -> frozenset[str]:
        return frozenset(one.sandbox_id for one in self.reservations.all())

    def reserve(self, *, node_name: str, sandbox_id: str, **others: Any) -> str:
        return str(self.reservations.reserve(sandbox_id, node_name=node_name, pod_cidr=self._cidr).address)

    async def attach(self, *, node_name: str, sandbox_id: str, **others: Any) -> str:
        address = self.reserve(node_name=node_name, sandbox_id=sandbox_id)
        await asyncio.sleep(0)
        self.veths.add(veth_name(self.cluster_id, sandbox_id))
        return address

    async def detach(self, sandbox_id: str) -> None:
        self.veths.discard(veth_name(self.cluster_id, sandbox_id))
        await asyncio.sleep(0)
        self.reservations.release(sandbox_id)

    def addresses(self, sandbox_id: str) -> tuple[str, ...]:
        reservation = self.reservations.get(sandbox_id)
        return (str(reservation.address),) if reservation is not None and self.is_attached(sandbox_id) else ()

    def is_attached(self, sandbox_id: str) -> bool:
        return veth_name(self.cluster_id, sandbox_id) in self.veths
