"""Who controls what: owner lookup, adoption of orphans, release of what no longer matches.

Owns the rules of the controller reference (`metadata.ownerReferences` with `controller: true`) and
the index by which controllers find their objects without searching. Mirrors ControllerRefManager
of kube-controller-manager.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    controller_of,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)
from orchestrator.api.resources import Resource
from orchestrator.api.selectors import LabelSelector
from orchestrator.client.client import Client
from orchestrator.client.informer import Informer
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH

CONTROLLER_INDEX = "controller"


def index_by_controller(obj: Object) -> list[str]:
    """Index function: the uid of the controller, or `orphans/<namespace>`."""
    reference = controller_of(obj)
    return [reference["uid"] if reference else f"orphans/{namespace_of(obj)}"]


def controlled_by(informer: Informer, owner: Object) -> list[Object]:
    """The objects that `owner` controls, from the informer's index."""
    return informer.by_index(CONTROLLER_INDEX, uid_of(owner))


def controlled_or_orphaned(informer: Informer, owner: Object) -> list[Object]:
    """What `owner` controls, and what nobody controls in its namespace: the candidates of a claim."""
    return controlled_by(informer, owner) + informer.by_index(CONTROLLER_INDEX, f"orphans/{namespace_of(owner)}")


def owner_in_cache(obj: Object | None, owners: Informer) -> Object | None:
    """The controller of an object if it is of the informer's kind and in its cache under the same uid."""
    reference = controller_of(obj) if obj is not None else None
    if obj is None or reference is None or reference["kind"] != owners.resource.kind:
        return None
    if reference["apiVersion"].rpartition("/")[0] != owners.resource.group:
        return None
    namespace = namespace_of(obj) if owners.resource.namespaced else ""
    owner = owners.get(f"{namespace}/{reference['name']}" if namespace else reference["name"])
    return owner if owner is not None and uid_of(owner) == reference["uid"] else None


class Claims(Struct):
    """The outcome of `plan_claims`."""

    owned: list[Object] = field(default_factory=list)
    adopt: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)


def plan_claims(owner: Object, selector: LabelSelector, candidates: Iterable[Object]) -> Claims:
    """Which candidates an owner keeps, takes and lets go; an owner that is being deleted only keeps."""
    claims = Claims()
    for obj in candidates:
        reference = controller_of(obj)
        matches = selector.matches(labels_of(obj))
        if reference is not None:
            if reference["uid"] != uid_of(owner):
                continue
            if matches:
                claims.owned.append(obj)
            elif not is_terminating(owner):
                claims.release.append(obj)
        elif matches and not is_terminating(owner) and not is_terminating(obj):
            claims.adopt.append(obj)
    return claims


async def claim(
    client: Client,
    owner_resource: Resource,
    owner: Object,
    selector: LabelSelector,
    resource: Resource,
    candidates: Iterable[Object],
) -> list[Object]:
    """Adopt and release as planned; returns what the owner controls now.

    Before the first adoption the owner is read from the API, because a cache may not know yet that
    it was deleted and made anew; then `Conflict` is raised.
    """
    claims = plan_claims(owner, selector, candidates)
    owned = claims.owned
    for obj in claims.release:
        await _patch_owner(client, resource, obj, {"$patch": "delete", "uid": uid_of(owner)})
    if claims.adopt:
        live = await client.get(owner_resource, name_of(owner), namespace_of(owner))
        if uid_of(live) != uid_of(owner) or is_terminating(live):
            raise errors.conflict(
                owner_resource.group, owner_resource.plural, name_of(owner), "the object was deleted or replaced"
            )
        for obj in claims.adopt:
            adopted = await _patch_owner(client, resource, obj, owner_reference(owner))
            if adopted is not None:
                owned.append(adopted)
    return owned


async def _patch_owner(client: Client, resource: Resource, obj: Object, reference: Object) -> Object | None:
    # The uid makes the patch conditional: an object of the same name that was made meanwhile is not meant.
    patch = {"metadata": {"uid": uid_of(obj), "ownerReferences": [reference]}}
    try:
        return await client.patch(resource, name_of(obj), patch, namespace_of(obj), content_type=STRATEGIC_MERGE_PATCH)
    except (errors.NotFound, errors.Invalid):
        return None  # gone, or it got another controller or lost the reference: the watch will tell
