"""The HTTPS connection of the client verbs: requests, watches, streams.

Stands on lightkube for the kubeconfig and the authenticated HTTP client (docs/decisions/0003); the verbs
themselves work on plain JSON, because kinds are known only from discovery.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from orchestrator.cli.errors import CliError, ServerError, print_error, status_of
from orchestrator.cli.flags import Parser, UsageError
from orchestrator.cli.kubeconfig import kubeconfig_files, merge_kubeconfigs

if TYPE_CHECKING:
    import argparse

    import httpx2
    from httpx2.websockets import AsyncWebSocketSession

Object = dict[str, Any]
Query = Mapping[str, str] | Sequence[tuple[str, str]]

JSON: Final = "application/json"
TABLE: Final = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH: Final = "application/strategic-merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

FIELD_MANAGER: Final = "kubectl"
CONNECT_SECONDS: Final = 30.0
WATCH_LINE_BYTES_MAX: Final = 64 << 20
MESSAGE_BYTES_MAX: Final = 4 << 20
EXIT_INTERRUPTED: Final = 130


def namespace_of(arguments: argparse.Namespace, connection: Connection) -> str:
    """The namespace that the flags or the kubeconfig name."""
    return str(arguments.namespace or connection.namespace)


# Which cluster.


def add_connection_flags(flags: Parser, *, namespace: bool = True) -> None:
    """The flags that every client verb has."""
    if namespace:
        flags.add_argument("-n", "--namespace", metavar="NAME", help="namespace (that of the kubeconfig's context)")
    flags.add_argument("--kubeconfig", metavar="FILE", help="kubeconfig ($KUBECONFIG, ~/.kube/config, the cluster's)")
    flags.add_argument("--context", metavar="NAME", help="context of the kubeconfig")
    flags.add_argument("--data-dir", metavar="DIR", help="use the kubeconfig of the cluster that lives there")


class Connection:
    """An authenticated connection to one API server; use it as `async with connect(arguments)`."""

    def __init__(self, http: httpx2.AsyncClient, *, server: str, namespace: str) -> None:
        self.http = http
        self.server = server.rstrip("/")
        self.namespace = namespace
        self._warned: set[str] = set()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Any:
        """The decoded JSON answer; raises ServerError."""
        import httpx2

        headers = {"Accept": accept}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = content_type
        try:
            response = await self.http.request(
                method, self.server + path, params=_pairs(query), content=content, headers=headers
            )
        except httpx2.HTTPError as error:
            raise CliError(self._unreachable(error)) from error
        self._warn(response)
        if response.status_code >= 400:
            raise ServerError(status_of(response.status_code, response.content))
        return response.json()

    async def get(self, path: str, *, query: Query = (), accept: str = JSON) -> Any:
        """Read something; raises ServerError."""
        return await self.request("GET", path, query=query, accept=accept)

    @asynccontextmanager
    async def stream(self, path: str, *, query: Query = (), accept: str = "*/*") -> AsyncIterator[httpx2.Response]:
        """An open answer that is read as it comes; raises ServerError."""
        import httpx2

        try:
            async with self.http.stream(
                "GET", self.server + path, params=_pairs(query), headers={"Accept": accept}
            ) as response:
                self._warn(response)
                if response.status_code >= 400:
                    raise ServerError(status_of(response.status_code, await response.aread()))
                yield response
        except httpx2.HTTPError as error:
            raise CliError(self._unreachable(error)) from error

    async def watch(
        self, path: str, *, query: Query = (), accept: str = JSON
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """(type, object) of each event until the server ends the watch; raises ServerError."""
        pairs = [*(query.items() if isinstance(query, Mapping) else query), ("watch", "true")]
        async with self.stream(path, query=pairs, accept=accept) as response:
            rest = b""
            async for chunk in response.aiter_bytes():
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > WATCH_LINE_BYTES_MAX:
                    raise CliError(f"error: an event of the watch is larger than {WATCH_LINE_BYTES_MAX} bytes")
                for line in lines:
                    if not line.strip():
                        continue
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ServerError(event["object"])
                    yield event["type"], event["object"]

    def websocket(
        self, path: str, *, query: Query, subprotocols: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncWebSocketSession]:
        """A WebSocket to a streaming subresource."""
        return self.http.websocket(
            re.sub("^http", "ws", self.server) + path,
            params=_pairs(query),
            subprotocols=list(subprotocols),
            max_message_size_bytes=MESSAGE_BYTES_MAX,
        )

    def _warn(self, response: httpx2.Response) -> None:
        for value in response.headers.get_list("warning"):
            for text in re.findall(r'299 \S+ "((?:[^"\\]|\\.)*)"', value):
                if text not in self._warned:
                    self._warned.add(text)
                    print("Warning: " + re.sub(r"\\(.)", r"\1", text), file=sys.stderr)

    def _unreachable(self, error: Exception) -> str:
        import ssl

        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ConnectionRefusedError) or "All connection attempts failed" in str(cause):
                host = self.server.partition("://")[2]
                return (
                    f"The connection to the server {host} was refused - did you specify the right host or port?\n"
                    "Start a cluster with `orchestrator up`, or name another one with --kubeconfig."
                )
            if isinstance(cause, ssl.SSLCertVerificationError):
                return f"Unable to connect to the server: tls: {cause.verify_message}"
            cause = cause.__cause__ or cause.__context__
        return f"Unable to connect to the server: {error or type(error).__name__}"


def _pairs(query: Query) -> list[tuple[str, str | int | float | bool | None]]:
    return [*(query.items() if isinstance(query, Mapping) else query)]


@asynccontextmanager
async def connect(arguments: argparse.Namespace) -> AsyncIterator[Connection]:
    """The connection that flags and environment ask for; CliError when the kubeconfig is of no use."""
    files = kubeconfig_files(arguments, os.environ)
    import yaml
    from lightkube.config.client_adapter import AsyncClient, ConnectionParams
    from lightkube.config.kubeconfig import KubeConfig
    from lightkube.config.models import User
    from lightkube.core.exceptions import ConfigError

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = [yaml.load(file.read_bytes(), Loader=loader) or {} for file in files]
        merged = merge_kubeconfigs(documents)
        single = KubeConfig.from_dict(merged, fname=files[0]).get(context_name=arguments.context)
    except (yaml.YAMLError, ConfigError, OSError, LookupError, TypeError, ValueError) as error:
        raise CliError(f"error: the kubeconfig {files[0]} cannot be used: {error}") from error
    assert single is not None
    if single.user is None:
        single = single._replace(user=User())
    _never_proxy_loopback(single.cluster.server)
    import httpx2

    parameters = ConnectionParams(timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS))
    try:
        client = AsyncClient(single, parameters)
    except (ConfigError, OSError) as error:
        raise CliError(f"error: the credentials in {files[0]} cannot be used: {error}") from error
    async with client:
        client.event_hooks = {"response": [_read_refusal]}
        namespace = single.context.namespace or "default"
        yield Connection(client, server=single.cluster.server, namespace=namespace)


async def _read_refusal(response: httpx2.Response) -> None:
    """Keep the Status of a refused WebSocket, which the library closes unread."""
    if response.status_code >= 400:
        await response.aread()


def _never_proxy_loopback(server: str) -> None:
    """As Go's HTTP client does: a proxy in the environment is not for the loopback."""
    from urllib.parse import urlsplit

    host = urlsplit(server).hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        known = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = f"{known},{host}".lstrip(",")


def run_client(main: Callable[[Connection, argparse.Namespace], Awaitable[int]], arguments: argparse.Namespace) -> int:
    """Connect and run a verb; prints its errors and returns the exit code."""
    import asyncio

    async def connected() -> int:
        async with connect(arguments) as connection:
            return await main(connection, arguments)

    try:
        return asyncio.run(connected())
    except CliError as error:
        print_error(error)
        return error.exit_code
    except UsageError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
