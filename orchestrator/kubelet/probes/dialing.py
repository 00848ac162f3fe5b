"""Connections to pods, with failures in the words that users know from the kubelet's events."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

P = TypeVar("P", bound=asyncio.BaseProtocol)


class DialError(Exception):
    """Nobody answered at the address; the text says why."""


async def dial(
    protocol: Callable[[], P], host: str, port: int, *, security: ssl.SSLContext | None = None
) -> tuple[asyncio.Transport, P]:
    """Connect; DialError, or ssl.SSLError of the handshake."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_connection(protocol, host, port, ssl=security)
    except ssl.SSLError:
        raise
    except socket.gaierror as error:
        raise DialError(f"dial tcp: lookup {host}: no such host") from error
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise DialError(f"dial tcp {host}:{port}: connect: {reason}") from error
