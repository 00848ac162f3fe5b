"""Warnings of what nobody acts on."""

from __future__ import annotations

import pytest

from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.kinds.registry import Registry
from orchestrator.apiserver.admission.plugin import AdmissionChain, Attributes, Operation
from orchestrator.apiserver.admission.without_effect import WithoutEffect
from orchestrator.apiserver.user import User

POLICIES = "networkpolicies.networking.k8s.io"


@pytest.mark.parametrize(
    ("operation", "resource", "subresource", "warned"),
    [
        ("CREATE", POLICIES, "", ["nobody enforces it"]),
        ("UPDATE", POLICIES, "", ["nobody enforces it"]),
        ("DELETE", POLICIES, "", []),
        ("UPDATE", POLICIES, "status", []),
        ("CREATE", "configmaps", "", []),
    ],
)
async def test_who_is_warned(operation: Operation, resource: str, subresource: str, warned: list[str]) -> None:
    kind = next(kind for kind in Registry(builtin_kinds()) if kind.resource.group_resource == resource)
    attributes = Attributes(operation, kind, "default", "x", subresource, {}, None, User("somebody"), dry_run=False)
    await AdmissionChain([WithoutEffect({POLICIES: "nobody enforces it"})]).validate(attributes)
    assert attributes.warnings == warned
