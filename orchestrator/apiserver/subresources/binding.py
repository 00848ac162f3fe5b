"""`pods/binding`: the scheduler's decision, written to the pod in one atomic step.

Mirrors kube-apiserver's BindingREST: sets `spec.nodeName` once, merges the binding's labels and
annotations, and makes the condition PodScheduled true.
"""

from __future__ import annotations

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import PODS
from orchestrator.apiserver.object_kinds import decode_part
from orchestrator.apiserver.request import ApiRequest, ObjectResult
from orchestrator.apiserver.server import ApiServer


def register(server: ApiServer) -> None:
    """Serve POST of pods/<name>/binding, and of the older `bindings` resource."""
    server.subresources["pods", "binding", "create"] = bind
    server.creators["bindings"] = bind_by_collection


async def bind(server: ApiServer, request: ApiRequest) -> ObjectResult:
    """Bind the pod that the URL names."""
    binding = decode_part(request, request.body)
    causes = validate_binding(binding)
    if causes:
        raise errors.invalid("", "Binding", request.name, causes)
    given = (binding.get("metadata") or {}).get("name")
    if given and given != request.name:
        raise errors.BadRequest("name in URL does not match name in Binding object")
    now = format_time(server.clock.now())

    async def change(current: Object) -> Object:
        return plan_bound_pod(current, binding, now)

    await server.change_object(request, change, trusted=True)
    return ObjectResult(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, None, 201
    )


async def bind_by_collection(server: ApiServer, request: ApiRequest) -> ObjectResult:
    """Bind through POST of a Binding to the namespace's `bindings`."""
    kind = server.registry.by_path(PODS.group, PODS.version, PODS.plural)
    assert kind is not None
    pod_request = ApiRequest(
        "create",
        kind,
        request.user,
        request.namespace,
        name_of(request.body) if isinstance(request.body, dict) else "",
        "binding",
        query=request.query,
        body=request.body,
        user_agent=request.user_agent,
    )
    return await bind(server, pod_request)


def validate_binding(binding: Object) -> list[Cause]:
    """A binding must name a node."""
    target = binding.get("target") or {}
    causes = []
    if target.get("kind") not in (None, "", "Node"):
        causes.append(
            Cause(
                "FieldValueNotSupported",
                f'Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"',
                "target.kind",
            )
        )
    if not target.get("name"):
        causes.append(Cause("FieldValueRequired", "Required value", "target.name"))
    return causes


def plan_bound_pod(pod: Object, binding: Object, now: str) -> Object:
    """The pod after the binding; Conflict when it is bound, gated or on its way out."""
    name = name_of(pod)
    bound_to = pod["spec"].get("nodeName")
    if pod["metadata"].get("deletionTimestamp"):
        raise errors.conflict("", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if bound_to:
        raise errors.conflict("", "pods/binding", name, f'pod {name} is already assigned to node "{bound_to}"')
    if pod["spec"].get("schedulingGates"):
        raise errors.conflict("", "pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")
    given = binding.get("metadata") or {}
    metadata = {key: value for key, value in pod["metadata"].items() if key != "resourceVersion"}
    if given.get("uid"):
        metadata["uid"] = given["uid"]
    for field in ("labels", "annotations"):
        if given.get(field):
            metadata[field] = {**(metadata.get(field) or {}), **given[field]}
    status = dict(pod.get("status") or {})
    status.pop("nominatedNodeName", None)  # an expectation no longer, whichever node it is (KEP-5278)
    conditions = [c for c in status.get("conditions") or () if c.get("type") != "PodScheduled"]
    scheduled: Object = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    if metadata.get("generation"):
        scheduled["observedGeneration"] = metadata["generation"]
    status["conditions"] = [*conditions, scheduled]
    # The rest is that of the pod as it was: a binding costs what it changes.
    return {
        **pod,
        "metadata": metadata,
        "spec": {**pod["spec"], "nodeName": binding["target"]["name"]},
        "status": status,
    }
