"""Certificate signing requests for tests, as clients of the API send them."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.api.objects import Object

KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
CLIENT_USAGES = ("digital signature", "client auth")


def signing_request(
    common_name: str,
    *,
    name: str = "request",
    organizations: Sequence[str] = ("system:nodes",),
    signer: str = KUBELET_CLIENT,
    usages: Sequence[str] = CLIENT_USAGES,
    dns_names: Sequence[str] = (),
    ips: Sequence[str] = (),
    **spec: object,
) -> Object:
    """A CertificateSigningRequest with a fresh key."""
    names = [(NameOID.ORGANIZATION_NAME, one) for one in organizations] + [(NameOID.COMMON_NAME, common_name)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(oid, text) for oid, text in names])
    )
    alternatives: list[x509.GeneralName] = [x509.DNSName(one) for one in dns_names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(one)) for one in ips]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(pem.public_bytes(serialization.Encoding.PEM)).decode(),
            "signerName": signer,
            "usages": list(usages),
            **spec,
        },
    }
