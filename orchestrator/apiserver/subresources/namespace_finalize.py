"""`namespaces/finalize`: the namespace controller says that nothing is left inside."""

from __future__ import annotations

from orchestrator.api.objects import Object, copy_object, resource_version_of
from orchestrator.apiserver.object_kinds import decode_part
from orchestrator.apiserver.request import ApiRequest, ObjectResult
from orchestrator.apiserver.server import ApiServer


def register(server: ApiServer) -> None:
    """Serve PUT of namespaces/<name>/finalize."""
    server.subresources["namespaces", "finalize", "update"] = finalize


async def finalize(server: ApiServer, request: ApiRequest) -> ObjectResult:
    """Replace `spec.finalizers`; a terminating namespace without any is removed."""
    body = decode_part(request, request.body)

    async def change(current: Object) -> Object:
        changed = copy_object(current)
        changed["metadata"]["resourceVersion"] = resource_version_of(body)
        changed["spec"] = {
            **(changed.get("spec") or {}),
            "finalizers": (body.get("spec") or {}).get("finalizers") or [],
        }
        if not changed["spec"]["finalizers"]:
            del changed["spec"]["finalizers"]
        return changed

    return await server.change_object(request, change, trusted=True)
