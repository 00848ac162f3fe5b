"""The cluster's CA as a signer of requests.

Owns the making of certificates. Never decides who gets one. The key stays in memory as it was handed in.
"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from orchestrator.api.objects import Object

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

DURATION = timedelta(days=365)
DURATION_MIN = timedelta(minutes=10)
BACKDATE = timedelta(minutes=5)
"""Clocks of clients that are a little behind accept the certificate at once."""


class Authority:
    """Signs requests with a CA given as PEM."""

    def __init__(self, certificate_pem: str, key_pem: str) -> None:
        self._certificate_pem = certificate_pem.encode()
        self._key_pem = key_pem.encode()

    def sign(self, request: Object, now: datetime) -> bytes:
        """The certificate for a request, as PEM; ValueError when it cannot be read."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        ca = x509.load_pem_x509_certificate(self._certificate_pem)
        key = cast("CertificateIssuerPrivateKeyTypes", serialization.load_pem_private_key(self._key_pem, None))
        parsed = x509.load_pem_x509_csr(base64.b64decode(request["spec"]["request"]))
        end = min(now + _duration(request), ca.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(parsed.subject)
            .issuer_name(ca.subject)
            .public_key(parsed.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        usages = set(request["spec"].get("usages") or ())
        builder = builder.add_extension(x509.KeyUsage(**_key_usage(usages)), critical=True)
        if purposes := _purposes(usages):
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        try:
            alternative = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            pass
        else:
            builder = builder.add_extension(alternative.value, critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _duration(request: Object) -> timedelta:
    seconds = request["spec"].get("expirationSeconds")
    if seconds is None:
        return DURATION
    return max(DURATION_MIN, min(timedelta(seconds=seconds), DURATION))


def _key_usage(usages: set[str]) -> dict[str, bool]:
    agrees = "key agreement" in usages
    return {
        "digital_signature": bool(usages & {"digital signature", "signing"}),
        "content_commitment": "content commitment" in usages,
        "key_encipherment": "key encipherment" in usages,
        "data_encipherment": "data encipherment" in usages,
        "key_agreement": agrees,
        "key_cert_sign": False,  # a request never makes an authority
        "crl_sign": "crl sign" in usages,
        "encipher_only": agrees and "encipher only" in usages,
        "decipher_only": agrees and "decipher only" in usages,
    }


def _purposes(usages: set[str]) -> list[Any]:
    from cryptography.x509.oid import ExtendedKeyUsageOID as Oid

    known = {
        "any": Oid.ANY_EXTENDED_KEY_USAGE,
        "server auth": Oid.SERVER_AUTH,
        "client auth": Oid.CLIENT_AUTH,
        "code signing": Oid.CODE_SIGNING,
        "email protection": Oid.EMAIL_PROTECTION,
        "s/mime": Oid.EMAIL_PROTECTION,
        "timestamping": Oid.TIME_STAMPING,
        "ocsp signing": Oid.OCSP_SIGNING,
    }
    found: list[Any] = []
    for usage, oid in known.items():
        if usage in usages and oid not in found:
            found.append(oid)
    return found


def end_of(certificate_pem: bytes) -> datetime | None:
    """When the first certificate of a PEM text ends; None when it is none."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(certificate_pem).not_valid_after_utc
    except ValueError:
        return None
