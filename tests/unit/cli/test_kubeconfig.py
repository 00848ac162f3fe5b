"""Which kubeconfig counts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.errors import CliError
from orchestrator.cli.kubeconfig import kubeconfig_files, merge_kubeconfigs


def _flags(**values: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"kubeconfig": None, "data_dir": None, **values})


def test_flags_beat_the_environment_which_beats_the_usual_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, data = tmp_path / "home", tmp_path / "data"
    for file in (tmp_path / "flag", tmp_path / "one", home / ".kube" / "config", data / "kubeconfig"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setenv("HOME", str(home))
    environ = {"KUBECONFIG": f"{tmp_path}/one:{tmp_path}/missing", "ORCHESTRATOR_DATA_DIR": str(data)}
    assert kubeconfig_files(_flags(kubeconfig=str(tmp_path / "flag")), environ) == [tmp_path / "flag"]
    assert kubeconfig_files(_flags(data_dir=str(data)), environ) == [data / "kubeconfig"]
    assert kubeconfig_files(_flags(), environ) == [tmp_path / "one"]
    environ.pop("KUBECONFIG")
    assert kubeconfig_files(_flags(), environ) == [home / ".kube" / "config"]
    (home / ".kube" / "config").unlink()
    assert kubeconfig_files(_flags(), environ) == [data / "kubeconfig"]
    (data / "kubeconfig").unlink()
    with pytest.raises(CliError, match="start a cluster with `orchestrator up`"):
        kubeconfig_files(_flags(), environ)


def test_of_several_kubeconfigs_the_first_that_names_a_thing_counts() -> None:
    first = {"contexts": [{"name": "a", "context": 1}], "clusters": [], "users": []}
    second = {"current-context": "b", "contexts": [{"name": "a", "context": 2}, {"name": "b", "context": 3}]}
    merged = merge_kubeconfigs([first, second])
    assert merged["current-context"] == "b"
    assert merged["contexts"] == [{"name": "a", "context": 1}, {"name": "b", "context": 3}]
