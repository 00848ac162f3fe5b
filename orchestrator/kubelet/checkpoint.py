"""What a kubelet must find again after its process was killed: small files of JSON, replaced as a whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from orchestrator.logs import get_logger

T = TypeVar("T", bound=msgspec.Struct)


class Checkpoint(Generic[T]):
    """One file; blocking, but short."""

    def __init__(self, file: Path, type_: type[T]) -> None:
        self.file = file
        self._type = type_
        self._log = get_logger("kubelet")

    def load(self) -> T | None:
        """What was saved last; None when nothing was, or when it cannot be read, which is logged."""
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=self._type)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            self._log.warning("checkpoint.unreadable", file=str(self.file), error=str(error))
        return None

    def save(self, content: T) -> None:
        """Readable for the owner only. OSError."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(".tmp")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(content))
        os.replace(temporary, self.file)
