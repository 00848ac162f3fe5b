"""Packed objects unpack to what they were, and take little where others are like them."""

from __future__ import annotations

import random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.store.packing import DICTIONARIES_MAX, PACKED_BYTES_MAX, PACKED_BYTES_MIN, Packer

TEMPLATE = {"spec": {"containers": [{"name": f"c{number}", "image": "registry.example/app:1"} for number in range(60)]}}


def raw_of(name: str) -> bytes:
    return orjson.dumps({"metadata": {"name": name}, **TEMPLATE})


def test_what_objects_of_a_template_have_in_common_takes_no_memory() -> None:
    packer = Packer()
    assert packer.pack("pods", raw_of("first")) is None  # nothing is known of its like yet

    packed = packer.pack("pods", raw_of("second"))

    assert packed is not None
    assert packed.unpack() == raw_of("second")
    assert len(packed.data) < len(raw_of("second")) / 20


@pytest.mark.parametrize("size", [0, PACKED_BYTES_MIN - 1, PACKED_BYTES_MAX + 1])
def test_small_and_huge_objects_stay_as_they_are(size: int) -> None:
    packer = Packer()
    assert [packer.pack("pods", b"x" * size) for _ in range(3)] == [None] * 3


@pytest.mark.parametrize("size", [PACKED_BYTES_MIN, 20_000, PACKED_BYTES_MAX])
def test_objects_up_to_the_limits_are_packed(size: int) -> None:
    packer = Packer()
    packer.pack("pods", b"x" * size)
    packed = packer.pack("pods", b"x" * size)
    assert packed is not None
    assert packed.unpack() == b"x" * size


def test_what_has_nothing_in_common_stays_as_it_is_and_the_next_is_compared_with_it() -> None:
    packer, noise = Packer(), random.Random(1)
    first, second = (noise.randbytes(2000) for _ in range(2))
    assert packer.pack("secrets", first) is None
    assert packer.pack("secrets", second) is None

    packed = packer.pack("secrets", second)

    assert packed is not None
    assert packed.unpack() == second


def test_dictionaries_are_bounded() -> None:
    packer = Packer()
    for number in range(DICTIONARIES_MAX * 5):
        packer.pack(f"kind-{number}", raw_of("one"))
    assert len(packer) <= 2 * DICTIONARIES_MAX


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.binary(max_size=4000)), max_size=8))
def test_whatever_was_packed_before_nothing_is_lost(objects: list[tuple[str, bytes]]) -> None:
    packer = Packer()
    for resource, content in objects:
        for raw in (content, content * 3, content[::-1] * 3):
            packed = packer.pack(resource, raw)
            assert packed is None or packed.unpack() == raw
