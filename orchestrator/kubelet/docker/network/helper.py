"""Talks to a helper container: sockets of its network namespace, and files that only root may change.

Blocking, except for the news that the container has died. See `helper_program`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.aiokit.trees import remove_tree
from orchestrator.component.places import PlaceLost
from orchestrator.kubelet.docker.network.helper_program import REQUEST_BYTES_MAX, SOCKET_NAME
from orchestrator.kubelet.volumes.ownership import give_to_group

ANSWER_SECONDS_MAX = 10.0
FILES_SECONDS_MAX = 600.0
"""A tree of files may be large."""
START_SECONDS_MAX = 20.0
"""From the start of the container until its program answers."""


class Helper:
    """A running helper container; made by `connect`."""

    def __init__(self, asking: socket.socket, watching: socket.socket) -> None:
        self.is_lost = False
        self._asking = asking
        self._watching = watching
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def connect(cls, folder: Path) -> Helper:
        """Two connections to the program whose socket is in a folder; OSError."""
        asking = _dial(folder)
        try:
            return cls(asking, _dial(folder))
        except BaseException:
            asking.close()
            raise

    def watch(self, lost: Callable[[], None]) -> None:
        """Call back, once, when the container has died."""

        def ended() -> None:
            loop.remove_reader(self._watching.fileno())
            self._loop = None
            self.is_lost = True
            lost()

        loop = self._loop = asyncio.get_running_loop()
        self._watching.setblocking(False)
        loop.add_reader(self._watching.fileno(), ended)

    def close(self) -> None:
        """Let go of it; the container goes on. Not while a request is under way."""
        if self._loop is not None:
            self._loop.remove_reader(self._watching.fileno())
            self._loop = None
        self.is_lost = True
        self._watching.close()
        self._asking.close()

    def make_socket(self, kind: socket.SocketKind, *, family: int = 4) -> socket.socket:
        """An unbound, non-blocking socket in the container's network namespace; PlaceLost, OSError."""
        made = self._ask({"do": "socket", "kind": "stream" if kind == socket.SOCK_STREAM else "datagram",
                          "family": family}, seconds_max=ANSWER_SECONDS_MAX)  # fmt: skip
        assert made is not None, "the helper sent no socket"
        return made

    def chown(self, path: Path, user: int, group: int) -> None:
        """Give a file away, a link itself; -1 leaves a part as it is. OSError."""
        self._ask({"do": "chown", "path": str(path), "user": user, "group": group}, seconds_max=ANSWER_SECONDS_MAX)

    def give_to_group(self, root: Path, group: int, policy: str) -> None:
        """See `ownership.give_to_group`. OSError."""
        self._ask({"do": "give", "path": str(root), "group": group, "policy": policy}, seconds_max=FILES_SECONDS_MAX)

    def remove(self, path: Path) -> None:
        """Remove a tree or a file, never following a link. OSError."""
        self._ask({"do": "remove", "path": str(path)}, seconds_max=FILES_SECONDS_MAX)

    def _ask(self, request: dict[str, Any], *, seconds_max: float) -> socket.socket | None:
        with self._lock:
            if self.is_lost:
                raise PlaceLost(errno.ENETDOWN, "the helper container is lost")
            try:
                self._asking.settimeout(seconds_max)
                self._asking.send(json.dumps(request).encode())
                data, descriptors, _, _ = socket.recv_fds(self._asking, REQUEST_BYTES_MAX, 1)
            except OSError as error:
                self.is_lost = True  # an answer that comes late must not be taken for that to the next request
                raise PlaceLost(errno.ENETDOWN, f"the helper container does not answer: {error}") from error
        made = socket.socket(fileno=descriptors[0]) if descriptors else None
        if not data:
            raise PlaceLost(errno.ENETDOWN, "the helper container has died")
        answer = json.loads(data)
        if "error" in answer:
            raise OSError(answer["errno"], answer["error"])
        if made is not None:
            made.setblocking(False)
        return made


def _dial(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        # The path of a socket may have 107 characters only, and a data directory may lie deep.
        connection.connect(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(descriptor)
    return connection


class HelpedOwnership:
    """Owners of files, changed by a helper where this process may not (`ownership.Ownership`)."""

    def __init__(self, helper: Callable[[], Helper]) -> None:
        """`helper` connects with the one that runs; OSError without one."""
        self._helper = helper

    @property
    def gives_to_users(self) -> bool:
        return os.geteuid() == 0

    def chown(self, path: Path, user: int, group: int) -> None:
        try:
            os.chown(path, user, group, follow_symlinks=False)
        except PermissionError:
            with contextlib.closing(self._helper()) as helper:
                helper.chown(path, user, group)

    def give_to_group(self, root: Path, group: int, policy: str) -> None:
        try:
            give_to_group(root, group, policy=policy)
        except PermissionError:
            with contextlib.closing(self._helper()) as helper:
                helper.give_to_group(root, group, policy)

    def remove(self, path: Path) -> None:
        try:
            remove_tree(path)
        except PermissionError:
            with contextlib.closing(self._helper()) as helper:
                helper.remove(path)
