"""Taking the Engine's multiplexed streams apart."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kubelet.docker.streams import FRAME_HEADER, FrameDecoder, LineStamps, exec_start_error, log_parameters
from orchestrator.kubelet.runtime import LogOptions

FRAMES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=12)


@given(FRAMES, st.lists(st.integers(1, 17), min_size=1, max_size=20))
def test_frames_survive_any_cutting(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    wire = b"".join(FRAME_HEADER.pack(stream, len(data)) + data for stream, data in frames)
    decoder = FrameDecoder()
    output: dict[int, bytes] = {1: b"", 2: b""}
    position = 0
    for turn in range(len(wire) + 1):
        size = cuts[turn % len(cuts)]
        for stream, data in decoder.feed(wire[position : position + size]):
            assert data
            output[stream] += data
        position += size
    for stream in (1, 2):
        assert output[stream] == b"".join(data for found, data in frames if found == stream)


def test_nothing_is_held_back() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(FRAME_HEADER.pack(1, 10) + b"half") == [(1, b"half")]
    assert decoder.feed(b"-done!") == [(1, b"-done!")]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (LogOptions(), {"stdout": "1", "stderr": "1", "follow": "0", "timestamps": "0", "tail": "all"}),
        (
            LogOptions(follow=True, timestamps=True, tail_lines=0, stream="Stderr"),
            {"stdout": "0", "stderr": "1", "follow": "1", "timestamps": "1", "tail": "0"},
        ),
        (
            LogOptions(since=datetime(2026, 1, 1, 0, 0, 0, 500000, UTC), stream="Stdout"),
            {"stdout": "1", "stderr": "0", "since": "1767225600.500000000"},
        ),
    ],
)
def test_log_parameters(options: LogOptions, expected: dict[str, str]) -> None:
    assert expected.items() <= log_parameters(options).items()


def test_an_exec_that_could_not_start_has_the_shells_exit_code() -> None:
    error = exec_start_error(b'OCI runtime exec failed: exec: "x": executable file not found in $PATH: unknown\r\n')
    assert (error.exit_code, str(error).endswith("unknown")) == (127, True)


def test_long_lines_have_one_time() -> None:
    decoder, stamps = FrameDecoder(whole=True), LineStamps()
    frames = [(1, b"t1 begin"), (2, b"t2 other\n"), (1, b"t3 middle"), (1, b"t4 end\n"), (1, b"t5 next\n")]
    wire = b"".join(FRAME_HEADER.pack(stream, len(data)) + data for stream, data in frames)
    shown = [stamps.clean(*frame) for start in range(len(wire)) for frame in decoder.feed(wire[start : start + 1])]
    assert shown == [b"t1 begin", b"t2 other\n", b"middle", b"end\n", b"t5 next\n"]
