"""`matchPolicy: Equivalent`: a rule that names one version of a resource sees requests for its other versions too.

What is asked then gets the objects in the version that its rule names. Mirrors the equivalent resource mapper of
k8s.io/apiserver and the versioned attributes of its admission plugins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.objects import Object
from orchestrator.apiserver import conversion
from orchestrator.apiserver.admission.matching import matches_namespace, matches_object, matches_rules
from orchestrator.apiserver.admission.plugin import Attributes
from orchestrator.apiserver.object_kinds import object_kind


def match_kind(
    rules: Iterable[Mapping[str, Any]], policy: str, attributes: Attributes, registry: Registry
) -> Kind | None:
    """As which kind rules are about a write: as the one that was asked for, or an equivalent of it; None for none."""
    rules = tuple(rules)
    if matches_rules(rules, attributes):
        return attributes.kind
    if policy == "Exact":
        return None
    return next((kind for kind in registry.siblings(attributes.kind) if matches_rules(rules, attributes, kind)), None)


def match_resources(
    constraints: Mapping[str, Any] | None, attributes: Attributes, namespace: Object | None, registry: Registry
) -> Kind | None:
    """As which kind `MatchResources` of a policy or binding is about a write; None for not at all.

    Without constraints it is about everything.
    """
    if constraints is None:
        return attributes.kind
    policy = constraints.get("matchPolicy") or "Equivalent"
    if match_kind(constraints.get("excludeResourceRules") or (), policy, attributes, registry) is not None:
        return None
    rules = constraints.get("resourceRules")
    kind = match_kind(rules, policy, attributes, registry) if rules else attributes.kind
    selected = matches_namespace(constraints.get("namespaceSelector"), attributes, namespace) and matches_object(
        constraints.get("objectSelector"), attributes
    )
    return kind if selected else None


async def seen_as(attributes: Attributes, kind: Kind) -> Attributes:
    """The write with its objects as this kind."""
    if kind is attributes.kind:
        return attributes
    obj, old = attributes.obj, attributes.old
    if object_kind(attributes.kind, attributes.subresource) is not attributes.kind:
        # A Scale is the same for all versions of what it scales.
        return replace(attributes, kind=kind, requested=attributes.kind)
    return replace(
        attributes,
        kind=kind,
        requested=attributes.kind,
        obj=await _converted(attributes.kind, kind, obj) if obj else obj,
        old=await _converted(attributes.kind, kind, old) if old else old,
    )


async def take_back(attributes: Attributes, seen: Attributes) -> None:
    """Make what was changed through `seen_as` the object of the write itself."""
    if seen is attributes:
        return
    if object_kind(attributes.kind, attributes.subresource) is attributes.kind:
        attributes.obj = await _converted(seen.kind, attributes.kind, seen.obj)
    else:
        attributes.obj = seen.obj


async def _converted(source: Kind, target: Kind, obj: Object) -> Object:
    return await conversion.from_stored(target, await conversion.to_stored(source, obj))
