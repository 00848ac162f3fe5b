"""The DNS wire format."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dns.message import (
    MalformedMessage,
    Rcode,
    Record,
    Type,
    address_data,
    build_query,
    build_response,
    encode_name,
    error_response,
    parse_query,
    parse_response,
    with_age,
)

QUESTION = b"\x03WWW\x07example\x03com\x00\x00\x01\x00\x01"


def header(flags: int = 0x0100, *counts: int) -> bytes:
    return struct.pack("!HHHHHH", 7, flags, *(counts or (1, 0, 0, 0)))


def test_a_query_is_read_in_lower_case_and_its_question_kept_as_it_was() -> None:
    query = parse_query(header() + QUESTION)
    assert (query.identifier, query.name, query.type, query.qclass) == (7, "www.example.com", Type.A, 1)
    assert query.question == QUESTION
    assert (query.udp_bytes, query.has_edns) == (512, False)


@pytest.mark.parametrize(("asked", "granted"), [(100, 512), (1000, 1000), (4096, 1232)])
def test_edns_says_how_much_fits(asked: int, granted: int) -> None:
    opt = b"\0" + struct.pack("!HHIH", Type.OPT, asked, 0, 0)
    assert parse_query(header(0x0100, 1, 0, 0, 1) + QUESTION + opt).udp_bytes == granted


@pytest.mark.parametrize(
    ("data", "rcode"),
    [
        pytest.param(b"", None, id="empty"),
        pytest.param(header(0x8000) + QUESTION, None, id="a response is never answered"),
        pytest.param(header(0x2800) + QUESTION, Rcode.NOTIMP, id="another opcode"),
        pytest.param(header(0x0100, 2, 0, 0, 0) + QUESTION * 2, Rcode.FORMERR, id="two questions"),
        pytest.param(header() + QUESTION[:-3], Rcode.FORMERR, id="cut off"),
        pytest.param(header() + b"\xc0\x0c\0\1\0\1", Rcode.FORMERR, id="compressed question"),
        pytest.param(header() + b"\x3f" + b"a" * 63 + b"\x40", Rcode.FORMERR, id="label too long"),
        pytest.param(header() + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\1\0\1", Rcode.FORMERR, id="name too long"),
        pytest.param(header() + b"\0" * 5000, None, id="too much"),
    ],
)
def test_what_is_no_query(data: bytes, rcode: Rcode | None) -> None:
    with pytest.raises(MalformedMessage) as caught:
        parse_query(data)
    assert caught.value.rcode == rcode


@given(st.binary(max_size=600))
def test_no_bytes_make_the_parsers_fail_otherwise(data: bytes) -> None:
    for parse in (parse_query, parse_response):
        try:
            parse(data)
        except MalformedMessage:
            continue


_label = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20)


@given(st.lists(_label, min_size=1, max_size=6).map(".".join), st.lists(st.ip_addresses(v=4), max_size=60))
def test_what_is_written_is_read_back(name: str, addresses: list[object]) -> None:
    query = parse_query(build_query(99, name, Type.A))
    assert query.name == name
    records = [Record(name, Type.A, 5, address_data(str(address))) for address in addresses]
    data = build_response(query, Rcode.NOERROR, records, bytes_max=query.udp_bytes)
    assert len(data) <= query.udp_bytes
    response = parse_response(data)
    assert response.identifier == 99
    assert response.is_truncated == (len(response.answers) < len(records))
    assert list(response.answers) == records[: len(response.answers)]


def test_an_answer_that_does_not_fit_is_marked_and_the_rest_left_out() -> None:
    query = parse_query(header() + QUESTION)
    records = [Record("www.example.com", Type.A, 5, address_data(f"10.0.0.{n}")) for n in range(100)]
    response = parse_response(build_response(query, Rcode.NOERROR, records, bytes_max=512))
    assert response.is_truncated
    assert len(response.answers) == (512 - 12 - len(QUESTION)) // 16


def test_an_error_is_a_header_with_the_askers_identifier() -> None:
    assert error_response(header() + b"junk", Rcode.FORMERR)[:4] == b"\x00\x07\x81\x81"


def test_a_remembered_answer_gets_older() -> None:
    query = parse_query(header() + QUESTION)
    data = build_response(query, Rcode.NOERROR, [Record("www.example.com", Type.A, 30, b"abcd")], bytes_max=512)
    for age, left in ((10, 20), (40, 0)):
        again = parse_response(with_age(data, 8, parse_response(data), age))
        assert (again.identifier, again.answers[0].ttl) == (8, left)


@pytest.mark.parametrize("name", ["a" * 64, ".".join(["a" * 60] * 5), "a..b"])
def test_names_that_dns_cannot_carry(name: str) -> None:
    with pytest.raises(ValueError, match="DNS name"):
        encode_name(name)


def test_a_response_whose_names_point_in_a_circle_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        parse_response(header(0x8180, 1, 1, 0, 0) + QUESTION + b"\xc0\x21" + b"\0" * 20)
