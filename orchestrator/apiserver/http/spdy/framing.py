"""SPDY/3.1 frames: from bytes to frames and back, with the compression of header blocks.

Owns the wire format and its limits, and the two zlib streams of a connection. Never touches a socket
and knows no streams (see `connection`). Follows the SPDY Protocol draft 3.1, sections 2.2 to 2.6.
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Mapping

from msgspec import Struct, field

from orchestrator.apiserver.http.spdy.dictionary import HEADER_DICTIONARY

VERSION = 3
FRAME_HEADER_BYTES = 8
DATA_BYTES_MAX = 1 << 24
"""The format's own bound; a frame is handed out piece by piece, so nothing of that size is ever held."""
CONTROL_BYTES_MAX = 64 * 1024
HEADER_BLOCK_BYTES_MAX = 64 * 1024
HEADERS_MAX = 128
STREAM_ID_MASK = 0x7FFF_FFFF

FLAG_FIN = 0x01
FLAG_UNIDIRECTIONAL = 0x02
SETTINGS_INITIAL_WINDOW_SIZE = 7


class FrameType(enum.IntEnum):
    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class ResetStatus(enum.IntEnum):
    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    UNSUPPORTED_VERSION = 4
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_IN_USE = 8
    STREAM_ALREADY_CLOSED = 9
    FRAME_TOO_LARGE = 11


class GoAwayStatus(enum.IntEnum):
    OK = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


class FramingError(Exception):
    """The peer sent what SPDY/3.1 does not allow, or more than is accepted; the connection cannot go on."""


class SynStream(Struct, frozen=True):
    stream_id: int
    headers: Mapping[str, str] = field(default_factory=dict)
    associated_id: int = 0
    priority: int = 0
    fin: bool = False
    unidirectional: bool = False


class SynReply(Struct, frozen=True):
    stream_id: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


class RstStream(Struct, frozen=True):
    stream_id: int
    status: int


class Settings(Struct, frozen=True):
    values: Mapping[int, int]


class Ping(Struct, frozen=True):
    ping_id: int


class GoAway(Struct, frozen=True):
    last_stream_id: int
    status: int = GoAwayStatus.OK


class Headers(Struct, frozen=True):
    stream_id: int
    headers: Mapping[str, str]
    fin: bool = False


class WindowUpdate(Struct, frozen=True):
    stream_id: int
    delta: int


class Data(Struct, frozen=True):
    stream_id: int
    data: bytes
    fin: bool = False


Frame = SynStream | SynReply | RstStream | Settings | Ping | GoAway | Headers | WindowUpdate | Data

_WORD = struct.Struct(">L")
_TWO_WORDS = struct.Struct(">LL")
_SYN_STREAM = struct.Struct(">LLBB")


class Decoder:
    """Takes a connection's bytes apart; raises FramingError, after which it must not be used any more.

    Bytes of an incomplete data frame are handed out as they come: what is held is never more than one
    control frame.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=HEADER_DICTIONARY)
        self._data_stream = 0
        self._data_left = 0
        self._data_fin = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete, in order; frames of unknown types are left out."""
        self._buffer += data
        frames: list[Frame] = []
        position = 0
        while True:
            available = len(self._buffer) - position
            if self._data_left:
                if not available:
                    break
                size = min(available, self._data_left)
                piece = bytes(self._buffer[position : position + size])
                position += size
                self._data_left -= size
                frames.append(Data(self._data_stream, piece, self._data_fin and not self._data_left))
                continue
            if available < FRAME_HEADER_BYTES:
                break
            first, second = _TWO_WORDS.unpack_from(self._buffer, position)
            flags, length = second >> 24, second & 0xFF_FFFF
            if not first >> 31:
                position += FRAME_HEADER_BYTES
                if first == 0:
                    raise FramingError("data for stream 0")
                self._data_stream, self._data_left, self._data_fin = first, length, bool(flags & FLAG_FIN)
                if not length:
                    frames.append(Data(first, b"", self._data_fin))
                continue
            if length > CONTROL_BYTES_MAX:
                raise FramingError(f"a control frame of {length} bytes")
            if available < FRAME_HEADER_BYTES + length:
                break
            start = position + FRAME_HEADER_BYTES
            position = start + length
            frame = self._control(first, flags, bytes(self._buffer[start:position]))
            if frame is not None:
                frames.append(frame)
        del self._buffer[:position]
        return frames

    def _control(self, first: int, flags: int, payload: bytes) -> Frame | None:
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != VERSION:
            raise FramingError(f"SPDY version {version}")
        try:
            return self._control_frame(kind, flags, payload)
        except struct.error:
            raise FramingError(f"a control frame of type {kind} is too short") from None

    def _control_frame(self, kind: int, flags: int, payload: bytes) -> Frame | None:
        fin = bool(flags & FLAG_FIN)
        match kind:
            case FrameType.SYN_STREAM:
                stream_id, associated_id, priority, _ = _SYN_STREAM.unpack_from(payload)
                return SynStream(
                    _stream_id(stream_id),
                    self._header_block(payload[_SYN_STREAM.size :]),
                    associated_id & STREAM_ID_MASK,
                    priority >> 5,
                    fin,
                    bool(flags & FLAG_UNIDIRECTIONAL),
                )
            case FrameType.SYN_REPLY:
                return SynReply(_stream_id(_WORD.unpack_from(payload)[0]), self._header_block(payload[4:]), fin)
            case FrameType.HEADERS:
                return Headers(_stream_id(_WORD.unpack_from(payload)[0]), self._header_block(payload[4:]), fin)
            case FrameType.RST_STREAM:
                stream_id, status = _TWO_WORDS.unpack_from(payload)
                return RstStream(_stream_id(stream_id), status)
            case FrameType.SETTINGS:
                return _settings(payload)
            case FrameType.PING:
                return Ping(_WORD.unpack_from(payload)[0])
            case FrameType.GOAWAY:
                last, status = _TWO_WORDS.unpack_from(payload)
                return GoAway(last & STREAM_ID_MASK, status)
            case FrameType.WINDOW_UPDATE:
                stream_id, delta = _TWO_WORDS.unpack_from(payload)
                return WindowUpdate(stream_id & STREAM_ID_MASK, delta & STREAM_ID_MASK)
        return None

    def _header_block(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, HEADER_BLOCK_BYTES_MAX)
        except zlib.error as error:
            raise FramingError(f"a header block cannot be decompressed: {error}") from None
        if self._inflate.unconsumed_tail or len(plain) >= HEADER_BLOCK_BYTES_MAX:
            raise FramingError(f"a header block of more than {HEADER_BLOCK_BYTES_MAX} bytes")
        return decode_header_block(plain)


def _stream_id(word: int) -> int:
    stream_id = word & STREAM_ID_MASK
    if stream_id == 0:
        raise FramingError("stream 0 does not exist")
    return stream_id


def _settings(payload: bytes) -> Settings:
    (count,) = _WORD.unpack_from(payload)
    if count * 8 != len(payload) - 4:
        raise FramingError(f"{count} settings in {len(payload)} bytes")
    values = {}
    for index in range(count):
        key, value = _TWO_WORDS.unpack_from(payload, 4 + 8 * index)
        values[key & 0xFF_FFFF] = value
    return Settings(values)


def decode_header_block(plain: bytes) -> dict[str, str]:
    """Names (in lower case) and values of a block that is not compressed; of several values the first."""
    position = 0

    def number() -> int:
        nonlocal position
        if position + 4 > len(plain):
            raise FramingError("a header block ends early")
        (value,) = _WORD.unpack_from(plain, position)
        position += 4
        return int(value)

    def text() -> str:
        nonlocal position
        length = number()
        if position + length > len(plain):
            raise FramingError("a header block ends early")
        piece = plain[position : position + length]
        position += length
        return piece.decode("latin-1")

    count = number()
    if count > HEADERS_MAX:
        raise FramingError(f"{count} headers")
    headers: dict[str, str] = {}
    for _ in range(count):
        name = text().lower()
        if not name or name in headers:
            raise FramingError(f"the header {name!r} is empty or stands twice")
        headers[name] = text().partition("\0")[0]
    return headers


def encode_header_block(headers: Mapping[str, str]) -> bytes:
    """The block before compression."""
    parts = [_WORD.pack(len(headers))]
    for name, value in headers.items():
        for text in (name.lower().encode("latin-1"), value.encode("latin-1")):
            parts += (_WORD.pack(len(text)), text)
    return b"".join(parts)


class Encoder:
    """Makes a connection's bytes; frames must be sent in the order in which they were encoded."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=HEADER_DICTIONARY)

    def encode(self, frame: Frame) -> bytes:
        """The bytes of a frame."""
        match frame:
            case Data(stream_id, data, fin):
                if len(data) >= DATA_BYTES_MAX:
                    raise ValueError(f"a data frame of {len(data)} bytes")
                return _TWO_WORDS.pack(stream_id, (FLAG_FIN if fin else 0) << 24 | len(data)) + data
            case SynStream(stream_id, headers, associated_id, priority, fin, unidirectional):
                flags = (FLAG_FIN if fin else 0) | (FLAG_UNIDIRECTIONAL if unidirectional else 0)
                start = _SYN_STREAM.pack(stream_id, associated_id, priority << 5, 0)
                return _control(FrameType.SYN_STREAM, flags, start + self._header_block(headers))
            case SynReply(stream_id, headers, fin):
                return _control(FrameType.SYN_REPLY, int(fin), _WORD.pack(stream_id) + self._header_block(headers))
            case Headers(stream_id, headers, fin):
                return _control(FrameType.HEADERS, int(fin), _WORD.pack(stream_id) + self._header_block(headers))
            case RstStream(stream_id, status):
                return _control(FrameType.RST_STREAM, 0, _TWO_WORDS.pack(stream_id, status))
            case Settings(values):
                entries = b"".join(_TWO_WORDS.pack(key, value) for key, value in values.items())
                return _control(FrameType.SETTINGS, 0, _WORD.pack(len(values)) + entries)
            case Ping(ping_id):
                return _control(FrameType.PING, 0, _WORD.pack(ping_id))
            case GoAway(last_stream_id, status):
                return _control(FrameType.GOAWAY, 0, _TWO_WORDS.pack(last_stream_id, status))
            case WindowUpdate(stream_id, delta):
                return _control(FrameType.WINDOW_UPDATE, 0, _TWO_WORDS.pack(stream_id, delta))

    def _header_block(self, headers: Mapping[str, str]) -> bytes:
        return self._deflate.compress(encode_header_block(headers)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _control(kind: FrameType, flags: int, payload: bytes) -> bytes:
    return _TWO_WORDS.pack(0x8000_0000 | VERSION << 16 | kind, flags << 24 | len(payload)) + payload
