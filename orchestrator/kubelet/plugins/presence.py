"""Whether somebody serves a socket, known without asking again and again: an idle connection of HTTP/2.

A driver that is killed leaves its socket behind, so its going shows only here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from orchestrator.kubelet.plugins.connection import SocketAddress

_BYTES_MAX = 1 << 16


async def until_lost(socket: Path, connected: Callable[[], None]) -> None:
    """Connect, call `connected` once the other side has answered, and return when it is gone; OSError."""
    from h2.connection import H2Connection
    from h2.exceptions import H2Error

    address = SocketAddress(socket)
    try:
        reader, writer = await asyncio.open_unix_connection(address.path)
    finally:
        address.close()
    try:
        connection = H2Connection()
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        is_answered = False
        while data := await reader.read(_BYTES_MAX):
            connection.receive_data(data)  # pings and settings are acknowledged
            writer.write(connection.data_to_send())
            if not is_answered:
                is_answered = True
                connected()
    except H2Error as error:
        raise OSError(f"{socket}: {error}") from error
    finally:
        writer.close()
