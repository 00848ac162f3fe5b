"""What the store refuses, in the words of the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def translated(kind: Kind, name: str) -> Iterator[None]:
    """Turn errors of the store into ApiErrors about this object."""
    group, plural = kind.resource.group, kind.resource.plural
    try:
        yield
    except KeyExists as error:
        raise errors.already_exists(group, plural, name) from error
    except KeyNotFound as error:
        raise errors.not_found(group, plural, name) from error
    except RevisionConflict as error:
        raise errors.conflict(group, plural, name, MODIFIED) from error
    except ObjectTooLarge as error:
        raise errors.RequestEntityTooLarge(
            f"etcdserver: request is too large: {error.size} bytes, at most {error.limit} are allowed"
        ) from error
    except Compacted as error:
        raise errors.Expired(f"too old resource version: {error.revision} ({error.compacted_revision})") from error
    except FutureRevision as error:
        raise errors.Timeout(
            f"Timeout: Too large resource version: {error.revision}, current: {error.current_revision}",
            causes=(Cause("ResourceVersionTooLarge", "Too large resource version"),),
            retry_after_seconds=1,
        ) from error
    except StoreFailed as error:
        raise errors.InternalError(f"the write could not be made durable: {error}") from error
    except StoreClosed as error:
        raise errors.ServiceUnavailable("the server is shutting down") from error
