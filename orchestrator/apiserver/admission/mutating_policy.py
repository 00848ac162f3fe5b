"""MutatingAdmissionPolicy: CEL expressions in the API change what is written (KEP-3962).

Source: "Mutating Admission Policy", kubernetes.io. A mutation describes a part of the object, which is merged into it
as server-side apply merges (without anybody owning it), or a JSON patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api import errors
from orchestrator.api.decode import NotDecodable, decode
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.managed_fields import NotTyped, Structure
from orchestrator.api.managed_fields.checking import check_typed
from orchestrator.api.managed_fields.merging import merge
from orchestrator.api.objects import Object, copy_object
from orchestrator.api.patch.json_patch import apply_json_patch
from orchestrator.api.resources import MUTATING_ADMISSION_POLICIES, MUTATING_ADMISSION_POLICY_BINDINGS
from orchestrator.api.structural.cel.object_literals import without_types
from orchestrator.apiserver.admission.equivalence import seen_as, take_back
from orchestrator.apiserver.admission.expressions import (
    ExpressionError,
    authorizing,
    evaluate,
    meets_conditions,
    variables_of,
)
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes, Reader
from orchestrator.apiserver.admission.policies import Bound, Policies, cause_of, compute_variables
from orchestrator.apiserver.authorizer import Authorizer
from orchestrator.apiserver.field_ownership import structure_of_kind
from orchestrator.apiserver.incoming import normalized, schema_of
from orchestrator.apiserver.object_kinds import object_kind
from orchestrator.store import Store


class MutatingAdmissionPolicy(AdmissionPlugin):
    """Runs for creates and updates of everything but the configuration of admission."""

    name = "MutatingAdmissionPolicy"

    def __init__(self, store: Store, reader: Reader, registry: Registry, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self._policies = Policies(
            store,
            reader,
            registry,
            policies=MUTATING_ADMISSION_POLICIES,
            bindings=MUTATING_ADMISSION_POLICY_BINDINGS,
        )

    def handles(self, attributes: Attributes) -> bool:
        return attributes.operation in ("CREATE", "UPDATE") and self._policies.concern(attributes)

    async def admit(self, attributes: Attributes) -> None:
        may_run_again = False
        for bound in await self._policies.matching(attributes):
            again = bound.policy["spec"].get("reinvocationPolicy") == "IfNeeded"
            if attributes.is_reinvocation and not again:
                continue
            before = attributes.obj
            try:
                seen = await seen_as(attributes, bound.kind)
                await self._mutate(bound, seen)
                await take_back(attributes, seen)
            except ExpressionError as error:
                attributes.obj = before
                if bound.ignores_failures:
                    continue
                raise _denied(attributes, bound, error) from None
            if attributes.obj != before and may_run_again:
                attributes.reinvoke = True  # others have seen the object before this change
            may_run_again = may_run_again or again

    async def _mutate(self, bound: Bound, attributes: Attributes) -> None:
        spec, kind = bound.policy["spec"], object_kind(attributes.kind, attributes.subresource)
        for parameter in await self._policies.parameters(bound, attributes):
            variables = {**variables_of(attributes), "namespaceObject": bound.namespace, "params": parameter}
            with authorizing(self._authorizer, attributes.user):
                if not meets_conditions(spec.get("matchConditions") or (), variables):
                    continue
                for mutation in spec.get("mutations") or ():
                    attributes.obj = plan_mutation(kind, spec, mutation, variables, attributes.obj)
                    variables["object"] = attributes.obj


def plan_mutation(
    kind: Kind, spec: Mapping[str, Any], mutation: Mapping[str, Any], variables: dict[str, Any], obj: Object
) -> Object:
    """A fresh object with one mutation made; ExpressionError when it cannot be made."""
    known, broken = compute_variables(spec, variables, without_types)
    is_patch = mutation.get("patchType") == "JSONPatch"
    source = mutation.get("jsonPatch" if is_patch else "applyConfiguration") or {}
    text = source.get("expression") or ""
    try:
        value = evaluate(without_types(text), known)
    except ExpressionError as error:
        raise cause_of(error, text, broken) from None
    changed = _patched(obj, value) if is_patch else _applied(structure_of_kind(kind), obj, value)
    try:
        decoded, _ = decode(changed, schema_of(kind), field_validation="Ignore", kind=kind.resource.kind)
    except NotDecodable as error:
        raise ExpressionError(f"the mutated object is not valid: {error.detail}") from None
    fresh = copy_object(normalized(decoded, kind))
    kind.default(fresh)
    return fresh


def _patched(obj: Object, operations: Any) -> Object:
    if not isinstance(operations, list):
        raise ExpressionError("expression must evaluate to a list of JSONPatch")
    try:
        return apply_json_patch(obj, operations)
    except errors.ApiError as error:
        raise ExpressionError(f"JSON Patch: {error}") from None


def _applied(structure: Structure, obj: Object, configuration: Any) -> Object:
    if not isinstance(configuration, dict):
        raise ExpressionError("expression must evaluate to an Object")
    try:
        check_typed(structure, configuration)
        if atomic := _atomic(structure, configuration, ""):
            raise ExpressionError(f"may not mutate atomic arrays, maps or structs: {atomic}")
        merged: Object = merge(structure, obj, configuration)
    except NotTyped as error:
        raise ExpressionError(f"error applying patch: {error}") from None
    return merged


def _atomic(structure: Structure, value: Any, path: str) -> str:
    """The first path of a configuration that would replace an atomic list, map or struct; empty for none."""
    if not isinstance(value, (dict, list)) or not value:
        return ""
    if structure.form == "atomic":
        return path
    if isinstance(value, list):
        pairs = ((structure.items, item, f"{path}[{position}]") for position, item in enumerate(value))
    else:
        pairs = ((structure.child(name), item, f"{path}.{name}") for name, item in value.items())
    return next(filter(None, (_atomic(child, item, where) for child, item, where in pairs)), "")


def _denied(attributes: Attributes, bound: Bound, error: ExpressionError) -> errors.Forbidden:
    resource = attributes.kind.resource
    policy, binding = bound.names
    why = f"policy '{policy}' with binding '{binding}' denied request: {error}"
    return errors.forbidden(resource.group, resource.plural, attributes.name, why)
