"""Who this cluster is, across restarts: an id that names its containers, bridges and rules."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

CLUSTER_ID = re.compile(r"[0-9a-f]{8}")


def read_cluster_id(data_dir: Path) -> str | None:
    """The id of the cluster that lives in this folder, or None."""
    try:
        text = (data_dir / "cluster-id").read_text().strip()
    except FileNotFoundError:
        return None
    if not CLUSTER_ID.fullmatch(text):
        raise ValueError(f"{data_dir / 'cluster-id'} does not hold a cluster id")
    return text


def ensure_cluster_id(data_dir: Path) -> str:
    """The id of the cluster in this folder; made on first start."""
    known = read_cluster_id(data_dir)
    if known is not None:
        return known
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = secrets.token_hex(4)
    temporary = data_dir / f".cluster-id.{os.getpid()}"
    temporary.write_text(new + "\n")
    os.replace(temporary, data_dir / "cluster-id")
    return new
