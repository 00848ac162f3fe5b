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


@pytest.mark.parametrize(("enabled", "expected"), [(None, False), ("N\n", False), ("Y\n", True)])
def test_without_a_list_the_engine_finds_out_where_there_is_apparmor(
    tmp_path: Path, enabled: str | None, expected: bool
) -> None:
    switch = tmp_path / "enabled"
    if enabled is not None:
        switch.write_text(enabled)
    assert is_loaded("docker-default", tmp_path / "none", switch) is expected
    assert is_loaded("unconfined", tmp_path / "none", switch)
