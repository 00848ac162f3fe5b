"""Another user of this machine who may open the Engine's socket, and can run the project from where it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orchestrator

NOBODY = 65534


class Account(NamedTuple):
    """Who runs an orchestrator, and with what."""

    python: str
    user: int
    groups: tuple[int, ...]
    path: str
    """PYTHONPATH: the project and its packages."""

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to the end."""
        return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60, **self.options())

    def options(self) -> dict[str, Any]:
        """For subprocess: the user, its groups and an environment without anything of ours."""
        environment = {
            "PATH": os.defpath,
            "HOME": "/nonexistent",
            "PYTHONPATH": self.path,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if host := os.environ.get("DOCKER_HOST"):
            environment["DOCKER_HOST"] = host
        return {"user": self.user, "group": NOBODY, "extra_groups": [*self.groups], "env": environment}


def find_account() -> Account | None:
    """An account without any right of root's; None where nobody else can read the interpreter or the packages."""
    socket = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
    if not socket.exists() or socket.stat().st_gid == 0:
        return None
    path = os.pathsep.join(
        [str(Path(orchestrator.__file__).parents[1]), *(p for p in sys.path if "site-packages" in p)]
    )
    for python in _interpreters():
        account = Account(python, NOBODY, (socket.stat().st_gid,), path)
        try:
            if account.run(python, "-c", "import orchestrator.cluster.cluster, uvloop, aiodocker").returncode == 0:
                return account
        except OSError:
            continue
    return None


def _interpreters() -> Iterator[str]:
    yield sys.executable
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for folder in os.get_exec_path():
        if found := shutil.which(name, path=folder):
            yield found
