"""One of several candidates leads, by holding a Lease.

Owns acquiring, renewing and giving up a Lease. Never stops the work of the leader by itself: `run`
cancels it when leadership is lost. Mirrors client-go's tools/leaderelection. Clocks of candidates need
not agree: what counts is how long ago a candidate itself last saw the Lease change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from orchestrator.aiokit.clock import Clock, format_micro_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, copy_object, resource_version_of
from orchestrator.api.resources import LEASES
from orchestrator.client.client import Client
from orchestrator.component.events import EventRecorder
from orchestrator.logs import get_logger


class Timing(Struct, frozen=True):
    """Seconds, with the defaults of Kubernetes' components."""

    lease: float = 15.0
    """Others wait so long after the last renewal that they saw."""
    renew: float = 10.0
    """A leader that could not renew for so long stops."""
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not self.lease > self.renew > self.retry > 0:
            raise ValueError("the lease must last longer than the renew deadline, and that longer than a retry")


class Step(NamedTuple):
    """What to do about the Lease now."""

    action: Literal["create", "acquire", "renew", "wait"]
    lease: Object | None = None
    """What to write."""


def plan_step(
    lease: Object | None,
    *,
    namespace: str,
    name: str,
    identity: str,
    unchanged_seconds: float,
    now: datetime,
    timing: Timing,
) -> Step:
    """The next step of a candidate. `unchanged_seconds`: since when it sees the Lease as it is."""
    stamp = format_micro_time(now)
    spec: dict[str, Any] = {
        "holderIdentity": identity,
        "leaseDurationSeconds": int(timing.lease),
        "acquireTime": stamp,
        "renewTime": stamp,
        "leaseTransitions": 0,
    }
    if lease is None:
        metadata = {"name": name, "namespace": namespace}
        fresh = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        return Step("create", fresh)
    held = lease.get("spec") or {}
    holder = held.get("holderIdentity") or ""
    lasts = float(held.get("leaseDurationSeconds") or timing.lease)
    if holder and holder != identity and unchanged_seconds < lasts:
        return Step("wait")
    transitions = int(held.get("leaseTransitions") or 0)
    if holder == identity:
        spec |= {"acquireTime": held.get("acquireTime") or stamp, "leaseTransitions": transitions}
    else:
        spec["leaseTransitions"] = transitions + 1
    changed = copy_object({**lease, "spec": {**held, **spec}})
    return Step("renew" if holder == identity else "acquire", changed)


class LeaderElector:
    """A candidate for one Lease."""

    def __init__(
        self,
        *,
        client: Client,
        clock: Clock,
        name: str,
        identity: str,
        namespace: str = "kube-system",
        recorder: EventRecorder | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._name, self._namespace, self._identity = name, namespace, identity
        self._recorder = recorder
        self._timing = timing or Timing()
        self._seen_version = ""
        self._seen_at = 0.0
        self._lease: Object | None = None
        self._log = get_logger("leader-election", lease=name, identity=identity)

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for leadership, run `lead` while it lasts; returns when it is lost, and raises what `lead` raises.

        A cancelled leader gives the Lease up, so that the next one need not wait for its end.
        """
        while not await self._try():
            await self._clock.sleep(self._timing.retry)
        self._announce("became leader")
        work = asyncio.ensure_future(lead())
        renewal = asyncio.create_task(self._keep(), name=f"leader-election/{self._name}")
        try:
            await asyncio.wait({work, renewal}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            for task in (renewal, work):
                task.cancel()
            await asyncio.gather(renewal, work, return_exceptions=True)
            self._announce("stopped leading")
            await self._release()

    async def _keep(self) -> None:
        """Renew; returns when that did not succeed for `renew` seconds."""
        renewed = self._clock.monotonic()
        while True:
            await self._clock.sleep(self._timing.retry)
            if await self._try():
                renewed = self._clock.monotonic()
            elif self._clock.monotonic() - renewed >= self._timing.renew:
                self._log.warning("leadership.lost")
                return

    async def _try(self) -> bool:
        """One step; whether the Lease is held now."""
        try:
            lease = await self._read()
            step = plan_step(
                lease,
                namespace=self._namespace,
                name=self._name,
                identity=self._identity,
                unchanged_seconds=self._clock.monotonic() - self._seen_at,
                now=self._clock.now(),
                timing=self._timing,
            )
            if step.lease is None:
                return False
            if step.action == "create":
                written = await self._client.create(LEASES, step.lease)
            else:
                written = await self._client.update(LEASES, step.lease)
        except (errors.ApiError, OSError) as error:
            self._log.debug("lease.failed", error=str(error))
            return False
        self._see(written)
        return True

    async def _read(self) -> Object | None:
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except errors.NotFound:
            return None
        self._see(lease)
        return lease

    def _see(self, lease: Object) -> None:
        self._lease = lease
        if resource_version_of(lease) != self._seen_version:
            self._seen_version = resource_version_of(lease)
            self._seen_at = self._clock.monotonic()

    async def _release(self) -> None:
        lease = self._lease
        if lease is None or (lease.get("spec") or {}).get("holderIdentity") != self._identity:
            return
        stamp = format_micro_time(self._clock.now())
        given_up = copy_object(lease)
        given_up["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": stamp, "acquireTime": stamp}
        try:
            await self._client.update(LEASES, given_up)
        except (errors.ApiError, OSError) as error:
            # It ends by itself; the next leader only waits longer.
            self._log.info("lease.not_released", error=str(error))

    def _announce(self, what: str) -> None:
        self._log.info("leadership", what=what)
        if self._recorder is not None and self._lease is not None:
            self._recorder.event(self._lease, "Normal", "LeaderElection", f"{self._identity} {what}")
