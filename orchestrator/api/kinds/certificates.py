"""CertificateSigningRequest. Mirrors k8s.io/kubernetes/pkg/apis/certificates and its printer.

Who asked (username, groups) is filled in by the API server, which knows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.durations import human_duration
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.changes import describe_changes
from orchestrator.api.kinds.columns import AGE, NAME, NONE, age, dig, ref
from orchestrator.api.kinds.core.configuration import decoded_bytes
from orchestrator.api.kinds.defaulting import clear_status, condition_times, spec_and_status
from orchestrator.api.kinds.descriptor import Column, Kind, Subresource
from orchestrator.api.objects import Object, condition_of, name_of
from orchestrator.api.resources import CERTIFICATE_SIGNING_REQUESTS

_USAGES = frozenset({
    "signing", "digital signature", "content commitment", "key encipherment", "key agreement",
    "data encipherment", "cert sign", "crl sign", "encipher only", "decipher only", "any", "server auth",
    "client auth", "code signing", "email protection", "s/mime", "ipsec end system", "ipsec tunnel",
    "ipsec user", "timestamping", "ocsp signing", "microsoft sgc", "netscape sgc",
})  # fmt: skip
_EXPIRATION_SECONDS_MIN = 600
_DOMAIN_BYTES_MAX = 253
_SIGNER_PATH_BYTES_MAX = 253 + 1 + 63
_PEM_BLOCK = re.compile(rb"-----BEGIN ([^-]*)-----(.*?)-----END \1-----", re.DOTALL)
_DECISIONS = ("Approved", "Denied")


def validate_request(obj: Object) -> list[Cause]:
    """A PEM request, a signer, usages."""
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    complaint = _request_complaint(spec.get("request") or "")
    if complaint:
        causes.append(fields.invalid("spec.request", spec.get("request") or "", complaint))
    usages = spec.get("usages") or []
    if not usages:
        causes.append(fields.required("spec.usages"))
    again = fields.repeated(usages)
    for position, usage in enumerate(usages):
        path = fields.index("spec.usages", position)
        if usage not in _USAGES:
            causes.append(fields.not_supported(path, usage, sorted(_USAGES)))
        if position in again:
            causes.append(fields.duplicate(path, usage))
    causes += validate_signer_name(spec.get("signerName") or "", "spec.signerName")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _EXPIRATION_SECONDS_MIN:
        causes.append(
            fields.invalid(
                "spec.expirationSeconds", seconds, "may not specify a duration less than 600 seconds (10 minutes)"
            )
        )
    return causes + _validate_conditions(obj)


def _request_complaint(text: str) -> str:
    content = decoded_bytes(text)
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in content:
        return "PEM block type must be CERTIFICATE REQUEST"
    from cryptography import x509

    try:
        request = x509.load_pem_x509_csr(content)
        is_signed = request.is_signature_valid
    except ValueError as error:
        return "asn1: syntax error: data truncated" if "ShortData" in str(error) else f"asn1: structure error: {error}"
    return "" if is_signed else "the signature of the request is not valid"


def validate_signer_name(name: str, path: str) -> list[Cause]:
    """`example.com/my-name`: a domain and one segment of a path."""
    if not name:
        return [fields.required(path)]
    domain, slash, rest = name.partition("/")
    if not slash or "/" in rest:
        return [
            fields.invalid(
                path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'"
            )
        ]
    causes = [fields.too_long(path, _DOMAIN_BYTES_MAX)] if len(domain) > _DOMAIN_BYTES_MAX else []
    causes += _first_bad_label(domain, path, names.is_dns1123_label)
    if "." not in domain:
        causes.append(fields.invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    causes += _first_bad_label(rest, path, names.is_dns1123_subdomain)
    if len(rest) > _SIGNER_PATH_BYTES_MAX:
        causes.append(fields.too_long(path, _SIGNER_PATH_BYTES_MAX))
    return causes


def _first_bad_label(segment: str, path: str, complaints: Callable[[str], list[str]]) -> list[Cause]:
    for label in segment.split("."):
        if texts := complaints(label):
            return [fields.invalid(path, segment, f"validating label {fields.quote(label)}: {text}") for text in texts]
    return []


def _validate_conditions(obj: Object) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    found: set[str] = set()
    for position, condition in enumerate(dig(obj, "status", "conditions") or ()):
        path = fields.index("status.conditions", position)
        kind, status = condition.get("type") or "", condition.get("status") or ""
        if not kind:
            causes.append(fields.required(f"{path}.type"))
        if not status:
            causes.append(fields.required(f"{path}.status"))
        elif kind in (*_DECISIONS, "Failed") and status != "True":
            causes.append(fields.not_supported(f"{path}.status", status, ("True",)))
        elif status not in ("False", "True", "Unknown"):
            causes.append(fields.not_supported(f"{path}.status", status, ("False", "True", "Unknown")))
        if kind in _DECISIONS:
            found.add(kind)
            if len(found) > 1:
                causes.append(
                    fields.invalid(f"{path}.type", kind, "Approved and Denied conditions are mutually exclusive")
                )
        if kind in seen:
            causes.append(fields.duplicate(f"{path}.type", kind))
        seen.add(kind)
    return causes


def validate_request_update(new: Object, old: Object) -> list[Cause]:
    """A decision stays; nobody adds one outside `/approval`."""
    causes = _validate_conditions(new)
    current = {c.get("type"): c for c in dig(new, "status", "conditions") or ()}
    before = {c.get("type"): c for c in dig(old, "status", "conditions") or ()}
    for kind in (*_DECISIONS, "Failed"):
        if kind in before and kind not in current:
            causes.append(fields.forbidden("status.conditions", f'updates may not remove a condition of type "{kind}"'))
    return causes


def _validate_status(new: Object, old: Object) -> list[Cause]:
    certificate, was = dig(new, "status", "certificate") or "", dig(old, "status", "certificate") or ""
    causes: list[Cause] = []
    complaint = _certificate_complaint(certificate) if certificate not in ("", was) else ""
    if complaint and not _certificate_complaint(was):
        causes.append(fields.invalid("status.certificate", "<certificate data>", complaint))
    causes += validate_request_update(new, old)
    for kind in _DECISIONS:
        condition, before = condition_of(new, kind), condition_of(old, kind)
        if condition and not before:
            causes.append(fields.forbidden("status.conditions", f'updates may not add a condition of type "{kind}"'))
        elif condition and before and _set_keys(condition) != _set_keys(before):
            detail = f'updates may not modify a condition of type "{kind}"' + describe_changes(condition, before)
            causes.append(fields.forbidden("status.conditions", detail))
    if was and certificate != was:
        causes.append(fields.forbidden("status.certificate", "updates may not modify existing certificate content"))
    return causes


def _set_keys(condition: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in condition.items() if value}


def _certificate_complaint(text: str) -> str:
    """Why this is no list of PEM certificates; empty if it is, or if there is none."""
    content = decoded_bytes(text)
    blocks = _PEM_BLOCK.findall(content)
    for kind, body in blocks:
        if kind != b"CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {fields.quote(kind.decode(errors='replace'))}"
        if b":" in body:
            return "no PEM block headers are permitted"
    if not blocks:
        return "must contain at least one CERTIFICATE PEM block" if content else ""
    from cryptography import x509

    try:
        x509.load_pem_x509_certificates(content)
    except ValueError:
        return "x509: malformed certificate"
    return ""


def _keep_spec(new: Object, old: Object) -> None:
    """The spec of a request is what was asked, for good."""
    new["spec"] = old.get("spec") or {}


def state_cell(obj: Object) -> str:
    """`Pending`, or the decisions, and whether a certificate was issued."""
    kinds = {c.get("type") for c in dig(obj, "status", "conditions") or ()}
    if "Denied" in kinds:
        text = "Denied"
    elif "Approved" in kinds:
        text = "Approved"
    else:
        text = "Pending"
    if "Failed" in kinds:
        text += ",Failed"
    if dig(obj, "status", "certificate"):
        text += ",Issued"
    return text


def _row(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    return [
        name_of(obj),
        age(obj, now),
        spec.get("signerName") or NONE,
        spec.get("username") or "",
        human_duration(seconds) if seconds is not None else NONE,
        state_cell(obj),
    ]


_SPEC = "certificates.v1.CertificateSigningRequestSpec"
CERTIFICATE_SIGNING_REQUEST = Kind(
    CERTIFICATE_SIGNING_REQUESTS,
    "io.k8s.api.certificates.v1.CertificateSigningRequest",
    "certificatesigningrequest",
    short_names=("csr",),
    has_status=True,
    default_status=condition_times("lastUpdateTime", "lastTransitionTime"),
    subresources=(Subresource("approval", "CertificateSigningRequest", ("get", "patch", "update")),),
    default=spec_and_status,
    prepare_create=clear_status,
    prepare_update=_keep_spec,
    validate=validate_request,
    validate_update=validate_request_update,
    validate_status_update=_validate_status,
    validate_name=names.is_path_segment_name,
    columns=(
        NAME,
        AGE,
        Column("SignerName", description=ref(_SPEC, "signerName")),
        Column("Requestor", description=ref(_SPEC, "request")),
        Column("RequestedDuration", description=ref(_SPEC, "expirationSeconds")),
        Column("Condition", description=ref("certificates.v1.CertificateSigningRequestStatus", "conditions")),
    ),
    row=_row,
    selectable_fields={"spec.signerName": lambda obj: dig(obj, "spec", "signerName") or ""},
)
