"""The patch formats of the API: JSON patch, JSON merge patch, strategic merge patch.

All pure: nothing that is handed in is changed, and what is handed out shares no mutable state that a
later patch would touch.
"""

from __future__ import annotations

from .json_patch import apply_json_patch
from .merge_patch import apply_merge_patch, create_merge_patch, three_way_json_merge_patch
from .outcome import PatchFailed, PatchRejected
from .strategic import (
    apply_strategic_merge_patch,
    create_two_way_merge_patch,
    three_way_merge_patch,
)

__all__ = [
    "PatchFailed",
    "PatchRejected",
    "apply_json_patch",
    "apply_merge_patch",
    "apply_strategic_merge_patch",
    "create_merge_patch",
    "create_two_way_merge_patch",
    "three_way_json_merge_patch",
    "three_way_merge_patch",
]
