"""The Services' side of a cluster's network: what the proxy and DNS are made with, and how a cluster is removed.

Knows the names that tie the parts together: bridge, tables, addresses. Only clusters with real containers
have it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.aiokit.clock import Clock
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.component.events import EventRecorder
from orchestrator.component.places import Places
from orchestrator.component.supervisor import Supervisor
from orchestrator.config.engines import EngineAddress
from orchestrator.kubelet.network.plan import ClusterCidrs, bridge_of, cluster_key, machine_address

if TYPE_CHECKING:
    from orchestrator.kubelet.docker.cleanup import Removed
    from orchestrator.kubelet.docker.network.docker_network import DockerNetwork
    from orchestrator.kubelet.network.netlink import Netlink
    from orchestrator.kubelet.network.pod_network import PodNetwork

DNS_PORT = 53
_table = re.compile(r"orchestrator_(?:svc_|pol_)?([0-9a-f]{8})")
"""The tables of a cluster: of its pod network, its Services, its NetworkPolicies."""


def service_table(cluster_id: str) -> str:
    """The nftables table of a cluster's Services; the pod network has another one."""
    return f"orchestrator_svc_{cluster_key(cluster_id)}"


def policy_table(cluster_id: str) -> str:
    """The nftables table of a cluster's NetworkPolicies."""
    return f"orchestrator_pol_{cluster_key(cluster_id)}"


def plan_stray_tables(tables: Iterable[str], interfaces: Collection[str]) -> list[str]:
    """Tables of clusters that have no network any more, and hence nothing their rules could lead to.

    A cluster makes its bridge before its tables and removes it after them; one that was stopped or killed keeps both.
    Left alone, such rules would translate and refuse what a later cluster with the same ranges sends.
    """
    found = ((table, _table.fullmatch(table)) for table in tables)
    return [table for table, its in found if its is not None and bridge_of(its[1]) not in interfaces]


async def remove_stray_tables(netlink: Netlink) -> list[str]:
    """Remove and return them; OSError, NftError."""
    from orchestrator.kubelet.network.rtnetlink import RouteSocket
    from orchestrator.proxy.nftables import remove_table, table_names

    tables = table_names()  # before the bridges, so that none appears whose bridge was not there yet
    links = await netlink.call(RouteSocket.links)
    strays = plan_stray_tables(tables, {link.name for link in links})
    for table in strays:
        await remove_table(table)
    return strays


def add_network_policies(
    supervisor: Supervisor,
    *,
    cluster_id: str,
    cidrs: ClusterCidrs,
    informers: Informers,
    clock: Clock,
    dns_address: str,
) -> None:
    """Supervise the enforcement of NetworkPolicies."""
    from orchestrator.proxy.policy.enforcer import PolicyEnforcer

    enforcer = PolicyEnforcer(
        informers=informers,
        table=policy_table(cluster_id),
        dns_address=dns_address,
        pod_range=str(cidrs.pods),
        clock=clock,
    )
    supervisor.add("network-policy", enforcer.run)


def add_service_proxy(
    supervisor: Supervisor,
    *,
    network: PodNetwork,
    informers: Informers,
    clock: Clock,
    dns_address: str,
    api_listener: tuple[str, int] | None,
    node_port: tuple[str, int] | None = None,
) -> None:
    """Supervise the proxy; `api_listener` is guarded like DNS: only pods and this machine reach them.

    `node_port` is where the kubelets' own server listens for what is sent to port 10250 of the nodes.
    """
    from orchestrator.proxy.plan import Frontend
    from orchestrator.proxy.proxy import ServiceProxy
    from orchestrator.proxy.ruleset import Layout

    guarded = [Frontend(dns_address, protocol, DNS_PORT) for protocol in ("udp", "tcp")]
    if api_listener is not None:
        guarded.append(Frontend(api_listener[0], "tcp", api_listener[1]))
    layout = Layout(
        table=service_table(network.cluster_id),
        bridge=network.bridge,
        services=str(network.cidrs.services),
        local_address=dns_address,
        machine_address=str(machine_address(network.cidrs)),
        nodes=str(network.cidrs.nodes),
        guarded=tuple(guarded),
        node_port=node_port,
    )
    proxy = ServiceProxy(informers=informers, layout=layout, clock=clock, set_ranges=network.set_service_ranges)
    supervisor.add("kube-proxy", proxy.run)


def add_userspace_proxy(
    supervisor: Supervisor, *, network: DockerNetwork, informers: Informers, clock: Clock
) -> None:  # fmt: skip
    """Supervise the proxy of a network of Docker's."""
    from orchestrator.proxy.userspace.proxy import UserspaceProxy

    proxy = UserspaceProxy(informers=informers, places=network, clock=clock, host_ports=network)
    supervisor.add("kube-proxy", proxy.run)


def add_ingress(
    supervisor: Supervisor,
    *,
    client: Client,
    informers: Informers,
    recorder: EventRecorder,
    clock: Clock,
    local_address: str,
    listen: Sequence[str],
) -> None:
    """Supervise the ingress controller."""
    from orchestrator.ingress.controller import IngressController

    controller = IngressController(
        client=client,
        informers=informers,
        recorder=recorder,
        clock=clock,
        local_address=local_address,
        listen=listen,
    )
    supervisor.add("ingress", controller.run)


def add_dns(
    supervisor: Supervisor,
    *,
    cidrs: ClusterCidrs,
    client: Client,
    informers: Informers,
    clock: Clock,
    domain: str,
    address: str,
    places: Places | None = None,
) -> None:
    """Supervise the DNS server on the DNS Service's address, which may be in another place."""
    from orchestrator.dns.dns import ClusterDns

    dns = ClusterDns(
        client=client,
        informers=informers,
        clock=clock,
        domain=domain,
        address=address,
        reverse=[cidrs.services, cidrs.pods],
        places=places,
    )
    supervisor.add("dns", dns.run)


async def remove_cluster(
    cluster_id: str, *, clock: Clock, engines: Sequence[EngineAddress | None] = (None,), data_dir: Path | None = None
) -> Removed:
    """Remove everything that a cluster has on this machine and its Engines; nothing there is fine.

    RuntimeFailure, NftError.
    """
    from orchestrator.kubelet.docker.cleanup import remove_everything
    from orchestrator.proxy.nftables import remove_table

    if os.geteuid() == 0 and shutil.which("nft") is not None:
        for table in (service_table(cluster_id), policy_table(cluster_id)):
            await remove_table(table)
    return await remove_everything(cluster_id, clock=clock, engines=engines, data_dir=data_dir)
