"""Where a Docker Engine is and how to get to it: addresses as Docker itself writes them, with what they need.

Pure. Mirrors the Docker command line's `--host`, `--tlscacert`, `--tlscert` and `--tlskey`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

DEFAULT_URL = "unix:///var/run/docker.sock"
PLAIN_PORT, TLS_PORT = 2375, 2376
CERTIFICATE_FILES = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
"""The files in DOCKER_CERT_PATH."""


class EngineAddress(Struct, frozen=True):
    """One Engine; equal ones share a connection."""

    url: str = DEFAULT_URL
    """`unix:///path`, `tcp://host:port` or `ssh://user@host:port`."""
    ca: str = ""
    cert: str = ""
    key: str = ""
    """PEM files for `tcp://`: who signed the Engine's certificate, and ours with its key."""

    @property
    def parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def has_tls(self) -> bool:
        return bool(self.ca)

    @property
    def endpoint(self) -> tuple[str, int]:
        """(host, port) of `tcp://`."""
        return self.parts.hostname or "", self.parts.port or (TLS_PORT if self.has_tls else PLAIN_PORT)


def engine_address(url: str, access: Mapping[str, Any] | None = None) -> EngineAddress:
    """An address that can be used; ValueError says why not.

    `access` has the files `ca`, `cert` and `key`, or `insecure: true` for `tcp://` without them beyond this machine.
    """
    given = dict(access or {})
    insecure = given.pop("insecure", False)
    unknown = sorted(given.keys() - CERTIFICATE_FILES.keys())
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of ca, cert, key and insecure")
    if not isinstance(insecure, bool) or not all(isinstance(value, str) for value in given.values()):
        raise ValueError("ca, cert and key are paths, insecure is true or false")
    files = {name: path for name, path in given.items() if path}
    parts = urlsplit(url)
    if parts.scheme not in _CHECKS:
        raise ValueError("an Engine's address begins with unix://, tcp:// or ssh://")
    if parts.scheme != "tcp" and (files or insecure):
        raise ValueError("ca, cert, key and insecure are for tcp:// only")
    _CHECKS[parts.scheme](parts)
    if files and files.keys() != CERTIFICATE_FILES.keys():
        missing = ", ".join(sorted(CERTIFICATE_FILES.keys() - files.keys()))
        raise ValueError(f"TLS needs ca, cert and key; {missing} is missing")
    if parts.scheme == "tcp" and not files and not insecure and not _is_loopback(parts.hostname or ""):
        raise ValueError(
            "whoever reaches an Engine without TLS is root on its machine: give ca, cert and key, or say insecure: true"
        )
    return EngineAddress(url, **files)


def engine_of_environment(environ: Mapping[str, str]) -> EngineAddress:
    """The Engine that Docker's own variables name (DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH); ValueError."""
    url = environ.get("DOCKER_HOST") or DEFAULT_URL
    if not url.startswith("tcp://") or not environ.get("DOCKER_TLS_VERIFY"):
        return engine_address(url)
    folder = environ.get("DOCKER_CERT_PATH") or f"{environ.get('HOME', '')}/.docker"
    return engine_address(url, {name: f"{folder}/{file}" for name, file in CERTIFICATE_FILES.items()})


def _check_unix(parts: SplitResult) -> None:
    if parts.netloc or not parts.path.startswith("/"):
        raise ValueError("a socket's address is unix:// and an absolute path")


def _check_tcp(parts: SplitResult) -> None:
    _check_host(parts, "tcp://HOST:PORT")
    if parts.username or parts.password:
        raise ValueError("an Engine behind tcp:// knows certificates, no users")


def _check_ssh(parts: SplitResult) -> None:
    _check_host(parts, "ssh://USER@HOST:PORT")
    if parts.password is not None:
        raise ValueError("no passwords for ssh://, which is to use a key")
    for word in (parts.hostname or "", parts.username or ""):
        if word.startswith("-"):
            raise ValueError(f"{word!r} would be an option of ssh")


def _check_host(parts: SplitResult, shape: str) -> None:
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"its port is none: {error}") from None
    if not parts.hostname or port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"its address is {shape} and nothing else")


_CHECKS = {"unix": _check_unix, "tcp": _check_tcp, "ssh": _check_ssh}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
