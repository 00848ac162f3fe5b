"""What the probes of a container add up to."""

from __future__ import annotations

from msgspec import Struct


class ProbeVerdict(Struct, frozen=True):
    """What the probes of a running container say, as far as it has any."""

    started: bool = True
    ready: bool = True
    must_die: str = ""
    """The message of the Killing event, when liveness or startup failed often enough."""
    grace_seconds: int | None = None
    """The failed probe's own `terminationGracePeriodSeconds`."""
