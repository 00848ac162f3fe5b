"""Which kubeconfig files a client verb reads, and several of them as one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli.errors import CliError

if TYPE_CHECKING:
    import argparse


def kubeconfig_files(arguments: argparse.Namespace, environ: Mapping[str, str]) -> list[Path]:
    """The files to read, the first one that names a thing wins; CliError when there is none."""
    if arguments.kubeconfig:
        return [_existing(Path(arguments.kubeconfig).expanduser())]
    if arguments.data_dir:
        return [_existing(Path(arguments.data_dir).expanduser() / "kubeconfig")]
    if listed := environ.get("KUBECONFIG"):
        files = [Path(part).expanduser() for part in listed.split(os.pathsep) if part]
        found = [file for file in files if file.is_file()]
        if not found:
            raise CliError(f"error: KUBECONFIG names no file that exists: {listed}")
        return found
    from orchestrator.config.options import default_data_dir

    data_dir = Path(environ.get("ORCHESTRATOR_DATA_DIR") or default_data_dir()).expanduser()
    candidates = [Path("~/.kube/config").expanduser(), data_dir / "kubeconfig"]
    for candidate in candidates:
        if candidate.is_file():
            return [candidate]
    tried = " or ".join(map(str, candidates))
    raise CliError(
        f"error: no kubeconfig at {tried}; start a cluster with `orchestrator up`, or name one with --kubeconfig"
    )


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise CliError(f"error: the kubeconfig {file} does not exist")
    return file


def merge_kubeconfigs(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several kubeconfigs as one: of each name, and of the current context, the first one counts."""
    merged: dict[str, Any] = {"clusters": [], "contexts": [], "users": []}
    for document in documents:
        merged.setdefault("current-context", document.get("current-context") or None)
        merged["current-context"] = merged["current-context"] or document.get("current-context")
        for section in ("clusters", "contexts", "users"):
            known = {entry["name"] for entry in merged[section]}
            merged[section] += [entry for entry in document.get(section) or () if entry["name"] not in known]
    return merged
