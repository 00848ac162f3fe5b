"""Links of an HTML page, rewritten while the page passes by.

`LinkRewriter` finds the attributes that hold URLs; what becomes of a URL is the caller's. Mirrors the rewriting
transport of apimachinery's proxy, which knows the same elements and attributes and the content encodings gzip and
deflate. Everything but the rewritten attribute values passes through as it is.
"""

from __future__ import annotations

import html
import re
import zlib
from collections.abc import Callable

from orchestrator.httpkit.forwarding import Rewriter

TAG_BYTES_MAX = 64 << 10
"""A longer tag passes through as it is."""

URL_ATTRIBUTES = {
    "a": {"href"},
    "applet": {"codebase"},
    "area": {"href"},
    "audio": {"src"},
    "base": {"href"},
    "blockquote": {"cite"},
    "body": {"background"},
    "button": {"formaction"},
    "command": {"icon"},
    "del": {"cite"},
    "embed": {"src"},
    "form": {"action"},
    "frame": {"longdesc", "src"},
    "head": {"profile"},
    "html": {"manifest"},
    "iframe": {"longdesc", "src"},
    "img": {"longdesc", "src", "usemap"},
    "input": {"formaction", "src", "usemap"},
    "ins": {"cite"},
    "link": {"href"},
    "object": {"classid", "codebase", "data", "usemap"},
    "q": {"cite"},
    "script": {"src"},
    "source": {"src"},
    "video": {"poster", "src"},
}
_RAW_TEXT = frozenset(("iframe", "noembed", "noframes", "plaintext", "script", "style", "textarea", "title", "xmp"))
"""Elements whose content is no markup."""
_tag_name = re.compile(rb"<([A-Za-z][^\s/>]*)")
_space = re.compile(rb"[\s/]*")
_attribute_name = re.compile(rb"[^\s/>][^\s/>=]*")
_equals = re.compile(rb"\s*=\s*")
_bare_value = re.compile(rb"[^\s>]*")


class _Incomplete(Exception):
    """The tag goes on in bytes that are not there yet."""


class LinkRewriter:
    """Rewrites the URLs of a page that is fed in pieces."""

    def __init__(self, rewrite: Callable[[str], str]) -> None:
        self._rewrite = rewrite
        self._waiting = b""
        self._until: re.Pattern[bytes] | None = None
        """The end of raw text or of a comment that is going on."""

    def feed(self, data: bytes) -> bytes:
        self._waiting += data
        return self._read(is_last=False)

    def finish(self) -> bytes:
        return self._read(is_last=True) + self._waiting

    def _read(self, *, is_last: bool) -> bytes:
        data, done = self._waiting, []
        position = 0
        while True:
            if self._until is not None:
                found = self._until.search(data, position)
                if found is None:
                    # The last bytes could be the beginning of the end.
                    kept = len(data) if is_last else max(position, len(data) - _END_BYTES_MAX)
                    done.append(data[position:kept])
                    position = kept
                    break
                done.append(data[position : found.end()])
                position, self._until = found.end(), None
            start = data.find(b"<", position)
            if start < 0:
                done.append(data[position:])
                position = len(data)
                break
            done.append(data[position:start])
            position = start
            try:
                text, position = self._markup(data, start)
            except _Incomplete:
                if is_last:
                    break
                if len(data) - start <= TAG_BYTES_MAX:
                    break
                text, position = data[start : start + 1], start + 1
            done.append(text)
        self._waiting = data[position:]
        return b"".join(done)

    def _markup(self, data: bytes, start: int) -> tuple[bytes, int]:
        """What stands at a `<`, rewritten, and where it ends; _Incomplete."""
        if len(data) - start < 4:
            raise _Incomplete
        if data.startswith(b"<!--", start):
            self._until = _COMMENT_END
            return data[start : start + 4], start + 4
        name = _tag_name.match(data, start)
        if name is None:  # an end tag, a declaration, or a lonely sign
            return data[start : start + 1], start + 1
        if name.end() == len(data):
            raise _Incomplete
        tag = name[1].decode(errors="replace").lower()
        wanted = URL_ATTRIBUTES.get(tag, set())
        parts, copied, position = [], start, name.end()
        while True:
            position = _end(_space, data, position)
            if data[position : position + 1] == b">":
                break
            key_start = position
            position = _end(_attribute_name, data, position)
            key = data[key_start:position].decode(errors="replace").lower()
            equals = _equals.match(data, position)
            if equals is None:
                continue
            value_start, value_end, position = _value(data, equals.end())
            if key in wanted:
                value = html.unescape(data[value_start:value_end].decode(errors="surrogateescape"))
                changed = self._rewrite(value)
                if changed != value:
                    is_quoted = position > value_end
                    new = html.escape(changed).encode(errors="surrogateescape")
                    parts += [data[copied:value_start], new if is_quoted else b'"' + new + b'"']
                    copied = value_end
        position += 1
        parts.append(data[copied:position])
        if tag in _RAW_TEXT and data[position - 2 : position] != b"/>":
            self._until = _NEVER if tag == "plaintext" else re.compile(rb"(?i)</" + tag.encode() + rb"(?=[\s/>])")
        return b"".join(parts), position


_COMMENT_END = re.compile(rb"-->")
_NEVER = re.compile(rb"(?!)")
_END_BYTES_MAX = 16
"""No end of raw text or of a comment is longer."""


def _end(pattern: re.Pattern[bytes], data: bytes, position: int) -> int:
    found = pattern.match(data, position)
    end = found.end() if found is not None else position
    if end >= len(data):
        raise _Incomplete
    return end


def _value(data: bytes, position: int) -> tuple[int, int, int]:
    """Where an attribute's value begins and ends, and where to read on; _Incomplete."""
    if position >= len(data):
        raise _Incomplete
    quote = data[position : position + 1]
    if quote in (b'"', b"'"):
        end = data.find(quote, position + 1)
        if end < 0 or end + 1 >= len(data):
            raise _Incomplete
        return position + 1, end, end + 1
    end = _end(_bare_value, data, position)
    return position, end, end


class Recoder:
    """A rewriter for a body that is compressed: it is taken apart before and put together after."""

    def __init__(self, inner: Rewriter, *, window_bits: int) -> None:
        self._inner = inner
        self._decoder = zlib.decompressobj(window_bits)
        self._encoder = zlib.compressobj(wbits=window_bits)

    def feed(self, data: bytes) -> bytes:
        """ValueError for a body that is not compressed as its header says."""
        try:
            plain = self._decoder.decompress(data)
        except zlib.error as error:
            raise ValueError(f"the backend's answer cannot be decompressed: {error}") from error
        return self._encoder.compress(self._inner.feed(plain))

    def finish(self) -> bytes:
        rest = self._inner.feed(self._decoder.flush()) + self._inner.finish()
        return self._encoder.compress(rest) + self._encoder.flush()


_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": -zlib.MAX_WBITS}


def page_rewriter(content_type: str, encoding: str, rewrite: Callable[[str], str]) -> Rewriter | None:
    """What a body with these headers must pass through; None: it passes as it is."""
    if content_type.partition(";")[0].strip().lower() != "text/html":
        return None
    links = LinkRewriter(rewrite)
    if not encoding:
        return links
    window_bits = _WINDOW_BITS.get(encoding)
    return Recoder(links, window_bits=window_bits) if window_bits is not None else None
