"""Feeds nftables transactions to the kernel: text through libnftables in this process, else the program nft;
messages that are encoded already straight to a netlink socket.

Decides nothing. Mirrors knftables, the library behind kube-proxy's nftables mode. In the process a small
change takes a fraction of a millisecond where starting nft takes twenty.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from orchestrator.aiokit import memory
from orchestrator.aiokit.commands import run_command
from orchestrator.aiokit.netlink_socket import RequestSocket
from orchestrator.aiokit.threads import to_its_end
from orchestrator.proxy import netlink
from orchestrator.proxy.netlink import NETLINK_NETFILTER

COMMAND_SECONDS_MAX = 30.0
LIBRARY = "libnftables.so.1"
IDLE_SECONDS = 2.0
"""After the last transaction its context goes."""
ERROR_CHARS_MAX = 500
SO_SNDBUFFORCE = 32
TRANSACTION_BYTES_MAX = 64 << 20
"""20,000 Services of ten endpoints are 12 MB."""
RECEIVE_BYTES = 64 << 10


class NftError(Exception):
    """The kernel or nft refused a transaction; nothing of it was applied."""


class Nft(Protocol):
    """Applies text as one atomic transaction."""

    async def run(self, text: str) -> None:
        """Apply all of it or nothing; NftError."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


def open_nft() -> Nft:
    """The library where the machine has it, else the program."""
    try:
        return LibNftables()
    except OSError:
        return NftProgram()


class LibNftables:
    """libnftables through ctypes, in a thread of its own: calls block, and the library is not thread-safe.

    One context serves what comes in quick succession, because closing its socket waits until the kernel has freed what
    was deleted, some 15 ms. It holds a copy of all tables of the machine, more than half a megabyte for each, so that
    it goes when nothing more came.
    """

    def __init__(self) -> None:
        """OSError when the machine does not have the library."""
        library = ctypes.CDLL(LIBRARY)
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_ctx_free.argtypes = [ctypes.c_void_p]
        library.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
        library.nft_ctx_buffer_output.argtypes = [ctypes.c_void_p]
        for read_buffer in (library.nft_ctx_get_error_buffer, library.nft_ctx_get_output_buffer):
            read_buffer.restype = ctypes.c_char_p
            read_buffer.argtypes = [ctypes.c_void_p]
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._library = library
        self._context: int | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nftables")
        self._rest: asyncio.TimerHandle | None = None
        self._closed = False

    async def run(self, text: str) -> None:
        """Apply all of it or nothing; NftError."""
        loop = asyncio.get_running_loop()
        self._wake()
        try:
            await to_its_end(loop.run_in_executor(self._thread, self.run_here, text))
        finally:
            self._wake()  # somebody else may have been faster
            if not self._closed:
                self._rest = loop.call_later(IDLE_SECONDS, self._thread.submit, self._free)

    def run_here(self, text: str) -> None:
        """The same in the calling thread, whose network namespace it is about; blocking."""
        library = self._library
        if self._context is None:
            self._context = library.nft_ctx_new(0)
            if not self._context:
                raise NftError("libnftables gives no context")
            library.nft_ctx_buffer_error(self._context)
            library.nft_ctx_buffer_output(self._context)
        if library.nft_run_cmd_from_buffer(self._context, text.encode()) != 0:
            error = library.nft_ctx_get_error_buffer(self._context).decode(errors="replace")[:ERROR_CHARS_MAX]
            self._free()  # after a failure it begins anew, with a cache of its own
            raise NftError(error)
        library.nft_ctx_get_error_buffer(self._context)  # reading empties the buffers, where warnings gather
        library.nft_ctx_get_output_buffer(self._context)

    def _free(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            self._library.nft_ctx_free(context)
            memory.give_back()

    def _wake(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def close(self) -> None:
        """End the thread, after what it is doing."""
        self._closed = True
        self._wake()
        self._thread.submit(self._free)
        self._thread.shutdown(wait=False)


class NftProgram:
    """`nft -f -`, one process for each transaction."""

    async def run(self, text: str) -> None:
        """Apply all of it or nothing; NftError."""
        try:
            outcome = await run_command("nft", "-f", "-", text=text, seconds_max=COMMAND_SECONDS_MAX)
        except TimeoutError:
            raise NftError(f"nft did not end within {COMMAND_SECONDS_MAX:.0f} s") from None
        except OSError as error:
            raise NftError(f"the program nft cannot be started: {error.strerror}") from None
        if outcome.code != 0:
            raise NftError(outcome.errors.strip()[:ERROR_CHARS_MAX])

    def close(self) -> None:
        """Nothing is held."""


class NftSocket:
    """Encoded transactions to the kernel, and its answers. Blocking: the kernel works while it is being sent to."""

    def __init__(self) -> None:
        """OSError without the rights to."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, TRANSACTION_BYTES_MAX)
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise

    def write(self, transaction: bytes) -> None:
        """Apply all of it or nothing; NftError."""
        try:
            self._socket.send(transaction)
        except OSError as error:
            raise NftError(f"a transaction of {len(transaction)} bytes cannot be sent: {error.strerror}") from None
        # A kernel that has nothing to say has applied it: it answers before the call to send returns.
        refusals = self._refusals()
        if refusals:
            number, code = refusals[0]
            raise NftError(f"the kernel refuses message {number} of a transaction: {os.strerror(code)}")

    def has_table(self, table: str) -> bool:
        """Whether a table of family ip is there; NftError when the kernel does not tell."""
        self._socket.send(netlink.get_table(table))
        codes = {code for _, code in self._refusals()}
        if codes - {errno.ENOENT}:
            raise NftError(f"the kernel does not tell of its tables: {os.strerror(codes.pop())}")
        return not codes

    def _refusals(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        while True:
            try:
                found += netlink.errors(self._socket.recv(RECEIVE_BYTES))
            except BlockingIOError:
                return found
            except OSError as error:
                found.append((0, error.errno or errno.EIO))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def table_names() -> list[str]:
    """The tables of family ip. Blocking; OSError without the rights to."""
    with RequestSocket(NETLINK_NETFILTER) as kernel:
        return [netlink.table_name(answer.body) for answer in kernel.dump(*netlink.list_tables())]


async def remove_table(table: str) -> None:
    """Remove a table of family ip; succeeds when there is none, also where the kernel could not have one."""
    if table not in table_names():
        return
    nft = open_nft()
    try:
        await nft.run(f"table ip {table} {{}}\ndelete table ip {table}\n")
    finally:
        nft.close()
