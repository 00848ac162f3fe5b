"""What the API server needs of a kubelet: logs, exec, attach and port-forward of its containers.

Mirrors the kubelet's own HTTP server (`/containerLogs`, `/exec`, `/attach`, `/portForward`). The
API server gets a `KubeletConnector` from the composition root and never imports the kubelet.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from orchestrator.component.usage import NodeUsage


class PodLogOptions(Struct, frozen=True):
    """`PodLogOptions` of the API, parsed and validated."""

    container: str
    follow: bool = False
    previous: bool = False
    since_seconds: int | None = None
    since_time: str | None = None
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    stream: str = "All"


class StreamSession(Protocol):
    """A running exec or attach; the same shape as `kubelet.runtime.StreamSession`."""

    async def read(self) -> tuple[int, bytes] | None: ...
    async def write(self, data: bytes) -> None: ...
    async def close_stdin(self) -> None: ...
    async def resize(self, width: int, height: int) -> None: ...
    async def wait(self) -> int: ...
    async def close(self) -> None: ...


class PortStream(Protocol):
    """One forwarded connection."""

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def close_write(self) -> None: ...
    async def close(self) -> None: ...


class KubeletApi(Protocol):
    """The streaming side of one kubelet; raises ApiError (NotFound, BadRequest, ...)."""

    async def logs(self, namespace: str, pod: str, options: PodLogOptions) -> AsyncGenerator[bytes, None]:
        """The log as chunks; with `follow` until the container ends."""
        ...

    async def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        tty: bool,
    ) -> StreamSession: ...

    async def attach(
        self, namespace: str, pod: str, container: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> StreamSession: ...

    async def port_forward(self, namespace: str, pod: str, port: int) -> PortStream: ...

    async def page(self, path: str, query: Mapping[str, str]) -> tuple[str, bytes] | None:
        """Content type and body of a page of the kubelet's own (`/healthz`, `/pods`); None when there is none."""
        ...

    async def usage(self) -> NodeUsage:
        """What the node and its pods use now; ServiceUnavailable while the runtime cannot tell."""
        ...


class KubeletConnector(Protocol):
    """Finds the kubelet of a node."""

    def kubelet(self, node_name: str) -> KubeletApi | None:
        """None when no kubelet of this name is connected."""
        ...
