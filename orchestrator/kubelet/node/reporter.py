"""The Node object and the Lease of a kubelet: registration, status, renewals.

Owns what a node says about itself. Never looks at pods. Mirrors pkg/kubelet's `kubelet_node_status.go` and
k8s.io/component-helpers/apimachinery/lease.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.aiokit.clock import Clock, format_micro_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, uid_of
from orchestrator.api.resources import LEASES, NODES
from orchestrator.client.client import Client
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.node.plan import (
    NO_DEVICES,
    NodeHealth,
    advertises_more,
    extended_resources,
    plan_node,
    plan_node_status,
)
from orchestrator.kubelet.parts import DeviceCounts
from orchestrator.kubelet.runtime import Image, RuntimeInfo
from orchestrator.logs import get_logger

LEASE_NAMESPACE = "kube-node-lease"
LEASE_DURATION_SECONDS = 40
STATUS_REPORT_SECONDS = 300.0


class NodeReporter:
    """Keeps one Node object and its Lease up to date; the kubelet calls it, it has no task of its own."""

    def __init__(
        self,
        *,
        client: Client,
        clock: Clock,
        options: NodeOptions,
        devices: Callable[[], Mapping[str, DeviceCounts]] = dict,
    ) -> None:
        """`devices` tells what device plugins offer now."""
        self._devices = devices
        self._reported_devices: Mapping[str, DeviceCounts] = NO_DEVICES
        self._client = client
        self._clock = clock
        self._options = options
        self._node: Object | None = None
        self._lease: Object | None = None
        self._reported: NodeHealth | None = None
        self._reported_at = 0.0
        self._images: Sequence[Image] = ()
        """Those of the last report."""
        self._seen: Object | None = None
        """The Node as others had it when there was last nothing to report."""
        self._log = get_logger("kubelet", node=options.name)

    @property
    def node(self) -> Object | None:
        """The Node as it was last seen, or None before registration."""
        return self._node

    async def register(self, info: RuntimeInfo, health: NodeHealth, images: Sequence[Image]) -> None:
        """Create the Node, or bring labels and status of the existing one up to date."""
        wanted = plan_node(self._options, info)
        status = plan_node_status(self._options, info, health, images, self._clock.now(), {})
        try:
            self._node = await self._client.create(NODES, {**wanted, "status": status})
            self._log.info("node.registered", ip=self._options.ip, pod_cidr=self._options.pod_cidr)
        except errors.AlreadyExists:
            self._node = await self._client.get(NODES, self._options.name)
            known = self._node["metadata"].get("labels") or {}
            labels = {k: v for k, v in wanted["metadata"]["labels"].items() if known.get(k) != v}
            patch: Object = {"metadata": {"labels": labels}} if labels else {}
            if self._options.pod_cidr and not (self._node.get("spec") or {}).get("podCIDR"):
                patch["spec"] = wanted["spec"]
            if patch:
                self._node = await self._client.patch(NODES, self._options.name, patch)
        await self._report(info, health, images)

    async def report(
        self, info: RuntimeInfo, health: NodeHealth, images: Sequence[Image], *, seen: Object | None = None
    ) -> None:
        """Write the status when health, images or devices changed, five minutes after the last, or as `seen` calls for.

        `seen`: the Node as others have it now; extended resources that were advertised on it become allocatable.
        """
        is_changed = seen is not None and seen is not self._seen and advertises_more(seen, self._devices())
        if is_changed:
            self._node = seen
        age = self._clock.monotonic() - self._reported_at
        is_same = health == self._reported and images == self._images and self._devices() == self._reported_devices
        if is_same and age < STATUS_REPORT_SECONDS and not is_changed:
            self._seen = seen
            return
        try:
            await self._report(info, health, images)
        except errors.NotFound:
            # Somebody deleted the Node; a kubelet that still runs registers it again.
            await self.register(info, health, images)

    async def _report(self, info: RuntimeInfo, health: NodeHealth, images: Sequence[Image]) -> None:
        assert self._node is not None
        old: Object = self._node.get("status") or {}
        devices = self._devices()
        status = plan_node_status(self._options, info, health, images, self._clock.now(), old, devices)
        changed: dict[str, Any] = {key: value for key, value in status.items() if old.get(key) != value}
        if "allocatable" in changed:
            gone = extended_resources(old.get("allocatable") or {}).keys() - status["allocatable"].keys()
            changed["allocatable"] = {**status["allocatable"], **dict.fromkeys(gone)}
        if "addresses" in changed:
            changed["addresses"] = [{"$patch": "replace"}, *changed["addresses"]]
        self._node = await self._client.patch(
            NODES,
            self._options.name,
            {"status": changed},
            subresource="status",
            content_type=STRATEGIC_MERGE_PATCH,
        )
        if self._reported is not None and self._reported.not_ready != health.not_ready:
            self._log.info("node.health", ready=not health.not_ready, reason=health.not_ready)
        self._reported = health
        self._images = images
        self._reported_devices = devices
        self._reported_at = self._clock.monotonic()

    def forget(self) -> None:
        """The Node may be gone: the next report is written in any case, and registers it again if need be."""
        self._reported = None

    async def renew_lease(self) -> None:
        """Say that this node is alive (KEP-589); raises ApiError, and is tried again at the next heartbeat."""
        stamp = format_micro_time(self._clock.now())
        if self._lease is None:
            try:
                self._lease = await self._client.get(LEASES, self._options.name, LEASE_NAMESPACE)
            except errors.NotFound:
                self._lease = await self._client.create(LEASES, self._new_lease(stamp))
                return
        renewed = {**self._lease, "spec": {**self._lease["spec"], **self._holding(stamp)}}
        owner = self._owner()
        if owner and self._lease["metadata"].get("ownerReferences") != owner:
            renewed["metadata"] = {**self._lease["metadata"], "ownerReferences": owner}
        try:
            self._lease = await self._client.update(LEASES, renewed)
        except errors.NotFound:
            # Leases go with their Node.
            self._lease = None
            self.forget()
            raise
        except errors.Conflict:
            self._lease = None
            raise

    def _owner(self) -> list[Object]:
        if self._node is None:
            return []
        name = self._options.name
        return [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid_of(self._node)}]

    def _new_lease(self, stamp: str) -> Object:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self._options.name,
                "namespace": LEASE_NAMESPACE,
                "ownerReferences": self._owner(),
            },
            "spec": self._holding(stamp),
        }

    def _holding(self, stamp: str) -> Object:
        return {
            "holderIdentity": self._options.name,
            "leaseDurationSeconds": LEASE_DURATION_SECONDS,
            "renewTime": stamp,
        }
