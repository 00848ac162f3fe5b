"""Whether the machine has an AppArmor profile, which the Engine only notices when it starts a container.

Blocks: call it in a thread. Mirrors what containerd's CRI checks before it creates a container.
"""

from __future__ import annotations

from pathlib import Path

PROFILES = Path("/sys/kernel/security/apparmor/profiles")
ENABLED = Path("/sys/module/apparmor/parameters/enabled")
UNCONFINED = "unconfined"


def parse_profiles(text: str) -> set[str]:
    """The names in the kernel's list of `name (mode)` lines."""
    return {line.rpartition(" (")[0] for line in text.splitlines()}


def is_loaded(profile: str, profiles: Path = PROFILES, enabled: Path = ENABLED) -> bool:
    """Whether containers can have this profile; where nobody may look, the Engine has to find out."""
    if profile == UNCONFINED:
        return True
    try:
        return profile in parse_profiles(profiles.read_text())
    except PermissionError:
        return True  # only root sees the list
    except FileNotFoundError:
        return _is_enabled(enabled)  # the list may not be mounted where this process runs


def _is_enabled(enabled: Path) -> bool:
    """Whether the kernel has AppArmor and it is switched on."""
    try:
        return enabled.read_text().startswith("Y")
    except FileNotFoundError:
        return False
