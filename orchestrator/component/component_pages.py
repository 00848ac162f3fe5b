"""The pages that a control-plane component has on its own secure port: health for everybody, metrics for who may.

Mirrors the secure serving of kube-scheduler (port 10259) and kube-controller-manager (port 10257).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.api import errors
from orchestrator.component.client_certificates import certificate_of_peer
from orchestrator.component.delegated_auth import DelegatedAuth

if TYPE_CHECKING:
    from aiohttp import web

HEALTH_PATHS = ("/healthz", "/livez", "/readyz")


class ComponentPages:
    """What one component answers over HTTPS."""

    def __init__(self, auth: DelegatedAuth, *, is_running: Callable[[], bool]) -> None:
        self._auth = auth
        self._is_running = is_running

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The page at a path: 401 for whom nobody knows, 403 for who may not, 404 where there is none."""
        from aiohttp import web

        path = request.path
        if path in HEALTH_PATHS:
            if self._is_running():
                return web.Response(text="ok")
            return web.Response(status=500, text=f"{path[1:]} check failed\n")
        certificate = certificate_of_peer(request.transport)
        try:
            user = await self._auth.authenticate(certificate, request.headers.get("Authorization", ""))
            if user is None:
                return web.Response(status=401, text="Unauthorized\n")
            verb = request.method.lower()
            if not await self._auth.is_allowed(user, {"nonResourceAttributes": {"path": path, "verb": verb}}):
                name = user.get("username", "")
                return web.Response(status=403, text=f'forbidden: User "{name}" cannot {verb} path "{path}"\n')
        except errors.ApiError as error:
            return web.Response(status=500, text=f"{error.message}\n")
        if path != "/metrics":
            return web.Response(status=404, text="404 page not found\n")
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="Method Not Allowed\n")
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        from orchestrator.component.metrics import REGISTRY

        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
