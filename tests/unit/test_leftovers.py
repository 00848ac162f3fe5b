"""The look for leftovers sees what it should: a check that finds nothing proves nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.leftovers import find_leftovers


def test_a_running_process_below_a_folder_is_found(tmp_path: Path) -> None:
    # Its command line looks like that of a cluster with its data in tmp_path.
    command = [
        sys.executable,
        "-c",
        "import sys; sys.stdin.read()",
        "orchestrator",
        "--data-dir",
        str(tmp_path / "data"),
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        found = find_leftovers(folders=[tmp_path])
    finally:
        process.communicate()
    assert len(found) == 1
    assert found[0].startswith(f"process {process.pid}: ")


def test_a_clean_folder_has_none(tmp_path: Path) -> None:
    assert find_leftovers(cluster_ids={"never-started"}, folders=[tmp_path]) == []
