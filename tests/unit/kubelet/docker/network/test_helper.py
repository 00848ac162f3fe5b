"""A helper's program and who asks it, without the container."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from orchestrator.component.places import PlaceLost
from orchestrator.kubelet.docker.network.helper import HelpedOwnership, Helper
from orchestrator.kubelet.docker.network.helper_program import below, local_route, serve


class Ends:
    """Both ends of a helper's connections."""

    def __init__(self, root: Path) -> None:
        asking, self.asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        watching, self.watched = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.helper = Helper(asking, watching)
        self._thread = threading.Thread(target=serve, args=(self.asked, str(root)))
        self._thread.start()

    def die(self) -> None:
        """As when the container dies."""
        with contextlib.suppress(OSError):  # who asks has left already
            self.asked.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self.watched.close()


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    one = Ends(tmp_path)
    yield one
    one.die()
    one.helper.close()


def test_a_socket_comes_ready_to_be_bound(ends: Ends) -> None:
    with ends.helper.make_socket(socket.SOCK_STREAM) as made:
        assert (made.family, made.type) == (socket.AF_INET, socket.SOCK_STREAM)
        assert not made.getblocking()
        made.bind(("127.0.0.1", 0))
        made.listen()
    with ends.helper.make_socket(socket.SOCK_DGRAM) as made:
        assert made.type == socket.SOCK_DGRAM


def test_an_error_comes_back_as_what_it_is(ends: Ends, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ends.helper.chown(tmp_path / "nothing", -1, os.getgid())
    with pytest.raises(OSError, match="not understood"):
        ends.helper._ask({"do": "dance"}, seconds_max=5)
    with pytest.raises(OSError, match="not understood"):
        ends.helper._ask({"no": "verb"}, seconds_max=5)


def test_only_what_is_below_the_root_is_touched(ends: Ends, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (tmp_path / "link").symlink_to(outside)
    (outside / "file").touch()
    for path in (outside, tmp_path / "link" / "file", tmp_path / ".." / outside.name, Path("/")):
        with pytest.raises(PermissionError):
            ends.helper.remove(path)
    ends.helper.remove(tmp_path / "link")
    assert (outside / "file").exists()
    assert not (tmp_path / "link").is_symlink()


def test_a_tree_is_removed_and_one_that_is_gone_is_fine(ends: Ends, tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "file").touch()
    ends.helper.remove(tmp_path / "tree")
    ends.helper.remove(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_without_a_root_nothing_is_below(tmp_path: Path) -> None:
    with pytest.raises(PermissionError):
        below("", str(tmp_path))


async def test_the_death_of_the_container_is_told_and_ends_what_is_asked(tmp_path: Path) -> None:
    ends = Ends(tmp_path)
    told = asyncio.Event()
    ends.helper.watch(told.set)
    ends.die()
    await asyncio.wait_for(told.wait(), 10)
    assert ends.helper.is_lost
    with pytest.raises(PlaceLost):
        ends.helper.make_socket(socket.SOCK_STREAM)
    ends.helper.close()


def test_what_this_process_may_do_itself_needs_no_helper(tmp_path: Path) -> None:
    def nobody() -> Helper:
        raise AssertionError("not needed")

    ownership = HelpedOwnership(nobody)
    (tmp_path / "file").touch()
    ownership.chown(tmp_path / "file", -1, os.getgid())
    ownership.give_to_group(tmp_path, os.getgid(), "Always")
    assert (tmp_path / "file").stat().st_mode & 0o660 == 0o660


def test_what_this_process_may_not_do_is_done_by_the_helper(
    ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    chown, calls = os.chown, []

    def refused_once(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise PermissionError(errno.EPERM, "not allowed")
        chown(*arguments, **options)

    monkeypatch.setattr(os, "chown", refused_once)
    HelpedOwnership(lambda: ends.helper).chown(tmp_path / "file", -1, os.getgid())
    assert len(calls) == 2


def test_the_route_that_makes_a_range_local() -> None:
    message = local_route(IPv4Network("10.245.0.0/16"), 1)
    assert len(message) == int.from_bytes(message[:4], "little") == 44
    assert message[4:6] == (24).to_bytes(2, "little")  # RTM_NEWROUTE
    assert message[17] == 16  # bits of the destination
    assert bytes([10, 245, 0, 0]) in message


def test_an_answer_that_comes_too_late_is_nobodys() -> None:
    asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    watching, watched = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    helper = Helper(asking, watching)
    with asked, watched, contextlib.closing(helper):
        with pytest.raises(PlaceLost, match="does not answer"):
            helper._ask({"do": "socket"}, seconds_max=0.01)
        asked.send(b"{}")
        assert helper.is_lost
        with pytest.raises(PlaceLost, match="lost"):
            helper._ask({"do": "remove"}, seconds_max=5)
