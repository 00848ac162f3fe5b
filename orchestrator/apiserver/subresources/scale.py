"""The generic `scale` subresource (`autoscaling/v1 Scale`) of everything that has replicas."""

from __future__ import annotations

import re
from typing import Any

import orjson

from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.descriptor import Kind, ScalePaths
from orchestrator.api.objects import Object, copy_object
from orchestrator.api.patch.json_patch import apply_json_patch
from orchestrator.api.patch.merge_patch import apply_merge_patch
from orchestrator.api.resources import Resource
from orchestrator.api.selectors import from_label_selector
from orchestrator.apiserver.conversion import from_stored
from orchestrator.apiserver.field_ownership import check_patch_options, is_apply
from orchestrator.apiserver.incoming import not_an_object, unconvertible
from orchestrator.apiserver.patching import JSON_PATCH
from orchestrator.apiserver.request import ApiRequest, ObjectResult
from orchestrator.apiserver.server import ApiServer
from orchestrator.apiserver.store_errors import MODIFIED

SCALE = Resource("autoscaling", "v1", "scales", "Scale")


def register(server: ApiServer) -> None:
    """Serve get, update and patch of `scale` for every kind that has one."""
    server.subresources["*", "scale", "get"] = get_scale
    server.subresources["*", "scale", "update"] = update_scale
    server.subresources["*", "scale", "patch"] = patch_scale


async def get_scale(server: ApiServer, request: ApiRequest) -> ObjectResult:
    """The scale of an object."""
    record = await server.read_record(request.kind.resource.group_resource, request.name, request.namespace)
    if record is None:
        raise _no_scale(request)
    return ObjectResult(scale_of(request.kind, await from_stored(request.kind, record.obj)))


def _no_scale(request: ApiRequest) -> errors.NotFound:
    """404; the registries of some kinds name the subresource."""
    if request.kind.schema is not None or request.plural == "statefulsets":
        return errors.not_found(request.group, request.plural, request.name)
    group = request.group or SCALE.group
    return errors.not_found(group, f"{request.plural}/scale", request.name)


async def update_scale(server: ApiServer, request: ApiRequest) -> ObjectResult:
    """Set the number of replicas."""
    body = request.body
    if not isinstance(body, dict):
        raise errors.BadRequest(not_an_object("Scale", body))
    if body.get("kind") not in (None, "Scale"):
        raise unconvertible(SCALE, str(body.get("apiVersion") or "v1"), str(body["kind"]))

    def replace(scale: Object) -> Object:
        return body

    return await _change(server, request, replace)


async def patch_scale(server: ApiServer, request: ApiRequest) -> ObjectResult:
    """Patch or apply the scale; strategic merge equals merge here, because a Scale has no lists."""
    check_patch_options(request)

    def patch(scale: Object) -> Object:
        if request.content_type == JSON_PATCH:
            return apply_json_patch(scale, request.body)
        return apply_merge_patch(scale, request.body)

    return await _change(server, request, patch)


class _ScaleView:
    """Admission sees the Scale, not what it scales."""

    subresource = "scale"

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def show(self, obj: Object) -> Object:
        return copy_object(scale_of(self._kind, obj))

    def take(self, obj: Object, shown: Object) -> Object:
        assert self._kind.scale is not None
        taken = copy_object(obj)
        _set(taken, self._kind.scale.spec_replicas, (shown.get("spec") or {}).get("replicas", 0))
        return taken


async def _change(server: ApiServer, request: ApiRequest, change: Any) -> ObjectResult:
    kind = request.kind
    assert kind.scale is not None
    paths = kind.scale

    async def set_replicas(current: Object) -> Object:
        scale = scale_of(kind, current)
        entries: list[Any] | None = None
        if is_apply(request):
            wanted, entries = server.ownership.apply_scale(request, paths.spec_replicas, current, scale)
        else:
            wanted = change(scale)
        metadata = wanted.get("metadata") or {}
        if metadata.get("name") not in (None, "", request.name):
            raise errors.BadRequest(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({request.name})"
            )
        version = metadata.get("resourceVersion")
        if version and version != current["metadata"]["resourceVersion"]:
            raise errors.conflict(request.group, request.plural, request.name, MODIFIED)
        replicas = (wanted.get("spec") or {}).get("replicas", 0)
        _check_replicas(request, replicas)
        changed = copy_object(current)
        if not version:
            changed["metadata"].pop("resourceVersion", None)
        _set(changed, paths.spec_replicas, replicas)
        if entries is not None:
            changed["metadata"]["managedFields"] = entries
        return changed

    # The parent goes through its own update, as a change of its main resource.
    parent = ApiRequest(
        "patch" if request.verb == "patch" else "update",
        kind,
        request.user,
        request.namespace,
        request.name,
        query=request.query,
        content_type=request.content_type,
        user_agent=request.user_agent,
        owned_through="scale",
        view=_ScaleView(kind),
    )
    result = await server.change_object(parent, set_replicas)
    return ObjectResult(scale_of(kind, result.obj))


def _check_replicas(request: ApiRequest, replicas: Any) -> None:
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise errors.BadRequest(
            'Scale in version "v1" cannot be handled as a Scale: json: cannot unmarshal'
            f" {_go_type(replicas)} into Go struct field ScaleSpec.spec.replicas of type int32"
        )
    if replicas < 0 and request.kind.schema is None:
        raise errors.invalid(
            "autoscaling",
            "Scale",
            request.name,
            [
                Cause(
                    "FieldValueInvalid",
                    f"Invalid value: {replicas}: must be greater than or equal to 0",
                    "spec.replicas",
                )
            ],
        )


def scale_of(kind: Kind, obj: Object) -> Object:
    """The Scale that shows an object's replicas."""
    assert kind.scale is not None
    paths: ScalePaths = kind.scale
    metadata = obj["metadata"]
    shown = {
        key: metadata[key]
        for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if key in metadata
    }
    status: Object = {"replicas": _get(obj, paths.status_replicas) or 0}
    selector = _selector_text(_get(obj, paths.selector)) if paths.selector else ""
    if selector:
        status["selector"] = selector
    replicas = _get(obj, paths.spec_replicas) or 0
    spec = {"replicas": replicas} if replicas else {}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": shown, "spec": spec, "status": status}


def _selector_text(selector: Any) -> str:
    if not selector:
        return ""
    if isinstance(selector, str):
        return selector
    if "matchLabels" in selector or "matchExpressions" in selector:
        return str(from_label_selector(selector))
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))


def _get(obj: Any, path: str) -> Any:
    for part in _parts(path):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(part)
    return obj


def _set(obj: Object, path: str, value: Any) -> None:
    *parents, last = _parts(path)
    for part in parents:
        obj = obj.setdefault(part, {})
    obj[last] = value


def _parts(path: str) -> list[str]:
    return [part for part in re.split(r"\.", path) if part]


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, float):
        return f"number {orjson.dumps(value).decode()}"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "null"
