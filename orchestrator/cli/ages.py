"""Times for people: ages as kubectl shortens them (`5m30s`, `3d4h`)."""

from __future__ import annotations

from datetime import UTC, datetime


def parse_time(text: str | None) -> datetime | None:
    """An RFC 3339 time of the API, or None."""
    if not text:
        return None
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def age_text(since: str | None, *, now: datetime | None = None) -> str:
    """How long ago, or `<unknown>`."""
    moment = parse_time(since)
    if moment is None:
        return "<unknown>"
    # A person's clock, not the cluster's: the client runs on its own machine.
    return duration_text(((now or datetime.now(UTC)) - moment).total_seconds())


def duration_text(seconds: float) -> str:
    """Two units at most, as `HumanDuration` of apimachinery does."""
    total = int(seconds)
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    if total < 120:
        return f"{total}s"
    minutes, rest = divmod(total, 60)
    if minutes < 10:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = total // 3600
    if hours < 8:
        left = minutes % 60
        return f"{hours}h{left}m" if left else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        left = hours % 24
        return f"{days}d{left}h" if left else f"{days}d"
    if hours < 24 * 365 * 2:
        return f"{days}d"
    years, left_days = divmod(days, 365)
    if hours < 24 * 365 * 8:
        return f"{years}y{left_days}d" if left_days else f"{years}y"
    return f"{years}y"
