"""The cache: assumed pods, journal, incremental sums."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler import cache as cache_module
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import PodInfo
from tests.unit.scheduler.builders import make_cache, make_node, make_pod


def test_an_assumed_pod_counts_until_it_is_forgotten() -> None:
    cache = make_cache([make_node("a")])
    pod = PodInfo(make_pod(cpu="1"))
    cache.assume(pod, cache.nodes["a"])
    assert cache.nodes["a"].requested["cpu"] == 1000
    assert cache.is_assumed(pod.uid)
    assert cache.forget(pod.uid)
    assert cache.nodes["a"].requested["cpu"] == 0
    assert not cache.forget(pod.uid)


def test_a_binding_that_was_seen_confirms_the_assumption_without_a_trace() -> None:
    cache = make_cache([make_node("a")])
    cache.assume(PodInfo(make_pod(cpu="1")), cache.nodes["a"])
    version = cache.version
    cache.set_pod(PodInfo(make_pod(cpu="1", node="a")))
    assert not cache.is_assumed("uid-default-p")
    assert cache.version == version
    assert not cache.forget("uid-default-p")


def test_a_pod_bound_elsewhere_than_assumed_moves() -> None:
    cache = make_cache([make_node("a"), make_node("b")])
    cache.assume(PodInfo(make_pod(cpu="1")), cache.nodes["a"])
    cache.set_pod(PodInfo(make_pod(cpu="1", node="b")))
    assert (cache.nodes["a"].requested["cpu"], cache.nodes["b"].requested["cpu"]) == (0, 1000)


def test_pods_may_be_known_before_their_node_and_after_it() -> None:
    cache = make_cache([], [make_pod(cpu="1", node="a")])
    assert not cache.nodes
    cache.set_node(make_node("a"))
    assert cache.nodes["a"].requested["cpu"] == 1000
    cache.remove_node("a")
    assert not cache.nodes
    cache.set_node(make_node("a"))
    assert cache.nodes["a"].requested["cpu"] == 1000
    cache.remove_pod("uid-default-p")
    assert cache.nodes["a"].requested["cpu"] == 0


def test_a_heartbeat_leaves_no_trace() -> None:
    cache = make_cache([make_node("a")])
    version = cache.version
    beat = make_node("a")
    beat["status"]["conditions"] = [{"type": "Ready", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]
    cache.set_node(beat)
    assert cache.version == version
    cache.set_node(make_node("a", cpu="8"))
    assert cache.version == version + 1


def test_the_journal_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "JOURNAL_MAX", 4)
    cache = make_cache([make_node("a")])
    for number in range(20):
        cache.set_pod(PodInfo(make_pod(f"p{number}", node="a")))
    assert cache.changes_since(0) is None
    changes = cache.changes_since(cache.version - 2)
    assert changes is not None
    assert [change.pod.name for change in changes if change.pod] == ["p18", "p19"]


def test_images_are_counted_by_node() -> None:
    cache = make_cache([make_node("a", images={"x:1": 10}), make_node("b", images={"x:1": 10, "y:1": 5})])
    assert dict(cache.image_nodes) == {"x:1": 2, "y:1": 1}
    cache.set_node(make_node("b", images={"y:1": 5}))
    cache.remove_node("a")
    assert dict(cache.image_nodes) == {"y:1": 1}


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["a", "b", ""]), st.sampled_from(["100m", "1"]))))
def test_sums_equal_a_recount_after_any_history(steps: list[tuple[int, str, str]]) -> None:
    cache: Cache = make_cache([make_node("a"), make_node("b")])
    truth: dict[str, tuple[str, str]] = {}
    for number, node, cpu in steps:
        name = f"p{number}"
        if node:
            cache.set_pod(PodInfo(make_pod(name, cpu=cpu, node=node, ports=[{"hostPort": 1 + number}])))
            truth[name] = (node, cpu)
        else:
            cache.remove_pod(f"uid-default-{name}")
            truth.pop(name, None)
    for name, info in cache.nodes.items():
        fresh = NodeInfo(name)
        for pod_name, (node, cpu) in truth.items():
            if node == name:
                port = [{"hostPort": 1 + int(pod_name[1:])}]
                fresh.add_pod(PodInfo(make_pod(pod_name, cpu=cpu, node=node, ports=port)))
        assert info.requested == fresh.requested
        assert info.used_ports == fresh.used_ports
        assert info.pods.keys() == fresh.pods.keys()
        assert (info.nonzero_cpu, info.nonzero_memory) == (fresh.nonzero_cpu, fresh.nonzero_memory)
