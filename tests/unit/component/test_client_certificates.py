"""Who a client certificate stands for."""

from __future__ import annotations

from hashlib import sha256

import pytest

from orchestrator.api import errors
from orchestrator.component.client_certificates import UID_ATTRIBUTE, PeerCertificate, user_of_certificate

DER = b"certificate"


def _certificate(*attributes: tuple[str, str]) -> PeerCertificate:
    return PeerCertificate(tuple((attribute,) for attribute in attributes), DER)


def test_name_groups_uid_and_which_certificate_it_was() -> None:
    user = user_of_certificate(
        _certificate(
            ("organizationName", "a"), ("organizationName", "b"), ("commonName", "jane"), (UID_ATTRIBUTE, "u-1")
        )
    )
    assert user is not None
    assert (user.name, user.groups, user.uid) == ("jane", ("a", "b"), "u-1")
    assert user.credential_id == f"X509SHA256={sha256(DER).hexdigest()}"


def test_a_certificate_without_a_name_stands_for_nobody() -> None:
    assert user_of_certificate(_certificate(("organizationName", "system:masters"))) is None


@pytest.mark.parametrize("uids", [[""], ["a", "b"]])
def test_there_is_one_uid_or_none(uids: list[str]) -> None:
    with pytest.raises(errors.Unauthorized):
        user_of_certificate(_certificate(("commonName", "jane"), *((UID_ATTRIBUTE, uid) for uid in uids)))
