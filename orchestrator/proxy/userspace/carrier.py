"""What a listener's carrier is: it owns a listening socket, and what came in through it."""

from __future__ import annotations

from typing import Protocol

from orchestrator.proxy.userspace.plan import Route


class Carrier(Protocol):
    """Carries what clients send to a listener."""

    def follow(self, route: Route) -> None:
        """From now on the listener leads elsewhere."""
        ...

    def close(self) -> None:
        """Stop listening, as Kubernetes ends a Service: TCP connections live on, UDP conversations do not."""
        ...

    def abort(self) -> None:
        """Stop listening and cut everything."""
        ...
