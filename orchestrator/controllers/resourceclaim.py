"""ResourceClaims of pods: made from templates, let go when their pods are done. Mirrors resourceclaim-controller.

Source: KEP-4381. A claim made for a pod is the pod's until it ends; devices of a claim that nobody uses any more are
free at once.
"""

from __future__ import annotations

from typing import Any, ClassVar

from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    annotations_of,
    controller_of,
    copy_object,
    is_terminating,
    key_of,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)
from orchestrator.api.resource_claims import (
    FINALIZER,
    POD_CLAIM_ANNOTATION,
    allocation_of,
    claim_names_of,
    consumer,
    is_reserved_for,
    references_of,
    reserved_for,
)
from orchestrator.api.resources import PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.component.controller import Controller
from orchestrator.controllers.pods import is_finished

OWNER_INDEX = "resourceclaim/owner"
TEMPLATE_INDEX = "resourceclaim/template"
GENERATED_PREFIX_MAX = 57
"""What leaves room for a hyphen and five random characters in a DNS label."""

_POD, _CLAIM = "pod/", "claim/"


def is_done(pod: Object) -> bool:
    """Whether none of the pod's containers runs or ever will."""
    return is_finished(pod) or (is_terminating(pod) and not (pod.get("spec") or {}).get("nodeName"))


def generate_name(pod_name: str, reference: str) -> str:
    """What the name of a generated claim begins with; both parts are cut in proportion when they are too long."""
    prefix = f"{pod_name}-{reference}-"
    if len(prefix) <= GENERATED_PREFIX_MAX:
        return prefix
    parts = (part[: len(part) * GENERATED_PREFIX_MAX // len(prefix)] for part in (pod_name, reference))
    return "-".join(parts)


def plan_claim(pod: Object, reference: Object, template: Object) -> Object:
    """The claim that a template makes for one entry of a pod's `resourceClaims`."""
    spec = template.get("spec") or {}
    given = spec.get("metadata") or {}
    metadata: dict[str, Any] = {
        "generateName": generate_name(name_of(pod), reference["name"]),
        "namespace": namespace_of(pod),
        "annotations": {**(given.get("annotations") or {}), POD_CLAIM_ANNOTATION: reference["name"]},
        "ownerReferences": [owner_reference({"apiVersion": "v1", "kind": "Pod", **pod})],
    }
    if given.get("labels"):
        metadata["labels"] = given["labels"]
    return {
        "apiVersion": RESOURCE_CLAIMS.api_version,
        "kind": RESOURCE_CLAIMS.kind,
        "metadata": metadata,
        "spec": spec["spec"],
    }


class ResourceClaimController(Controller):
    """Keys are pods and claims, told apart by a prefix."""

    name: ClassVar[str] = "resourceclaim"

    def setup(self) -> None:
        """Pods lead to themselves and to the claims reserved for them, templates to the pods that wait for them."""
        self._pods = self.informer(PODS)
        self._claims = self.informer(RESOURCE_CLAIMS)
        self._templates = self.informer(RESOURCE_CLAIM_TEMPLATES)
        self._unseen: dict[tuple[str, str], Object] = {}
        """Claims that were made and have not reached the cache, by pod uid and entry: none is made twice."""
        self._claims.add_index(OWNER_INDEX, lambda claim: [(controller_of(claim) or {}).get("uid") or ""])
        self._pods.add_index(TEMPLATE_INDEX, _template_keys)
        self._pods.add_handler(self._on_pod)
        self._claims.add_handler(self._on_claim)
        self._templates.add_handler(self._on_template)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        pod = new if new is not None else old
        if pod is None or not references_of(pod):
            return
        if new is not None and not is_done(new):
            self.queue.add(_POD + key_of(new))
            return
        for reference in references_of(pod):
            if reference.get("resourceClaimName"):
                self.queue.add(f"{_CLAIM}{namespace_of(pod)}/{reference['resourceClaimName']}")
        for claim in self._claims.by_index(OWNER_INDEX, uid_of(pod)):
            self.queue.add(_CLAIM + key_of(claim))

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        claim = new if new is not None else old
        if claim is not None and self._unseen:
            owner_uid = (controller_of(claim) or {}).get("uid") or ""
            self._unseen.pop((owner_uid, annotations_of(claim).get(POD_CLAIM_ANNOTATION) or ""), None)
        if new is not None:
            self.queue.add(_CLAIM + key_of(new))
        elif old is not None:
            owner = controller_of(old)
            if owner is not None and owner.get("kind") == "Pod":
                self.queue.add(f"{_POD}{namespace_of(old)}/{owner['name']}")

    def _on_template(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            for pod in self._pods.by_index(TEMPLATE_INDEX, key_of(new)):
                self.queue.add(_POD + key_of(pod))

    async def reconcile(self, key: str) -> float | None:
        """Bring one pod or one claim closer to what it should be."""
        if key.startswith(_POD):
            await self._sync_pod(key.removeprefix(_POD))
        else:
            await self._sync_claim(key.removeprefix(_CLAIM))
        return None

    # Pods: claims from templates, and reservations where somebody else chose the node.

    async def _sync_pod(self, key: str) -> None:
        pod = self._pods.get(key)
        if pod is None or is_done(pod) or is_terminating(pod):
            return
        known = {status["name"]: status for status in (pod.get("status") or {}).get("resourceClaimStatuses") or ()}
        made: list[Object] = []
        for reference in references_of(pod):
            if not reference.get("resourceClaimTemplateName"):
                continue
            claim = self._made_for(pod, reference) or await self._make(pod, reference)
            if (known.get(reference["name"]) or {}).get("resourceClaimName") != name_of(claim):
                made.append({"name": reference["name"], "resourceClaimName": name_of(claim)})
        if made:
            patch = {"metadata": {"uid": uid_of(pod)}, "status": {"resourceClaimStatuses": made}}
            await self.client.patch(
                PODS,
                name_of(pod),
                patch,
                namespace_of(pod),
                subresource="status",
                content_type=STRATEGIC_MERGE_PATCH,
            )
        if (pod.get("spec") or {}).get("nodeName"):
            await self._reserve(pod)

    def _made_for(self, pod: Object, reference: Object) -> Object | None:
        for claim in self._claims.by_index(OWNER_INDEX, uid_of(pod)):
            if annotations_of(claim).get(POD_CLAIM_ANNOTATION) == reference["name"]:
                return claim
        return self._unseen.get((uid_of(pod), reference["name"]))

    async def _make(self, pod: Object, reference: Object) -> Object:
        name = reference["resourceClaimTemplateName"]
        template = self._templates.get(f"{namespace_of(pod)}/{name}")
        if template is None:
            why = f'resource claim template "{name}": resourceclaimtemplate.resource.k8s.io "{name}" not found'
            self._complain(pod, reference, why)
            raise errors.NotFound(why)
        try:
            claim = await self.client.create(RESOURCE_CLAIMS, plan_claim(pod, reference, template))
        except errors.ApiError as error:
            self._complain(pod, reference, f"create ResourceClaim : {error.message}")
            raise
        if self._claims.get(key_of(claim)) is None:
            self._unseen[uid_of(pod), reference["name"]] = claim
        return claim

    def _complain(self, pod: Object, reference: Object, why: str) -> None:
        self.recorder.event(
            pod, "Warning", "FailedResourceClaimCreation", f"PodResourceClaim {reference['name']}: {why}"
        )

    async def _reserve(self, pod: Object) -> None:
        """A pod that came to its node without the scheduler may still use claims that have their devices."""
        for name in claim_names_of(pod):
            claim = self._claims.get(f"{namespace_of(pod)}/{name}")
            if claim is None or is_terminating(claim) or allocation_of(claim) is None:
                continue
            if not is_reserved_for(claim, pod):
                changed = copy_object(claim)
                changed["status"]["reservedFor"] = [*reserved_for(claim), consumer(pod)]
                await self.client.update_status(RESOURCE_CLAIMS, changed)

    # Claims: whose they still are.

    async def _sync_claim(self, key: str) -> None:
        claim = self._claims.get(key)
        if claim is None:
            return
        consumers = reserved_for(claim)
        valid = [one for one in consumers if await self._is_valid(one, namespace_of(claim))]
        is_protected = FINALIZER in (claim["metadata"].get("finalizers") or ())
        if len(valid) < len(consumers) or (not valid and is_protected and is_terminating(claim)):
            claim = await self._let_go(claim, valid, is_protected)
        if not valid and claim is not None and not is_terminating(claim):
            await self._delete_if_unused(claim)

    async def _is_valid(self, one: Object, namespace: str) -> bool:
        if one.get("apiGroup") or one.get("resource") != "pods":
            return True  # whoever made this entry takes it away
        pod = self._pods.get(f"{namespace}/{one['name']}")
        if pod is None:
            try:
                # The cache may be behind a pod that is being bound: its claim must not be taken away.
                pod = await self.client.get(PODS, one["name"], namespace)
            except errors.NotFound:
                return False
        return uid_of(pod) == one.get("uid") and not is_done(pod)

    async def _let_go(self, claim: Object, valid: list[Object], is_protected: bool) -> Object | None:
        changed = copy_object(claim)
        status = changed.setdefault("status", {})
        status["reservedFor"] = valid
        if not valid and is_protected:
            status.pop("allocation", None)
            status.pop("devices", None)
        if status != claim.get("status"):
            changed = copy_object(await self.client.update_status(RESOURCE_CLAIMS, changed))
        if is_protected and not valid:
            changed["metadata"]["finalizers"] = [one for one in changed["metadata"]["finalizers"] if one != FINALIZER]
            return await self.client.update(RESOURCE_CLAIMS, changed)
        return changed

    async def _delete_if_unused(self, claim: Object) -> None:
        """A claim made for a pod goes with it, though the pod itself may stay for a while after its end."""
        owner = controller_of(claim)
        if owner is None or owner.get("kind") != "Pod" or owner.get("apiVersion") != "v1":
            return
        pod = self._pods.get(f"{namespace_of(claim)}/{owner['name']}")
        if pod is not None and (uid_of(pod) != owner.get("uid") or is_done(pod)):
            await self.client.delete(RESOURCE_CLAIMS, name_of(claim), namespace_of(claim), uid=uid_of(claim))


def _template_keys(pod: Object) -> list[str]:
    return [
        f"{namespace_of(pod)}/{reference['resourceClaimTemplateName']}"
        for reference in references_of(pod)
        if reference.get("resourceClaimTemplateName")
    ]
