"""The volume binder's shell: claims and volumes lead to each other through indexes."""

from __future__ import annotations

from typing import ClassVar

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    annotations_of,
    copy_object,
    is_terminating,
    key_of,
    name_of,
    uid_of,
)
from orchestrator.api.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES
from orchestrator.api.volume_binding import (
    BIND_COMPLETED,
    SELECTED_NODE,
    bound_volume,
    claim_key_of,
    class_of,
    is_for,
)
from orchestrator.component.controller import Controller
from orchestrator.controllers.conditions import with_status
from orchestrator.controllers.expectations import RECHECK_SECONDS, Expectations
from orchestrator.controllers.persistentvolume.plan import (
    PROVISIONER_ANNOTATIONS,
    ClaimPlan,
    bound_claim,
    default_class,
    has_no_class,
    plan_claim,
    plan_claim_status,
    plan_volume,
    plan_volume_status,
    unbound_volume,
)
from orchestrator.controllers.pods import is_finished, node_of
from orchestrator.controllers.storageprotection import CLAIM_INDEX, claims_of

_VOLUME = "volume:"
_CLASS_INDEX = "class"
_CLAIM_INDEX = "claim-of-volume"
_UNBOUND_INDEX = "unbound-by-class"
_WANTED_INDEX = "volume-wanted"


class PersistentVolumeBinder(Controller):
    """Keys are claims, or `volume:<name>`. One worker: two claims must not choose the same volume."""

    name: ClassVar[str] = "persistentvolume-binder"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        """Claims and volumes by key; a free volume leads to the claims of its class that wait."""
        self._claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = self.informer(PERSISTENT_VOLUMES)
        self._classes = self.informer(STORAGE_CLASSES)
        self._nodes = self.informer(NODES)
        self._pods = self.informer(PODS)
        self._expectations = Expectations()
        self._volumes.add_index(_CLASS_INDEX, lambda volume: [f"class/{class_of(volume)}"])
        self._volumes.add_index(_CLAIM_INDEX, lambda volume: [key] if (key := claim_key_of(volume)) else [])
        self._claims.add_index(_UNBOUND_INDEX, _unbound_class)
        self._claims.add_index(_WANTED_INDEX, _wanted_volume)
        self._claims.add_handler(self._on_claim)
        self._volumes.add_handler(self._on_volume)
        self._classes.add_handler(self._on_class)
        self._pods.add_index(CLAIM_INDEX, claims_of)
        self._pods.add_handler(self._on_pod)

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        claim = new if new is not None else old
        assert claim is not None
        self.queue.add(key_of(claim))
        for volume in self._volumes.by_index(_CLAIM_INDEX, key_of(claim)):
            self.queue.add(_VOLUME + name_of(volume))

    def _on_volume(self, old: Object | None, new: Object | None) -> None:
        for volume in (old, new):
            if volume is None:
                continue
            if key := claim_key_of(volume):
                self.queue.add(key)
            for claim in self._claims.by_index(_WANTED_INDEX, name_of(volume)):
                self.queue.add(key_of(claim))
        if new is not None:
            self.queue.add(_VOLUME + name_of(new))
            if not claim_key_of(new) and not is_terminating(new):
                for claim in self._claims.by_index(_UNBOUND_INDEX, f"class/{class_of(new)}"):
                    self.queue.add(key_of(claim))

    def _on_class(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            for claim in self._claims.by_index(_UNBOUND_INDEX, f"class/{name_of(new)}"):
                self.queue.add(key_of(claim))
            for claim in self._claims.by_index(_UNBOUND_INDEX, "class/"):
                self.queue.add(key_of(claim))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        """A claim that waits for its first pod tells of the one that came."""
        if old is None and new is not None and not node_of(new):
            for key in claims_of(new):
                claim = self._claims.get(key)
                if claim is not None and BIND_COMPLETED not in annotations_of(claim):
                    self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        """One claim, or one volume."""
        # What was chosen a moment ago must be seen before anything else is chosen.
        await self._expectations.fulfilled("")
        if key.startswith(_VOLUME):
            return await self._reconcile_volume(key.removeprefix(_VOLUME))
        return await self._reconcile_claim(key)

    # Claims.

    async def _reconcile_claim(self, key: str) -> float | None:
        claim = self._claims.get(key)
        if claim is None:
            return None
        is_bound = BIND_COMPLETED in annotations_of(claim)
        if is_terminating(claim) and not is_bound:
            return None
        if not is_bound and has_no_class(claim) and (name := default_class(self._classes.list())):
            changed = copy_object(claim)
            changed["spec"]["storageClassName"] = name
            claim = await self._update_claim(changed)
        named = self._volumes.get((claim.get("spec") or {}).get("volumeName") or "")
        candidates = self._volumes.by_index(_CLASS_INDEX, f"class/{class_of(claim)}")
        storage_class = self._classes.get(class_of(claim))
        plan = plan_claim(
            claim, candidates, named, storage_class, self._node_of(claim), self._waiting_pods(key_of(claim))
        )
        if plan.bind is not None:
            claim = await self._bind(claim, plan.bind)
        elif plan.provisioner:
            claim = await self._ask_provisioner(claim, plan.provisioner)
        await self._write_claim_status(claim, plan)
        return None

    def _waiting_pods(self, key: str) -> list[str]:
        pods = self._pods.by_index(CLAIM_INDEX, key)
        return sorted(name_of(pod) for pod in pods if not node_of(pod) and not is_finished(pod))

    def _node_of(self, claim: Object) -> Object | None:
        """The node that the scheduler chose for the first pod of the claim."""
        return self._nodes.get(annotations_of(claim).get(SELECTED_NODE, ""))

    async def _bind(self, claim: Object, volume: Object) -> Object:
        changed = bound_volume(volume, claim)
        if changed is not None:
            volume = await self.client.update(PERSISTENT_VOLUMES, changed)
            self._expectations.wrote("", self._volumes, volume)
        status = {**(volume.get("status") or {})}
        if status.get("phase") != "Bound":
            status |= {"phase": "Bound", "lastPhaseTransitionTime": format_time(self.clock.now())}
            status.pop("message", None)
            status.pop("reason", None)
            volume = await self.client.update_status(PERSISTENT_VOLUMES, with_status(volume, status))
            self._expectations.wrote("", self._volumes, volume)
        changed = bound_claim(claim, volume)
        if changed is not None:
            claim = await self._update_claim(changed)
        return claim

    async def _ask_provisioner(self, claim: Object, provisioner: str) -> Object:
        wanted = dict.fromkeys(PROVISIONER_ANNOTATIONS, provisioner)
        if wanted.items() <= annotations_of(claim).items():
            return claim
        changed = copy_object(claim)
        changed["metadata"].setdefault("annotations", {}).update(wanted)
        return await self._update_claim(changed)

    async def _update_claim(self, changed: Object) -> Object:
        claim = await self.client.update(PERSISTENT_VOLUME_CLAIMS, changed)
        self._expectations.wrote("", self._claims, claim)
        return claim

    async def _write_claim_status(self, claim: Object, plan: ClaimPlan) -> None:
        status = plan_claim_status(claim, plan)
        is_new = status != (claim.get("status") or {})
        if is_new:
            updated = await self.client.update_status(PERSISTENT_VOLUME_CLAIMS, with_status(claim, status))
            self._expectations.wrote("", self._claims, updated)
        if is_new or plan.phase == "Pending":
            for event in plan.events:
                self.recorder.event(claim, *event)

    # Volumes.

    async def _reconcile_volume(self, name: str) -> float | None:
        volume = self._volumes.get(name)
        if volume is None:
            return None
        claim = await self._claim_of(volume)
        plan = plan_volume(volume, claim)
        if plan.unbind:
            volume = await self.client.update(PERSISTENT_VOLUMES, unbound_volume(volume))
            self._expectations.wrote("", self._volumes, volume)
        status = dict(plan_volume_status(volume, plan, format_time(self.clock.now())))
        if status != (volume.get("status") or {}):
            updated = await self.client.update_status(PERSISTENT_VOLUMES, with_status(volume, status))
            self._expectations.wrote("", self._volumes, updated)
            for event in plan.events:
                self.recorder.event(volume, *event)
        if plan.look_at_claim:
            self.queue.add(claim_key_of(volume))
        return None if self._expectations.is_fulfilled("") else RECHECK_SECONDS

    async def _claim_of(self, volume: Object) -> Object | None:
        """The claim that a volume names under its uid; before it counts as gone the API is asked."""
        key = claim_key_of(volume)
        if not key:
            return None
        claim = self._claims.get(key)
        if claim is not None and is_for(volume, claim):
            return claim
        namespace, _, name = key.partition("/")
        try:
            live = await self.client.get(PERSISTENT_VOLUME_CLAIMS, name, namespace)
        except errors.NotFound:
            return None
        return live if uid_of(live) == volume["spec"]["claimRef"].get("uid") else None


def _unbound_class(claim: Object) -> list[str]:
    return [] if BIND_COMPLETED in annotations_of(claim) else [f"class/{class_of(claim)}"]


def _wanted_volume(claim: Object) -> list[str]:
    name = (claim.get("spec") or {}).get("volumeName")
    return [name] if name else []
