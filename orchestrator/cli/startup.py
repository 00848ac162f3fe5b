"""Cheaper imports for the process that serves: what a start does not need is done when it is needed.

aiohttp makes its default TLS context while it is imported, which parses every certificate that the
machine trusts (40 ms, a tenth of a start). The context that it gets here reads them when a connection
uses it for the first time.
"""

from __future__ import annotations

import ssl
from typing import Any


class LazyTrust(ssl.SSLContext):
    """A client context as `ssl.create_default_context()` makes it, which loads the trusted CAs on first use."""

    _loaded = False

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """As the parent's; asyncio opens every TLS connection through it."""
        self._load()
        return super().wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """As the parent's."""
        self._load()
        return super().wrap_socket(*args, **kwargs)

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            self.load_default_certs(ssl.Purpose.SERVER_AUTH)


def import_aiohttp() -> None:
    """Import aiohttp so that its default context loads the trusted CAs late, and that for unverified TLS never."""
    create = ssl.create_default_context

    def create_lazily(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        context = create(*args, **kwargs)
        if not args and not kwargs:
            context.__class__ = LazyTrust
        return context

    ssl.create_default_context = create_lazily
    # Shadows the method of the C base class, which is what every way to the trusted CAs ends in.
    setattr(ssl.SSLContext, "set_default_verify_paths", lambda _context: None)  # noqa: B010
    try:
        import aiohttp  # noqa: F401
    finally:
        ssl.create_default_context = create
        delattr(ssl.SSLContext, "set_default_verify_paths")
