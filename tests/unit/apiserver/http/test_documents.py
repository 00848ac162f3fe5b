"""What `/version` says."""

from __future__ import annotations

import re

import pytest

from orchestrator.apiserver.http.documents import version_info


@pytest.mark.parametrize(
    ("field", "pattern"),
    [
        ("major", r"\d+"),
        ("minor", r"\d+"),
        ("gitVersion", r"v\d\.\d+\.[\w\-.+]+"),
        ("gitCommit", r"[0-9a-f]{40}"),
        ("platform", r"linux/\w+"),
    ],
)
def test_the_version_has_the_form_that_clients_parse(field: str, pattern: str) -> None:
    assert re.fullmatch(pattern, version_info("1.2.3")[field])
