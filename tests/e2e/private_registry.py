"""A registry of one image that asks for a password, on the machine's loopback, where Engines need no TLS.

Owns the image's blobs: the layers are those of an image of the Engine, under a configuration of their own,
so that the Engine has the layers but not the image.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import secrets
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.setup.engine import Engine, EngineError, find

DOCKER = "application/vnd.docker."
USER = "someone"


@dataclass
class PrivateRegistry:
    """What the registry serves and whom."""

    manifest: bytes
    blobs: dict[str, bytes]
    password: str = field(default_factory=lambda: secrets.token_hex(8))
    port: int = 0
    repository: str = field(default_factory=lambda: f"private-{secrets.token_hex(4)}")
    manifests_served: int = 0
    """How often someone with the password asked for the image."""

    @property
    def image(self) -> str:
        return f"{self.server}/{self.repository}:1"

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, path: str, authorization: str | None) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        wanted = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        if authorization != f"Basic {wanted}":
            return 401, "application/json", b'{"errors": [{"code": "UNAUTHORIZED", "message": "who is it?"}]}'
        if path == "/v2/":
            return 200, "application/json", b"{}"
        if path.startswith(f"/v2/{self.repository}/manifests/"):
            self.manifests_served += 1
            return 200, f"{DOCKER}distribution.manifest.v2+json", self.manifest
        blob = self.blobs.get(path.rpartition("/")[2])
        if blob is None:
            return 404, "application/json", b'{"errors": [{"code": "NOT_FOUND"}]}'
        return 200, "application/octet-stream", blob


@contextmanager
def private_registry(source: str) -> Iterator[PrivateRegistry]:
    """Serves a copy of the Engine's image `source` until the end; the Engine then forgets the copy."""
    engine, _ = find()
    registry = _read(engine, source)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, content_type, body = registry.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.send_header("Docker-Content-Digest", _digest(body))
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield registry
        finally:
            server.shutdown()
            with suppress(EngineError):  # nobody pulled it
                engine.call("DELETE", f"/images/{registry.image}?force=1")


def _read(engine: Engine, source: str) -> PrivateRegistry:
    with tarfile.open(fileobj=io.BytesIO(engine.call("GET", f"/images/{source}/get"))) as archive:

        def content(name: str) -> bytes:
            file = archive.extractfile(name)
            assert file is not None
            return file.read()

        [entry] = json.loads(content("manifest.json"))
        config = json.loads(content(entry["Config"]))
        layers = [gzip.compress(content(name), mtime=0) for name in entry["Layers"]]
    config["config"].setdefault("Labels", {})["orchestrator.test/copy"] = secrets.token_hex(8)
    config_blob = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{DOCKER}distribution.manifest.v2+json",
        "config": _described(f"{DOCKER}container.image.v1+json", config_blob),
        "layers": [_described(f"{DOCKER}image.rootfs.diff.tar.gzip", layer) for layer in layers],
    }
    return PrivateRegistry(json.dumps(manifest).encode(), {_digest(blob): blob for blob in (config_blob, *layers)})


def _described(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "size": len(blob), "digest": _digest(blob)}


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()
