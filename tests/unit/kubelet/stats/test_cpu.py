"""From CPU time to CPU in use."""

from __future__ import annotations

from orchestrator.kubelet.stats.cpu import CpuHistory

SECOND = 10**9


def test_without_a_sample_the_rate_is_since_the_start() -> None:
    assert CpuHistory().rate("c", 100.0, 2 * SECOND, 10.0) == (SECOND // 5, 10.0)


def test_with_a_sample_the_rate_is_since_then() -> None:
    history = CpuHistory()
    history.add("c", 100.0, 50 * SECOND)
    assert history.rate("c", 110.0, 55 * SECOND, 1000.0) == (SECOND // 2, 10.0)


def test_a_sample_that_is_too_young_is_not_compared_with() -> None:
    history = CpuHistory()
    history.add("c", 100.0, 50 * SECOND)
    history.add("c", 110.0, 50 * SECOND)
    assert history.rate("c", 112.0, 62 * SECOND, 1000.0) == (SECOND, 12.0)


def test_only_a_few_samples_are_kept_and_none_of_those_that_are_gone() -> None:
    history = CpuHistory()
    for second in range(0, 100, 10):
        history.add("c", float(second), second * SECOND)
    history.keep({"other"})
    assert history.rate("c", 100.0, 100 * SECOND, 200.0) == (SECOND // 2, 200.0)


def test_a_counter_that_went_back_is_no_usage() -> None:
    history = CpuHistory()
    history.add("c", 100.0, 50 * SECOND)
    assert history.rate("c", 110.0, SECOND, 1000.0)[0] == 0
