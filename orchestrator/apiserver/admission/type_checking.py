"""Type checks of ValidatingAdmissionPolicies: `status.typeChecking` says which expressions cannot be right.

Each validation is checked once for every kind that the policy's rules name exactly. Mirrors the controller
validatingadmissionpolicy-status of kube-controller-manager (KEP-3488, "Type checking"); it is here because the
schemas are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.aiokit.workqueue import WorkQueue
from orchestrator.api import errors, fields
from orchestrator.api.kinds.admissionregistration.expressions import policy_names
from orchestrator.api.kinds.admissionregistration.policies import VALIDATING_ADMISSION_POLICY
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.objects import Object
from orchestrator.apiserver.incoming import schema_of
from orchestrator.apiserver.reporting import apply_status
from orchestrator.apiserver.server import ApiServer
from orchestrator.logs import get_logger
from orchestrator.store import Event, EventType

KINDS_MAX = 10
"""Kinds that one policy is checked for."""
_MANAGER = "validatingadmissionpolicy-status"


def plan_kinds(spec: Mapping[str, Any], registry: Registry) -> list[Kind]:
    """The kinds that the rules of a policy name exactly; wildcards and subresources say nothing about types."""
    found: dict[tuple[str, str, str], Kind] = {}
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
        if "*" in groups or "*" in versions:
            continue
        for group, version, plural in (
            (g, v, r) for g in groups for v in versions for r in rule.get("resources") or ()
        ):
            kind = registry.by_path(group, version, plural)
            if kind is not None and len(found) < KINDS_MAX:
                found[group, version, kind.resource.kind] = kind
    return [found[key] for key in sorted(found)]


def plan_warnings(spec: Mapping[str, Any], registry: Registry) -> list[Object]:
    """The ExpressionWarnings of a policy, in the order of its validations."""
    from orchestrator.api.structural.cel.admission import AdmissionTypes
    from orchestrator.api.structural.cel.published import resource_node

    params = _params(spec.get("paramKind") or {}, registry)
    environments = []
    for kind in plan_kinds(spec, registry):
        types = AdmissionTypes(
            obj=resource_node(schema_of(kind)), params=resource_node(schema_of(params)) if params is not None else None
        )
        environment = types.environment(policy_names(spec))
        for variable in spec.get("variables") or ():
            environment.add_variable(variable["name"], variable["expression"])
        environments.append((f"{kind.resource.api_version}, Kind={kind.resource.kind}", environment))
    return [
        {"fieldRef": path, "warning": "\n".join(complaints)}
        for path, expression in _expressions(spec)
        if (complaints := list(_complaints(expression, environments)))
    ]


def _params(reference: Mapping[str, Any], registry: Registry) -> Kind | None:
    group, _, version = str(reference.get("apiVersion") or "").rpartition("/")
    return registry.by_kind(group, version, str(reference.get("kind") or ""))


def _expressions(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for position, validation in enumerate(spec.get("validations") or ()):
        for key in ("expression", "messageExpression"):
            if text := validation.get(key):
                yield f"{fields.index('spec.validations', position)}.{key}", text


def _complaints(expression: str, environments: list[tuple[str, Any]]) -> Iterator[str]:
    from orchestrator.api.structural.cel.environment import DoesNotCompile

    for kind, environment in environments:
        try:
            environment.compile(expression)
        except DoesNotCompile as error:
            yield f"{kind}: {error}\n"


class PolicyTypeChecks:
    """Checks every policy of one API server once per generation."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._policies: dict[str, Object] = {}
        self._queue: WorkQueue[str] = WorkQueue(clock=server.clock)
        self._log = get_logger("apiserver/typechecking")
        server.store.observe(VALIDATING_ADMISSION_POLICY.resource.group_resource, self._on_policy)

    def _on_policy(self, event: Event) -> None:
        name, policy = event.record.key.name, event.record.obj
        if event.type is EventType.DELETED:
            self._policies.pop(name, None)
            return
        self._policies[name] = policy
        if _is_unchecked(policy):
            self._queue.add(name)

    async def run(self) -> None:
        """Check policies until cancelled."""
        while True:
            name = await self._queue.get()
            try:
                policy = self._policies.get(name)
                if policy is not None and _is_unchecked(policy):
                    await self._check(policy)
                self._queue.forget(name)
            except errors.ApiError as error:
                self._log.warning("policy.unchecked", name=name, error=error.message)
                self._queue.add_rate_limited(name)
            finally:
                self._queue.done(name)

    async def _check(self, policy: Object) -> None:
        warnings = plan_warnings(policy["spec"], self._server.registry)
        status = {
            "observedGeneration": policy["metadata"].get("generation") or 0,
            "typeChecking": {"expressionWarnings": warnings} if warnings else {},
        }
        await apply_status(self._server, VALIDATING_ADMISSION_POLICY, policy, status, manager=_MANAGER)


def _is_unchecked(policy: Object) -> bool:
    observed = (policy.get("status") or {}).get("observedGeneration") or 0
    return bool(observed < (policy["metadata"].get("generation") or 0))
