"""Which credentials an image on the node asks for."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from orchestrator.kubelet.images.pull_records import CREDENTIALS_MAX, PullRecords
from orchestrator.kubelet.images.rules import PullCredentials

APP = "r.io/team/app:1"
ID = "sha256:00"


def credentials(password: str, secret: str = "default/a/1") -> PullCredentials:
    return PullCredentials({"username": "me", "password": password}, secret)


MINE = credentials("mine")


def pulled(records: PullRecords, with_credentials: PullCredentials | None = MINE, *, present: str = "") -> None:
    records.begin(APP, present)
    records.succeed(APP, ID, with_credentials)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kubelet" / "pulls.json"


@pytest.fixture
def records(file: Path) -> PullRecords:
    return PullRecords(file)


def test_an_image_that_was_never_pulled_is_for_everybody(records: PullRecords) -> None:
    assert records.is_for_everybody(APP, ID)


def test_an_image_pulled_without_credentials_is_for_everybody(records: PullRecords) -> None:
    pulled(records, None)
    assert records.is_for_everybody(APP, ID)
    pulled(records, MINE)
    assert records.is_for_everybody(APP, ID)


def test_credentials_that_pulled_it_are_admitted_under_all_tags_of_the_repository(records: PullRecords) -> None:
    pulled(records)
    assert not records.is_for_everybody(APP, ID)
    for reference in (APP, "r.io/team/app:2", "r.io/team/app@sha256:00"):
        assert records.admits(reference, ID, [credentials("else", "b/b/2"), MINE])
    assert not records.admits(APP, ID, [])
    assert not records.admits("r.io/other/app:1", ID, [MINE])
    assert not records.is_for_everybody("r.io/other/app:1", ID)


def test_the_same_credentials_in_another_secret_and_new_ones_in_the_same_secret(records: PullRecords) -> None:
    pulled(records)
    moved = credentials("mine", "else/b/2")
    assert records.admits(APP, ID, [moved])
    rotated = credentials("changed", moved.secret)
    assert records.admits(APP, ID, [rotated])
    assert records.admits(APP, ID, [credentials("changed", "third/c/3")])
    assert not records.admits(APP, ID, [credentials("wrong", "fourth/d/4")])


def test_not_more_credentials_than_fit_are_remembered(records: PullRecords) -> None:
    pulled(records)
    for number in range(CREDENTIALS_MAX + 10):
        assert records.admits(APP, ID, [credentials("mine", f"ns/{number}/1")])
    assert not records.admits(APP, ID, [credentials("new", f"ns/{CREDENTIALS_MAX + 9}/1")])


def test_records_survive_a_restart_in_a_file_of_ones_own_without_passwords(records: PullRecords, file: Path) -> None:
    pulled(records, credentials("not-to-be-seen"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"not-to-be-seen" not in file.read_bytes()
    again = PullRecords(file)
    assert not again.is_for_everybody(APP, ID)
    assert again.admits(APP, ID, [credentials("not-to-be-seen")])


def test_an_image_whose_pull_was_cut_off_by_a_crash_has_to_be_pulled_again(records: PullRecords, file: Path) -> None:
    records.begin(APP, "")
    again = PullRecords(file)
    assert not again.is_for_everybody(APP, ID)
    assert not again.admits(APP, ID, [MINE])
    pulled(again, None)
    assert PullRecords(file).is_for_everybody(APP, ID)


def test_an_image_that_was_there_before_a_pull_stays_for_everybody(records: PullRecords) -> None:
    records.begin(APP, ID)
    assert records.is_for_everybody(APP, ID)
    assert not records.is_for_everybody(APP, "sha256:01")
    records.fail(APP)
    assert records.is_for_everybody(APP, "sha256:01")


def test_of_two_pulls_at_once_the_last_one_ends_the_doubt(records: PullRecords) -> None:
    records.begin(APP, "")
    records.begin(APP, "")
    records.fail(APP)
    assert not records.is_for_everybody(APP, ID)
    records.succeed(APP, ID, MINE)
    assert records.admits(APP, ID, [MINE])
    assert records.is_for_everybody(APP, "sha256:01")


def test_images_that_are_gone_are_forgotten_unless_they_were_pulled_meanwhile(records: PullRecords) -> None:
    pulled(records)
    known = records.snapshot()
    pulled(records, credentials("second", "b/b/2"))
    records.keep([], known)
    assert records.admits(APP, ID, [MINE])
    records.keep([ID], records.snapshot())
    assert records.admits(APP, ID, [MINE])
    records.keep([], records.snapshot())
    assert records.is_for_everybody(APP, ID)


def test_a_broken_file_is_as_none(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("{")
    records = PullRecords(file)
    assert records.is_for_everybody(APP, ID)
    pulled(records)
    assert PullRecords(file).admits(APP, ID, [MINE])
