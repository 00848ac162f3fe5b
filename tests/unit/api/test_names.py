"""Names and formats: good values, bad values, and the words of the API server about them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from orchestrator.api import names

_SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (names.is_dns1123_label, ["a", "a-1", "1a", "a" * 63], ["", "A", "a.b", "-a", "a-", "a_b", "a" * 64, "a\n"]),
        (names.is_dns1123_subdomain, ["a", "a.b-c.d", "a" * 253], ["", "a..b", "A", "a_b", "a" * 254, "a.\n"]),
        (names.is_dns1035_label, ["a", "a-1"], ["1a", "", "a.b"]),
        (names.is_qualified_name, ["A", "x.io/A_b.c-d"], ["", "/a", "a/", "a/b/c", "X/a", "a b", "a" * 64]),
        (names.is_label_value, ["", "A", "a_b.c-d"], ["-", "a b", "a" * 64, "é"]),
        (names.is_port_name, ["http", "a-1"], ["1", "A", "a--b", "-a", "a-", "a" * 16, ""]),
        (names.is_env_var_name, ["A", "a.b-c"], ["1A", "", "A B", "."]),
        (names.is_relaxed_env_var_name, ["1A", "A B", "!"], ["", "A=B", "é", "A\n"]),
        (names.is_config_map_key, ["a", "A.b", ".a"], ["", ".", "..", "..a", "a/b", "a" * 254]),
        (names.is_c_identifier, ["_a1"], ["1a", "a-b", ""]),
        (names.is_ip, ["1.2.3.4", "::1", "01.2.3.4", "::ffff:1.2.3.4"], ["x", "1.2.3", "1.2.3.4/8", "::1%eth0", ""]),
        (names.is_ipv4, ["1.2.3.4"], ["::1", "x"]),
        (names.is_ipv6, ["::1"], ["1.2.3.4", "x"]),
        (names.is_cidr, ["10.0.0.0/8", "10.1.2.3/8", "fd00::/64"], ["x", "10.0.0.0", "10.0.0.0/33", "::/129", "/8"]),
        (names.is_path_segment_name, ["a", "system:x", "A b"], [".", "..", "a/b", "a%b"]),
        (names.is_percent, ["1%"], ["%", "1", "-1%"]),
        (names.is_wildcard_dns1123_subdomain, ["*.a.b"], ["*", "*.*.a", "a.b"]),
        (names.is_http_header_name, ["X-A"], ["", "a b"]),
        (names.is_fully_qualified_name, ["a.b.c"], ["a.b", "A.b.c"]),
        (names.is_domain_prefixed_path, ["a.io/b"], ["a.io", "/b", "a.io/", "A/b"]),
    ],
)
def test_formats(check: Callable[[str], list[str]], good: list[str], bad: list[str]) -> None:
    for value in good:
        assert check(value) == [], value
    for value in bad:
        assert check(value), value


@pytest.mark.parametrize(
    ("complaints", "wanted"),
    [
        (names.is_dns1123_subdomain("Bad"), [_SUBDOMAIN_MESSAGE]),
        (names.is_dns1123_subdomain("a" * 254), ["must be no more than 253 bytes"]),
        (names.is_dns1123_label("a.b"), ["must not contain dots"]),
        (names.is_qualified_name("a b/c"), [f"prefix part {_SUBDOMAIN_MESSAGE}"]),
        (
            names.is_port_name("TOO_LONG_PORT_NAME_X"),
            [
                "must be no more than 15 bytes",
                "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                "must contain at least one letter (a-z)",
            ],
        ),
        (names.is_port_number(65536), ["must be between 1 and 65535, inclusive"]),
    ],
)
def test_messages(complaints: list[str], wanted: list[str]) -> None:
    assert complaints == wanted


def test_generated_names() -> None:
    name = names.generate_name("web-", random.Random(1))
    assert re.fullmatch("web-[bcdfghjklmnpqrstvwxz2456789]{5}", name)
    assert name == names.generate_name("web-", random.Random(1))
    assert len(names.generate_name("a" * 100)) == 63
