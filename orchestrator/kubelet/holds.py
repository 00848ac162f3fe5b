"""Why a container is not started now, and until when: holds, and back-offs after failures.

Pure. Mirrors `state.waiting` of a container, and client-go's flowcontrol.Backoff as the kubelet uses it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

CRASH_BACKOFF_SECONDS = 10.0
CRASH_BACKOFF_MAX_SECONDS = 300.0


class Backoff(Struct, frozen=True):
    """How long a container (or an image) waits after its next failure."""

    delay_seconds: float
    updated_at: datetime


def next_backoff(
    entry: Backoff | None,
    event_time: datetime,
    now: datetime,
    *,
    base_seconds: float = CRASH_BACKOFF_SECONDS,
    max_seconds: float = CRASH_BACKOFF_MAX_SECONDS,
) -> Backoff:
    """One failure more: the delay doubles, or starts anew after twice the maximum without a failure."""
    if entry is None or (event_time - entry.updated_at).total_seconds() > 2 * max_seconds:
        return Backoff(base_seconds, now)
    return Backoff(min(entry.delay_seconds * 2, max_seconds), now)


def backoff_until(entry: Backoff | None, event_time: datetime, *, max_seconds: float) -> datetime | None:
    """Until when something that failed at this time has to wait; None when it need not."""
    if entry is None or (event_time - entry.updated_at).total_seconds() > 2 * max_seconds:
        return None
    return event_time + timedelta(seconds=entry.delay_seconds)


class Waiting(Struct, frozen=True):
    """`state.waiting` of a container."""

    reason: str
    message: str = ""


class Hold(Struct, frozen=True):
    """Why a container is not even tried now: it failed before it existed (image, configuration)."""

    waiting: Waiting
    until: datetime | None = None
    """None: until something it depends on changes, which lifts the hold."""
    then: Waiting | None = None
    """What it waits for once `waiting` was reported (ErrImagePull turns into ImagePullBackOff)."""
    turns_at: datetime | None = None


def format_seconds(seconds: float) -> str:
    """A duration as Go prints it: `10s`, `1m20s`, `5m0s`."""
    whole = int(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
