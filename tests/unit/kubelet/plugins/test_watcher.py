"""Drivers that put a socket into plugins_registry, with real sockets and a real gRPC server."""

# ruff: noqa: ASYNC240 - tests look at small local files

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.aiokit.clock import SystemClock
from orchestrator.aiokit.inotify import CREATE, Inotify
from orchestrator.kubelet.node_paths import NodePaths
from orchestrator.kubelet.plugins.watcher import Plugin, PluginRefused, PluginWatcher, choose_version, plan_sockets
from tests.plugin_drivers import Registrar, serve_on, stop

A, B = Path("/r/a.sock"), Path("/r/b.sock")


@pytest.mark.parametrize(
    ("known", "found", "gone", "new"),
    [
        pytest.param({}, {A: (1, 1)}, [], [A], id="one came"),
        pytest.param({A: (1, 1)}, {}, [A], [], id="one went"),
        pytest.param({A: (1, 1), B: (2, 1)}, {A: (1, 1), B: (2, 1)}, [], [], id="nothing changed"),
        pytest.param({A: (1, 1)}, {A: (1, 2)}, [A], [A], id="made anew, the kernel took the same inode"),
        pytest.param({A: (1, 1)}, {B: (1, 1)}, [A], [B], id="renamed"),
    ],
)
def test_what_to_do_about_sockets(
    known: dict[Path, tuple[int, int]], found: dict[Path, tuple[int, int]], gone: list[Path], new: list[Path]
) -> None:
    assert plan_sockets(known, found) == (gone, new)


def test_the_version_is_the_first_of_ours_that_the_driver_has() -> None:
    assert choose_version(["v1beta1", "v1"], ["v1", "v1beta1"]) == "v1"
    assert choose_version(["v1beta1"], ["v1", "v1beta1"]) == "v1beta1"
    assert choose_version(["v2"], ["v1"]) is None


class Recording:
    """A handler that takes drivers whose name is not `bad`."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[tuple[str, Plugin]] = asyncio.Queue()

    def validate(self, plugin: Plugin) -> None:
        if plugin.name == "bad":
            raise PluginRefused("no version that the kubelet knows")

    async def register(self, plugin: Plugin) -> None:
        self.seen.put_nowait(("registered", plugin))

    def deregister(self, plugin: Plugin) -> None:
        self.seen.put_nowait(("deregistered", plugin))

    async def next(self) -> tuple[str, Plugin]:
        """What happens next."""
        return await asyncio.wait_for(self.seen.get(), 10)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    # Longer than a socket's address may be.
    folder = tmp_path / ("deep" * 20) / "plugins_registry"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
async def handler(registry: Path) -> AsyncIterator[Recording]:
    recording = Recording()
    watcher = PluginWatcher(
        folder=registry,
        handlers={"DRAPlugin": lambda: recording},
        paths=NodePaths(kubelet_dir=registry.parent),
        clock=SystemClock(),
        node_name="node-1",
    )
    task = asyncio.create_task(watcher.run())
    yield recording
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_driver_registers_goes_and_comes_again(registry: Path, handler: Recording) -> None:
    socket = registry / "gpu-reg.sock"
    driver = Registrar("DRAPlugin", "gpu.example.com", endpoint="/var/lib/kubelet/plugins/gpu/dra.sock")
    for _ in range(2):
        server = await serve_on(socket, driver.service())
        what, plugin = await handler.next()
        assert (what, plugin.name, plugin.versions) == ("registered", "gpu.example.com", ("v1",))
        assert plugin.endpoint == registry.parent / "plugins" / "gpu" / "dra.sock"
        await stop(server, socket)
        assert await handler.next() == ("deregistered", plugin)


async def test_a_driver_that_was_there_first_registers_too_and_is_told(registry: Path, handler: Recording) -> None:
    socket = registry / "sub" / "gpu-reg.sock"
    socket.parent.mkdir()
    driver = Registrar("DRAPlugin", "gpu.example.com")
    server = await serve_on(socket, driver.service())
    _, plugin = await handler.next()
    assert plugin.endpoint == socket
    assert await asyncio.wait_for(driver.told.get(), 10) == (True, "")
    await stop(server, socket)


@pytest.mark.parametrize(
    ("type_", "name", "why"),
    [
        ("DRAPlugin", "bad", "plugin validation failed with err: no version that the kubelet knows"),
        (
            "Other",
            "x",
            "no handler registered for plugin type: Other at socket /var/lib/kubelet/plugins_registry/x.sock",
        ),
    ],
)
async def test_a_driver_that_is_refused_hears_why(
    registry: Path, handler: Recording, type_: str, name: str, why: str
) -> None:
    driver = Registrar(type_, name)
    server = await serve_on(registry / "x.sock", driver.service())
    assert await asyncio.wait_for(driver.told.get(), 10) == (False, f"RegisterPlugin error -- {why}")
    await stop(server, registry / "x.sock")


async def test_a_hidden_socket_and_a_plain_file_are_no_drivers(registry: Path, handler: Recording) -> None:
    (registry / "notes.txt").touch()
    hidden = await serve_on(registry / ".x.sock", Registrar("DRAPlugin", "hidden").service())
    shown = await serve_on(registry / "y.sock", Registrar("DRAPlugin", "shown").service())
    assert (await handler.next())[1].name == "shown"
    await stop(hidden, registry / ".x.sock")
    await stop(shown, registry / "y.sock")


async def test_the_registry_may_be_made_anew(registry: Path, handler: Recording) -> None:
    first = await serve_on(registry / "a.sock", Registrar("DRAPlugin", "a").service())
    await handler.next()
    await stop(first, registry / "a.sock")
    assert (await handler.next())[0] == "deregistered"
    with Inotify() as inotify:
        inotify.watch(registry.parent, CREATE)
        registry.rmdir()
        await asyncio.wait_for(inotify.changes(), 10)
    second = await serve_on(registry / "b.sock", Registrar("DRAPlugin", "b").service())
    assert (await handler.next())[1].name == "b"
    await stop(second, registry / "b.sock")
