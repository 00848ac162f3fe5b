"""Give each node a range of pod addresses. Mirrors node-ipam-controller (RangeAllocator).

Owns which ranges of the cluster's pod network are taken. Nodes that bring a range of their own keep it.
"""

from __future__ import annotations

import ipaddress
from typing import ClassVar, Unpack

from orchestrator.api.objects import Object, is_terminating, name_of, resource_version_of
from orchestrator.api.resources import NODES
from orchestrator.component.controller import Controller, Dependencies

NODE_MASK_IPV4, NODE_MASK_IPV6 = 24, 64


class CidrSet:
    """Equal parts of a network, given out in turn so that a freed one rests for as long as possible."""

    def __init__(self, network: str, mask: int | None = None) -> None:
        self._network = ipaddress.ip_network(network)
        if mask is None:
            mask = NODE_MASK_IPV4 if self._network.version == 4 else NODE_MASK_IPV6
        self._mask = max(mask, self._network.prefixlen)
        self._size = 1 << (self._network.max_prefixlen - self._mask)
        self.count = 1 << (self._mask - self._network.prefixlen)
        self._taken: dict[int, int] = {}
        """How many nodes are in each part: two nodes may have brought overlapping ranges."""
        self._next = 0

    def occupy(self, cidr: str) -> None:
        """Take every part that a range touches; ranges of other networks are nobody's business here."""
        for part in self._parts(cidr):
            self._taken[part] = self._taken.get(part, 0) + 1

    def release(self, cidr: str) -> None:
        """Give back what `occupy` or `allocate` took."""
        for part in self._parts(cidr):
            left = self._taken.get(part, 0) - 1
            if left > 0:
                self._taken[part] = left
            else:
                self._taken.pop(part, None)

    def allocate(self) -> str | None:
        """A free part, taken now; None when there is none."""
        if len(self._taken) >= self.count:
            return None
        while self._next in self._taken:
            self._next = (self._next + 1) % self.count
        part = self._next
        self._next = (part + 1) % self.count
        self._taken[part] = 1
        first = int(self._network.network_address) + part * self._size
        return f"{ipaddress.ip_address(first)}/{self._mask}"

    def _parts(self, cidr: str) -> range:
        try:
            network = ipaddress.ip_network(cidr, strict=False)
        except ValueError:
            return range(0)
        if network.version != self._network.version or not network.overlaps(self._network):
            return range(0)
        base = int(self._network.network_address)
        first = max(0, (int(network.network_address) - base) // self._size)
        last = min(self.count - 1, (int(network.broadcast_address) - base) // self._size)
        return range(first, last + 1)


def cidrs_of(node: Object | None) -> list[str]:
    """`spec.podCIDRs` of a node."""
    spec = (node or {}).get("spec") or {}
    return list(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []))


class NodeIpamController(Controller):
    """Keys are nodes without a range. One worker: a range is chosen and written before the next."""

    name: ClassVar[str] = "nodeipam"
    workers: ClassVar[int] = 1

    def __init__(self, *, pod_cidr: str, **dependencies: Unpack[Dependencies]) -> None:
        self._set = CidrSet(pod_cidr)
        self._given: dict[str, list[str]] = {}
        """What each node has or is being given."""
        self._waiting: set[str] = set()
        """Nodes for which there was nothing left."""
        super().__init__(**dependencies)

    def setup(self) -> None:
        """Nodes by name; one that goes gives its range back."""
        self._nodes = self.informer(NODES)
        self._nodes.add_handler(self._on_node)

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            for cidr in self._given.pop(name_of(old), []):
                self._set.release(cidr)
            self._waiting.discard(name_of(old))
            for waiting in self._waiting:
                self.queue.add(waiting)
            return
        name, cidrs = name_of(new), cidrs_of(new)
        if cidrs:
            if self._given.get(name) != cidrs:
                for cidr in self._given.get(name, []):
                    self._set.release(cidr)
                for cidr in cidrs:
                    self._set.occupy(cidr)
                self._given[name] = cidrs
        else:
            self.queue.add(name)

    async def reconcile(self, key: str) -> float | None:
        """Choose a range for one node and write it."""
        node = self._nodes.get(key)
        if node is None or cidrs_of(node) or is_terminating(node):
            return None
        given = self._given.get(key)
        if given is None:
            cidr = self._set.allocate()
            if cidr is None:
                message = f"Node {key} status is now: CIDRNotAvailable"
                self.recorder.event(node, "Normal", "CIDRNotAvailable", message)
                self._waiting.add(key)
                return None  # the next node that goes leads back here
            self._waiting.discard(key)
            given = self._given[key] = [cidr]
        patch = {
            "metadata": {"resourceVersion": resource_version_of(node)},
            "spec": {"podCIDR": given[0], "podCIDRs": given},
        }
        await self.client.patch(NODES, key, patch)
        return None
