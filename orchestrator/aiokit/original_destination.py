"""Where a connection was addressed to before a rule of the kernel translated its destination."""

from __future__ import annotations

import socket
import struct
from typing import Any

SO_ORIGINAL_DST = 80
"""linux/netfilter_ipv4.h."""


def original_destination(connection: Any) -> tuple[str, int] | None:
    """(address, port) as the client had them; None when no rule led the connection here."""
    try:
        original = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    except OSError:
        return None
    (port,) = struct.unpack_from("!H", original, 2)
    return socket.inet_ntoa(original[4:8]), port
