"""What probes do: exec, httpGet, tcpSocket, grpc.

Owns one attempt of one action. Never counts, never retries. Mirrors pkg/probe.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from multidict import CIMultiDict

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object
from orchestrator.kubelet.pod import is_host_network
from orchestrator.kubelet.runtime import ContainerRuntime, RuntimeFailure, RuntimeUnavailable

if TYPE_CHECKING:
    from aiohttp import ClientSession

OUTPUT_BYTES_MAX = 10_240
"""How much of a probe's answer goes into its event."""
REDIRECTS_MAX = 10


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
            from orchestrator.kubelet.grpc_health import check

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
        import asyncio

        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            return Outcome.FAILURE, f"dial tcp {host}:{port}: i/o timeout"
        except OSError as error:
            return Outcome.FAILURE, f"dial tcp {host}:{port}: connect: {_reason(error)}"
        writer.close()
        return Outcome.SUCCESS, ""

    async def _http(self, container: Object, action: Object, host: str, seconds: float) -> tuple[Outcome, str]:
        import aiohttp

        url = url_of(action, host, container)
        headers = headers_of(action.get("httpHeaders") or (), agent="kube-probe")
        # A connection of its own each time, as a probe must not be answered by yesterday's process.
        connector = aiohttp.TCPConnector(ssl=False, force_close=True)
        try:
            async with aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=seconds),
                skip_auto_headers=("User-Agent", "Accept"),
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as session:
                return await _follow(session, url, headers)
        except TimeoutError:
            return Outcome.FAILURE, (
                f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
            )  # fmt: skip
        except aiohttp.ClientConnectorError as error:
            return (
                Outcome.FAILURE,
                f'Get "{url}": dial tcp {error.host}:{error.port}: connect: {_reason(error.os_error)}',
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome.FAILURE, f'Get "{url}": {error}'


def url_of(action: Object, host: str, container: Object) -> str:
    """The URL of an httpGet action."""
    scheme = (action.get("scheme") or "HTTP").lower()
    target = action.get("host") or host
    shown = f"[{target}]" if ":" in target else target
    path = action.get("path") or "/"
    return (
        f"{scheme}://{shown}:{port_number(container, action.get('port'))}{path if path.startswith('/') else '/' + path}"
    )


def headers_of(given: Iterable[Object], *, agent: str) -> CIMultiDict[str]:
    """The headers of an httpGet action; a name may come several times, an empty User-Agent or Accept means none."""
    headers: CIMultiDict[str] = CIMultiDict()
    for header in given:
        headers.add(header["name"], header.get("value") or "")
    for name, value in (("User-Agent", f"{agent}/1.36"), ("Accept", "*/*")):
        if name not in headers:
            headers[name] = value
        elif not headers[name]:
            del headers[name]
    return headers


async def _follow(session: ClientSession, url: str, headers: CIMultiDict[str]) -> tuple[Outcome, str]:
    """Ask, and ask again where a redirect leads on the same host; one to another host counts as an answer."""
    from yarl import URL

    where = URL(url, encoded=True)
    for _ in range(REDIRECTS_MAX):
        async with session.get(where, headers=headers, allow_redirects=False) as response:
            body = await response.content.read(OUTPUT_BYTES_MAX)
            target = response.headers.get("Location", "")
            if response.status in (301, 302, 303, 307, 308) and target:
                following = where.join(URL(target))
                if following.host == where.host:
                    where = following
                    continue
            if 300 <= response.status < 400:
                return Outcome.WARNING, f"Probe terminated redirects, Response body: {body.decode(errors='replace')}"
            if 200 <= response.status < 300:
                return Outcome.SUCCESS, body.decode(errors="replace")
            return Outcome.FAILURE, f"HTTP probe failed with statuscode: {response.status}"
    return Outcome.FAILURE, f'Get "{where}": stopped after {REDIRECTS_MAX} redirects'


def host_of(pod: Object, ips: tuple[str, ...]) -> str:
    """Where a pod is asked when its handler names no host."""
    return ips[0] if ips else ("127.0.0.1" if is_host_network(pod) else "")


def _reason(error: OSError) -> str:
    import os

    return os.strerror(error.errno).lower() if error.errno else str(error)


def port_number(container: Object, port: object) -> int:
    """A port given as a number or as the name of one of the container's ports; 0 when there is none."""
    if isinstance(port, int):
        return port
    for candidate in container.get("ports") or ():
        if candidate.get("name") == port:
            return int(candidate["containerPort"])
    text = str(port or "")
    return int(text) if text.isdigit() else 0
