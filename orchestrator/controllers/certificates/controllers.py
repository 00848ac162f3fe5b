"""The shells of the three CSR controllers; each follows all requests and does its own part."""

from __future__ import annotations

import base64
from typing import Any, ClassVar, Unpack

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, copy_object, name_of, uid_of
from orchestrator.api.resources import CERTIFICATE_SIGNING_REQUESTS, SUBJECT_ACCESS_REVIEWS
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.controllers.certificates.authority import Authority, end_of
from orchestrator.controllers.certificates.requests import (
    SIGNERS,
    approver_permission,
    complaint,
    has,
    plan_expiry,
    subject_of,
)


class _RequestController(Controller):
    def setup(self) -> None:
        """Requests by name."""
        self._requests = self.informer(CERTIFICATE_SIGNING_REQUESTS)
        self._requests.add_handler(self.enqueue_object)

    def _with_condition(self, request: Object, condition_type: str, reason: str, message: str) -> Object:
        changed = copy_object(request)
        stamp = format_time(self.clock.now())
        new = {
            "type": condition_type,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastUpdateTime": stamp,
            "lastTransitionTime": stamp,
        }
        changed.setdefault("status", {}).setdefault("conditions", []).append(new)
        return changed


class CSRApproving(_RequestController):
    """Approves client certificates of kubelets whose user may have them."""

    name: ClassVar[str] = "csrapproving"

    async def reconcile(self, key: str) -> float | None:
        """Ask whether the requester may, and approve."""
        request = self._requests.get(key)
        if request is None or any(has(request, kind) for kind in ("Approved", "Denied", "Failed")):
            return None
        if (request.get("status") or {}).get("certificate"):
            return None
        try:
            permission = approver_permission(request, subject_of(request))
        except ValueError:
            return None  # not one of a kubelet; a person may look at it
        if permission is None or not await self._is_allowed(request, permission[0]):
            return None
        approved = self._with_condition(request, "Approved", "AutoApproved", permission[1])
        await self.client.update(CERTIFICATE_SIGNING_REQUESTS, approved, subresource="approval")
        return None

    async def _is_allowed(self, request: Object, subresource: str) -> bool:
        spec = request["spec"]
        attributes = {
            "group": "certificates.k8s.io",
            "resource": "certificatesigningrequests",
            "subresource": subresource,
            "verb": "create",
        }
        review: Object = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "metadata": {},
            "spec": {
                "user": spec.get("username") or "",
                "uid": spec.get("uid") or "",
                "groups": spec.get("groups") or [],
                "extra": spec.get("extra") or {},
                "resourceAttributes": attributes,
            },
        }
        answer = await self.client.create(SUBJECT_ACCESS_REVIEWS, review)
        return bool((answer.get("status") or {}).get("allowed"))


class CSRSigning(_RequestController):
    """Signs approved requests of the four signers that are the cluster's own."""

    name: ClassVar[str] = "csrsigning"

    def __init__(self, *, ca_pem: str, ca_key_pem: str, **dependencies: Unpack[Dependencies]) -> None:
        self._authority = Authority(ca_pem, ca_key_pem)
        super().__init__(**dependencies)

    async def reconcile(self, key: str) -> float | None:
        """Put the certificate, or why there is none, into the status."""
        request = self._requests.get(key)
        if request is None or not has(request, "Approved") or has(request, "Denied") or has(request, "Failed"):
            return None
        spec = request["spec"]
        if (request.get("status") or {}).get("certificate") or spec.get("signerName") not in SIGNERS:
            return None
        try:
            why = complaint(spec["signerName"], subject_of(request), spec.get("usages") or ())
            certificate = b"" if why else self._authority.sign(request, self.clock.now())
        except ValueError as error:
            why, certificate = f"unable to parse csr {name_of(request)!r}: {error}", b""
        if why:
            changed = self._with_condition(request, "Failed", "SignerValidationFailure", why)
        else:
            changed = copy_object(request)
            changed["status"]["certificate"] = base64.b64encode(certificate).decode()
        await self.client.update_status(CERTIFICATE_SIGNING_REQUESTS, changed)
        return None


class CSRCleaner(_RequestController):
    """Deletes requests that are decided or forgotten for some time; each has one timer."""

    name: ClassVar[str] = "csrcleaner"

    async def reconcile(self, key: str) -> float | None:
        """Delete the request when its time has come."""
        request = self._requests.get(key)
        if request is None:
            return None
        text: Any = (request.get("status") or {}).get("certificate")
        end = end_of(base64.b64decode(text)) if text else None
        left = (plan_expiry(request, end) - self.clock.now()).total_seconds()
        if left > 0:
            return left
        try:
            await self.client.delete(CERTIFICATE_SIGNING_REQUESTS, name_of(request), uid=uid_of(request))
        except errors.NotFound:
            return None
        return None
