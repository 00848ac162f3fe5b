"""`pods/eviction` (policy/v1): deletes a pod unless its PodDisruptionBudget forbids it.

Mirrors kube-apiserver's EvictionREST. The budget's status is the account: `disruptionsAllowed` is decremented
and the pod noted in `disruptedPods` before the pod is deleted, so that two evictions at once cannot spend the
same disruption. The disruption controller settles the account from what really happened.
"""

from __future__ import annotations

from typing import Any

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.objects import Object, condition_of, copy_object, is_terminating, labels_of, name_of, uid_of
from orchestrator.api.resources import POD_DISRUPTION_BUDGETS
from orchestrator.api.selectors import from_label_selector
from orchestrator.apiserver.deletion import DeleteOptions, parse_delete_options
from orchestrator.apiserver.object_kinds import decode_part
from orchestrator.apiserver.request import ApiRequest, ObjectResult
from orchestrator.apiserver.server import ApiServer

DISRUPTED_PODS_MAX = 2000
STILL_PROCESSING_SECONDS = 10
REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
EVICTION_VERSIONS = ("policy/v1", "policy/v1beta1")


class SeveralBudgets(errors.ApiError):
    """A pod with more than one budget: a 500 without a reason, as kube-apiserver answers it."""

    code, reason = 500, ""
    has_details = False


def register(server: ApiServer) -> None:
    """Serve POST of pods/<name>/eviction."""
    server.subresources["pods", "eviction", "create"] = evict


async def evict(server: ApiServer, request: ApiRequest) -> ObjectResult:
    """Evict one pod; TooManyRequests when its budget forbids it for now."""
    eviction = request.body if isinstance(request.body, dict) else {}
    version, kind = eviction.get("apiVersion") or EVICTION_VERSIONS[0], eviction.get("kind") or "Eviction"
    if kind != "Eviction" or version not in EVICTION_VERSIONS:
        raise errors.BadRequest(
            f'Eviction in version "v1" cannot be handled as a Eviction: no kind "{kind}" is registered for version'
            f' "{version}" in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"'
        )
    eviction = decode_part(request, {**eviction, "apiVersion": EVICTION_VERSIONS[0], "kind": kind})
    if name_of(eviction) != request.name:
        raise errors.BadRequest("name in URL does not match name in Eviction object")
    await server.admit_subresource(request, eviction)
    options = parse_delete_options(eviction.get("deleteOptions") or {}, {})
    pod = await server.read("pods", request.name, request.namespace)
    if pod is None:
        raise errors.not_found("", "pods", request.name)
    if not ignores_budget(pod):
        budgets = budgets_of(pod, await server.read_all("poddisruptionbudgets.policy", request.namespace))
        if len(budgets) > 1:
            raise SeveralBudgets(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            )
        if budgets and counts_against(pod, budgets[0]):
            await _spend_disruption(server, request, budgets[0], options.dry_run or request.dry_run)
        if not (options.dry_run or request.dry_run):
            await _mark_disrupted(server, request)
    await _delete(server, request, pod, options)
    return ObjectResult(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, None, 201
    )


def ignores_budget(pod: Object) -> bool:
    """Pods that do not run, or go anyway, count for no budget."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or is_terminating(pod)


def budgets_of(pod: Object, budgets: list[Object]) -> list[Object]:
    """The budgets of its namespace that select a pod."""
    labels = labels_of(pod)
    return [
        budget
        for budget in budgets
        if (budget.get("spec") or {}).get("selector") is not None
        and from_label_selector(budget["spec"]["selector"]).matches(labels)
    ]


def counts_against(pod: Object, budget: Object) -> bool:
    """Whether evicting a pod costs a disruption: a healthy one always, an unhealthy one as the policy says."""
    ready = condition_of(pod, "Ready")
    if ready is not None and ready.get("status") == "True":
        return True
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return False
    status = budget.get("status") or {}
    healthy, desired = status.get("currentHealthy") or 0, status.get("desiredHealthy") or 0
    return not (desired > 0 and healthy >= desired)


def plan_disruption(budget: Object, pod_name: str, now: str) -> Object:
    """The budget with one disruption spent; Forbidden or TooManyRequests when there is none."""
    name, status = name_of(budget), budget.get("status") or {}
    allowed = status.get("disruptionsAllowed") or 0
    if (status.get("observedGeneration") or 0) < (budget["metadata"].get("generation") or 0):
        raise _refused(
            f"The disruption budget {name} is still being processed by the server.", STILL_PROCESSING_SECONDS
        )
    if allowed < 0:
        raise errors.forbidden("policy", "poddisruptionbudget", name, "pdb disruptions allowed is negative")
    disrupted: dict[str, Any] = status.get("disruptedPods") or {}
    if len(disrupted) > DISRUPTED_PODS_MAX:
        raise errors.forbidden(
            "policy",
            "poddisruptionbudget",
            name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        )
    if allowed == 0:
        condition = condition_of(budget, "DisruptionAllowed")
        if condition is not None and condition.get("reason") == "SyncFailed":
            raise _refused(
                f"The disruption budget {name} does not allow evicting pods currently because it failed sync:"
                f" {condition.get('message') or ''}"
            )
        raise _refused(
            f"The disruption budget {name} needs {status.get('desiredHealthy') or 0} healthy pods and has"
            f" {status.get('currentHealthy') or 0} currently"
        )
    spent = copy_object(budget)
    spent["metadata"].pop("resourceVersion", None)
    spent["status"]["disruptionsAllowed"] = allowed - 1
    spent["status"]["disruptedPods"] = {**disrupted, pod_name: now}
    if allowed == 1:
        _say_exhausted(spent, now)
    return spent


def _say_exhausted(budget: Object, now: str) -> None:
    conditions = budget["status"].setdefault("conditions", [])
    for condition in conditions:
        if condition.get("type") == "DisruptionAllowed":
            if condition.get("status") != "False":
                condition["lastTransitionTime"] = now
            condition.update(status="False", reason="InsufficientPods", message="")
            condition["observedGeneration"] = budget["status"].get("observedGeneration") or 0
            return
    conditions.append(
        {
            "type": "DisruptionAllowed",
            "status": "False",
            "observedGeneration": budget["status"].get("observedGeneration") or 0,
            "lastTransitionTime": now,
            "reason": "InsufficientPods",
            "message": "",
        }
    )


def _refused(why: str, retry_after_seconds: int = 0) -> errors.TooManyRequests:
    return errors.TooManyRequests(
        REFUSED, causes=(Cause("DisruptionBudget", why),), retry_after_seconds=retry_after_seconds
    )


async def _spend_disruption(server: ApiServer, request: ApiRequest, budget: Object, dry_run: bool) -> None:
    now = format_time(server.clock.now())
    if dry_run:
        plan_disruption(budget, request.name, now)
        return
    kind = server.registry.by_path(*POD_DISRUPTION_BUDGETS[:3])
    assert kind is not None

    async def change(current: Object) -> Object:
        return plan_disruption(current, request.name, now)

    write = ApiRequest(
        "patch", kind, request.user, request.namespace, name_of(budget), "status", user_agent=request.user_agent
    )
    await server.change_object(write, change, trusted=True)


async def _mark_disrupted(server: ApiServer, request: ApiRequest) -> None:
    """The condition that tells the pod's owner why it goes (KEP-3329)."""
    now = format_time(server.clock.now())

    async def change(current: Object) -> Object:
        marked = copy_object(current)
        marked["metadata"].pop("resourceVersion", None)
        status = marked.setdefault("status", {})
        others = [one for one in status.get("conditions") or () if one.get("type") != "DisruptionTarget"]
        status["conditions"] = [
            *others,
            {
                "type": "DisruptionTarget",
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": now,
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
                "observedGeneration": current["metadata"].get("generation"),
            },
        ]
        return marked

    write = ApiRequest(
        "patch", request.kind, request.user, request.namespace, request.name, "eviction", user_agent=request.user_agent
    )
    await server.change_object(write, change, trusted=True)


async def _delete(server: ApiServer, request: ApiRequest, pod: Object, options: DeleteOptions) -> None:
    if options.uid and options.uid != uid_of(pod):
        raise errors.conflict(
            "",
            "pods",
            request.name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({uid_of(pod)})."
            " The object might have been deleted and then recreated",
        )
    # The pod that was judged, not one that took its name since.
    judged = DeleteOptions(options.grace_period_seconds, uid_of(pod), "", options.propagation_policy, options.dry_run)
    deletion = ApiRequest(
        "delete",
        request.kind,
        request.user,
        request.namespace,
        request.name,
        query=request.query,
        user_agent=request.user_agent,
    )
    await server.delete_object(deletion, judged)
