"""`namespaces/finalize`: the namespace controller says that nothing is left inside."""

from __future__ import annotations

from orchestrator.api import errors
from orchestrator.api.objects import Object, copy_object
from orchestrator.apiserver.request import ApiRequest, ObjectResult
from orchestrator.apiserver.server import ApiServer


def register(server: ApiServer) -> None:
    """Serve PUT of namespaces/<name>/finalize."""
    server.subresources["namespaces", "finalize", "update"] = finalize


async def finalize(server: ApiServer, request: ApiRequest) -> ObjectResult:
    """Replace `spec.finalizers`; a terminating namespace without any is removed."""
    body = request.body
    if not isinstance(body, dict):
        raise errors.BadRequest("the body must be a Namespace")

    async def change(current: Object) -> Object:
        changed = copy_object(current)
        changed["metadata"]["resourceVersion"] = (body.get("metadata") or {}).get("resourceVersion") or ""
        changed["spec"] = {
            **(changed.get("spec") or {}),
            "finalizers": (body.get("spec") or {}).get("finalizers") or [],
        }
        if not changed["spec"]["finalizers"]:
            del changed["spec"]["finalizers"]
        return changed

    return await server.change_object(request, change, trusted=True)
