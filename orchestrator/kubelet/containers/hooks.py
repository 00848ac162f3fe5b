"""Lifecycle hooks: exec, httpGet and sleep, once each, for as long as the caller waits.

Mirrors pkg/kubelet/lifecycle/handlers.go: an answer over HTTP counts whatever its status is.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object
from orchestrator.kubelet.parts import HookFailed
from orchestrator.kubelet.probes import http_get
from orchestrator.kubelet.probes.actions import host_of, url_of
from orchestrator.kubelet.probes.dialing import DialError
from orchestrator.kubelet.runtime import ContainerRuntime, RuntimeFailure, RuntimeUnavailable

EXEC_SECONDS_MAX = 24 * 3600.0
GET_FAILURES = (DialError, OSError, http_get.BadAnswer, http_get.BrokenBody, ValueError)

Tell = Callable[[Object, str, str, str], None]
"""An event about a pod: type, reason, message."""


class HollowHooks:
    """For containers without processes: only what takes time does so."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    async def run(
        self, pod: Object, container: Object, container_id: str, handler: Object, ips: tuple[str, ...]
    ) -> None:
        if (action := handler.get("sleep")) is not None:
            await self._clock.sleep(float(action.get("seconds") or 0))


class RealHooks:
    """Implements `parts.Hooks` on real containers."""

    def __init__(self, *, runtime: ContainerRuntime, clock: Clock, tell: Tell) -> None:
        self._runtime = runtime
        self._clock = clock
        self._tell = tell

    async def run(
        self, pod: Object, container: Object, container_id: str, handler: Object, ips: tuple[str, ...]
    ) -> None:
        """Run one hook to its end; the caller limits the time. HookFailed."""
        if (action := handler.get("exec")) is not None:
            await self._exec(container_id, action)
        elif (action := handler.get("httpGet")) is not None:
            await self._http(pod, container, action, host_of(pod, ips))
        elif (action := handler.get("sleep")) is not None:
            await self._clock.sleep(float(action.get("seconds") or 0))
        else:
            raise HookFailed(f"invalid handler: {', '.join(handler)}")

    async def _exec(self, container_id: str, action: Object) -> None:
        command = action.get("command") or []
        try:
            code, output = await self._runtime.exec_sync(container_id, command, EXEC_SECONDS_MAX)
        except RuntimeUnavailable:
            raise
        except (RuntimeFailure, TimeoutError) as error:
            raise HookFailed(str(error)) from error
        if code:
            raise HookFailed(f"command exited with {code}: {output.decode(errors='replace')}")

    async def _http(self, pod: Object, container: Object, action: Object, host: str) -> None:
        url = url_of(action, host, container)
        headers = action.get("httpHeaders") or ()
        try:
            await _get(url, headers)
        except ssl.SSLError as error:
            # Schemes were ignored once, so there are manifests that say HTTPS and mean HTTP.
            plain = "http:" + url.removeprefix("https:")
            try:
                await _get(plain, [header for header in headers if header["name"].lower() != "authorization"])
            except GET_FAILURES as second:
                raise HookFailed(f'Get "{url}": {error}; as HTTP: {second}') from second
            address = url.removeprefix("https://").partition("/")[0]
            message = f"request to HTTPS lifecycle hook {address} got HTTP response, retry with HTTP succeeded"
            self._tell(pod, "Warning", "LifecycleHTTPFallback", message)
        except GET_FAILURES as error:
            raise HookFailed(f'Get "{url}": {error}') from error


async def _get(url: str, headers: Iterable[Object]) -> None:
    """Ask and wait for the answer; redirects are followed wherever they lead."""
    await http_get.get(url, headers, agent="kube-lifecycle/1.36", leaves_host=True)
