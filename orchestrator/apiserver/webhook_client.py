"""Calls webhooks: one JSON review out over HTTPS, one back.

Owns where a `clientConfig` leads (a URL, or a Service through its ready endpoints), whom to trust, and every limit
of a call. Never knows what is reviewed. Mirrors k8s.io/apiserver/pkg/util/webhook.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from orchestrator.api.objects import Object

RESPONSE_BYTES_MAX = 16 * 1024 * 1024
TIMEOUT_SECONDS = 30.0
_SERVICE_LABEL = "kubernetes.io/service-name"


class WebhookFailed(Exception):
    """A webhook could not be reached, or did not answer with a review; the text says how."""


class Reader(Protocol):
    """What resolving a Service needs of the cluster."""

    async def read(self, group_resource: str, name: str, namespace: str = "") -> Object | None: ...

    async def read_all(self, group_resource: str, namespace: str = "") -> list[Object]: ...


class WebhookClient:
    """Calls one webhook; keeps nothing open between calls."""

    def __init__(self, config: Mapping[str, Any], reader: Reader) -> None:
        self._config = config
        self._reader = reader
        self._tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        """The address as error messages show it."""
        service = self._config.get("service")
        if service is None:
            return str(self._config.get("url") or "")
        host = f"{service['name']}.{service['namespace']}.svc:{service.get('port') or 443}"
        return f"https://{host}/{str(service.get('path') or '').lstrip('/')}"

    async def post(self, review: Object, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Object:
        """Send a review and return the one that comes back; WebhookFailed for everything else."""
        import aiohttp

        shown = f'Post "{self.url}?timeout={int(timeout_seconds)}s"'
        try:
            url, server_name = await self._target()
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=self._context(), limit=1),
                    timeout=aiohttp.ClientTimeout(total=timeout_seconds),
                ) as session,
                session.post(
                    url,
                    data=orjson.dumps(review),
                    params={"timeout": f"{int(timeout_seconds)}s"},
                    headers={"Content-Type": "application/json", "Accept": "application/json"},
                    server_hostname=server_name or None,
                    allow_redirects=False,
                ) as response,
            ):
                if response.status not in (200, 201):
                    raise WebhookFailed(f"{shown}: the server answered {response.status}")
                body = await response.content.read(RESPONSE_BYTES_MAX + 1)
                while len(body) <= RESPONSE_BYTES_MAX and (more := await response.content.read(RESPONSE_BYTES_MAX)):
                    body += more
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise WebhookFailed(f"{shown}: {error}") from error
        except TimeoutError:
            raise WebhookFailed(f"{shown}: context deadline exceeded") from None
        if len(body) > RESPONSE_BYTES_MAX:
            raise WebhookFailed(f"{shown}: the answer is larger than {RESPONSE_BYTES_MAX} bytes")
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise WebhookFailed(f"{shown}: the answer is no JSON: {error}") from error
        if not isinstance(answer, dict):
            raise WebhookFailed(f"{shown}: the answer is no object")
        return answer

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            bundle = self._config.get("caBundle")
            if bundle:
                try:
                    pem = base64.b64decode(bundle, validate=True).decode()
                except (binascii.Error, UnicodeDecodeError) as error:
                    raise ValueError(f"unable to load root certificates: {error}") from error
                self._tls = ssl.create_default_context(cadata=pem)
            else:
                self._tls = ssl.create_default_context()
        return self._tls

    async def _target(self) -> tuple[str, str]:
        """(URL, the name that the certificate must have; empty for the URL's own)."""
        service = self._config.get("service")
        if service is None:
            return str(self._config["url"]), ""
        name, namespace, port = service["name"], service["namespace"], service.get("port") or 443
        host, target_port = await self._endpoint(name, namespace, port)
        shown = f"[{host}]" if ":" in host else host
        path = str(service.get("path") or "").lstrip("/")
        return f"https://{shown}:{target_port}/{path}", f"{name}.{namespace}.svc"

    async def _endpoint(self, name: str, namespace: str, port: int) -> tuple[str, int]:
        service = await self._reader.read("services", name, namespace)
        if service is None:
            raise ValueError(f'service "{name}" not found')
        spec = service.get("spec") or {}
        if spec.get("type") == "ExternalName":
            return str(spec["externalName"]), port
        entry = next((item for item in spec.get("ports") or () if item.get("port") == port), None)
        if entry is None:
            raise ValueError(f'no service port {port} found for service "{name}"')
        for piece in await self._reader.read_all("endpointslices.discovery.k8s.io", namespace):
            if (piece["metadata"].get("labels") or {}).get(_SERVICE_LABEL) != name:
                continue
            ports = [p for p in piece.get("ports") or () if (p.get("name") or "") == (entry.get("name") or "")]
            for endpoint in piece.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is False or not ports:
                    continue
                return str(endpoint["addresses"][0]), int(ports[0]["port"])
        raise ValueError(f'no endpoints available for service "{name}"')
