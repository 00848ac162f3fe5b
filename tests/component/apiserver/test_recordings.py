"""What a real kube-apiserver answered, asked of ours: no difference without a reason (tests/golden)."""

from __future__ import annotations

import pytest

from tests.golden.recordings import ABSENT, AREAS, directory, load
from tests.golden.replay import Outcome, replay_all

pytestmark = pytest.mark.skipif(not directory().is_dir(), reason=ABSENT)


@pytest.mark.parametrize("area", AREAS)
async def test_every_difference_is_explained(area: str) -> None:
    scenarios = load(directory() / f"{area}.json")

    outcomes = await replay_all(scenarios)

    assert len(outcomes) == len(scenarios) > 0
    assert [line for outcome in outcomes if not outcome.is_same for line in _report(outcome)] == []


def _report(outcome: Outcome) -> list[str]:
    return [
        f"{outcome.id} step {step.number}, {step.request}: {difference}"
        for step in outcome.steps
        for difference in step.differences
    ]
