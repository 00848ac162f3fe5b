"""The cluster's certificates: made once, and anew when they no longer serve."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.apiserver import pki
from orchestrator.testing import ManualClock

HOSTS = ["localhost", "127.0.0.1"]


@pytest.mark.parametrize("durable", [True, False])
def test_a_later_start_finds_everything_again(tmp_path: Path, durable: bool) -> None:
    clock = ManualClock()
    first = pki.prepare(tmp_path / "pki", hosts=HOSTS, clock=clock, durable=durable)
    assert pki.prepare(tmp_path / "pki", hosts=HOSTS[::-1], clock=clock, durable=durable) == first
    key = pki.service_account_key(tmp_path / "pki", durable=durable)
    assert pki.service_account_key(tmp_path / "pki") == key
    assert (tmp_path / "pki").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "pki").iterdir()} == {0o600}


def test_the_first_line_of_a_key_says_its_algorithm(tmp_path: Path) -> None:
    """fabric8's Java client takes what only says `PRIVATE KEY` for RSA."""
    made = pki.prepare(tmp_path, hosts=HOSTS, clock=ManualClock())
    for pair in (made.ca, made.serving, made.admin):
        assert pair.key.startswith(b"-----BEGIN EC PRIVATE KEY-----\n")


def test_other_hosts_need_another_serving_certificate_alone(tmp_path: Path) -> None:
    clock = ManualClock()
    first = pki.prepare(tmp_path, hosts=HOSTS, clock=clock)
    second = pki.prepare(tmp_path, hosts=[*HOSTS, "10.0.0.1"], clock=clock)
    assert second.serving != first.serving
    assert (second.ca, second.admin, second.front_proxy_ca) == (first.ca, first.admin, first.front_proxy_ca)


def test_leaves_are_made_anew_a_month_before_they_end(tmp_path: Path) -> None:
    clock = ManualClock()
    first = pki.prepare(tmp_path, hosts=HOSTS, clock=clock)
    clock.advance(timedelta(days=pki.LEAF_DAYS - pki.RENEW_DAYS).total_seconds())
    assert pki.prepare(tmp_path, hosts=HOSTS, clock=clock) == first
    clock.advance(1)
    second = pki.prepare(tmp_path, hosts=HOSTS, clock=clock)
    assert second.ca == first.ca
    assert second.serving != first.serving
    assert second.admin != first.admin


@pytest.mark.parametrize("lost", ["admin.crt", "admin.key", "leaves.json"])
def test_what_was_not_written_to_the_end_is_made_anew(tmp_path: Path, lost: str) -> None:
    clock = ManualClock()
    first = pki.prepare(tmp_path, hosts=HOSTS, clock=clock)
    (tmp_path / lost).unlink()
    second = pki.prepare(tmp_path, hosts=HOSTS, clock=clock)
    assert second.ca == first.ca
    assert second.admin != first.admin
    assert pki.prepare(tmp_path, hosts=HOSTS, clock=clock) == second
