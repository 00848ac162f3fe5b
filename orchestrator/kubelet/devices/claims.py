"""The devices of a pod's ResourceClaims: prepared by their drivers before its sandbox is made, let go when it is over.

Owns the account of what is prepared for which pods, in a checkpoint: a killed kubelet finds it again, and what was
prepared for pods that are gone meanwhile is let go of. Never allocates devices; the scheduler has. Mirrors
pkg/kubelet/cm/dra (KEP-4381).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from orchestrator.api import errors
from orchestrator.api.objects import Object, name_of, namespace_of, uid_of
from orchestrator.api.resource_claims import (
    ClaimNotCreated,
    allocation_of,
    claim_name_of,
    is_for_pod,
    is_reserved_for,
    references_of,
    results_of,
)
from orchestrator.api.resources import RESOURCE_CLAIMS
from orchestrator.client.client import Client
from orchestrator.kubelet.checkpoint import Checkpoint
from orchestrator.kubelet.devices.claim_drivers import ClaimDrivers
from orchestrator.kubelet.devices.claim_health import Device, Health
from orchestrator.kubelet.parts import DeviceFailure
from orchestrator.kubelet.plugins.connection import PluginError
from orchestrator.kubelet.pod import app_containers_of
from orchestrator.logs import get_logger


class PreparedDevice(Struct, frozen=True):
    """A device as its driver prepared it."""

    pool: str
    device: str
    requests: tuple[str, ...] = ()
    """The requests of the claim that it is for; empty: all."""
    cdi_ids: tuple[str, ...] = ()

    def is_for(self, request: str) -> bool:
        """Whether a container that asks for this request, or for all (empty), gets the device."""
        return not request or not self.requests or request.partition("/")[0] in self.requests


class PreparedClaim(Struct):
    """A claim that drivers were asked to prepare, or will be in a moment."""

    namespace: str
    name: str
    uid: str
    drivers: dict[str, list[PreparedDevice]]
    pods: list[str] = field(default_factory=list)
    """Uids of the pods that it was prepared for."""
    is_prepared: bool = False

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


class _State(Struct):
    claims: list[PreparedClaim] = field(default_factory=list)


def claim_to_prepare(pod: Object, claim: Object, *, must_own: bool) -> PreparedClaim:
    """What a claim is made ready with; DeviceFailure when the pod may not use it.

    `must_own`: it was made from a template, so it has to be this pod's.
    """
    name, uid = name_of(claim), uid_of(claim)
    if must_own and not is_for_pod(claim, pod):
        where = namespace_of(pod)
        raise DeviceFailure(
            f"ResourceClaim {where}/{name} was not created for pod {where}/{name_of(pod)} (pod is not owner)"
        )
    if not is_reserved_for(claim, pod):
        raise DeviceFailure(f"pod {name_of(pod)} ({uid_of(pod)}) is not allowed to use ResourceClaim {name} ({uid})")
    drivers = sorted({str(result["driver"]) for result in results_of(allocation_of(claim))})
    return PreparedClaim(namespace_of(pod), name, uid, {driver: [] for driver in drivers})


def cdi_ids_for(
    pod: Object, container: Object, claims: Mapping[str, PreparedClaim]
) -> list[str]:  # fmt: skip
    """The CDI names of the devices that a container asks for, by claims' keys; DeviceFailure."""
    ids: dict[str, None] = {}
    for wanted, name, claim in _claims_of(pod, container, claims):
        if claim is None:
            raise DeviceFailure(f"unable to get claim info for ResourceClaim {name} in namespace {namespace_of(pod)}")
        for device in (device for devices in claim.drivers.values() for device in devices):
            if device.is_for(wanted.get("request") or ""):
                ids |= dict.fromkeys(device.cdi_ids)
    return [*ids]


def claim_statuses(
    pod: Object, container: Object, claims: Mapping[str, PreparedClaim], health: Callable[[str, Device], Health]
) -> list[Object]:
    """`allocatedResourcesStatus` of a container's claims (KEP-4680); `health` by driver and device."""
    statuses: dict[str, list[Object]] = {}
    for wanted, _, claim in _claims_of(pod, container, claims):
        if claim is None:
            continue
        request = wanted.get("request") or ""
        found: dict[str, Object] = {}
        for driver, devices in claim.drivers.items():
            for device in (one for one in devices if one.is_for(request)):
                known = health(driver, (device.pool, device.device))
                message = {"message": known.message} if known.message else {}
                shown = device.cdi_ids[0] if device.cdi_ids else f"{driver}/{device.pool}/{device.device}"
                found.setdefault(shown, {"resourceID": shown, "health": known.state, **message})
        if found:
            statuses[f"claim:{wanted['name']}" + (f"/{request}" if request else "")] = [*found.values()]
    return [{"name": name, "resources": resources} for name, resources in statuses.items()]


def _claims_of(
    pod: Object, container: Object, claims: Mapping[str, PreparedClaim]
) -> Iterator[tuple[Object, str, PreparedClaim | None]]:
    """(entry of the container's `resources.claims`, name of the claim, the claim if it was prepared)."""
    references = {reference["name"]: reference for reference in references_of(pod)}
    for wanted in (container.get("resources") or {}).get("claims") or ():
        reference = references.get(wanted["name"])
        try:
            name = claim_name_of(pod, reference) if reference is not None else None
        except ClaimNotCreated:
            continue
        if name is not None:
            yield wanted, name, claims.get(f"{namespace_of(pod)}/{name}")


class PreparedClaims:
    """The claims of one node's pods."""

    def __init__(self, *, client: Client, drivers: ClaimDrivers, file: Path, node_name: str) -> None:
        self._client = client
        self.drivers = drivers
        self._checkpoint = Checkpoint(file, _State)
        self._loaded: dict[str, PreparedClaim] | None = None
        self._log = get_logger("kubelet/devices", node=node_name)

    def cdi_ids(self, pod: Object, container: Object) -> list[str]:
        """The CDI names of the devices that a container asks for; DeviceFailure."""
        if not (container.get("resources") or {}).get("claims"):
            return []
        return cdi_ids_for(pod, container, self._claims())

    def devices_of(self, pod: Object, container: Object) -> list[tuple[str, list[tuple[str, PreparedDevice]]]]:
        """(claim, (driver, device) for each that the container asks for) for its claims that are prepared."""
        found: dict[str, list[tuple[str, PreparedDevice]]] = {}
        for wanted, name, claim in _claims_of(pod, container, self._claims()):
            if claim is not None:
                devices = found.setdefault(name, [])
                for driver, prepared in claim.drivers.items():
                    fitting = ((driver, one) for one in prepared if one.is_for(wanted.get("request") or ""))
                    devices += [one for one in fitting if one not in devices]
        return [*found.items()]

    def users_of(self, driver: str, devices: Collection[Device]) -> set[str]:
        """The uids of the pods that have one of these devices of a driver."""
        return {
            uid
            for claim in self._claims().values()
            if any((one.pool, one.device) in devices for one in claim.drivers.get(driver, ()))
            for uid in claim.pods
        }

    def statuses(self, pod: Object) -> dict[str, list[Object]]:
        """`allocatedResourcesStatus` of a pod's containers that have claims, by name."""
        if not references_of(pod):
            return {}
        found = (
            (one["name"], claim_statuses(pod, one, self._claims(), self.drivers.health.of))
            for one in app_containers_of(pod)
        )
        return {name: statuses for name, statuses in found if statuses}

    async def prepare(self, pod: Object) -> None:
        """Return when all claims of a pod are ready for it; DeviceFailure."""
        wanted = [await self._to_prepare(pod, name, must_own=must_own) for name, must_own in _claim_names(pod)]
        if not wanted:
            return
        for claim in wanted:
            for driver in claim.drivers:
                # Before anything is noted: a pod whose driver was never here can go at once.
                self.drivers.get(driver)
        batches: dict[str, list[PreparedClaim]] = {}
        for new in wanted:
            known = self._claims().setdefault(new.key, new)
            if known.uid != new.uid:
                raise DeviceFailure(
                    f"old ResourceClaim with same name {new.name} and different UID {known.uid} still exists "
                    "(previous pod force-deleted?!)"
                )
            if uid_of(pod) not in known.pods:
                known.pods.append(uid_of(pod))
            if not known.is_prepared:
                for driver in known.drivers:
                    batches.setdefault(driver, []).append(known)
        self._save()
        for driver, claims in batches.items():
            answers = await self._call(driver, "NodePrepareResources", claims)
            for claim in claims:
                claim.drivers[driver] = [
                    PreparedDevice(
                        pool=device.pool_name,
                        device=device.device_name,
                        requests=tuple(device.request_names),
                        cdi_ids=tuple(device.cdi_device_ids),
                    )
                    for device in answers[claim.uid].devices
                ]
        for claim in {claim.key: claim for claims in batches.values() for claim in claims}.values():
            claim.is_prepared = True
        self._save()

    async def release(self, pod_uid: str) -> None:
        """The pod's containers have ended: what was prepared for it alone is let go of; DeviceFailure."""
        mine = [claim for claim in self._claims().values() if pod_uid in claim.pods]
        if not mine:
            return
        batches: dict[str, list[PreparedClaim]] = {}
        for claim in mine:
            if claim.pods == [pod_uid]:
                for driver in claim.drivers:
                    batches.setdefault(driver, []).append(claim)
            else:
                claim.pods.remove(pod_uid)
        for driver, claims in batches.items():
            await self._call(driver, "NodeUnprepareResources", claims)
        for claim in mine:
            if claim.pods == [pod_uid]:
                del self._claims()[claim.key]
            elif pod_uid in claim.pods:  # another pod came meanwhile: it is prepared again for that one
                claim.pods.remove(pod_uid)
                claim.is_prepared = False
        self._save()

    async def release_unknown(self, known_pods: Collection[str]) -> None:
        """Let go of what was prepared for pods that are gone, as far as their drivers are there."""
        gone = {uid for claim in self._claims().values() for uid in claim.pods} - {*known_pods}
        for uid in gone:
            try:
                await self.release(uid)
            except DeviceFailure as error:
                self._log.info("claims.not_released", pod_uid=uid, error=str(error))

    async def _to_prepare(self, pod: Object, name: str, *, must_own: bool) -> PreparedClaim:
        try:
            claim = await self._client.get(RESOURCE_CLAIMS, name, namespace_of(pod))
        except errors.ApiError as error:
            raise DeviceFailure(f"fetch ResourceClaim {name}: {error.message}") from None
        return claim_to_prepare(pod, claim, must_own=must_own)

    async def _call(self, driver_name: str, method: str, claims: list[PreparedClaim]) -> Mapping[str, Any]:
        """The driver's answers by claim uid, all of them good; DeviceFailure."""
        from orchestrator.kubelet.devices import claim_driver_api

        driver = self.drivers.get(driver_name)
        asked = [(claim.namespace, claim.uid, claim.name) for claim in claims]
        try:
            answer = await claim_driver_api.call(driver.connection, driver.version, method, asked)
        except PluginError as error:
            raise DeviceFailure(f"{method}: {error}") from error
        names = {claim.uid: claim.name for claim in claims}
        for uid, result in answer.claims.items():
            if uid not in names:
                raise DeviceFailure(f"{method} returned result for unknown claim UID {uid}")
            if result.error:
                raise DeviceFailure(f"{method} failed for ResourceClaim {names[uid]}: {result.error}")
        if missing := len(claims) - len(answer.claims):
            raise DeviceFailure(f"{method} skipped {missing} ResourceClaims")
        results: Mapping[str, Any] = answer.claims
        return results

    def _claims(self) -> dict[str, PreparedClaim]:
        if self._loaded is None:
            state = self._checkpoint.load() or _State()
            self._loaded = {claim.key: claim for claim in state.claims}
        return self._loaded

    def _save(self) -> None:
        try:
            self._checkpoint.save(_State([*self._claims().values()]))
        except OSError as error:
            raise DeviceFailure(f"checkpoint ResourceClaim state: {error}") from error


def _claim_names(pod: Object) -> Iterator[tuple[str, bool]]:
    """(claim, whether it was made for this pod) for each claim that a pod needs; DeviceFailure."""
    for reference in references_of(pod):
        try:
            name = claim_name_of(pod, reference)
        except ClaimNotCreated as error:
            raise DeviceFailure(str(error)) from None
        if name is not None:
            yield name, not reference.get("resourceClaimName")
