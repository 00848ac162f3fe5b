"""UIDs are random UUIDs of version 4, all different."""

from __future__ import annotations

import uuid

from orchestrator.apiserver.uids import UidSource


def test_uids_are_version_4_and_unique() -> None:
    source = UidSource()
    uids = [source.next() for _ in range(1000)]
    assert len(set(uids)) == 1000
    for text in uids:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122
