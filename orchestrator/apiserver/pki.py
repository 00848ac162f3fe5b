"""The cluster's own certificates: a CA made on first start, a serving and an admin certificate from it.

Owns what lies under `<data dir>/pki`. Mirrors what kubeadm makes in /etc/kubernetes/pki.
Expired or unsuitable leaf certificates are made anew at start; the CA stays. `cryptography` is
imported only when something must be made or signed, because a later start needs the files alone.
"""

from __future__ import annotations

import base64
import ipaddress
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from orchestrator.aiokit.clock import Clock
from orchestrator.apiserver.pki_files import KeyPair, PkiFiles, write_private

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CA_DAYS = 3650
LEAF_DAYS = 365
RENEW_DAYS = 30
"""A leaf that ends sooner than this is made anew at start."""
FRONT_PROXY_USER = "front-proxy-client"
ADMIN_USER, ADMIN_GROUP = "kubernetes-admin", "system:masters"


class Pki(Struct, frozen=True):
    """Everything that a start needs."""

    ca: KeyPair
    serving: KeyPair
    admin: KeyPair
    front_proxy_ca: KeyPair
    """Signs who may vouch for users towards extension API servers: this API server alone."""


def prepare(directory: Path, *, hosts: Sequence[str], clock: Clock, durable: bool = True) -> Pki:
    """Read the files of an earlier start; make what is missing, nearly over, or for other hosts.

    The clock is the one by which clients judge certificates. Not `durable`: for a cluster that nothing survives.
    """
    files = PkiFiles(directory, durable=durable)
    now = clock.now()

    def authority(name: str, subject: str) -> KeyPair:
        pair = files.read_pair(name)
        if pair is None:
            pair = _make_ca(now, subject)
            files.write_pair(name, pair)
        return pair

    def leaf(name: str, ca: KeyPair, user: str, *, groups: Sequence[str] = (), hosts: Sequence[str] = ()) -> KeyPair:
        pair = files.read_leaf(name, hosts=hosts, until=now + timedelta(days=RENEW_DAYS))
        if pair is None:
            pair = issue(ca, name=user, groups=groups, hosts=hosts, now=now)
            files.write_leaf(name, pair, hosts=hosts, not_after=now + timedelta(days=LEAF_DAYS))
        return pair

    ca, front_proxy_ca = authority("ca", "orchestrator-ca"), authority("front-proxy-ca", "front-proxy-ca")
    leaf(FRONT_PROXY_USER, front_proxy_ca, FRONT_PROXY_USER)
    return Pki(
        ca=ca,
        serving=leaf("apiserver", ca, "kube-apiserver", hosts=hosts),
        admin=leaf("admin", ca, ADMIN_USER, groups=(ADMIN_GROUP,)),
        front_proxy_ca=front_proxy_ca,
    )


def service_account_key(directory: Path, *, durable: bool = True) -> bytes:
    """The key that signs tokens of service accounts, as PEM; made when it is first needed."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = directory / "sa.key"
    if not file.exists():
        write_private(file, _pem_key(_new_key()), durable=durable)
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


def kubelet_context(directory: Path, *, hosts: Sequence[str], clock: Clock, durable: bool = True) -> ssl.SSLContext:
    """TLS for what the kubelets serve at the addresses and under the names of their nodes.

    One certificate for all: a client that names no host is told apart by the address it asked, after the handshake.
    """
    files, now = PkiFiles(directory, durable=durable), clock.now()
    ca = files.read_pair("ca")
    assert ca is not None, "the cluster's CA is made before anything is served"
    if files.read_leaf("kubelet", hosts=hosts, until=now + timedelta(days=RENEW_DAYS)) is None:
        pair = issue(ca, name="kubelet", hosts=hosts, now=now)
        files.write_leaf("kubelet", pair, hosts=hosts, not_after=now + timedelta(days=LEAF_DAYS))
    return _context(ca, directory, "kubelet")


def server_context(pki: Pki, directory: Path) -> ssl.SSLContext:
    """TLS for the listener: clients may show a certificate of our CA, and need not."""
    return _context(pki.ca, directory, "apiserver")


def _context(ca: KeyPair, directory: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(directory / f"{name}.crt", directory / f"{name}.key")
    context.load_verify_locations(cadata=ca.certificate.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def write_kubeconfig(
    path: Path, *, server: str, ca: KeyPair, client: KeyPair, name: str = "orchestrator", durable: bool = True
) -> None:
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
    write_private(path, text.encode(), durable=durable)


def _make_ca(now: datetime, name: str) -> KeyPair:
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
    """In the form of RFC 5915, as k3s writes keys: Java clients take a key for RSA unless its first line says EC."""
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
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
