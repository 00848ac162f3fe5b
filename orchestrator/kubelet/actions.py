"""What probes and lifecycle hooks do: exec, httpGet, tcpSocket, grpc, sleep.

Owns one attempt of one action. Never counts, never retries. Mirrors pkg/probe and
pkg/kubelet/lifecycle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from multidict import CIMultiDict

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object
from orchestrator.kubelet.pod import is_host_network
from orchestrator.kubelet.runtime import ContainerRuntime, RuntimeFailure, RuntimeUnavailable
from orchestrator.kubelet.syncer import HookFailed

if TYPE_CHECKING:
    from aiohttp import ClientSession

OUTPUT_BYTES_MAX = 10_240
"""How much of a probe's answer goes into its event."""
REDIRECTS_MAX = 10
HOOK_HTTP_SECONDS = 10.0


class Actions(Protocol):
    """Runs one handler of a probe or a hook: (succeeded, what to tell)."""

    async def run(
        self, pod: Object, container: Object, container_id: str, handler: Object, ips: tuple[str, ...], seconds: float
    ) -> tuple[bool | None, str]:
        """Never raises for a failure of the handler itself; RuntimeUnavailable when nobody can tell.

        None instead of a verdict: the handler could not even be run (its program does not exist).
        """
        ...


class HollowActions:
    """For containers without processes: everything succeeds."""

    async def run(
        self, pod: Object, container: Object, container_id: str, handler: Object, ips: tuple[str, ...], seconds: float
    ) -> tuple[bool | None, str]:
        return True, ""


class RealActions:
    """Exec through the runtime; HTTP, TCP and gRPC to the pod's address."""

    def __init__(self, *, runtime: ContainerRuntime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock

    async def run(
        self, pod: Object, container: Object, container_id: str, handler: Object, ips: tuple[str, ...], seconds: float
    ) -> tuple[bool | None, str]:
        if (action := handler.get("exec")) is not None:
            return await self._exec(container_id, action, seconds)
        host = _host(pod, ips)
        if (action := handler.get("httpGet")) is not None:
            return await self._http(container, action, host, seconds)
        if (action := handler.get("tcpSocket")) is not None:
            return await self._tcp(action.get("host") or host, port_number(container, action.get("port")), seconds)
        if (action := handler.get("grpc")) is not None:
            from orchestrator.kubelet.grpc_health import check

            return await check(host, int(action["port"]), action.get("service") or "", seconds)
        return True, ""

    async def _exec(self, container_id: str, action: Object, seconds: float) -> tuple[bool | None, str]:
        try:
            code, output = await self._runtime.exec_sync(container_id, action.get("command") or [], seconds)
        except TimeoutError:
            return False, f"command timed out: {' '.join(action.get('command') or [])!r} timed out after {seconds:g}s"
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            return None, str(error)
        return code == 0, output[:OUTPUT_BYTES_MAX].decode(errors="replace")

    async def _tcp(self, host: str, port: int, seconds: float) -> tuple[bool | None, str]:
        import asyncio

        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            return False, f"dial tcp {host}:{port}: i/o timeout"
        except OSError as error:
            return False, f"dial tcp {host}:{port}: connect: {_reason(error)}"
        writer.close()
        return True, ""

    async def _http(self, container: Object, action: Object, host: str, seconds: float) -> tuple[bool | None, str]:
        import aiohttp

        scheme = (action.get("scheme") or "HTTP").lower()
        target = action.get("host") or host
        port = port_number(container, action.get("port"))
        shown = f"[{target}]" if ":" in target else target
        path = action.get("path") or "/"
        url = f"{scheme}://{shown}:{port}{path if path.startswith('/') else '/' + path}"
        headers = _headers(action.get("httpHeaders") or ())
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
            return False, (
                f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
            )  # fmt: skip
        except aiohttp.ClientConnectorError as error:
            return False, f'Get "{url}": dial tcp {shown}:{port}: connect: {_reason(error.os_error)}'
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return False, f'Get "{url}": {error}'


class LifecycleHooks:
    """Implements `syncer.Hooks` on the same actions."""

    def __init__(self, *, actions: Actions, clock: Clock) -> None:
        self._actions = actions
        self._clock = clock

    async def run(
        self, pod: Object, container: Object, container_id: str, handler: Object, ips: tuple[str, ...]
    ) -> None:  # fmt: skip
        """Run one hook to its end; the caller limits the time."""
        if (action := handler.get("sleep")) is not None:
            await self._clock.sleep(float(action.get("seconds") or 0))
            return
        seconds = HOOK_HTTP_SECONDS if "exec" not in handler else 24 * 3600.0
        succeeded, output = await self._actions.run(pod, container, container_id, handler, ips, seconds)
        if not succeeded:
            raise HookFailed(output)


def _headers(given: Iterable[Object]) -> CIMultiDict[str]:
    """A probe's headers; a name may come several times, and an empty User-Agent or Accept means none at all."""
    headers: CIMultiDict[str] = CIMultiDict()
    for header in given:
        headers.add(header["name"], header.get("value") or "")
    for name, value in (("User-Agent", "kube-probe/1.36"), ("Accept", "*/*")):
        if name not in headers:
            headers[name] = value
        elif not headers[name]:
            del headers[name]
    return headers


async def _follow(session: ClientSession, url: str, headers: CIMultiDict[str]) -> tuple[bool, str]:
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
            if 200 <= response.status < 400:
                return True, body.decode(errors="replace")
            return False, f"HTTP probe failed with statuscode: {response.status}"
    return False, f'Get "{where}": stopped after {REDIRECTS_MAX} redirects'


def _host(pod: Object, ips: tuple[str, ...]) -> str:
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
