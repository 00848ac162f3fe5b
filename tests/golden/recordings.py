"""Where recordings of real API servers lie, and how they are read.

They are no part of the project: `ORCHESTRATOR_GOLDEN_DIR` names their directory, else they are looked
for beside the checkout. Whoever needs them is skipped without them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

ABSENT = "no recordings: set ORCHESTRATOR_GOLDEN_DIR"
AREAS = ("auth", "crd136", "defaults", "discovery", "lifecycle", "patches", "tables", "validation")
"""The files of recordings."""


def directory() -> Path:
    """Where the recordings are, if they are anywhere."""
    configured = os.environ.get("ORCHESTRATOR_GOLDEN_DIR")
    return Path(configured) if configured else Path(__file__).parents[2].parent / "shared" / "golden"


def load(path: Path) -> list[dict[str, Any]]:
    """The scenarios of one file; none where there is no such file."""
    if not path.exists():
        return []
    scenarios: list[dict[str, Any]] = json.loads(path.read_text())
    return scenarios
