"""Which changes of a Pod are work."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.api.objects import Object, copy_object
from orchestrator.kubelet.pod_changes import is_more_urgent, is_news, shows_in_volumes
from tests.unit.kubelet.pods import pod

GATED = pod(readinessGates=[{"conditionType": "example.org/gate"}])


def changed(obj: Object, change: Callable[[Object], object]) -> Object:
    new = copy_object(obj)
    change(new)
    return new


def deleted(grace_seconds: int) -> Callable[[Object], object]:
    stamps = {"deletionTimestamp": "2026-01-01T12:00:30Z", "deletionGracePeriodSeconds": grace_seconds}
    return lambda obj: obj["metadata"].update(stamps)


@pytest.mark.parametrize(
    ("obj", "change", "expected"),
    [
        (pod(), lambda obj: obj["status"].update(phase="Running"), False),
        (pod(), lambda obj: obj["metadata"].update(resourceVersion="7"), False),
        (pod(), lambda obj: obj["metadata"].update(labels={"a": "b"}), True),
        (pod(), lambda obj: obj["spec"].update(activeDeadlineSeconds=5), True),
        (pod(), deleted(30), True),
        (pod(), lambda obj: obj["status"].update(conditions=[{"type": "example.org/gate"}]), False),
        (GATED, lambda obj: obj["status"].update(conditions=[{"type": "example.org/gate"}]), True),
        (GATED, lambda obj: obj["status"].update(conditions=[{"type": "Ready"}]), False),
    ],
)
def test_news(obj: Object, change: Callable[[Object], object], expected: bool) -> None:
    assert is_news(obj, changed(obj, change)) is expected
    assert not is_news(obj, obj)


def test_a_deletion_is_urgent_and_a_shorter_one_more_so() -> None:
    long, short = changed(pod(), deleted(30)), changed(pod(), deleted(5))
    assert is_more_urgent(pod(), long)
    assert is_more_urgent(long, short)
    assert not is_more_urgent(short, long)
    assert not is_more_urgent(pod(), changed(pod(), lambda obj: obj["metadata"].update(labels={"a": "b"})))


def test_labels_can_be_files() -> None:
    def labelled(obj: Object) -> None:
        obj["metadata"]["labels"] = {"a": "b"}

    with_volume = pod(volumes=[{"name": "info", "downwardAPI": {}}])
    assert shows_in_volumes(with_volume, changed(with_volume, labelled))
    assert not shows_in_volumes(pod(), changed(pod(), labelled))
    assert not shows_in_volumes(with_volume, changed(with_volume, deleted(30)))
