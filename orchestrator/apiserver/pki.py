"""The cluster's own certificates: a CA made on first start, a serving and an admin certificate from it.

Owns the files under `<data dir>/pki` (keys 0600). Mirrors what kubeadm makes in /etc/kubernetes/pki.
Expired or unsuitable leaf certificates are made anew at start; the CA stays. `cryptography` is
imported only when something must be made or signed, because a later start needs the files alone.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from msgspec import Struct

from orchestrator.aiokit.clock import Clock

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CA_DAYS = 3650
LEAF_DAYS = 365
RENEW_DAYS = 30
"""A leaf that ends sooner than this is made anew at start."""
FRONT_PROXY_USER = "front-proxy-client"
ADMIN_USER, ADMIN_GROUP = "kubernetes-admin", "system:masters"


class KeyPair(Struct, frozen=True):
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes


class Pki(Struct, frozen=True):
    """Everything that a start needs."""

    ca: KeyPair
    serving: KeyPair
    admin: KeyPair
    front_proxy_ca: KeyPair
    """Signs who may vouch for users towards extension API servers: this API server alone."""


def prepare(directory: Path, *, hosts: Sequence[str], clock: Clock) -> Pki:
    """Read the files of an earlier start; make what is missing, nearly over, or for other hosts."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = clock.now()
    ca = _read_pair(directory, "ca")
    if ca is None:
        ca = _make_ca(now)
        _write_pair(directory, "ca", ca)
    facts = _read_facts(directory)
    serving = _usable(directory, "apiserver", facts, now, hosts)
    if serving is None:
        serving = issue(ca, name="kube-apiserver", hosts=hosts, now=now)
        _write_pair(directory, "apiserver", serving)
        _note(directory, facts, "apiserver", now, hosts)
    admin = _usable(directory, "admin", facts, now, ())
    if admin is None:
        admin = issue(ca, name=ADMIN_USER, groups=(ADMIN_GROUP,), now=now)
        _write_pair(directory, "admin", admin)
        _note(directory, facts, "admin", now, ())
    front_ca = _read_pair(directory, "front-proxy-ca")
    if front_ca is None:
        front_ca = _make_ca(now, "front-proxy-ca")
        _write_pair(directory, "front-proxy-ca", front_ca)
    if _usable(directory, FRONT_PROXY_USER, facts, now, ()) is None:
        _write_pair(directory, FRONT_PROXY_USER, issue(front_ca, name=FRONT_PROXY_USER, now=now))
        _note(directory, facts, FRONT_PROXY_USER, now, ())
    return Pki(ca, serving, admin, front_ca)


def service_account_key(directory: Path) -> bytes:
    """The key that signs tokens of service accounts, as PEM; made when it is first needed."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = directory / "sa.key"
    if not file.exists():
        _write(file, _pem_key(_new_key()))
    return file.read_bytes()


def serving_hosts(listen_host: str, *, service_ip: str, cluster_domain: str, extra: Sequence[str] = ()) -> list[str]:
    """The names and addresses by which clients reach the API server."""
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names.append(f"kubernetes.default.svc.{cluster_domain}")
    addresses = ["127.0.0.1", "::1", service_ip]
    if listen_host not in ("0.0.0.0", "::", ""):
        addresses.append(listen_host)
    return list(dict.fromkeys([*names, *addresses, *extra]))


def issue(ca: KeyPair, *, name: str, groups: Sequence[str] = (), hosts: Sequence[str] = (), now: datetime) -> KeyPair:
    """A leaf certificate: for a server when `hosts` are given, else for a client (CN is the user, O the groups)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID

    ca_certificate = x509.load_pem_x509_certificate(ca.certificate)
    ca_key = serialization.load_pem_private_key(ca.key, None)
    key = _new_key()
    usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(name, groups))
        .issuer_name(ca_certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=LEAF_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
    )
    if hosts:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_alternative_name(host) for host in hosts]), critical=False
        )
    certificate = builder.sign(ca_key, hashes.SHA256())  # type: ignore[arg-type]
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _pem_key(key))


def server_context(pki: Pki, directory: Path) -> ssl.SSLContext:
    """TLS for the listener: clients may show a certificate of our CA, and need not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(directory / "apiserver.crt", directory / "apiserver.key")
    context.load_verify_locations(cadata=pki.ca.certificate.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def write_kubeconfig(path: Path, *, server: str, ca: KeyPair, client: KeyPair, name: str = "orchestrator") -> None:
    """The administrator's kubeconfig, mode 0600, in one atomic step."""
    encoded = {
        "ca": base64.b64encode(ca.certificate).decode(),
        "certificate": base64.b64encode(client.certificate).decode(),
        "key": base64.b64encode(client.key).decode(),
    }
    # JSON is YAML; laid out by hand so that people can read it.
    text = (
        "apiVersion: v1\nkind: Config\n"
        f"current-context: {name}\n"
        "clusters:\n"
        f"- name: {name}\n  cluster:\n    server: {server}\n    certificate-authority-data: {encoded['ca']}\n"
        "contexts:\n"
        f"- name: {name}\n  context:\n    cluster: {name}\n    user: {ADMIN_USER}\n    namespace: default\n"
        "users:\n"
        f"- name: {ADMIN_USER}\n  user:\n    client-certificate-data: {encoded['certificate']}\n"
        f"    client-key-data: {encoded['key']}\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, text.encode())


def _make_ca(now: datetime, name: str = "orchestrator-ca") -> KeyPair:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key = _new_key()
    subject = _subject(name, ())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _pem_key(key))


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _pem_key(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _subject(name: str, groups: Sequence[str]) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(*, signs_certificates: bool = False) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


# Files. What a leaf is good for is noted beside it, so that a start need not parse certificates.

Facts = dict[str, dict[str, object]]


def _read_facts(directory: Path) -> Facts:
    try:
        facts: Facts = orjson.loads((directory / "leaves.json").read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return facts


def _note(directory: Path, facts: Facts, name: str, now: datetime, hosts: Sequence[str]) -> None:
    facts[name] = {"notAfter": (now + timedelta(days=LEAF_DAYS)).isoformat(), "hosts": sorted(hosts)}
    _write(directory / "leaves.json", orjson.dumps(facts))


def _usable(directory: Path, name: str, facts: Facts, now: datetime, hosts: Sequence[str]) -> KeyPair | None:
    noted = facts.get(name)
    if noted is None or noted["hosts"] != sorted(hosts):
        return None
    if datetime.fromisoformat(str(noted["notAfter"])) < now + timedelta(days=RENEW_DAYS):
        return None
    return _read_pair(directory, name)


def _read_pair(directory: Path, name: str) -> KeyPair | None:
    try:
        return KeyPair((directory / f"{name}.crt").read_bytes(), (directory / f"{name}.key").read_bytes())
    except FileNotFoundError:
        return None


def _write_pair(directory: Path, name: str, pair: KeyPair) -> None:
    # The key first: a certificate that is there always has its key.
    _write(directory / f"{name}.key", pair.key)
    _write(directory / f"{name}.crt", pair.certificate)


def _write(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
