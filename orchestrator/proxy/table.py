"""One nftables table that is ours: applies transactions to it, and hears when somebody else damages it."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.aiokit.clock import Clock
from orchestrator.logs import get_logger
from orchestrator.proxy.nftables import Nft, open_nft
from orchestrator.proxy.watch import TableWatch


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

    async def apply(self, text: str) -> None:
        """One transaction; NftError, then nothing of it was applied."""
        assert self._nft is not None, "the table is not open"
        started = self._clock.monotonic()
        self._watch.begin()
        try:
            await self._nft.run(text)
        finally:
            self._watch.end()
        self.transactions_total += 1
        elapsed = round((self._clock.monotonic() - started) * 1000, 1)
        self._log.debug("transaction.applied", bytes=len(text), milliseconds=elapsed)
