"""Admission policies and their bindings, as both plugins that run them need them.

A policy is at work where a binding puts it, once per parameter object that the binding selects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.objects import Object, labels_of, name_of
from orchestrator.api.resources import Resource
from orchestrator.api.selectors import from_label_selector
from orchestrator.apiserver.admission.equivalence import match_resources
from orchestrator.apiserver.admission.expressions import ExpressionError, evaluate
from orchestrator.apiserver.admission.matching import EXEMPT
from orchestrator.apiserver.admission.plugin import Attributes, Reader
from orchestrator.store import Event, EventType, Record, Store


class Bound(Struct, frozen=True):
    """A policy that a binding puts to work for one write."""

    policy: Object
    binding: Object
    namespace: Object | None
    kind: Kind
    """As which the policy's rules are about the write."""

    @property
    def names(self) -> tuple[str, str]:
        """(of the policy, of the binding)."""
        return name_of(self.policy), name_of(self.binding)

    @property
    def ignores_failures(self) -> bool:
        return bool(self.policy["spec"].get("failurePolicy") == "Ignore")


class Policies:
    """The policies of one sort, kept as they are written."""

    def __init__(
        self, store: Store, reader: Reader, registry: Registry, *, policies: Resource, bindings: Resource
    ) -> None:
        self._reader = reader
        self._registry = registry
        self._policies: dict[str, Record] = {}
        self._bindings: dict[str, Record] = {}
        store.observe(policies.group_resource, lambda event: _keep(self._policies, event))
        store.observe(bindings.group_resource, lambda event: _keep(self._bindings, event))

    def concern(self, attributes: Attributes) -> bool:
        """Whether there is anything to ask about a write; cheap."""
        return bool(self._bindings) and bool(self._policies) and attributes.group_resource not in EXEMPT

    async def matching(self, attributes: Attributes) -> list[Bound]:
        """What is at work for a write, in the order of the bindings' names."""
        namespace = None
        if attributes.kind.resource.namespaced:
            namespace = await self._reader.read("namespaces", attributes.namespace)
        found = []
        for name in sorted(self._bindings):
            binding = self._bindings[name].obj
            record = self._policies.get(binding["spec"].get("policyName") or "")
            if record is None:
                continue
            constraints = record.obj["spec"].get("matchConstraints") or {}
            kind = match_resources(constraints, attributes, namespace, self._registry)
            resources = binding["spec"].get("matchResources")
            if kind is not None and match_resources(resources, attributes, namespace, self._registry) is not None:
                found.append(Bound(record.obj, binding, namespace, kind))
        return found

    async def parameters(self, bound: Bound, attributes: Attributes) -> list[Object | None]:
        """The objects that become `params`, one after the other; ExpressionError when there are none but must be."""
        kind, reference = bound.policy["spec"].get("paramKind"), bound.binding["spec"].get("paramRef")
        if not kind or not reference:
            return [None]
        group, _, version = (kind.get("apiVersion") or "").rpartition("/")
        found = self._registry.by_kind(group, version, kind.get("kind") or "")
        if found is None:
            raise ExpressionError(f"failed to find resource referenced by paramKind: '{kind.get('apiVersion')}'")
        namespace = ""
        if found.resource.namespaced:
            namespace = reference.get("namespace") or attributes.namespace
            if not namespace:
                raise ExpressionError(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                )
        name, selector = reference.get("name"), reference.get("selector")
        if name:
            one = await self._reader.read(found.resource.group_resource, name, namespace)
            selected = [one] if one is not None else []
        else:
            compiled = from_label_selector(selector)
            everything = await self._reader.read_all(found.resource.group_resource, namespace)
            selected = [one for one in everything if compiled.matches(labels_of(one))]
        if not selected and reference.get("parameterNotFoundAction") != "Allow":
            raise ExpressionError("no params found for policy binding with `Deny` parameterNotFoundAction")
        return list(selected)


def compute_variables(
    spec: Mapping[str, Any], variables: dict[str, Any], prepare: Callable[[str], str] = str
) -> tuple[dict[str, Any], dict[str, ExpressionError]]:
    """(the variables with `variables` among them, what went wrong with some): only a failure where one is used."""
    computed: dict[str, Any] = {}
    variables = {**variables, "variables": computed}
    broken: dict[str, ExpressionError] = {}
    for variable in spec.get("variables") or ():
        name = variable.get("name") or ""
        try:
            computed[name] = evaluate(prepare(variable.get("expression") or ""), variables)
        except ExpressionError as error:
            broken[name] = error
    return variables, broken


def cause_of(error: ExpressionError, expression: str, broken: Mapping[str, ExpressionError]) -> ExpressionError:
    """Why an expression failed: because of a variable that it uses, if that is broken."""
    return next((failure for name, failure in broken.items() if f"variables.{name}" in expression), error)


def _keep(records: dict[str, Record], event: Event) -> None:
    name = event.record.key.name
    if event.type is EventType.DELETED:
        records.pop(name, None)
    else:
        records[name] = event.record
