"""One nftables table that is ours: applies transactions to it, and hears when somebody else damages it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.threads import to_its_end
from orchestrator.logs import get_logger
from orchestrator.proxy import netlink
from orchestrator.proxy.nftables import Nft, NftSocket, open_nft
from orchestrator.proxy.watch import TableWatch

BYTES_AT_ONCE_MAX = 64 << 10
"""The kernel takes 1 ms for so much; handing that to a thread on a busy loop takes longer."""


class KernelTable:
    """Use `open`, then `apply`; `on_damage` is called when the table must be written anew."""

    def __init__(
        self,
        name: str,
        *,
        clock: Clock,
        on_damage: Callable[[], None],
        volatile_prefix: str = "\0",
        nft: Nft | None = None,
    ) -> None:
        """Elements of sets with this prefix come and go by themselves."""
        self.transactions_total = 0
        self._name = name
        self._socket: NftSocket | None = None
        self._clock = clock
        self._nft = nft
        self._owns_nft = nft is None
        self._watch = TableWatch(name, volatile_prefix=volatile_prefix, on_damage=on_damage)
        self._log = get_logger("kube-proxy", table=name)

    def open(self) -> None:
        """Begin to listen; OSError without the rights to."""
        if self._nft is None:
            self._nft = open_nft()
        self._watch.open()

    def close(self) -> None:
        """Stop; the table stays, so that connections survive a restart of this process."""
        self._watch.close()
        if self._owns_nft and self._nft is not None:
            self._nft.close()
            self._nft = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def apply(self, text: str) -> None:
        """One transaction as text; NftError, then nothing of it was applied."""
        assert self._nft is not None, "the table is not open"
        with self._transaction(len(text)):
            await self._nft.run(text)

    async def write(self, messages: Sequence[bytes]) -> None:
        """One transaction as netlink messages; NftError, then nothing of it was applied."""
        transaction = netlink.batch(messages)
        with self._transaction(len(transaction)):
            if len(transaction) <= BYTES_AT_ONCE_MAX:
                self._kernel().write(transaction)
            else:
                loop = asyncio.get_running_loop()
                await to_its_end(loop.run_in_executor(None, self._kernel().write, transaction))

    def exists(self) -> bool:
        """Whether the kernel has the table; NftError when it does not tell."""
        return self._kernel().has_table(self._name)

    def _kernel(self) -> NftSocket:
        if self._socket is None:
            self._socket = NftSocket()
        return self._socket

    @contextmanager
    def _transaction(self, size: int) -> Iterator[None]:
        started = self._clock.monotonic()
        self._watch.begin()
        try:
            yield
        finally:
            self._watch.end()
        self.transactions_total += 1
        elapsed = round((self._clock.monotonic() - started) * 1000, 1)
        self._log.debug("transaction.applied", bytes=size, milliseconds=elapsed)
