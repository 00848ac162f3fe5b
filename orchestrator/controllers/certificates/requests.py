"""What a CertificateSigningRequest asks for, and whether a signer or approver may grant it. Pure.

`cryptography` is imported only when a request must be read: a cluster without requests never needs it.
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from datetime import datetime, timedelta

from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.controllers.pods import created_at, time_of

KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
API_CLIENT = "kubernetes.io/kube-apiserver-client"
LEGACY = "kubernetes.io/legacy-unknown"
SIGNERS = (KUBELET_CLIENT, KUBELET_SERVING, API_CLIENT, LEGACY)

NODES_GROUP = "system:nodes"
NODE_PREFIX = "system:node:"

APPROVED_LIFE = timedelta(hours=1)
DENIED_LIFE = timedelta(hours=1)
PENDING_LIFE = timedelta(hours=24)

_CLIENT_USAGES = ({"digital signature", "client auth"}, {"digital signature", "key encipherment", "client auth"})
_SERVING_USAGES = ({"digital signature", "server auth"}, {"digital signature", "key encipherment", "server auth"})


class Subject(Struct, frozen=True):
    """Who a request is about."""

    common_name: str
    organizations: tuple[str, ...]
    dns_names: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    others: int = 0
    """E-mail addresses and URIs."""


def subject_of(request: Object) -> Subject:
    """Read the PEM request of an object; ValueError when it is none."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parsed = x509.load_pem_x509_csr(base64.b64decode(request["spec"]["request"]))

    def texts(oid: x509.ObjectIdentifier) -> tuple[str, ...]:
        return tuple(str(attribute.value) for attribute in parsed.subject.get_attributes_for_oid(oid))

    names = texts(NameOID.COMMON_NAME)
    try:
        alternative = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Subject(names[0] if names else "", texts(NameOID.ORGANIZATION_NAME))
    return Subject(
        names[0] if names else "",
        texts(NameOID.ORGANIZATION_NAME),
        tuple(alternative.get_values_for_type(x509.DNSName)),
        tuple(str(ip) for ip in alternative.get_values_for_type(x509.IPAddress)),
        len(alternative.get_values_for_type(x509.RFC822Name))
        + len(alternative.get_values_for_type(x509.UniformResourceIdentifier)),
    )


def has(request: Object, condition_type: str) -> bool:
    """Whether a condition stands on a request: Approved, Denied or Failed."""
    conditions = (request.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == condition_type for one in conditions)


def complaint(signer: str, subject: Subject, usages: Collection[str]) -> str:
    """Why a signer refuses a request; empty when it does not.

    Rules: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
    """
    wanted = set(usages)
    if signer == API_CLIENT:
        if "client auth" not in wanted:
            return "usages did not match: client auth is required"
        extra = wanted - {"digital signature", "key encipherment", "client auth"}
        return f"usages did not match: {', '.join(sorted(extra))} not allowed" if extra else ""
    if signer == KUBELET_CLIENT:
        if subject.organizations != (NODES_GROUP,):
            return "subject organization is not system:nodes"
        if subject.dns_names:
            return "DNS subjectAltNames are not allowed"
        if subject.ips or subject.others:
            return "IP, email and URI subjectAltNames are not allowed"
        if not subject.common_name.startswith(NODE_PREFIX):
            return "subject common name does not begin with system:node:"
        return "" if wanted in _CLIENT_USAGES else "usages did not match"
    if signer == KUBELET_SERVING:
        if subject.organizations != (NODES_GROUP,):
            return "subject organization is not system:nodes"
        if not subject.dns_names and not subject.ips:
            return "at least one DNS or IP subjectAltName is required"
        if subject.others:
            return "email and URI subjectAltNames are not allowed"
        if not subject.common_name.startswith(NODE_PREFIX):
            return "subject common name does not begin with system:node:"
        return "" if wanted in _SERVING_USAGES else "usages did not match"
    return ""


def approver_permission(request: Object, subject: Subject) -> tuple[str, str] | None:
    """(subresource, message) of the permission with which a kubelet's request approves itself; None: a person must."""
    spec = request["spec"]
    if spec.get("signerName") != KUBELET_CLIENT or complaint(KUBELET_CLIENT, subject, spec.get("usages") or ()):
        return None
    if spec.get("username") == subject.common_name:
        return ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")
    return ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")


def plan_expiry(request: Object, certificate_end: datetime | None) -> datetime:
    """When a request is to be deleted; `certificate_end`: when what it was granted ends."""
    times = [created_at(request) + PENDING_LIFE]
    status = request.get("status") or {}
    for condition in status.get("conditions") or ():
        since = time_of(condition.get("lastUpdateTime")) or time_of(condition.get("lastTransitionTime"))
        if since is None:
            continue
        if condition.get("type") in ("Denied", "Failed"):
            times.append(since + DENIED_LIFE)
        elif condition.get("type") == "Approved" and status.get("certificate"):
            times.append(since + APPROVED_LIFE)  # without a certificate it is pending still
    if certificate_end is not None:
        times.append(certificate_end)
    return min(times)
