"""Times for people: ages as kubectl shortens them (`5m30s`, `3d4h`)."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.api.durations import human_duration


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
    return human_duration(((now or datetime.now(UTC)) - moment).total_seconds())
