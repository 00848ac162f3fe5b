"""Which AppArmor profiles the kernel has."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.kubelet.docker.apparmor import is_loaded, parse_profiles

LOADED = "docker-default (enforce)\n/usr/bin/man (complain)\nwith (brackets) (enforce)\nweb//sub (unconfined)\n"


def test_names_may_have_spaces_and_brackets() -> None:
    assert parse_profiles(LOADED) == {"docker-default", "/usr/bin/man", "with (brackets)", "web//sub"}


@pytest.mark.parametrize(
    ("profile", "expected"), [("docker-default", True), ("unconfined", True), ("docker", False), ("", False)]
)
def test_profiles_are_found_by_their_whole_name(tmp_path: Path, profile: str, expected: bool) -> None:
    file = tmp_path / "profiles"
    file.write_text(LOADED)
    assert is_loaded(profile, file) is expected


def test_without_apparmor_there_is_none(tmp_path: Path) -> None:
    assert not is_loaded("docker-default", tmp_path / "none")
    assert is_loaded("unconfined", tmp_path / "none")
