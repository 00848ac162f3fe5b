"""The signals of node-pressure eviction out of /proc and the file systems."""

from __future__ import annotations

from pathlib import Path

from orchestrator.kubelet.eviction.plan import Signal
from orchestrator.kubelet.stats.machine import read_signals


def test_signals(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "sys" / "kernel").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable: 40 kB\n")
    (proc / "sys" / "kernel" / "pid_max").write_text("1000\n")
    (proc / "loadavg").write_text("0.1 0.2 0.3 1/300 12345\n")
    signals = read_signals(tmp_path, tmp_path / "not there", proc)
    assert signals["memory.available"] == Signal(40 * 1024, 100 * 1024)
    assert signals["pid.available"] == Signal(700, 1000)
    assert 0 < signals["nodefs.available"].available <= signals["nodefs.available"].capacity
    assert "imagefs.available" not in signals
