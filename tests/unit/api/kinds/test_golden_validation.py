"""Refusals: the same causes, in the same order, in the same words as a real API server's."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.unit.api.kinds import golden

# Recorded at v1.20; these scenarios differ at v1.36, which we follow.
NEWER = {
    "v-pod-init-probe": "v1.36 forbids probes of init containers in other words",
    "v-sec-procmount": "procMount is checked since its feature is on",
    "v-env-badname": "environment variable names may be any printable ASCII since v1.34",
    "v-envfrom-badprefix": "the same",
    "v-pod-req-gt-limit": "the message names the limit's amount since v1.28",
    "v-ownerref-two-controllers": "owners are named with their kinds",
    "v-namespace-bad-name": "a name with dots is told that dots are the problem",
    "v-secret-basicauth": "the path names the key",
    "v-pod-bad-tmp-policy": "the policies are listed",
    "v-pod-port-name": "digits do not count as letters of a port's name",
    "v-hostalias-ip": "the path has an index, and the message is that of every IP",
    "v-svc-srcranges": "each range is named by its index",
    "v-ds-maxunavail-zero": "maxSurge came later",
    "v-np-cidr": "the message of every CIDR",
    "v-crd-noschema": "without the hint since v1.36",
    "v-cron-bad-schedule": "version 3 of the schedule parser words it differently",
    "v-cron-schedule-range": "the same",
    "v-endpoints-loopback": "the IPv6 range is named too",
}
# Not a matter of the kind alone: the cluster's state, or the decoder, refuses these.
ELSEWHERE = {
    "v-svc-clusterip-outofrange": "the allocator's range",
    "v-svc-nodeport-outofrange": "the allocator's range",
    "v-crd-nonstructural": "whoever serves custom resources checks their schemas",
}


def _cases() -> list[tuple[str, Any]]:
    cases = []
    for recording in golden.recordings("validation"):
        for number, step in enumerate(recording["steps"]):
            request, response = step["request"], step["response"]
            kind, namespace, name, is_subresource = golden.kind_of(request["path"])
            if request["method"] != "POST" or kind is None or name or is_subresource:
                continue
            if not isinstance(request.get("body"), dict) or response["code"] not in (201, 422):
                continue
            if recording["id"] in NEWER or recording["id"] in ELSEWHERE:
                continue
            cases.append((f"{recording['id']}-{number}", (kind, namespace, request["body"], response)))
    return cases


_GO_VALUE = re.compile(
    r"(Invalid value|Unsupported value|Duplicate value): "
    r"(?:[\w.\[\]*]*[{(]|[{\[]|null|\"[^\"]*\").*?(?=: (?:[`a-z]|Only|/)|$)",
    re.DOTALL,
)


def _without_value(message: str) -> str:
    return _GO_VALUE.sub(r"\1: _", message)


def _same(message: str, expected: str) -> bool:
    """Equal, but for the value where it was printed in Go's syntax (JSON since), and today's unit."""
    expected = expected.replace(" characters", " bytes")
    if "<suffix" in expected or expected.startswith('Invalid value: "Bad_'):
        return message.split(": ", 2)[2] == expected.replace("bytes", "characters").split(": ", 2)[2]
    if "{" in expected or "(nil)" in expected:
        return _without_value(message) == _without_value(expected)
    return message.replace(" characters", " bytes") == expected


@pytest.mark.parametrize("case", golden.params(_cases()))
def test_same_causes(case: Any) -> None:
    kind, namespace, body, response = case
    _, causes = golden.created(kind, body, namespace)
    expected = (response["body"].get("details") or {}).get("causes") or []
    assert [(cause.reason, cause.field) for cause in causes] == [(c["reason"], c.get("field", "")) for c in expected]
    for cause, wanted in zip(causes, expected, strict=True):
        assert _same(cause.message, wanted["message"]), (cause.message, wanted["message"])
