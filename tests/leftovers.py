"""Finds what a cluster left behind on this machine: containers, cgroups, interfaces, network rules, mounts,
loop devices, processes.

Looks from outside (Engine, `ip`, `nft`, `iptables`, /proc) and shares no code with what makes and removes
those things, so that a test can trust it.

    python -m tests.leftovers [FOLDER | CLUSTER-ID ...]     lists them; exit code 1 if there are any
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.setup.engine import CLUSTER_LABEL, Engine, EngineError, find

_TOOLS = {
    "interface": ("ip", "-oneline", "link", "show"),
    "nftables table": ("nft", "list", "tables"),
    "iptables rule": ("iptables", "-w", "-S"),
    "iptables nat rule": ("iptables", "-w", "-t", "nat", "-S"),
}


def find_leftovers(*, cluster_ids: Iterable[str] = (), folders: Iterable[Path] = ()) -> list[str]:
    """One line for each thing that still belongs to one of the clusters or lives below one of the folders."""
    ids, below = set(cluster_ids), [folder.resolve() for folder in folders]
    found = [*_containers(ids, below), *_mounts(below), *_loop_devices(below), *_processes(below)]
    for cluster_id in sorted(ids):
        found += [*_network(cluster_id), *_cgroups(cluster_id)]
    return found


def _containers(ids: set[str], folders: list[Path]) -> list[str]:
    try:
        engine, _version = find()
    except EngineError:
        return []  # without an Engine there is no container either
    found = []
    for container in engine.containers(CLUSTER_LABEL):
        cluster_id = container["Labels"][CLUSTER_LABEL]
        sources = [Path(mount["Source"]) for mount in container.get("Mounts", []) if mount.get("Source")]
        if cluster_id in ids or any(_is_below(source, folders) for source in sources):
            found.append(f"container {container['Names'][0]} ({container['State']}) of cluster {cluster_id}")
    return found


def _mounts(folders: list[Path]) -> list[str]:
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except FileNotFoundError:
        return []  # not Linux
    points = [Path(line.split()[4].replace("\\040", " ")) for line in lines]
    return [f"mount {point}" for point in points if _is_below(point, folders)]


def _loop_devices(folders: list[Path]) -> list[str]:
    """Those whose file is below a folder, also when it was deleted."""
    found = []
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        file = entry.read_text().strip().removesuffix(" (deleted)")
        if _is_below(Path(file), folders):
            found.append(f"loop device {entry.parts[-3]} of {file}")
    return found


def _processes(folders: list[Path]) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = [os.fsdecode(word) for word in (entry / "cmdline").read_bytes().split(b"\0") if word]
        except OSError:
            continue  # ended meanwhile, or not ours to see
        if int(entry.name) != os.getpid() and _is_orchestrator(words) and _names_folder(words, folders):
            found.append(f"process {entry.name}: {' '.join(words)}")
    return found


def _is_orchestrator(words: list[str]) -> bool:
    return any(word == "orchestrator" or word.endswith("/orchestrator") for word in words)


def _names_folder(words: list[str], folders: list[Path]) -> bool:
    return any(_is_below(Path(word.rpartition("=")[2]), folders) for word in words)


def _network(cluster_id: str) -> list[str]:
    """Names of interfaces, tables and rule comments carry a short digest of the cluster's id."""
    key = hashlib.sha256(cluster_id.encode()).hexdigest()[:8]
    found = []
    for what, command in _TOOLS.items():
        if (program := shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")) is None:
            continue
        listing = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False).stdout
        # A veth name has room for five digits of the key only.
        found += [f"{what}: {line}" for line in listing.splitlines() if key in line or f": o{key[:5]}" in line]
    return found


def _cgroups(cluster_id: str) -> list[str]:
    """The cgroups of a cluster are below one that carries its id, in each hierarchy."""
    root, name = Path("/sys/fs/cgroup"), f"orchestrator_{cluster_id}*"
    return [f"cgroup {path}" for path in sorted([*root.glob(name), *root.glob(f"*/{name}")])]


def _is_below(path: Path, folders: list[Path]) -> bool:
    return path.is_absolute() and any(path.is_relative_to(folder) for folder in folders)


def find_engine() -> tuple[Engine | None, str]:
    """A reachable Engine, or None and why there is none."""
    try:
        return find()[0], ""
    except EngineError as error:
        return None, str(error)


def main(arguments: list[str]) -> int:
    folders = [Path(argument) for argument in arguments if "/" in argument]
    found = find_leftovers(cluster_ids=(argument for argument in arguments if "/" not in argument), folders=folders)
    for line in found:
        print(f"left behind: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
