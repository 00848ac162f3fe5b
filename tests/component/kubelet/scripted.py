"""Probes and hooks that do what a test says."""

from __future__ import annotations

from typing import Any

from orchestrator.aiokit.clock import Clock
from orchestrator.kubelet.containers.hooks import HollowHooks
from orchestrator.kubelet.parts import HookFailed
from orchestrator.kubelet.probes.actions import Outcome


class ScriptedActions:
    """Probes that do what the test says."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        """Paths of httpGet handlers that fail."""
        self.warning: set[str] = set()
        self.calls: list[str] = []

    async def run(
        self, pod: Any, container: Any, container_id: str, handler: Any, ips: tuple[str, ...], seconds: float
    ) -> tuple[Outcome, str]:
        path = handler["httpGet"]["path"]
        self.calls.append(path)
        outcome = Outcome.WARNING if path in self.warning else Outcome.SUCCESS
        return Outcome.FAILURE if path in self.failing else outcome, f"{path} is scripted"


class ScriptedHooks(HollowHooks):
    """Hooks that are called and fail like probes."""

    def __init__(self, actions: ScriptedActions, clock: Clock) -> None:
        super().__init__(clock=clock)
        self._actions = actions

    async def run(self, pod: Any, container: Any, container_id: str, handler: Any, ips: tuple[str, ...]) -> None:
        if "httpGet" not in handler:
            await super().run(pod, container, container_id, handler, ips)
            return
        outcome, output = await self._actions.run(pod, container, container_id, handler, ips, 1.0)
        if outcome is Outcome.FAILURE:
            raise HookFailed(output)


def http(path: str, **more: Any) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": 80}, "periodSeconds": 5, **more}
