"""From CPU time to CPU in use: counters as they were a while ago.

Pure state, no clock of its own. Mirrors what cadvisor and metrics-server do with two scrapes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

WINDOW_SECONDS_MIN = 5.0
"""Over less, the scheduler's jitter shows more than the load."""
SAMPLES_MAX = 3


class CpuHistory:
    """The last few samples of each container's CPU time, by container id."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[tuple[float, int]]] = {}

    def add(self, key: str, at_seconds: float, nanoseconds: int) -> None:
        """Remember a sample, unless the last one is from just before."""
        samples = self._samples.setdefault(key, deque(maxlen=SAMPLES_MAX))
        if not samples or at_seconds - samples[-1][0] >= WINDOW_SECONDS_MIN:
            samples.append((at_seconds, nanoseconds))

    def keep(self, keys: Collection[str]) -> None:
        """Forget all others."""
        for key in self._samples.keys() - keys:
            del self._samples[key]

    def rate(self, key: str, at_seconds: float, nanoseconds: int, age_seconds: float) -> tuple[int, float]:
        """(nanocores, window in seconds) until now.

        Since the newest sample that is old enough; without one since the container's start, when it had used nothing.
        """
        before, used_before = at_seconds - age_seconds, 0
        for at, used in self._samples.get(key, ()):
            if at_seconds - at >= WINDOW_SECONDS_MIN and at >= before:
                before, used_before = at, used
        window = max(at_seconds - before, 0.001)
        return max(0, int((nanoseconds - used_before) / window)), window
