"""What the store refuses, in the words of the API."""

from __future__ import annotations

from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.store import (
    Compacted,
    FutureRevision,
    KeyExists,
    KeyNotFound,
    ObjectTooLarge,
    RevisionConflict,
    StoreClosed,
    StoreError,
    StoreFailed,
)

_PREFIXES = {
    "nodes": "minions",
    "services": "services/specs",
    "endpoints": "services/endpoints",
    "ingresses.networking.k8s.io": "ingress",
    "replicationcontrollers": "controllers",
}
"""Where kube-apiserver keeps kinds whose path is not simply their plural."""


def storage_path(kind: Kind, namespace: str, name: str) -> str:
    """The key that kube-apiserver has for an object in etcd: some messages show it."""
    resource = kind.resource
    prefix = _PREFIXES.get(resource.group_resource, resource.plural)
    if kind.schema is not None or resource.group.startswith(("apiextensions.", "apiregistration.")):
        prefix = f"{resource.group}/{resource.plural}"
    return "/".join(part for part in ("/registry", prefix, namespace, name) if part)


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


class translated:
    """Turns errors of the store in its `with` block into ApiErrors about this object."""

    # A class, because it stands around every read and write, and a generator costs three times as much.
    __slots__ = ("_kind", "_name")

    def __init__(self, kind: Kind, name: str) -> None:
        self._kind = kind
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, StoreError):
            raise _translation(error, self._kind, self._name) from error


def _translation(error: StoreError, kind: Kind, name: str) -> errors.ApiError:
    """What the API says where the store says this."""
    group, plural = kind.resource.group, kind.resource.plural
    if isinstance(error, KeyExists):
        return errors.already_exists(group, plural, name)
    if isinstance(error, KeyNotFound):
        return errors.not_found(group, plural, name)
    if isinstance(error, RevisionConflict):
        return errors.conflict(group, plural, name, MODIFIED)
    if isinstance(error, ObjectTooLarge):
        return errors.RequestEntityTooLarge(
            f"etcdserver: request is too large: {error.size} bytes, at most {error.limit} are allowed"
        )
    if isinstance(error, Compacted):
        return errors.Expired(f"too old resource version: {error.revision} ({error.compacted_revision})")
    if isinstance(error, FutureRevision):
        return errors.Timeout(
            f"Timeout: Too large resource version: {error.revision}, current: {error.current_revision}",
            causes=(Cause("ResourceVersionTooLarge", "Too large resource version"),),
            retry_after_seconds=1,
        )
    if isinstance(error, StoreFailed):
        return errors.InternalError(f"the write could not be made durable: {error}")
    if isinstance(error, StoreClosed):
        return errors.ServiceUnavailable("the server is shutting down")
    return errors.InternalError(str(error))
