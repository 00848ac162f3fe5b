"""Carrying out what a pod on its way to a node has been promised of volumes.

Owns the writes that make promises (`volume_promises`) true before
the pod is bound: a volume names its claim, or a claim names the node for its provisioner; then both must be bound.
Mirrors AssumePodVolumes and BindPodVolumes of kube-scheduler's volume binder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from orchestrator.aiokit.clock import Clock
from orchestrator.api.node_selection import matches_node_selector
from orchestrator.api.objects import (
    Object,
    annotations_of,
    labels_of,
    name_of,
    namespace_of,
    resource_version_of,
    uid_of,
)
from orchestrator.api.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from orchestrator.api.volume_binding import BIND_COMPLETED, SELECTED_NODE, bound_volume
from orchestrator.client.client import Client
from orchestrator.scheduler.framework import Listers, ReservationError
from orchestrator.scheduler.volume_promises import VolumeReservations

_WATCHED: Final = (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES)


class VolumeReservation:
    """The promises for one pod on one node."""

    def __init__(
        self,
        *,
        reservations: VolumeReservations,
        listers: Listers,
        node: str,
        bindings: Sequence[tuple[Object, Object]],
        provisions: Sequence[Object],
        waits_for: Sequence[Object],
        seconds_max: float,
    ) -> None:
        self._reservations = reservations
        self._listers = listers
        self._node = node
        self._bindings = bindings
        self._provisions = provisions
        self._waits_for = waits_for
        self._seconds_max = seconds_max
        self._asked: dict[str, int] = {}
        """By claim: the resource version from which on it names our node."""
        for claim, volume in bindings:
            reservations.promise(_key(claim), node, name_of(volume))
        for claim in provisions:
            reservations.promise(_key(claim), node)

    def release(self) -> None:
        """Take the promises back; what was written already stays, and the next attempt finds it."""
        for claim, volume in self._bindings:
            self._reservations.release(_key(claim), name_of(volume))
        for claim in self._provisions:
            self._reservations.release(_key(claim))

    async def undo(self, client: Client) -> None:
        """Nothing: what was written stays, and the next attempt finds it."""

    async def carry_out(self, client: Client, clock: Clock) -> None:
        """Write what was promised and return once every claim is bound; ReservationError when that fails."""
        for claim, volume in self._bindings:
            changed = bound_volume(volume, claim)
            if changed is not None:
                await client.update(PERSISTENT_VOLUMES, changed)
        for claim in self._provisions:
            asked = claim
            if annotations_of(claim).get(SELECTED_NODE) != self._node:
                patch = {"metadata": {"uid": uid_of(claim), "annotations": {SELECTED_NODE: self._node}}}
                asked = await client.patch(PERSISTENT_VOLUME_CLAIMS, name_of(claim), patch, namespace_of(claim))
            self._asked[_key(claim)] = int(resource_version_of(asked))
        await self._wait(clock)
        self.release()

    async def _wait(self, clock: Clock) -> None:
        is_over = asyncio.Event()
        timer = clock.call_later(self._seconds_max, is_over.set)
        try:
            while not self._is_done():
                if is_over.is_set():
                    raise ReservationError("binding volumes: timed out waiting for the condition")
                await self._listers.changed(_WATCHED, or_when=is_over)
        finally:
            timer.cancel()

    def _is_done(self) -> bool:
        bound = [self._is_bound(claim) for claim in self._waits_for]  # all of them: each may tell of a failure
        return all(bound)

    def _is_bound(self, claim: Object) -> bool:
        key = _key(claim)
        now = self._listers.find(PERSISTENT_VOLUME_CLAIMS, key)
        if now is None or uid_of(now) != uid_of(claim):
            raise ReservationError(f'binding volumes: persistentvolumeclaim "{name_of(claim)}" not found')
        if BIND_COMPLETED in annotations_of(now):
            volume = self._listers.find(PERSISTENT_VOLUMES, (now.get("spec") or {}).get("volumeName") or "")
            if volume is None:
                return False  # the other informer will show it
            self._check_place(volume)
            return True
        chosen = annotations_of(now).get(SELECTED_NODE) or ""
        # Resource versions compare as numbers (KEP-5504).
        if key in self._asked and chosen != self._node and int(resource_version_of(now)) >= self._asked[key]:
            # How a provisioner says that it cannot make the volume there.
            raise ReservationError(
                f'binding volumes: selectedNode annotation value "{chosen}" not set to scheduled node "{self._node}"'
            )
        return False

    def _check_place(self, volume: Object) -> None:
        node = self._listers.find(NODES, self._node)
        required = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required")
        if node is not None and not matches_node_selector(required, labels_of(node), self._node):
            raise ReservationError(
                f'binding volumes: pv "{name_of(volume)}" node affinity doesn\'t match node "{self._node}"'
            )


def _key(claim: Object) -> str:
    return f"{namespace_of(claim)}/{name_of(claim)}"
