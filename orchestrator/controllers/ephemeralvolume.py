"""Claims for the generic ephemeral volumes of pods (KEP-1698). Mirrors ephemeral-volume-controller."""

from __future__ import annotations

from typing import Any, ClassVar

from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    controller_of,
    is_terminating,
    key_of,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)
from orchestrator.api.resources import PERSISTENT_VOLUME_CLAIMS, PODS
from orchestrator.component.controller import Controller
from orchestrator.controllers.pods import is_finished


def plan_claims(pod: Object) -> list[Object]:
    """The claims that a pod's ephemeral volumes stand for, owned by the pod."""
    if is_terminating(pod) or is_finished(pod):
        return []
    owner = {"apiVersion": "v1", "kind": "Pod", **pod}
    claims = []
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template is None:
            continue
        metadata: dict[str, Any] = {
            key: value for key, value in (template.get("metadata") or {}).items() if key in ("labels", "annotations")
        }
        metadata |= {
            "name": f"{name_of(pod)}-{volume['name']}",
            "namespace": namespace_of(pod),
            "ownerReferences": [owner_reference(owner)],
        }
        claims.append(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]}
        )
    return claims


class EphemeralVolumeController(Controller):
    """Keys are pods."""

    name: ClassVar[str] = "ephemeral-volume"

    def setup(self) -> None:
        """A claim that goes away leads to the pod that needs it."""
        self._pods = self.informer(PODS)
        self._claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        self._pods.add_handler(self._on_pod)
        self._claims.add_handler(self._on_claim)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if new is not None and plan_claims(new):
            self.queue.add(key_of(new))

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            owner = controller_of(old)
            if owner is not None and owner.get("kind") == "Pod":
                self.queue.add(f"{namespace_of(old)}/{owner['name']}")

    async def reconcile(self, key: str) -> float | None:
        """Create what is missing."""
        pod = self._pods.get(key)
        if pod is None:
            return None
        for claim in plan_claims(pod):
            present = self._claims.get(key_of(claim))
            if present is None:
                try:
                    await self.client.create(PERSISTENT_VOLUME_CLAIMS, claim)
                except errors.ApiError as error:
                    self._complain(pod, claim, error.message)
                    raise
            elif (controller_of(present) or {}).get("uid") != uid_of(pod):
                why = f'PVC "{key_of(claim)}" was not created for pod "{key}" (pod is not owner)'
                self._complain(pod, claim, why)
        return None

    def _complain(self, pod: Object, claim: Object, why: str) -> None:
        volume = name_of(claim).removeprefix(f"{name_of(pod)}-")
        self.recorder.event(pod, "Warning", "FailedBinding", f"ephemeral volume {volume}: {why}")
