"""Which requests the cluster's own signers grant, which approve themselves, and when they go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.aiokit.clock import format_time
from orchestrator.controllers.certificates.requests import (
    API_CLIENT,
    KUBELET_CLIENT,
    KUBELET_SERVING,
    LEGACY,
    approver_permission,
    complaint,
    plan_expiry,
    subject_of,
)
from tests.signing_requests import signing_request

CLIENT, SERVER = ["digital signature", "client auth"], ["digital signature", "server auth"]
NODE = "system:node:n"


@pytest.mark.parametrize(
    ("signer", "usages", "fields", "why"),
    [
        (KUBELET_CLIENT, CLIENT, {}, ""),
        (KUBELET_CLIENT, [*CLIENT, "key encipherment"], {}, ""),
        (KUBELET_CLIENT, SERVER, {}, "usages did not match"),
        (KUBELET_CLIENT, CLIENT, {"organizations": ["admins"]}, "subject organization is not system:nodes"),
        (KUBELET_CLIENT, CLIENT, {"organizations": ["system:nodes", "admins"]}, "subject organization"),
        (KUBELET_CLIENT, CLIENT, {"common_name": "n"}, "common name does not begin with system:node:"),
        (KUBELET_CLIENT, CLIENT, {"dns_names": ["n"]}, "DNS subjectAltNames are not allowed"),
        (KUBELET_CLIENT, CLIENT, {"ips": ["10.0.0.1"]}, "IP, email and URI subjectAltNames are not allowed"),
        (KUBELET_SERVING, SERVER, {"dns_names": ["n"]}, ""),
        (KUBELET_SERVING, SERVER, {"ips": ["10.0.0.1"]}, ""),
        (KUBELET_SERVING, SERVER, {}, "at least one DNS or IP subjectAltName is required"),
        (KUBELET_SERVING, CLIENT, {"dns_names": ["n"]}, "usages did not match"),
        (API_CLIENT, CLIENT, {"organizations": ["team"], "common_name": "jane"}, ""),
        (API_CLIENT, SERVER, {"organizations": ["team"]}, "client auth is required"),
        (API_CLIENT, [*CLIENT, "server auth"], {}, "server auth not allowed"),
        (LEGACY, SERVER, {}, ""),
    ],
)
def test_what_a_signer_refuses(signer: str, usages: list[str], fields: dict[str, Any], why: str) -> None:
    request = signing_request(fields.pop("common_name", NODE), signer=signer, usages=usages, **fields)
    found = complaint(signer, subject_of(request), usages)
    assert why in found
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    ("fields", "permission"),
    [
        ({"username": NODE}, "selfnodeclient"),
        ({"username": "system:bootstrap:abcdef"}, "nodeclient"),
        ({"username": NODE, "signer": API_CLIENT}, None),
        ({"username": NODE, "usages": SERVER}, None),
        ({"username": NODE, "organizations": ["team"]}, None),
    ],
)
def test_who_may_approve_itself(fields: dict[str, Any], permission: str | None) -> None:
    request = signing_request(NODE, **fields)
    found = approver_permission(request, subject_of(request))
    assert (found[0] if found else None) == permission


def test_text_that_is_no_request() -> None:
    request = signing_request(NODE)
    request["spec"]["request"] = "bm9uc2Vuc2U="
    with pytest.raises(ValueError, match="PEM"):
        subject_of(request)


NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("condition", "certificate", "end", "hours"),
    [
        (None, "", None, 24),
        ("Denied", "", None, 3),
        ("Failed", "", None, 3),
        ("Approved", "", None, 24),
        ("Approved", "x", None, 3),
        ("Approved", "x", NOW + HOUR, 1),
    ],
)
def test_when_a_request_goes(condition: str | None, certificate: str, end: datetime | None, hours: int) -> None:
    status: dict[str, Any] = {"certificate": certificate}
    if condition:
        stamp = format_time(NOW + 2 * HOUR)
        status["conditions"] = [{"type": condition, "lastUpdateTime": stamp}]
    request = {"metadata": {"creationTimestamp": format_time(NOW)}, "spec": {}, "status": status}
    assert plan_expiry(request, end) == NOW + hours * HOUR
