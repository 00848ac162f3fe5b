"""Plugins of the kubelet: drivers that put a socket into the node's plugins_registry.

Owns registration: who is behind a socket, which handler takes it, what the driver is told, and that it is gone with
its socket. Never calls what a driver is for. Told by the kernel, so nothing is asked for periodically; a socket that
does not answer is tried again with back-off for as long as it is there. Mirrors pkg/kubelet/pluginmanager.

https://github.com/kubernetes/kubernetes/tree/master/pkg/kubelet/pluginmanager/pluginwatcher
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.inotify import CREATE, DELETE, DELETE_SELF, MOVE, MOVE_SELF, Inotify
from orchestrator.kubelet.node_paths import NodePaths
from orchestrator.kubelet.plugins.connection import PluginConnection, PluginError
from orchestrator.logs import get_logger

INFO_SECONDS = 1.0
NOTIFY_SECONDS = 5.0
RETRY_BASE_SECONDS = 0.1
RETRY_MAX_SECONDS = 120.0
SOCKETS_MAX = 1000
DEPTH_MAX = 4

Identity = tuple[int, int]
"""The inode of a socket and when it was made: another one of the same path is another driver."""


class Plugin(Struct, frozen=True):
    """A driver that registered."""

    type: str
    """`CSIPlugin`, `DRAPlugin`, ..."""
    name: str
    endpoint: Path
    """The socket of the service itself, on this machine."""
    versions: tuple[str, ...]


class PluginRefused(Exception):
    """A handler does not take a plugin; the message goes to the driver."""


class PluginHandler(Protocol):
    """Takes plugins of one type."""

    def validate(self, plugin: Plugin) -> None:
        """PluginRefused for a name or versions that the kubelet cannot work with."""
        ...

    async def register(self, plugin: Plugin) -> None:
        """From now on it can be used, in place of an older one of its name; PluginRefused, PluginError."""
        ...

    def deregister(self, plugin: Plugin) -> None:
        """Its socket is gone. Also called after a `register` that failed or was cancelled; idempotent."""
        ...


def plan_sockets(known: Mapping[Path, Identity], found: Mapping[Path, Identity]) -> tuple[list[Path], list[Path]]:
    """(sockets that are gone, sockets that are new); one that was made anew is both."""
    gone = [path for path, identity in known.items() if found.get(path) != identity]
    new = [path for path, identity in found.items() if known.get(path) != identity]
    return gone, new


def choose_version(supported: Sequence[str], ours: Sequence[str]) -> str | None:
    """The first of our versions that the driver has; None when there is none."""
    return next((version for version in ours if version in supported), None)


class PluginWatcher:
    """Follows the sockets of one node."""

    def __init__(
        self,
        *,
        folder: Path,
        handlers: Mapping[str, Callable[[], PluginHandler]],
        paths: NodePaths,
        clock: Clock,
        node_name: str,
    ) -> None:
        """`handlers` by the type of plugin that they take; they are asked for with the first of those."""
        self._folder = folder
        self._handlers = handlers
        self._paths = paths
        self._clock = clock
        self._node_name = node_name
        self._known: dict[Path, Identity] = {}
        self._tasks: dict[Path, asyncio.Task[None]] = {}
        self._registered: dict[Path, tuple[PluginHandler, Plugin]] = {}
        self._log = get_logger("kubelet/plugins", node=node_name)

    async def run(self) -> None:
        """Register and deregister until cancelled."""
        backoff = ItemBackoff(base_seconds=1.0, max_seconds=RETRY_MAX_SECONDS, items_max=1)
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    await self._watch(group)
                    backoff.forget("")
                except OSError as error:
                    # The kernel gives each user a number of watches; a node without plugins runs all the same.
                    self._log.warning("plugins.not_watched", folder=str(self._folder), error=str(error))
                    await self._clock.sleep(backoff.next_delay(""))

    async def _watch(self, group: asyncio.TaskGroup) -> None:
        """Until the folder is another one. OSError."""
        with Inotify() as inotify:
            while True:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
                for folder in _folders(self._folder):
                    with suppress(FileNotFoundError):  # gone since
                        inotify.watch(folder, CREATE | MOVE | DELETE | DELETE_SELF | MOVE_SELF)
                self._look(group)
                changes = await inotify.changes()
                if any(change.mask & (DELETE_SELF | MOVE_SELF) and change.folder == self._folder for change in changes):
                    return

    def _look(self, group: asyncio.TaskGroup) -> None:
        found = dict(_sockets(self._folder))
        gone, new = plan_sockets(self._known, found)
        self._known = found
        for path in gone:
            if (task := self._tasks.pop(path, None)) is not None:
                task.cancel()
            if (registered := self._registered.pop(path, None)) is not None:
                handler, plugin = registered
                self._log.info("plugin.deregistered", plugin=plugin.name, type=plugin.type)
                handler.deregister(plugin)
        for path in new:
            name = f"kubelet/{self._node_name}/plugins/{path.name}"
            self._tasks[path] = group.create_task(self._register_until_done(path), name=name)

    async def _register_until_done(self, path: Path) -> None:
        backoff = ItemBackoff(base_seconds=RETRY_BASE_SECONDS, max_seconds=RETRY_MAX_SECONDS, items_max=1)
        while True:
            connection = PluginConnection(path)
            try:
                await self._register(path, connection)
            except (PluginError, PluginRefused) as error:
                self._log.info("plugin.not_registered", socket=str(path), error=str(error))
            else:
                del self._tasks[path]
                return
            finally:
                connection.close()
            await self._clock.sleep(backoff.next_delay(""))

    async def _register(self, path: Path, connection: PluginConnection) -> None:
        """PluginError, PluginRefused."""
        from orchestrator.kubelet.plugins import registration

        info = await registration.get_info(connection, seconds=INFO_SECONDS)
        plugin = Plugin(
            type=info.type,
            name=info.name,
            endpoint=self._paths.on_machine(info.endpoint) if info.endpoint else path,
            versions=tuple(info.supported_versions),
        )
        try:
            await self._take(path, plugin)
        except (PluginError, PluginRefused) as error:
            message = f"RegisterPlugin error -- {error}"
            await registration.notify(connection, message, seconds=NOTIFY_SECONDS)
            raise PluginRefused(message) from error
        self._log.info("plugin.registered", plugin=plugin.name, type=plugin.type, versions=plugin.versions)
        await registration.notify(connection, "", seconds=NOTIFY_SECONDS)

    async def _take(self, path: Path, plugin: Plugin) -> None:
        get_handler = self._handlers.get(plugin.type)
        if get_handler is None:
            where = self._paths.on_node(path)
            raise PluginRefused(f"no handler registered for plugin type: {plugin.type} at socket {where}")
        handler = get_handler()
        try:
            handler.validate(plugin)
        except PluginRefused as error:
            raise PluginRefused(f"plugin validation failed with err: {error}") from error
        # Before anything is waited for, so that a socket that goes meanwhile is deregistered.
        self._registered[path] = handler, plugin
        try:
            await handler.register(plugin)
        except (PluginError, PluginRefused) as error:
            del self._registered[path]
            handler.deregister(plugin)
            raise PluginRefused(f"plugin registration failed with err: {error}") from error


def _folders(root: Path) -> Iterator[Path]:
    """The folder and those in it; hidden ones do not count."""
    yield from (Path(folder) for folder, _ in _walk(root))


def _sockets(root: Path) -> Iterator[tuple[Path, Identity]]:
    count = 0
    for folder, names in _walk(root):
        for name in names:
            path = Path(folder, name)
            try:
                status = path.stat()
            except OSError:
                continue  # gone since; that is another event
            if stat.S_ISSOCK(status.st_mode) and count < SOCKETS_MAX:
                count += 1
                yield path, (status.st_ino, status.st_ctime_ns)


def _walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    for folder, inner, names in os.walk(root):
        is_deep = len(Path(folder).relative_to(root).parts) >= DEPTH_MAX
        inner[:] = [] if is_deep else sorted(name for name in inner if not name.startswith("."))
        yield folder, sorted(name for name in names if not name.startswith("."))
