"""The folder of a node's logs as the kubelet's page `/logs/` shows it: lists of folders, contents of files.

Never leaves that folder, wherever links in it lead. Mirrors the kubelet's `enableSystemLogHandler`, a file server.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from urllib.parse import quote

from orchestrator.api import errors

LOG_BYTES_MAX = 32 << 20
"""A larger file is refused: a page is sent as a whole."""
HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"


def read_log_page(root: Path, path: str) -> tuple[str, bytes] | None:
    """Content type and body of what is at a path below the folder; None when nothing is there. Blocking.

    RequestEntityTooLarge for a file beyond the limit.
    """
    try:
        found = (root / path.lstrip("/")).resolve(strict=True)
        if not found.is_relative_to(root.resolve()):
            return None
        if found.is_dir():
            names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in found.iterdir())
            lines = "".join(f'<a href="{quote(name)}">{escape(name)}</a>\n' for name in names)
            return HTML, f"<!doctype html>\n<pre>\n{lines}</pre>\n".encode()
        if not found.is_file():
            return None
        if (size := found.stat().st_size) > LOG_BYTES_MAX:
            raise errors.RequestEntityTooLarge(f"{path} has {size} bytes; the limit is {LOG_BYTES_MAX}")
        return TEXT, found.read_bytes()
    except (OSError, ValueError):  # gone, not readable, or no path at all (a null byte)
        return None
