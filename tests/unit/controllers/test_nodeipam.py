"""Ranges of pod addresses: never two nodes in one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.controllers.nodeipam import CidrSet


def test_ranges_are_given_in_turn_and_rest_after_use() -> None:
    ranges = CidrSet("10.244.0.0/22")
    assert ranges.count == 4
    first = [ranges.allocate() for _ in range(2)]
    assert first == ["10.244.0.0/24", "10.244.1.0/24"]
    ranges.release("10.244.0.0/24")
    assert [ranges.allocate() for _ in range(4)] == ["10.244.2.0/24", "10.244.3.0/24", "10.244.0.0/24", None]


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ("10.244.0.0/24", "10.244.1.0/24"),
        ("10.244.0.0/23", "10.244.2.0/24"),
        ("10.244.0.128/25", "10.244.1.0/24"),
        ("192.168.0.0/24", "10.244.0.0/24"),
        ("fd00::/64", "10.244.0.0/24"),
        ("nonsense", "10.244.0.0/24"),
    ],
)
def test_what_nodes_bring_is_taken(taken: str, expected: str) -> None:
    ranges = CidrSet("10.244.0.0/16")
    ranges.occupy(taken)
    assert ranges.allocate() == expected


def test_ipv6() -> None:
    assert CidrSet("fd00:10:244::/56").allocate() == "fd00:10:244::/64"


@given(st.lists(st.one_of(st.none(), st.integers(0, 7)), max_size=60))
def test_no_range_is_out_twice(steps: list[int | None]) -> None:
    ranges = CidrSet("10.0.0.0/21")
    out: list[str] = []
    for step in steps:
        if step is None:
            given_out = ranges.allocate()
            assert (given_out is None) == (len(out) == ranges.count)
            if given_out is not None:
                assert given_out not in out
                out.append(given_out)
        elif out:
            ranges.release(out.pop(step % len(out)))
