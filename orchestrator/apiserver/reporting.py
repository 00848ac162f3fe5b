"""How the API server's own controllers report: by applying a part of an object's status."""

from __future__ import annotations

from orchestrator.api import errors
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object, name_of, uid_of
from orchestrator.apiserver.request import ApiRequest
from orchestrator.apiserver.server import ApiServer
from orchestrator.apiserver.user import MASTERS_GROUP, User

API_SERVER = User("system:apiserver", groups=(MASTERS_GROUP,))
"""Who the API server itself is, to its own pipeline."""


async def apply_status(server: ApiServer, kind: Kind, obj: Object, status: Object, *, manager: str) -> None:
    """Own these fields of a cluster-scoped object's status; nothing happens when it is gone."""
    name = name_of(obj)
    applied = {
        "apiVersion": kind.resource.api_version,
        "kind": kind.resource.kind,
        "metadata": {"name": name, "uid": uid_of(obj)},
        "status": status,
    }
    request = ApiRequest(
        "patch",
        kind,
        API_SERVER,
        name=name,
        subresource="status",
        query={"fieldManager": manager, "force": "true"},
        body=applied,
        content_type="application/apply-patch+yaml",
        user_agent=manager,
    )
    try:
        await server.handle(request)
    except (errors.NotFound, errors.Conflict):
        return  # somebody deleted it meanwhile, or made another one under its name
