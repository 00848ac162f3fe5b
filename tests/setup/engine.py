"""Finds a Docker Engine and talks to it with the standard library alone.

Owns the search order (DOCKER_HOST, the active docker context, the well-known sockets) and a plain
request. It is used before anything is installed and by tests that look at the Engine from outside,
and never imports `orchestrator`.

    python -m tests.setup.engine              prints the address of a reachable Engine, or why there is none
    python -m tests.setup.engine kill ID      sends SIGKILL to a container
    python -m tests.setup.engine cluster ID   prints the id of the cluster that a container belongs to
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

CLUSTER_LABEL = "orchestrator.dev/cluster"


class EngineError(Exception):
    """The Engine cannot be reached or refused a request; the text says which and why."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """One Docker Engine at an address such as `unix:///var/run/docker.sock` or `tcp://host:2376`."""

    def __init__(self, address: str, *, timeout_seconds: float = 120) -> None:
        self.address = address
        self._timeout_seconds = timeout_seconds

    def call(self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json") -> bytes:
        """The body of the answer; raises `EngineError` for anything but 2xx."""
        connection = self._connection()
        try:
            headers = {} if body is None else {"Content-Type": content_type}
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"{self.address}: {error}") from error
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise EngineError(f"{self.address}: {method} {path}: {response.status} {data.decode(errors='replace')}")
        return data

    def get(self, path: str) -> Any:
        """A decoded JSON answer."""
        return json.loads(self.call("GET", path))

    def containers(self, label: str) -> list[dict[str, Any]]:
        """All containers, stopped ones included, with this `key` or `key=value` label."""
        found: list[dict[str, Any]] = self.get(
            f"/containers/json?all=1&filters={quote(json.dumps({'label': [label]}))}"
        )
        return found

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.address)
        if parts.scheme == "unix":
            return _UnixConnection(parts.path, self._timeout_seconds)
        host, port = parts.hostname or "127.0.0.1", parts.port
        verify = os.environ.get("DOCKER_TLS_VERIFY")
        if parts.scheme == "https" or verify:
            folder = Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
            context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
            context.load_cert_chain(str(folder / "cert.pem"), str(folder / "key.pem"))
            return http.client.HTTPSConnection(host, port or 2376, timeout=self._timeout_seconds, context=context)
        if parts.scheme in ("tcp", "http"):
            return http.client.HTTPConnection(host, port or 2375, timeout=self._timeout_seconds)
        raise EngineError(f"{self.address}: only unix://, tcp://, http:// and https:// addresses can be used")


def addresses() -> Iterator[str]:
    """Addresses to try; a set DOCKER_HOST is the only one."""
    if host := os.environ.get("DOCKER_HOST"):
        yield host
        return
    if context := _context_address():
        yield context
    sockets = [
        Path("/var/run/docker.sock"),
        Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}") / "docker.sock",
        Path.home() / ".docker/run/docker.sock",
    ]
    for path in sockets:
        if path.exists():
            yield f"unix://{path}"


def _context_address() -> str | None:
    """The address of the docker CLI's active context, unless that is the default one."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        name = os.environ.get("DOCKER_CONTEXT") or json.loads((folder / "config.json").read_text()).get(
            "currentContext"
        )
        if not name or name == "default":
            return None
        digest = hashlib.sha256(name.encode()).hexdigest()
        meta = json.loads((folder / "contexts/meta" / digest / "meta.json").read_text())
        return str(meta["Endpoints"]["docker"]["Host"])
    except (OSError, ValueError, KeyError, AttributeError):
        # No CLI configuration, or one in a form that we do not know: the sockets are tried next.
        return None


def find() -> tuple[Engine, dict[str, Any]]:
    """The first Engine that answers, with its /version; raises `EngineError` that lists every attempt."""
    failures = []
    for address in addresses():
        try:
            version: dict[str, Any] = Engine(address, timeout_seconds=10).get("/version")
        except EngineError as error:
            failures.append(str(error))
        else:
            return Engine(address), version
    raise EngineError("; ".join(failures) or "no Docker socket exists")


def main(arguments: list[str]) -> int:
    try:
        engine, version = find()
        match arguments:
            case []:
                print(f"{engine.address} {version['Version']}")
            case ["kill", container]:
                engine.call("POST", f"/containers/{quote(container)}/kill")
            case ["cluster", container]:
                print(engine.get(f"/containers/{quote(container)}/json")["Config"]["Labels"][CLUSTER_LABEL])
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
