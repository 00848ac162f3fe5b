"""Links of pages that pass a proxy: what changes, and that nothing else does."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.apiserver.http.html_links import TAG_BYTES_MAX, LinkRewriter, page_rewriter


def below(url: str) -> str:
    return f"/p{url}" if url.startswith("/") else url


def rewritten(page: str) -> str:
    links = LinkRewriter(below)
    return (links.feed(page.encode()) + links.finish()).decode()


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ('<a href="/x">t</a>', '<a href="/p/x">t</a>'),
        ("<a href='/x'>t</a>", "<a href='/p/x'>t</a>"),
        ("<a href=/x>t</a>", '<a href="/p/x">t</a>'),
        ("<A class=c HREF = \"/x\" id='/y'>t</A>", "<A class=c HREF = \"/p/x\" id='/y'>t</A>"),
        ('<img src="/i.png"/><img src="i.png" />', '<img src="/p/i.png"/><img src="i.png" />'),
        ('<a href="/x?a=1&amp;b=2">', '<a href="/p/x?a=1&amp;b=2">'),
        ('<p href="/x">', '<p href="/x">'),
        ('<!-- <a href="/x"> --><a href="/y">', '<!-- <a href="/x"> --><a href="/p/y">'),
        (
            '<script src="/s.js">x = "<a href=/x>";</script><a href="/y">',
            '<script src="/p/s.js">x = "<a href=/x>";</script><a href="/p/y">',
        ),
        ("a < b <3 <a href='/x'>", "a < b <3 <a href='/p/x'>"),
        ('<a title="a > b" href="/x">', '<a title="a > b" href="/p/x">'),
        ("<a title=it's href=/x>", "<a title=it's href=\"/p/x\">"),
        ('<a href="/x"', '<a href="/x"'),
        ('<form action="/f"><input formaction="/g" disabled></form>',
         '<form action="/p/f"><input formaction="/p/g" disabled></form>'),
        ("<!DOCTYPE html><a href='/x'>", "<!DOCTYPE html><a href='/p/x'>"),
        ("<textarea><a href='/x'></textarea>", "<textarea><a href='/x'></textarea>"),
        ("ü <a href='/ü'>", "ü <a href='/p/ü'>"),
    ],
)  # fmt: skip
def test_urls_in_attributes(page: str, expected: str) -> None:
    assert rewritten(page) == expected


_texts = ["<a href='/x'>", "<a", " href=", '"', "'", ">", "<", "<!--", "-->", "<script>", "</script", "text", "=", " "]
_pieces = st.lists(st.sampled_from(_texts), max_size=12)


@given(_pieces, st.integers(1, 9))
def test_the_size_of_the_pieces_does_not_matter(pieces: list[str], size: int) -> None:
    page = "".join(pieces)
    links = LinkRewriter(below)
    parts = [links.feed(page[start : start + size].encode()) for start in range(0, len(page), size)]
    assert (b"".join(parts) + links.finish()).decode() == rewritten(page)


@given(_pieces)
def test_a_page_without_links_stays_as_it_is(pieces: list[str]) -> None:
    page = "".join(pieces)
    links = LinkRewriter(lambda url: url)
    assert (links.feed(page.encode()) + links.finish()).decode() == page


def test_what_is_held_back_has_a_limit() -> None:
    links = LinkRewriter(below)
    out = links.feed(b"<a href='" + b"x" * TAG_BYTES_MAX)
    assert len(out) > TAG_BYTES_MAX


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_pages(encoding: str) -> None:
    page = b"<a href='/x'>" * 1000
    if encoding == "gzip":
        body = gzip.compress(page)
    else:
        compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = compressor.compress(page) + compressor.flush()
    rewriter = page_rewriter("text/html; charset=utf-8", encoding, below)
    assert rewriter is not None
    out = b"".join(rewriter.feed(body[start : start + 7]) for start in range(0, len(body), 7)) + rewriter.finish()
    plain = zlib.decompress(out, 16 + zlib.MAX_WBITS if encoding == "gzip" else -zlib.MAX_WBITS)
    assert plain == b"<a href='/p/x'>" * 1000


@pytest.mark.parametrize(("content_type", "encoding"), [("text/plain", ""), ("", ""), ("text/html", "br")])
def test_what_passes_as_it_is(content_type: str, encoding: str) -> None:
    assert page_rewriter(content_type, encoding, below) is None


def test_a_body_that_is_not_what_its_header_says() -> None:
    rewriter = page_rewriter("text/html", "gzip", below)
    assert rewriter is not None
    with pytest.raises(ValueError, match="decompressed"):
        rewriter.feed(b"<a href='/x'>")
