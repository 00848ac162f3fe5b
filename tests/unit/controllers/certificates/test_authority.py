"""What the cluster's CA writes into a certificate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from orchestrator.aiokit.clock import SystemClock
from orchestrator.apiserver import pki
from orchestrator.controllers.certificates.authority import Authority, end_of
from tests.signing_requests import signing_request


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The CA of a fresh data folder."""
    pki.prepare(tmp_path, hosts=["127.0.0.1"], clock=SystemClock())
    return Authority((tmp_path / "ca.crt").read_text(), (tmp_path / "ca.key").read_text())


def test_subject_names_usages_and_time(authority: Authority) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    request = signing_request("system:node:n", dns_names=["n"], usages=["digital signature", "server auth"])
    pem = authority.sign(request, now)
    certificate = x509.load_pem_x509_certificate(pem)
    assert certificate.subject.rfc4514_string() == "CN=system:node:n,O=system:nodes"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n"]
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (True, False, False)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_before_utc <= now
    assert end_of(pem) == certificate.not_valid_after_utc


@pytest.mark.parametrize(("asked", "given"), [(None, 365 * 86400), (7200, 7200), (1, 600), (10**9, 365 * 86400)])
def test_the_time_that_is_asked_for_has_bounds(authority: Authority, asked: int | None, given: int) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    asking: dict[str, Any] = {"expirationSeconds": asked} if asked else {}
    request = signing_request("jane", **asking)
    end = end_of(authority.sign(request, now))
    assert end is not None
    assert (
        abs(end - (now + timedelta(seconds=given))) <= timedelta(days=1)
        if given > 86400
        else end == now + timedelta(seconds=given)
    )


def test_no_certificate_has_no_end() -> None:
    assert end_of(b"nonsense") is None
