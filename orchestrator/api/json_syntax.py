"""What is wrong with a text that is not JSON, in the words of Go's decoder, which clients and their tests know.

Only asked once a text has been refused; it never makes values. Mirrors the scanner of encoding/json.
"""

from __future__ import annotations

from typing import NoReturn

_SPACE = b" \t\r\n"
_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
DEPTH_MAX = 10_000
END = "unexpected end of JSON input"


class _Problem(Exception):
    pass


def syntax_problem(text: bytes) -> str:
    """The first thing that is wrong; empty when the text is JSON."""
    try:
        _Scanner(text).document()
    except _Problem as problem:
        return str(problem)
    return ""


class _Scanner:
    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0

    def document(self) -> None:
        """One value and nothing after it; iterative, so that depth costs no stack."""
        closers: list[int] = []
        while True:
            opened = self._value()
            if opened:
                closers.append(opened)
                if len(closers) > DEPTH_MAX:
                    raise _Problem("exceeded max depth")
                if self._peek() != opened:
                    if opened == ord("}"):
                        self._key()
                    continue
            while closers:
                closer = closers[-1]
                found = self._next()
                if found == closer:
                    closers.pop()
                elif found == ord(","):
                    if closer == ord("}"):
                        self._key()
                    break
                else:
                    self._unexpected("after object key:value pair" if closer == ord("}") else "after array element")
            else:
                if self._peek() is not None:
                    self._next()
                    self._unexpected("after top-level value")
                return

    def _value(self) -> int:
        """Read a scalar, or the opening of a list or object: then the byte that closes it."""
        first = self._next()
        if first == ord("{"):
            return ord("}")
        if first == ord("["):
            return ord("]")
        if first == ord('"'):
            self._string()
        elif first in _LITERALS:
            self._literal(_LITERALS[first])
        elif first == ord("-") or first in _DIGITS:
            self._number(first)
        else:
            self._unexpected("looking for beginning of value")
        return 0

    def _key(self) -> None:
        if self._next() != ord('"'):
            self._unexpected("looking for beginning of object key string")
        self._string()
        if self._next() != ord(":"):
            self._unexpected("after object key")

    def _string(self) -> None:
        while True:
            byte = self._byte()
            if byte == ord('"'):
                return
            if byte < 0x20:
                self._unexpected("in string literal")
            if byte != ord("\\"):
                continue
            escaped = self._byte()
            if escaped == ord("u"):
                for _ in range(4):
                    if self._byte() not in _HEX:
                        self._unexpected("in \\u hexadecimal character escape")
            elif escaped not in b'bfnrt\\/"':
                self._unexpected("in string escape code")

    def _literal(self, word: bytes) -> None:
        for wanted in word[1:]:
            if self._byte() != wanted:
                self._unexpected(f"in literal {word.decode()} (expecting {_quoted(wanted)})")

    def _number(self, first: int) -> None:
        if first == ord("-"):
            first = self._byte()
            if first not in _DIGITS:
                self._unexpected("in numeric literal")
        if first != ord("0"):
            self._digits()
        if self._here() == ord("."):
            self._at += 1
            if self._byte() not in _DIGITS:
                self._unexpected("after decimal point in numeric literal")
            self._digits()
        if self._here() in (ord("e"), ord("E")):
            self._at += 1
            byte = self._byte()
            if byte in b"+-":
                byte = self._byte()
            if byte not in _DIGITS:
                self._unexpected("in exponent of numeric literal")
            self._digits()

    def _digits(self) -> None:
        while (here := self._here()) is not None and here in _DIGITS:
            self._at += 1

    def _here(self) -> int | None:
        return self._text[self._at] if self._at < len(self._text) else None

    def _byte(self) -> int:
        if self._at >= len(self._text):
            raise _Problem(END)
        self._at += 1
        return self._text[self._at - 1]

    def _peek(self) -> int | None:
        while self._at < len(self._text) and self._text[self._at] in _SPACE:
            self._at += 1
        return self._here()

    def _next(self) -> int:
        self._peek()
        return self._byte()

    def _unexpected(self, where: str) -> NoReturn:
        raise _Problem(f"invalid character {_quoted(self._text[self._at - 1])} {where}")


def _quoted(byte: int) -> str:
    if byte == ord("'"):
        return r"'\''"
    if byte == ord('"'):
        return "'\"'"
    if byte == ord("\\"):
        return r"'\\'"
    named = {7: r"\a", 8: r"\b", 12: r"\f", 10: r"\n", 13: r"\r", 9: r"\t", 11: r"\v"}
    if byte in named:
        return f"'{named[byte]}'"
    if byte < 0x20 or byte == 0x7F:
        return f"'\\x{byte:02x}'"
    return f"'{chr(byte)}'"
