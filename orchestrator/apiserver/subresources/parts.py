"""Subresources through which one part of an object is written, and nothing else of it.

`pods/ephemeralcontainers`, `pods/resize` and `certificatesigningrequests/approval` take and return the whole
object; what a client sends besides the part is ignored, as kube-apiserver's strategies for them do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors, fields
from orchestrator.api.decode import NotDecodable
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.core.pod_validation import validate_ephemeral_containers_update, validate_pod_resize
from orchestrator.api.objects import Object, copy_object
from orchestrator.apiserver import incoming
from orchestrator.apiserver.field_ownership import is_apply
from orchestrator.apiserver.patching import apply_patch
from orchestrator.apiserver.request import ApiRequest, ObjectResult
from orchestrator.apiserver.server import ApiServer
from orchestrator.apiserver.updating import unusable_patch


class Part(Struct, frozen=True):
    """What of an object a subresource writes."""

    take: Callable[[Object, Object, str], None]
    """(result, sent, now): carries the part from what was sent over into the result, a copy of the stored object."""
    validate: Callable[[Object, Object], list[Cause]]
    """(new, old): what forbids the change, beyond what makes the whole object invalid."""


def register(server: ApiServer) -> None:
    """Serve get, update and patch of each part."""
    for resource, name, part in (
        ("pods", "ephemeralcontainers", EPHEMERAL_CONTAINERS),
        ("pods", "resize", RESIZE),
        ("certificatesigningrequests.certificates.k8s.io", "approval", APPROVAL),
    ):
        server.subresources[resource, name, "get"] = get
        server.subresources[resource, name, "update"] = server.subresources[resource, name, "patch"] = _changer(part)


async def get(server: ApiServer, request: ApiRequest) -> ObjectResult:
    """The whole object."""
    record = await server.read_record(request.kind.resource.group_resource, request.name, request.namespace)
    if record is None:
        raise errors.not_found(request.group, request.plural, request.name)
    return ObjectResult(record.obj, record.raw)


def _changer(part: Part) -> Callable[[ApiServer, ApiRequest], Any]:
    async def handle(server: ApiServer, request: ApiRequest) -> ObjectResult:
        return await change_part(server, request, part)

    return handle


async def change_part(server: ApiServer, request: ApiRequest, part: Part) -> ObjectResult:
    """Write one part of an object from a whole object or a patch of it."""
    applied = server.ownership.check_apply(request, request.body) if is_apply(request) else None

    async def change(current: Object) -> Object:
        if applied is not None:
            sent = server.ownership.apply(request, current, applied)
        else:
            sent = _sent(request, current)
        new = copy_object(current)
        part.take(new, copy_object(sent), format_time(server.clock.now()))
        if applied is not None and "managedFields" in sent["metadata"]:
            new["metadata"]["managedFields"] = sent["metadata"]["managedFields"]
        request.kind.default(new)
        causes = part.validate(new, current)
        if causes:
            raise errors.invalid(request.group, request.kind.resource.kind, request.name, causes)
        version = sent["metadata"].get("resourceVersion")
        if version:
            new["metadata"]["resourceVersion"] = version
        else:
            new["metadata"].pop("resourceVersion", None)
        return new

    return await server.change_object(request, change, trusted=True)


def _sent(request: ApiRequest, current: Object) -> Object:
    if request.verb == "patch":
        patched = apply_patch(request, current)
        request.raw_body = None
        try:
            sent = incoming.decode_object(request, request.kind, patched)
        except NotDecodable as error:
            raise unusable_patch(request, patched, error) from error
    else:
        sent = incoming.decode_object(request, request.kind, request.body)
    incoming.check_name(request, sent)
    incoming.check_namespace(request, sent)
    return sent


# Ephemeral containers: they can be added, never changed or removed.


def _take_ephemeral(new: Object, sent: Object, now: str) -> None:
    containers = (sent.get("spec") or {}).get("ephemeralContainers")
    if containers:
        new["spec"]["ephemeralContainers"] = containers
    else:
        new["spec"].pop("ephemeralContainers", None)


EPHEMERAL_CONTAINERS = Part(_take_ephemeral, validate_ephemeral_containers_update)


# Resize (KEP-1287): requests and limits of cpu and memory, of containers and of the pod itself (KEP-5419).

_RESIZABLE = frozenset(("cpu", "memory"))


def _take_resources(new: Object, sent: Object, now: str) -> None:
    spec = sent.get("spec") or {}
    for field in ("containers", "initContainers"):
        wanted, kept = spec.get(field) or [], new["spec"].get(field) or []
        if _names(wanted) != _names(kept):
            new["spec"][field] = wanted  # to be refused, with the place where they differ
            continue
        for container, sized in zip(kept, wanted, strict=True):
            container["resources"] = sized.get("resources") or {}
            container.pop("resizePolicy", None)
            if sized.get("resizePolicy"):
                container["resizePolicy"] = sized["resizePolicy"]
    if spec.get("resources") and new["spec"].get("resources"):
        new["spec"]["resources"] = spec["resources"]


def _names(containers: list[Object]) -> list[Any]:
    return [container.get("name") for container in containers]


def validate_resize(new: Object, old: Object) -> list[Cause]:
    """Only cpu and memory, nothing dropped, the same quality of service; not for pods that ended."""
    causes = validate_pod_resize(new, old)
    phase = (old.get("status") or {}).get("phase")
    if phase in ("Succeeded", "Failed"):
        causes.append(fields.forbidden("", "Pod running in a terminal state cannot be resized"))
    for field in ("containers", "initContainers"):
        pairs = zip(new["spec"].get(field) or (), old["spec"].get(field) or (), strict=False)
        for position, (container, before) in enumerate(pairs):
            path = f"{fields.index(f'spec.{field}', position)}.resources"
            causes += _validate_kept(container.get("resources"), before.get("resources"), path)
    return causes + _validate_kept(new["spec"].get("resources"), old["spec"].get("resources"), "spec.resources")


def _validate_kept(new: Object | None, old: Object | None, path: str) -> list[Cause]:
    causes = []
    for part in ("requests", "limits"):
        now, then = (new or {}).get(part) or {}, (old or {}).get(part) or {}
        if any(name in _RESIZABLE for name in then.keys() - now.keys()):
            causes.append(fields.forbidden(f"{path}.{part}", f"resource {part} cannot be removed"))
    return causes


RESIZE = Part(_take_resources, validate_resize)


# Approval of certificate signing requests: conditions, and only by decision. Labels and annotations go along.


def _take_conditions(new: Object, sent: Object, now: str) -> None:
    for key in ("labels", "annotations", "ownerReferences", "finalizers"):
        if sent["metadata"].get(key):
            new["metadata"][key] = sent["metadata"][key]
        else:
            new["metadata"].pop(key, None)
    conditions = (sent.get("status") or {}).get("conditions")
    status = new.setdefault("status", {})
    if conditions:
        before = {one.get("type"): one for one in status.get("conditions") or ()}
        for condition in conditions:
            # The server stamps what the client left open; kubectl leaves both open.
            if not condition.get("lastUpdateTime"):
                condition["lastUpdateTime"] = now
            if not condition.get("lastTransitionTime"):
                known = before.get(condition.get("type")) or {}
                same = known.get("status") == condition.get("status")
                condition["lastTransitionTime"] = known.get("lastTransitionTime") or now if same else now
        status["conditions"] = conditions
    else:
        status.pop("conditions", None)


def validate_approval(new: Object, old: Object) -> list[Cause]:
    """Decisions are final, and only decisions are made here."""
    from orchestrator.api.kinds.certificates import validate_request_update

    return validate_request_update(new, old)


APPROVAL = Part(_take_conditions, validate_approval)
