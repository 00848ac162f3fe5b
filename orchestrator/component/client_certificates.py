"""Who a client certificate stands for (k8s.io/apiserver `CommonNameUserConversion`)."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Any

from msgspec import Struct

from orchestrator.api import errors

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
"""The key in a user's extra that tells which credential was shown."""
UID_ATTRIBUTE = "1.3.6.1.4.1.57683.2"
"""The attribute of a subject that holds the user's UID (Kubernetes 1.33)."""


class PeerCertificate(Struct, frozen=True):
    """A client certificate that TLS has verified: its subject as `ssl` shows it, and its DER form."""

    subject: tuple[tuple[tuple[str, str], ...], ...]
    der: bytes


class CertificateUser(Struct, frozen=True):
    """The user whom a certificate stands for."""

    name: str
    uid: str
    groups: tuple[str, ...]
    credential_id: str


def certificate_of_peer(transport: asyncio.BaseTransport | None) -> PeerCertificate | None:
    """The certificate that the client of a connection showed; None without one."""
    if transport is None or not (verified := transport.get_extra_info("peercert")):
        return None
    session: Any = transport.get_extra_info("ssl_object")
    return PeerCertificate(verified.get("subject", ()), session.getpeercert(binary_form=True))


def user_of_certificate(certificate: PeerCertificate) -> CertificateUser | None:
    """CN, O and UID of its subject; None without a CN. Raises Unauthorized for a UID that is empty or there twice."""
    attributes = [pair for relative_name in certificate.subject for pair in relative_name]
    name = next((value for key, value in attributes if key == "commonName"), "")
    if not name:
        return None
    uids = [value for key, value in attributes if key == UID_ATTRIBUTE]
    if len(uids) > 1 or uids == [""]:
        raise errors.Unauthorized("Unauthorized")
    groups = tuple(value for key, value in attributes if key == "organizationName")
    return CertificateUser(name, "".join(uids), groups, f"X509SHA256={sha256(certificate.der).hexdigest()}")
