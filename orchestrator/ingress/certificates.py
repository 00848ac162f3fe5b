"""TLS by server name: each connection gets the certificate of the Secret that its Ingress names.

Owns the TLS contexts. Private keys stay in memory.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import os
import ssl
from collections.abc import Callable

from orchestrator.api.objects import Object, resource_version_of, uid_of
from orchestrator.logs import get_logger

CONTEXTS_MAX = 1024
FALLBACK_DAYS = 365


class Certificates:
    """Chooses a certificate for each connection; `secrets` and `find_secret` are asked at every handshake."""

    def __init__(self, *, secrets: Callable[[], dict[str, str]], find_secret: Callable[[str], Object | None]) -> None:
        """`secrets` gives server name → key of a Secret, `find_secret` the Secret with a key."""
        self._secrets = secrets
        self._find = find_secret
        self._contexts: dict[tuple[str, str], ssl.SSLContext | None] = {}
        self._log = get_logger("ingress")

    def context(self) -> ssl.SSLContext:
        """The context of a listener; without a name, or with an unknown one, it presents a certificate of its own."""
        certificate, key = self_signed()
        context = _context(certificate, key)
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        secrets = self._secrets()
        host = (name or "").lower().rstrip(".")
        _, _, parent = host.partition(".")
        key = secrets.get(host) or secrets.get(f"*.{parent}") or secrets.get("")
        found = self._of_secret(key) if key else None
        if found is not None:
            connection.context = found

    def _of_secret(self, key: str) -> ssl.SSLContext | None:
        secret = self._find(key)
        if secret is None:
            return None
        version = (uid_of(secret), resource_version_of(secret))
        if version not in self._contexts:
            if len(self._contexts) >= CONTEXTS_MAX:
                self._contexts.clear()
            self._contexts[version] = self._load(key, secret)
        return self._contexts[version]

    def _load(self, key: str, secret: Object) -> ssl.SSLContext | None:
        data = secret.get("data") or {}
        try:
            return _context(base64.b64decode(data["tls.crt"]), base64.b64decode(data["tls.key"]))
        except (KeyError, ValueError, binascii.Error, ssl.SSLError) as error:
            self._log.warning("certificate.unusable", secret=key, error=str(error))
            return None


def _context(certificate: bytes, key: bytes) -> ssl.SSLContext:
    """A server's context; SSLError when certificate and key do not fit together."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # OpenSSL takes files only: this one has no name on any disk.
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        content = certificate.rstrip() + b"\n" + key
        if os.write(descriptor, content) != len(content):
            raise ValueError("the certificate is too long")
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: b"")
    finally:
        os.close(descriptor)
    return context


def self_signed() -> tuple[bytes, bytes]:
    """A certificate for nobody in particular, and its key, in PEM; for connections whose name no Ingress has."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Ingress default certificate")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=FALLBACK_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("ingress.invalid")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    encoded = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), encoded
