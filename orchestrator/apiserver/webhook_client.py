"""Calls webhooks of admission and conversion: one JSON review out over HTTPS, one back.

Owns where a `clientConfig` leads (a URL, or a Service through its ready endpoints), whom to trust, and every limit
of a call. Never knows what is reviewed. Connections are kept; contexts are made once per CA bundle. Mirrors
k8s.io/apiserver/pkg/util/webhook.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.apiserver.admission.plugin import Reader
from orchestrator.apiserver.services.resolver import resolve_service

if TYPE_CHECKING:
    import aiohttp

RESPONSE_BYTES_MAX = 16 * 1024 * 1024
TIMEOUT_SECONDS = 30.0
CONTEXTS_MAX = 256
CONNECTIONS_MAX = 100


class WebhookFailed(Exception):
    """A webhook could not be called, or its answer makes no sense; says why."""


class WebhookClient:
    """Posts one JSON document and returns the other."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def post(
        self, config: Mapping[str, Any], body: Object, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> Object:
        """Send a document to where a `WebhookClientConfig` says; raises WebhookFailed."""
        import aiohttp

        shown = f'Post "{self._shown_url(config, timeout_seconds)}"'
        try:
            url, server_name = await self._url(config, timeout_seconds)
            async with self._open_session().post(
                url,
                data=orjson.dumps(body),
                headers={"Content-Type": "application/json", "Accept": "application/json, */*", **server_name.headers},
                ssl=self._context(config.get("caBundle") or ""),
                server_hostname=server_name.name or None,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
                allow_redirects=False,
            ) as response:
                content, status = bytearray(), response.status
                async for piece in response.content.iter_any():
                    content += piece
                    if len(content) > RESPONSE_BYTES_MAX:
                        raise WebhookFailed(f"{shown}: the answer is larger than {RESPONSE_BYTES_MAX} bytes")
        except TimeoutError:
            raise WebhookFailed(f"{shown}: context deadline exceeded") from None
        except errors.ServiceUnavailable as error:
            raise WebhookFailed(f"{shown}: {error.message}") from None
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise WebhookFailed(f"{shown}: {error}") from None
        if status not in (200, 201):
            raise WebhookFailed("the server could not find the requested resource" if status == 404 else
                                f"an error on the server ({content[:512].decode(errors='replace')!r}) has prevented"
                                " the request from succeeding")  # fmt: skip
        try:
            answer: Object = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise WebhookFailed(f"couldn't get version/kind; json parse error: {error}") from None
        if not isinstance(answer, dict):
            raise WebhookFailed("the answer is no JSON object")
        return answer

    async def _url(self, config: Mapping[str, Any], timeout_seconds: float) -> tuple[str, _ServerName]:
        query = f"?timeout={int(timeout_seconds)}s"
        if config.get("url"):
            return f"{config['url']}{query}", _ServerName("")
        service = config.get("service") or {}
        namespace, name, port = service.get("namespace") or "", service.get("name") or "", service.get("port") or 443
        host, target = await resolve_service(self._reader, namespace, name, port)
        path = "/" + (service.get("path") or "").lstrip("/")
        shown = f"[{host}]" if ":" in host else host
        # The certificate is for the Service's name, whichever endpoint answers.
        return f"https://{shown}:{target}{path}{query}", _ServerName(f"{name}.{namespace}.svc")

    def _shown_url(self, config: Mapping[str, Any], timeout_seconds: float) -> str:
        query = f"?timeout={int(timeout_seconds)}s"
        if config.get("url"):
            return f"{config['url']}{query}"
        service = config.get("service") or {}
        host = f"{service.get('name')}.{service.get('namespace')}.svc:{service.get('port') or 443}"
        return f"https://{host}/{(service.get('path') or '').lstrip('/')}{query}"

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, family=socket.AF_UNSPEC)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self._session

    def _context(self, ca_bundle: str) -> ssl.SSLContext:
        context = self._contexts.get(ca_bundle)
        if context is None:
            try:
                text = base64.b64decode(ca_bundle).decode() if ca_bundle else None
                context = ssl.create_default_context(cadata=text)
            except (ValueError, ssl.SSLError) as error:
                raise WebhookFailed(f"unable to load root certificates: {error}") from None
            self._contexts[ca_bundle] = context
            if len(self._contexts) > CONTEXTS_MAX:
                self._contexts.popitem(last=False)
        return context


class _ServerName:
    """For whom the other side must have a certificate; empty: for the URL's host."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def headers(self) -> dict[str, str]:
        return {"Host": self.name} if self.name else {}


async def gather_all(calls: list[Any]) -> list[Any]:
    """Run calls at once; every one ends before this does, the first failure (in order) is raised."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return list(results)
