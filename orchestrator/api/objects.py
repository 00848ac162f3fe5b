"""What every API object has in common: its type, its metadata, its owner references.

Objects are plain JSON dicts, immutable by convention: whoever wants to change one copies it first
(`copy_object`). The functions here read; those that write say so and are meant for fresh copies.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import orjson

Object: TypeAlias = dict[str, Any]
"""A Kubernetes object as its JSON says it: apiVersion, kind, metadata, and the rest."""


def copy_object(obj: Object) -> Object:
    """A deep copy; through the JSON encoder, which is several times faster than `copy.deepcopy`."""
    copied: Object = orjson.loads(orjson.dumps(obj))
    return copied


def name_of(obj: Object) -> str:
    """`metadata.name`, or an empty string."""
    return obj.get("metadata", {}).get("name") or ""


def namespace_of(obj: Object) -> str:
    """`metadata.namespace`; empty for cluster-scoped objects."""
    return obj.get("metadata", {}).get("namespace") or ""


def uid_of(obj: Object) -> str:
    """`metadata.uid`, or an empty string."""
    return obj.get("metadata", {}).get("uid") or ""


def labels_of(obj: Object) -> dict[str, str]:
    """`metadata.labels`, never None. Do not modify."""
    return obj.get("metadata", {}).get("labels") or {}


def annotations_of(obj: Object) -> dict[str, str]:
    """`metadata.annotations`, never None. Do not modify."""
    return obj.get("metadata", {}).get("annotations") or {}


def resource_version_of(obj: Object) -> str:
    """`metadata.resourceVersion`, an opaque string for clients."""
    return obj.get("metadata", {}).get("resourceVersion") or ""


def key_of(obj: Object) -> str:
    """`namespace/name`, or `name` for cluster-scoped objects: the key of work queues."""
    namespace = namespace_of(obj)
    return f"{namespace}/{name_of(obj)}" if namespace else name_of(obj)


def split_key(key: str) -> tuple[str, str]:
    """The inverse of `key_of`: (namespace, name)."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


def is_terminating(obj: Object) -> bool:
    """Whether deletion was asked for and finalizers or a grace period still hold the object."""
    return bool(obj.get("metadata", {}).get("deletionTimestamp"))


def controller_of(obj: Object) -> dict[str, Any] | None:
    """The owner reference with `controller: true`, if there is one."""
    for reference in obj.get("metadata", {}).get("ownerReferences") or ():
        if reference.get("controller"):
            found: dict[str, Any] = reference
            return found
    return None


def owner_reference(owner: Object, *, controller: bool = True) -> dict[str, Any]:
    """The owner reference that a controller puts on what it creates for `owner`."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": controller,
        "blockOwnerDeletion": True,
    }


def condition_of(obj: Object, condition_type: str) -> dict[str, Any] | None:
    """The entry of `status.conditions` with this type, if there is one."""
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == condition_type:
            found: dict[str, Any] = condition
            return found
    return None
