"""Files of environment variables."""

from __future__ import annotations

import pytest

from orchestrator.kubelet.containers.env_files import EnvFileError, parse_env_file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("A='1'", {"A": "1"}),
        ("# comment\n\n  A = '1 # 2'  \nB=''\n", {"A": "1 # 2", "B": ""}),
        ("A='one\ntwo\\n$B'\nB='3'\n", {"A": "one\ntwo\\n$B", "B": "3"}),
        ("A='1'\nA='2'\n", {"A": "2"}),
    ],
)
def test_variables(text: str, expected: dict[str, str]) -> None:
    assert parse_env_file(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\n", "line 1: expected"),
        ("A='1'\nB\n='2'\n", "line 2: expected"),
        ("A='1\n", "line 1: the value has no closing quote"),
        ("A='1' B='2'\n", "line 1: unexpected text"),
        ("A='1\n2' x\n", "line 2: unexpected text"),
    ],
)
def test_what_is_not_a_file_of_variables(text: str, message: str) -> None:
    with pytest.raises(EnvFileError, match=message):
        parse_env_file(text)
