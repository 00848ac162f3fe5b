"""What probes do: exec, httpGet, tcpSocket, grpc.

Owns one attempt of one action. Never counts, never retries. Mirrors pkg/probe.
"""

from __future__ import annotations

import asyncio
import enum
from typing import Protocol

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object
from orchestrator.kubelet.pod import is_host_network
from orchestrator.kubelet.probes import http_get
from orchestrator.kubelet.probes.dialing import DialError, dial
from orchestrator.kubelet.runtime import ContainerRuntime, RuntimeFailure, RuntimeUnavailable

OUTPUT_BYTES_MAX = http_get.BODY_BYTES_MAX
"""How much of a probe's answer goes into its event."""


class Outcome(enum.Enum):
    """What one attempt says."""

    SUCCESS = enum.auto()
    WARNING = enum.auto()
    """Counts as success, and is told."""
    FAILURE = enum.auto()
    UNKNOWN = enum.auto()
    """The handler could not even be run (its program does not exist): nothing is counted."""


class Actions(Protocol):
    """Runs one handler of a probe: (outcome, what to tell)."""

    async def run(
        self, pod: Object, container: Object, container_id: str, handler: Object, ips: tuple[str, ...], seconds: float
    ) -> tuple[Outcome, str]:
        """Never raises for a failure of the handler itself; RuntimeUnavailable when nobody can tell."""
        ...


class HollowActions:
    """For containers without processes: everything succeeds."""

    async def run(
        self, pod: Object, container: Object, container_id: str, handler: Object, ips: tuple[str, ...], seconds: float
    ) -> tuple[Outcome, str]:
        return Outcome.SUCCESS, ""


class RealActions:
    """Exec through the runtime; HTTP, TCP and gRPC to the pod's address."""

    def __init__(self, *, runtime: ContainerRuntime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock

    async def run(
        self, pod: Object, container: Object, container_id: str, handler: Object, ips: tuple[str, ...], seconds: float
    ) -> tuple[Outcome, str]:
        if (action := handler.get("exec")) is not None:
            return await self._exec(container_id, action, seconds)
        host = host_of(pod, ips)
        if (action := handler.get("httpGet")) is not None:
            return await self._http(container, action, host, seconds)
        if (action := handler.get("tcpSocket")) is not None:
            return await self._tcp(action.get("host") or host, port_number(container, action.get("port")), seconds)
        if (action := handler.get("grpc")) is not None:
            from orchestrator.kubelet.probes.grpc_health import check

            succeeded, message = await check(host, int(action["port"]), action.get("service") or "", seconds)
            return Outcome.SUCCESS if succeeded else Outcome.FAILURE, message
        return Outcome.SUCCESS, ""

    async def _exec(self, container_id: str, action: Object, seconds: float) -> tuple[Outcome, str]:
        try:
            code, output = await self._runtime.exec_sync(container_id, action.get("command") or [], seconds)
        except TimeoutError:
            return (
                Outcome.FAILURE,
                f"command timed out: {' '.join(action.get('command') or [])!r} timed out after {seconds:g}s",
            )
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            return Outcome.UNKNOWN, str(error)
        return Outcome.FAILURE if code else Outcome.SUCCESS, output[:OUTPUT_BYTES_MAX].decode(errors="replace")

    async def _tcp(self, host: str, port: int, seconds: float) -> tuple[Outcome, str]:
        try:
            async with asyncio.timeout(seconds):
                transport, _ = await dial(asyncio.Protocol, host, port)
        except TimeoutError:
            return Outcome.FAILURE, f"dial tcp {host}:{port}: i/o timeout"
        except DialError as error:
            return Outcome.FAILURE, str(error)
        transport.close()
        return Outcome.SUCCESS, ""

    async def _http(self, container: Object, action: Object, host: str, seconds: float) -> tuple[Outcome, str]:
        url = url_of(action, host, container)
        try:
            async with asyncio.timeout(seconds):
                answer = await http_get.get(url, action.get("httpHeaders") or (), agent="kube-probe/1.36")
        except TimeoutError:
            return Outcome.FAILURE, (
                f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
            )  # fmt: skip
        except http_get.BrokenBody as error:
            return Outcome.UNKNOWN, str(error)
        except (DialError, OSError, http_get.BadAnswer, ValueError) as error:
            return Outcome.FAILURE, f'Get "{url}": {error}'
        return verdict_of(answer)


def verdict_of(answer: http_get.Answer) -> tuple[Outcome, str]:
    """What the answer to an HTTP probe means."""
    if 200 <= answer.status < 300:
        return Outcome.SUCCESS, answer.body
    if 300 <= answer.status < 400:
        return Outcome.WARNING, f"Probe terminated redirects, Response body: {answer.body}"
    return Outcome.FAILURE, f"HTTP probe failed with statuscode: {answer.status}"


def url_of(action: Object, host: str, container: Object) -> str:
    """The URL of an httpGet action."""
    scheme = (action.get("scheme") or "HTTP").lower()
    target = action.get("host") or host
    shown = f"[{target}]" if ":" in target else target
    path = action.get("path") or "/"
    return (
        f"{scheme}://{shown}:{port_number(container, action.get('port'))}{path if path.startswith('/') else '/' + path}"
    )


def host_of(pod: Object, ips: tuple[str, ...]) -> str:
    """Where a pod is asked when its handler names no host."""
    return ips[0] if ips else ("127.0.0.1" if is_host_network(pod) else "")


def port_number(container: Object, port: object) -> int:
    """A port given as a number or as the name of one of the container's ports; 0 when there is none."""
    if isinstance(port, int):
        return port
    for candidate in container.get("ports") or ():
        if candidate.get("name") == port:
            return int(candidate["containerPort"])
    text = str(port or "")
    return int(text) if text.isdigit() else 0
