"""Who may ask for, approve and sign certificates.

CertificateApproval, CertificateSigning and CertificateSubjectRestriction as kube-apiserver has them, and the
identity of the one who asks, which kube-apiserver's storage of CertificateSigningRequests fills in.
"""

from __future__ import annotations

from orchestrator.api import errors
from orchestrator.api.kinds.core.configuration import decoded_bytes
from orchestrator.api.objects import Object
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes
from orchestrator.apiserver.authorizer import Attributes as AuthorizerAttributes
from orchestrator.apiserver.authorizer import Authorizer, Decision
from orchestrator.apiserver.user import MASTERS_GROUP, User

GROUP = "certificates.k8s.io"
REQUESTS = f"certificatesigningrequests.{GROUP}"
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"


class CertificateRequester(AdmissionPlugin):
    """Writes into a request who made it; nobody can claim to be somebody else."""

    name = "CertificateRequester"
    resources = frozenset((REQUESTS,))

    def handles(self, attributes: Attributes) -> bool:
        return attributes.operation == "CREATE" and attributes.group_resource == REQUESTS

    async def admit(self, attributes: Attributes) -> None:
        spec, user = attributes.obj["spec"], attributes.user
        for field in ("username", "uid", "groups", "extra"):
            spec.pop(field, None)
        identity = user.to_json()
        spec.update({field: identity[field] for field in ("username", "uid", "groups", "extra") if field in identity})


class CertificateSubjectRestriction(AdmissionPlugin):
    """Nobody gets a client certificate of `system:masters` by asking for it."""

    name = "CertificateSubjectRestriction"
    resources = frozenset((REQUESTS,))

    def handles(self, attributes: Attributes) -> bool:
        return attributes.operation == "CREATE" and attributes.group_resource == REQUESTS

    async def validate(self, attributes: Attributes) -> None:
        spec = attributes.obj["spec"]
        if spec.get("signerName") != CLIENT_SIGNER:
            return
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        request = x509.load_pem_x509_csr(decoded_bytes(spec["request"]))
        organizations = request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if any(organization.value == MASTERS_GROUP for organization in organizations):
            raise _forbidden(attributes, f"use of {CLIENT_SIGNER} signer with {MASTERS_GROUP} group is not allowed")


class CertificateApproval(AdmissionPlugin):
    """Approving needs the verb `approve` on the signer."""

    name = "CertificateApproval"
    resources = frozenset((REQUESTS,))

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, attributes: Attributes) -> bool:
        return (
            attributes.group_resource == REQUESTS
            and attributes.subresource == "approval"
            and attributes.operation == "UPDATE"
        )

    async def validate(self, attributes: Attributes) -> None:
        signer = (attributes.old or {}).get("spec", {}).get("signerName") or ""
        if not may_use_signer(self._authorizer, attributes.user, "approve", signer):
            raise _forbidden(attributes, f'user not permitted to approve requests with signerName "{signer}"')


class CertificateSigning(AdmissionPlugin):
    """Issuing a certificate, or saying that it failed, needs the verb `sign` on the signer."""

    name = "CertificateSigning"
    resources = frozenset((REQUESTS,))

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, attributes: Attributes) -> bool:
        return (
            attributes.group_resource == REQUESTS
            and attributes.subresource == "status"
            and attributes.operation == "UPDATE"
        )

    async def validate(self, attributes: Attributes) -> None:
        old = attributes.old or {}
        if _signed(attributes.obj) == _signed(old):
            return
        signer = old.get("spec", {}).get("signerName") or ""
        if not may_use_signer(self._authorizer, attributes.user, "sign", signer):
            raise _forbidden(attributes, f'user not permitted to sign requests with signerName "{signer}"')


def may_use_signer(authorizer: Authorizer, user: User, verb: str, signer: str) -> bool:
    """Whether a user may approve or sign for a signer, by its name or by its whole domain."""
    domain = signer.partition("/")[0]
    for name in (signer, f"{domain}/*"):
        asked = AuthorizerAttributes(user, verb, group=GROUP, version="*", resource="signers", name=name)
        if authorizer.authorize(asked)[0] is Decision.ALLOW:
            return True
    return False


def _signed(request: Object) -> tuple[object, list[object]]:
    status = request.get("status") or {}
    return status.get("certificate"), [one for one in status.get("conditions") or () if one.get("type") == "Failed"]


def _forbidden(attributes: Attributes, why: str) -> errors.Forbidden:
    return errors.forbidden(GROUP, "certificatesigningrequests", attributes.name, why)
