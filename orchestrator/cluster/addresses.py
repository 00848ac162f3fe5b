"""Which addresses a cluster's nodes and their pods get; pure."""

from __future__ import annotations

from ipaddress import IPv4Network

from msgspec import Struct

NODE_PREFIX = 24
"""A node's pods share a /24, as kube-controller-manager's `--node-cidr-mask-size` has it by default."""
SMALLEST_PREFIX = 28
WIDE_PODS = IPv4Network("10.128.0.0/9")
WIDE_NODES = IPv4Network("100.64.0.0/10")
"""For large hollow clusters, whose addresses exist nowhere but in the API."""


class NodeAddresses(Struct, frozen=True):
    """What one node is given."""

    name: str
    ip: str
    pod_cidr: str


def plan_nodes(names: list[str], *, pods: IPv4Network, nodes: IPv4Network, may_widen: bool) -> list[NodeAddresses]:
    """An address and a pod range for each node, the same ones at every start.

    The first address of the node network stays free for a gateway. Ranges become smaller than a /24
    when there are many nodes; `may_widen` takes larger networks instead. ValueError when they do not fit.
    """
    if may_widen and len(names) > 1 << max(NODE_PREFIX - pods.prefixlen, 0):
        pods = WIDE_PODS
    if may_widen and len(names) + 3 > nodes.num_addresses:
        nodes = WIDE_NODES
    prefix = max(NODE_PREFIX, pods.prefixlen)
    while prefix < SMALLEST_PREFIX and len(names) > 1 << (prefix - pods.prefixlen):
        prefix += 1
    if len(names) > 1 << (prefix - pods.prefixlen):
        raise ValueError(f"{len(names)} nodes do not fit into the pod network {pods}")
    if len(names) + 3 > nodes.num_addresses:
        raise ValueError(f"{len(names)} nodes do not fit into the node network {nodes}")
    size = 1 << (32 - prefix)
    first = int(pods.network_address)
    return [
        NodeAddresses(name, str(nodes[number + 2]), str(IPv4Network((first + number * size, prefix))))
        for number, name in enumerate(names)
    ]
