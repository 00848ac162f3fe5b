"""The files of certificates and keys: written whole or not at all, for their owner alone.

What a leaf is good for is noted beside it, so that a start need not parse certificates.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import orjson
from msgspec import Struct

LEAVES = "leaves.json"
Facts = dict[str, dict[str, object]]


class KeyPair(Struct, frozen=True):
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes


class PkiFiles:
    """The certificates of one folder, which is made (0700) when it is not there."""

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        """`durable`: what is written survives the machine's sudden end."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.directory = directory
        self._durable = durable
        self._facts: Facts | None = None

    def read_pair(self, name: str) -> KeyPair | None:
        """A certificate with its key; None when it was never written."""
        try:
            return KeyPair(
                (self.directory / f"{name}.crt").read_bytes(), (self.directory / f"{name}.key").read_bytes()
            )  # fmt: skip
        except FileNotFoundError:
            return None

    def write_pair(self, name: str, pair: KeyPair) -> None:
        """Write a certificate and its key."""
        # The key first: a certificate that is there always has its key.
        self._write(f"{name}.key", pair.key)
        self._write(f"{name}.crt", pair.certificate)

    def read_leaf(self, name: str, *, hosts: Sequence[str], until: datetime) -> KeyPair | None:
        """A leaf certificate for these hosts that is good until then; None when it must be made."""
        noted = self._noted().get(name)
        if noted is None or noted["hosts"] != sorted(hosts):
            return None
        if datetime.fromisoformat(str(noted["notAfter"])) < until:
            return None
        return self.read_pair(name)

    def write_leaf(self, name: str, pair: KeyPair, *, hosts: Sequence[str], not_after: datetime) -> None:
        """Write a leaf certificate and what it is good for."""
        self.write_pair(name, pair)
        facts = self._noted()
        facts[name] = {"notAfter": not_after.isoformat(), "hosts": sorted(hosts)}
        self._write(LEAVES, orjson.dumps(facts))

    def _noted(self) -> Facts:
        if self._facts is None:
            try:
                self._facts = orjson.loads((self.directory / LEAVES).read_bytes())
            except (FileNotFoundError, orjson.JSONDecodeError):
                self._facts = {}
        return self._facts

    def _write(self, name: str, content: bytes) -> None:
        write_private(self.directory / name, content, durable=self._durable)


def write_private(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        if durable:
            os.fsync(stream.fileno())
    os.replace(temporary, path)
