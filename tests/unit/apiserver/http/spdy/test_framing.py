"""SPDY/3.1 frames: wire bytes, round trips in any pieces, limits."""

from __future__ import annotations

import contextlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.apiserver.http.spdy.dictionary import HEADER_DICTIONARY, HEADER_DICTIONARY_ADLER32
from orchestrator.apiserver.http.spdy.framing import (
    CONTROL_BYTES_MAX,
    HEADER_BLOCK_BYTES_MAX,
    Data,
    Decoder,
    Encoder,
    Frame,
    FramingError,
    GoAway,
    Headers,
    Ping,
    RstStream,
    Settings,
    SynReply,
    SynStream,
    WindowUpdate,
    decode_header_block,
    encode_header_block,
)


def test_the_dictionary_is_the_one_of_the_protocol() -> None:
    assert zlib.adler32(HEADER_DICTIONARY) == HEADER_DICTIONARY_ADLER32
    assert len(HEADER_DICTIONARY) == 1423


@pytest.mark.parametrize(
    ("frame", "wire"),
    [
        (Data(5, b"abc", fin=True), "00000005 01 000003 616263"),
        (Data(1, b""), "00000001 00 000000"),
        (Ping(7), "80030006 00 000004 00000007"),
        (GoAway(9, 0), "80030007 00 000008 00000009 00000000"),
        (RstStream(3, 5), "80030003 00 000008 00000003 00000005"),
        (WindowUpdate(3, 4096), "80030009 00 000008 00000003 00001000"),
        (Settings({7: 65536}), "80030004 00 00000c 00000001 00000007 00010000"),
    ],
)
def test_frames_without_headers_have_known_bytes(frame: Frame, wire: str) -> None:
    assert Encoder().encode(frame) == bytes.fromhex(wire)
    assert Decoder().feed(bytes.fromhex(wire)) == [frame]


def test_a_header_block_names_the_dictionary() -> None:
    wire = Encoder().encode(SynStream(1, {"streamtype": "error"}))
    assert wire[:4] == bytes.fromhex("80030001")
    assert wire[18] == 0x78  # deflate, 32 KiB
    assert wire[20:24] == struct.pack(">L", HEADER_DICTIONARY_ADLER32)


headers = st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12), st.text("abcXYZ019 /.", max_size=20), max_size=5
)
stream_ids = st.integers(1, 2**31 - 1)
frames = st.one_of(
    st.builds(
        SynStream, stream_ids, headers, st.integers(0, 2**31 - 1), st.integers(0, 7), st.booleans(), st.booleans()
    ),
    st.builds(SynReply, stream_ids, headers, st.booleans()),
    st.builds(Headers, stream_ids, headers, st.booleans()),
    st.builds(RstStream, stream_ids, st.integers(1, 11)),
    st.builds(Ping, st.integers(0, 2**32 - 1)),
    st.builds(WindowUpdate, st.integers(0, 2**31 - 1), st.integers(1, 2**31 - 1)),
    st.builds(Data, stream_ids, st.binary(max_size=50), st.booleans()),
)


def joined(received: list[Frame]) -> list[Frame]:
    """Frames with the pieces of a data frame put together again."""
    result: list[Frame] = []
    for frame in received:
        last = result[-1] if result else None
        if isinstance(frame, Data) and isinstance(last, Data) and last.stream_id == frame.stream_id and not last.fin:
            result[-1] = Data(frame.stream_id, last.data + frame.data, frame.fin)
        else:
            result.append(frame)
    return result


@given(st.lists(frames, max_size=12), st.lists(st.integers(1, 40), min_size=1, max_size=10))
def test_what_is_encoded_is_decoded_however_it_is_cut(sent: list[Frame], sizes: list[int]) -> None:
    encoder, decoder = Encoder(), Decoder()
    wire = b"".join(encoder.encode(frame) for frame in sent)
    received: list[Frame] = []
    position, turn = 0, 0
    while position < len(wire):
        size = sizes[turn % len(sizes)]
        received += decoder.feed(wire[position : position + size])
        position, turn = position + size, turn + 1
    assert joined(received) == joined(sent)


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_a_framing_error(wire: bytes) -> None:
    with contextlib.suppress(FramingError):
        Decoder().feed(wire)


@pytest.mark.parametrize(
    "wire",
    [
        "80020006 00 000004 00000001",  # version 2
        "00000000 00 000001 00",  # data for no stream
        "80030003 00 000004 00000001",  # RST_STREAM without a status
        "80030003 00 000008 00000000 00000001",  # of stream 0
        "80030004 00 000004 00000009",  # settings that are not there
        "80030002 00 000008 00000001 01020304",  # a header block that is none
    ],
)
def test_what_the_protocol_does_not_allow_is_refused(wire: str) -> None:
    with pytest.raises(FramingError):
        Decoder().feed(bytes.fromhex(wire))


def test_a_control_frame_is_limited_before_it_has_come() -> None:
    with pytest.raises(FramingError):
        Decoder().feed(struct.pack(">LL", 0x80030006, CONTROL_BYTES_MAX + 1))


def test_a_header_block_that_explodes_is_refused() -> None:
    block = zlib.compressobj(zdict=HEADER_DICTIONARY)
    bomb = block.compress(b"\0" * (HEADER_BLOCK_BYTES_MAX * 8)) + block.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < CONTROL_BYTES_MAX
    with pytest.raises(FramingError):
        Decoder().feed(struct.pack(">LLL", 0x80030002, len(bomb) + 4, 1) + bomb)


def test_frames_of_unknown_types_are_left_out() -> None:
    assert Decoder().feed(bytes.fromhex("8003000a 00 000002 ffff 80030006 00 000004 00000001")) == [Ping(1)]


def test_a_large_data_frame_comes_in_pieces() -> None:
    decoder = Decoder()
    assert decoder.feed(struct.pack(">LL", 1, 1 << 24 | 5) + b"ab") == [Data(1, b"ab")]
    assert decoder.feed(b"cd") == [Data(1, b"cd")]
    assert decoder.feed(b"e") == [Data(1, b"e", fin=True)]


@pytest.mark.parametrize(
    "block",
    [
        b"\0\0\0\1\0\0\0\1a",
        b"\0\0\0\1\0\0\0\0\0\0\0\0",
        encode_header_block({"a": "b"})[:4].replace(b"\1", b"\2") + encode_header_block({"a": "b"})[4:] * 2,
        b"\0\1\0\0",
    ],
)
def test_a_bad_header_block_is_refused(block: bytes) -> None:
    with pytest.raises(FramingError):
        decode_header_block(block)


def test_names_are_in_lower_case_and_the_first_value_counts() -> None:
    assert decode_header_block(encode_header_block({"StreamType": "a\0b"})) == {"streamtype": "a"}
