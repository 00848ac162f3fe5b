"""Who is who inside an image: its /etc/passwd and /etc/group, read from its layers.

Kubernetes merges the groups that an image gives to a user into those of the process, or leaves them
out (`supplementalGroupsPolicy`, KEP-3619). An Engine decides that by itself from how the user is
written, so this has to be known before.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct, field

FILE_BYTES_MAX = 1 << 20


class Accounts(Struct, frozen=True):
    """The users and groups of an image."""

    users: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name → uid, primary gid."""
    members: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """User name → gids of the groups that list it."""

    def primary_group(self, user: str) -> int:
        """The primary gid of a user, given by name or uid; 0 for one that the image does not know."""
        return next((gid for name, (uid, gid) in self.users.items() if user in (name, str(uid))), 0)

    def groups_of(self, user: str) -> tuple[int, ...]:
        """The gids of the groups that list a user, given by name or uid."""
        names = [name for name, (uid, _) in self.users.items() if user in (name, str(uid))]
        return self.members.get(names[0], ()) if names else ()


def parse_accounts(passwd: str, group: str) -> Accounts:
    """From the texts of the two files; lines that make no sense are passed over, as libc does."""
    users: dict[str, tuple[int, int]] = {}
    for fields in _records(passwd, 4):
        if fields[2].isdigit() and fields[3].isdigit():
            users.setdefault(fields[0], (int(fields[2]), int(fields[3])))
    members: dict[str, list[int]] = {}
    for fields in _records(group, 4):
        if fields[2].isdigit():
            for name in fields[3].split(","):
                members.setdefault(name.strip(), []).append(int(fields[2]))
    return Accounts(users, {name: tuple(gids) for name, gids in members.items() if name})


def _records(text: str, least: int) -> list[list[str]]:
    lines = (line.split(":") for line in text.splitlines() if not line.startswith("#"))
    return [fields for fields in lines if len(fields) >= least]


@lru_cache(maxsize=256)
def read_accounts(layers: tuple[str, ...]) -> Accounts:
    """The accounts of an image with these layer directories, topmost first."""
    return parse_accounts(_read(layers, "passwd"), _read(layers, "group"))


def _read(layers: Sequence[str], name: str) -> str:
    """A file of /etc in the topmost layer that says anything about it; a link is not followed."""
    for layer in layers:
        try:
            folder = os.open(os.path.join(layer, "etc"), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # this layer has no /etc
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except FileNotFoundError:
            continue
        except OSError:
            return ""  # removed by this layer, or a link
        finally:
            os.close(folder)
        with open(descriptor, "rb") as stream:
            return stream.read(FILE_BYTES_MAX).decode(errors="replace")
    return ""
