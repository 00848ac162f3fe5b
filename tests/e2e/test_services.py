"""Services on three nodes, with real packets: who answers whom, and who is refused.

Source: kubernetes.io/docs/reference/networking/virtual-ips and the API reference of Service.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import in_fresh_namespace
from tests.e2e.manifests import apply, pod
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess, is_ready
from tests.e2e.packets import Echo, Place, outcome, place_of, sctp_init, until

PORT, OTHER_PORT = 8000, 8001
LOST_SECONDS = 0.3
MACHINE = Place("machine")
_numbers = itertools.count(1)


@dataclass
class Network:
    """Three pods that answer, one on each node, and two that only ask."""

    k: Kubectl
    process: OrchestratorProcess
    echo: Echo
    servers: list[Place]
    clients: list[Place]
    node_ips: list[str]

    @property
    def everyone(self) -> list[Place]:
        """Everywhere that packets can come from."""
        return [*self.clients, MACHINE]

    def service(self, *, ports: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
        """Create a Service in front of the three pods; returns it as the API has it."""
        name = f"service-{next(_numbers)}"
        spec = {"selector": {"app": "server"}, "ports": ports or [{"port": 80, "targetPort": PORT}], **spec}
        if spec["selector"] is None:
            del spec["selector"]
        apply(self.k, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
        return dict(self.k.json("get", "service", name))

    def patch(self, service: dict[str, Any], **spec: Any) -> dict[str, Any]:
        """Change a Service."""
        name = service["metadata"]["name"]
        self.k("patch", "service", name, "--type=merge", "-p", json.dumps({"spec": spec}))
        return dict(self.k.json("get", "service", name))

    def endpoints(self, service: dict[str, Any], *endpoints: dict[str, Any]) -> None:
        """Write the endpoints of a Service without selector."""
        name = service["metadata"]["name"]
        manifest = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [*endpoints],
            "ports": [
                {"name": port.get("name", ""), "port": PORT, "protocol": port["protocol"]}
                for port in service["spec"]["ports"]
            ],
        }
        self.k("apply", "-f", "-", stdin=json.dumps(manifest))


def endpoint(place: Place, **fields: Any) -> dict[str, Any]:
    """An endpoint of an EndpointSlice."""
    return {"addresses": [place.address], "nodeName": place.node, "conditions": {"ready": True}, **fields}


@pytest.fixture(scope="module")
def network(
    start_orchestrator: Callable[..., OrchestratorProcess], kubectl: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Network]:
    """A cluster of three nodes with the pods of `Network`."""
    config = tmp_path_factory.mktemp("config") / "orchestrator.yaml"
    config.write_text("loadBalancerAddresses: [203.0.113.100-203.0.113.199]\n")
    process = start_orchestrator("--nodes", "3", "--runtime", "docker", "--config", str(config))
    for k in in_fresh_namespace(process, kubectl):
        manifests = [
            pod(f"server-{n}", nodeName=f"node-{n}")
            | {"metadata": {"name": f"server-{n}", "labels": {"app": "server"}}}
            for n in (1, 2, 3)
        ]
        manifests += [pod(f"client-{n}", nodeName=f"node-{n}") for n in (1, 2)]
        apply(k, *manifests)
        pods = k.wait_for("pods", lambda pods: len(pods) == 5 and all(map(is_ready, pods)))
        places = {p["metadata"]["name"]: place_of(p) for p in pods}
        nodes = k.json("get", "nodes")["items"]
        node_ips = [node["status"]["addresses"][0]["address"] for node in nodes]
        echo = Echo()
        servers = [places[f"server-{n}"] for n in (1, 2, 3)]
        for server in servers:
            echo.serve(server, tcp=(PORT, OTHER_PORT), udp=(PORT,))
        yield Network(k, process, echo, servers, [places["client-1"], places["client-2"]], node_ips)
        echo.close()


ALL = {"server-1", "server-2", "server-3"}


def wait_programmed(place: Place, address: str, port: int, names: set[str] = ALL, protocol: str = "tcp") -> None:
    """Return once all of them, and nobody else, answer."""
    until(lambda: set(place.count(address, port, times=20, protocol=protocol)), names)


def test_a_cluster_ip_spreads_connections_over_all_pods_and_keeps_the_clients_address(network: Network) -> None:
    service = network.service()
    address = service["spec"]["clusterIP"]
    for place in network.everyone:
        wait_programmed(place, address, 80)
        counted = place.count(address, 80, times=150)
        assert all(25 <= counted[name] <= 80 for name in ALL), counted
    for client in network.clients:
        assert client.tcp(address, 80).client == client.address


def test_a_service_in_a_further_range_is_reached_from_everywhere(network: Network) -> None:
    k = network.k
    apply(
        k,
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": "further"},
            "spec": {"cidrs": ["198.51.100.0/28"]},
        },
    )
    k("wait", "servicecidr/further", "--for=condition=Ready", "--timeout=30s")
    service = network.service(clusterIP="198.51.100.5")
    address = service["spec"]["clusterIP"]
    assert k.json("get", "ipaddress", address)["spec"]["parentRef"]["name"] == service["metadata"]["name"]
    for place in network.everyone:
        wait_programmed(place, address, 80)
        # What nobody has in the range goes nowhere, whatever routes there are.
        assert outcome(lambda: place.tcp("198.51.100.6", 80, seconds=LOST_SECONDS)) == "lost"  # noqa: B023
    assert "198.51.100.0/28 dev orc" in routes()
    k("delete", "service", service["metadata"]["name"])
    k("delete", "servicecidr", "further", "--timeout=30s")
    until(lambda: "198.51.100.0/28" not in routes())


def routes() -> str:
    """The routes of the machine."""
    return subprocess.run(["ip", "route"], check=True, capture_output=True, text=True).stdout


def test_one_port_number_serves_tcp_and_udp(network: Network) -> None:
    """Conformance: "should serve endpoints on same port and different protocols"."""
    both = [
        {"name": "a", "port": 80, "targetPort": PORT, "protocol": "TCP"},
        {"name": "b", "port": 80, "targetPort": PORT, "protocol": "UDP"},
    ]
    service = network.service(ports=both)
    address = service["spec"]["clusterIP"]
    for place in network.everyone:
        wait_programmed(place, address, 80)
        wait_programmed(place, address, 80, protocol="udp")
    before = network.echo.received.copy()
    network.clients[0].count(address, 80, times=10)
    network.clients[0].count(address, 80, times=20, protocol="udp")
    gained = network.echo.received - before
    by_protocol = Counter[str]()
    for (_, protocol, _), count in gained.items():
        by_protocol[protocol] += count
    assert by_protocol == {"tcp": 10, "udp": 20}
    network.patch(service, ports=both[:1])
    assert until(lambda: outcome(lambda: network.clients[0].udp(address, 80)), "refused")
    assert outcome(lambda: network.clients[0].tcp(address, 80)) == "answered"


def test_a_datagram_larger_than_a_packet_arrives_whole(network: Network) -> None:
    """The spec "should be able to handle large requests: udp": fragments are translated as one."""
    service = network.service(ports=[{"port": 80, "protocol": "UDP"}], selector=None, type="NodePort")
    address, node_port = service["spec"]["clusterIP"], service["spec"]["ports"][0]["nodePort"]
    message = b"n" + b"o" * 7_999
    pod_, port = network.servers[1], 9_200
    with pod_.socket(socket.SOCK_DGRAM) as server:
        server.bind((pod_.address, port))
        server.settimeout(LOST_SECONDS)
        network.endpoints(service, endpoint(pod_))
        network.k("patch", "endpointslice", service["metadata"]["name"], "--type=merge", "-p",
                  json.dumps({"ports": [{"name": "", "port": port, "protocol": "UDP"}]}))  # fmt: skip

        def echoed(place: Place, to: tuple[str, int]) -> bytes:
            with place.socket(socket.SOCK_DGRAM) as conversation:
                conversation.settimeout(LOST_SECONDS)
                conversation.sendto(message, to)
                data, client = server.recvfrom(10_000)
                server.sendto(data, client)
                return conversation.recv(10_000)

        for place in (network.clients[0], pod_, MACHINE):
            for to in ((address, 80), (network.node_ips[1], node_port)):
                until(lambda: echoed(place, to), message)  # noqa: B023


def test_sctp_is_translated_like_the_others(network: Network) -> None:
    """An INIT chunk from a raw socket: the packet filter knows SCTP even where the kernel has no sockets for it."""
    ports = [{"port": 36_412, "targetPort": 36_500, "protocol": "SCTP"}]
    service = network.service(ports=ports, type="NodePort", selector=None)
    network.endpoints(service, endpoint(network.servers[0]))
    (port,) = service["spec"]["ports"]
    slice_ = network.k.json("get", "endpointslice", service["metadata"]["name"])
    assert slice_["ports"] == [{"name": "", "port": PORT, "protocol": "SCTP"}]
    client = network.clients[1]
    with network.servers[0].socket(socket.SOCK_RAW, socket.IPPROTO_SCTP) as server:
        server.settimeout(LOST_SECONDS)
        for address, number in ((service["spec"]["clusterIP"], 36_412), (network.node_ips[0], port["nodePort"])):
            own_port = 40_000 + number % 1000

            def arrives() -> tuple[str, int]:
                with client.socket(socket.SOCK_RAW, socket.IPPROTO_SCTP) as sender:
                    sender.sendto(sctp_init(own_port, number), (address, number))  # noqa: B023
                while True:
                    packet = server.recv(1500)
                    source, destination = struct.unpack_from("!HH", packet, 20)
                    if source == own_port:  # noqa: B023
                        return socket.inet_ntoa(packet[12:16]), destination

            until(arrives, (client.address, PORT))


def test_a_packet_that_belongs_to_no_connection_does_not_end_one(network: Network) -> None:
    """The spec "should drop INVALID conntrack entries": such a packet keeps the pod's own address as its source.

    The client, which knows the Service's address only, would answer with a reset, and the pod would believe it.
    """
    service = network.service(selector=None)
    pod_, client = network.servers[0], network.clients[0]
    network.endpoints(service, endpoint(pod_))
    address = service["spec"]["clusterIP"]
    wait_programmed(client, address, 80, {pod_.name})
    port = 9_100
    listener = pod_.socket()
    listener.bind((pod_.address, port))
    listener.listen()
    network.k("patch", "endpointslice", service["metadata"]["name"], "--type=merge", "-p",
              json.dumps({"ports": [{"name": "", "port": port, "protocol": "TCP"}]}))  # fmt: skip
    with listener, pod_.socket(socket.SOCK_RAW, socket.IPPROTO_TCP) as wire, client.socket() as connection:
        connection.settimeout(2)
        until(lambda: connection.connect_ex((address, 80)), 0)
        server, (_, client_port) = listener.accept()
        connection.sendall(b"first")
        with server:
            server.settimeout(2)
            assert server.recv(100) == b"first"
            while True:
                packet = wire.recv(2000)
                head = packet[(packet[0] & 15) * 4 :]
                source, _, sequence, acknowledged = struct.unpack_from("!HHII", head)
                if source == client_port and head.endswith(b"first"):
                    break
            stray = tcp_segment(
                (pod_.address, port),
                (client.address, client_port),
                acknowledged + 100_000_000,
                sequence + len(b"first"),
            )
            wire.sendto(stray, (client.address, 0))
            for word in (b"second", b"third"):
                connection.sendall(word)
                assert server.recv(100) == word


def tcp_segment(source: tuple[str, int], destination: tuple[str, int], sequence: int, acknowledged: int) -> bytes:
    """A segment without data that only acknowledges."""
    fields = (source[1], destination[1], sequence & 0xFFFFFFFF, acknowledged & 0xFFFFFFFF, 5 << 4, 0x10, 1000)
    head = struct.pack("!HHIIBBH", *fields)
    pseudo = socket.inet_aton(source[0]) + socket.inet_aton(destination[0]) + struct.pack("!BBH", 0, 6, 20)
    total = sum(struct.unpack("!16H", pseudo + head + bytes(4)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head + struct.pack("!HH", ~total & 0xFFFF, 0)


def test_several_ports_lead_to_different_ports_of_the_pods(network: Network) -> None:
    service = network.service(
        ports=[{"name": "a", "port": 80, "targetPort": PORT}, {"name": "b", "port": 81, "targetPort": OTHER_PORT}]
    )
    wait_programmed(network.clients[0], service["spec"]["clusterIP"], 81)
    before = network.echo.received.copy()
    network.clients[0].count(service["spec"]["clusterIP"], 81, times=12)
    assert {port for _, _, port in network.echo.received - before} == {OTHER_PORT}


def test_without_endpoints_a_connection_is_refused_at_once(network: Network) -> None:
    service = network.service(
        selector={"app": "nobody"},
        type="NodePort",
        ports=[
            {"name": "t", "port": 80, "protocol": "TCP"},
            {"name": "u", "port": 80, "protocol": "UDP"},
        ],
    )
    node_ports = [port["nodePort"] for port in service["spec"]["ports"]]
    for place in network.everyone:
        for address, tcp, udp in ((service["spec"]["clusterIP"], 80, 80), (network.node_ips[1], *node_ports)):
            until(lambda: outcome(lambda: place.tcp(address, tcp)), "refused")  # noqa: B023
            until(lambda: outcome(lambda: place.udp(address, udp)), "refused")  # noqa: B023
            started = time.monotonic()
            assert outcome(lambda: place.tcp(address, tcp)) == "refused"  # noqa: B023
            assert time.monotonic() - started < 0.2


def test_a_port_that_a_service_does_not_have_is_refused(network: Network) -> None:
    address = network.service()["spec"]["clusterIP"]
    wait_programmed(network.clients[0], address, 80)
    assert outcome(lambda: network.clients[0].tcp(address, 81)) == "refused"
    assert outcome(lambda: MACHINE.tcp(address, 81)) == "refused"


def test_a_pod_reaches_itself_through_its_service(network: Network) -> None:
    service = network.service(selector=None)
    only = network.servers[0]
    network.endpoints(service, endpoint(only))
    address = service["spec"]["clusterIP"]
    wait_programmed(network.clients[0], address, 80, {only.name})
    assert only.tcp(address, 80).name == only.name


def test_a_node_port_answers_on_the_address_of_every_node(network: Network) -> None:
    service = network.service(
        type="NodePort",
        ports=[
            {"name": "t", "port": 80, "targetPort": PORT, "protocol": "TCP"},
            {"name": "u", "port": 81, "targetPort": PORT, "protocol": "UDP"},
        ],
    )
    tcp, udp = (port["nodePort"] for port in service["spec"]["ports"])
    for place in (*network.everyone, network.servers[0]):
        for address in network.node_ips:
            wait_programmed(place, address, tcp)
            wait_programmed(place, address, udp, protocol="udp")


def test_external_ips_lead_to_the_pods(network: Network) -> None:
    service = network.service(externalIPs=["203.0.113.7"])
    for place in network.everyone:
        wait_programmed(place, "203.0.113.7", 80)
    network.patch(service, externalIPs=None)
    until(lambda: outcome(lambda: network.clients[0].tcp("203.0.113.7", 80, seconds=0.2)) != "answered")


def test_a_client_with_session_affinity_stays_with_one_pod_until_it_is_switched_off(network: Network) -> None:
    """Conformance: "should be able to switch session affinity", for ClusterIP and NodePort."""
    service = network.service(type="NodePort")
    address, node_port = service["spec"]["clusterIP"], service["spec"]["ports"][0]["nodePort"]
    ways = ((address, 80), (network.node_ips[1], node_port))
    for place in network.everyone:
        for way in ways:
            wait_programmed(place, *way)
    network.patch(service, sessionAffinity="ClientIP")
    for place in network.everyone:
        for way in ways:
            until(lambda: len(place.count(*way, times=15)), 1)  # noqa: B023
            assert len(place.count(*way, times=40)) == 1
    network.patch(service, sessionAffinity="None")
    for place in network.everyone:
        for way in ways:
            wait_programmed(place, *way)


def test_session_affinity_ends_after_its_time(network: Network) -> None:
    service = network.service(
        sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 1}}
    )  # fmt: skip
    address = service["spec"]["clusterIP"]
    client = network.clients[0]
    until(lambda: outcome(lambda: client.tcp(address, 80)), "answered")
    assert len(client.count(address, 80, times=30)) == 1
    seen = set()
    for _ in range(12):
        seen.add(client.tcp(address, 80).name)
        if len(seen) > 1:
            return
        quiet = time.monotonic() + 1.1  # nothing is sent for longer than the time-out
        until(lambda: time.monotonic() > quiet)  # noqa: B023
    raise AssertionError(f"twelve times the same pod: {seen}")


def test_the_internal_policy_local_uses_pods_of_the_clients_node_only(network: Network) -> None:
    service = network.service(internalTrafficPolicy="Local")
    address = service["spec"]["clusterIP"]
    wait_programmed(network.clients[0], address, 80, {"server-1"})
    wait_programmed(network.clients[1], address, 80, {"server-2"})
    elsewhere = network.service(selector=None, internalTrafficPolicy="Local")
    network.endpoints(elsewhere, endpoint(network.servers[2]))
    address = elsewhere["spec"]["clusterIP"]
    wait_programmed(network.servers[2], address, 80, {"server-3"})
    before = network.echo.received.copy()
    assert outcome(lambda: network.clients[0].tcp(address, 80, seconds=0.3)) == "lost"
    assert not network.echo.received - before


def test_the_external_policy_local_uses_pods_of_the_node_that_is_asked(network: Network) -> None:
    service = network.service(
        selector=None, type="NodePort", externalTrafficPolicy="Local", ports=[{"port": 80, "targetPort": PORT}]
    )
    network.endpoints(service, endpoint(network.servers[0]), endpoint(network.servers[1]))
    node_port = service["spec"]["ports"][0]["nodePort"]
    wait_programmed(MACHINE, network.node_ips[0], node_port, {"server-1"})
    wait_programmed(MACHINE, network.node_ips[1], node_port, {"server-2"})
    assert outcome(lambda: MACHINE.tcp(network.node_ips[2], node_port, seconds=0.3)) == "lost"
    # A node's own pods are inside, and every endpoint will do for them; those of another node come from outside.
    inside, outside = network.clients
    wait_programmed(inside, network.node_ips[0], node_port, {"server-1", "server-2"})
    wait_programmed(outside, network.node_ips[0], node_port, {"server-1"})
    assert outcome(lambda: outside.tcp(network.node_ips[2], node_port, seconds=0.3)) == "lost"


def test_clients_prefer_pods_of_their_own_node_when_the_service_says_so(network: Network) -> None:
    service = network.service(trafficDistribution="PreferSameNode")
    address = service["spec"]["clusterIP"]
    wait_programmed(network.clients[0], address, 80, {"server-1"})
    wait_programmed(network.clients[1], address, 80, {"server-2"})


def test_zone_hints_keep_clients_in_their_zone(network: Network) -> None:
    for number, zone in ((1, "a"), (2, "b"), (3, "b")):
        network.k("label", "node", f"node-{number}", f"topology.kubernetes.io/zone={zone}", "--overwrite")
    try:
        service = network.service(trafficDistribution="PreferSameZone")
        address = service["spec"]["clusterIP"]
        wait_programmed(network.clients[0], address, 80, {"server-1"})
        wait_programmed(network.clients[1], address, 80, {"server-2", "server-3"})
        # Without a pod on a client's node, that of its zone (KEP-3015).
        service = network.service(selector=None, trafficDistribution="PreferSameNode")
        hints = [
            {"forNodes": [{"name": f"node-{number}"}], "forZones": [{"name": zone}]}
            for number, zone in ((1, "a"), (3, "b"))
        ]
        network.endpoints(
            service, endpoint(network.servers[0], hints=hints[0]), endpoint(network.servers[2], hints=hints[1])
        )
        wait_programmed(network.clients[0], service["spec"]["clusterIP"], 80, {"server-1"})
        wait_programmed(network.clients[1], service["spec"]["clusterIP"], 80, {"server-3"})
        # One hint is missing: none counts.
        network.endpoints(service, endpoint(network.servers[0]), endpoint(network.servers[2], hints=hints[1]))
        wait_programmed(network.clients[1], service["spec"]["clusterIP"], 80, {"server-1", "server-3"})
        # Three zones of the same size have a pod each (KEP-2433).
        network.k("label", "node", "node-3", "topology.kubernetes.io/zone=c", "--overwrite")
        service = network.service()
        name = service["metadata"]["name"]
        network.k("annotate", "service", name, "service.kubernetes.io/topology-mode=Auto")
        wait_programmed(network.clients[0], service["spec"]["clusterIP"], 80, {"server-1"})
        wait_programmed(network.clients[1], service["spec"]["clusterIP"], 80, {"server-2"})
    finally:
        for number in (1, 2, 3):
            network.k("label", "node", f"node-{number}", "topology.kubernetes.io/zone-")


def test_endpoints_that_go_serve_only_while_there_is_no_other(network: Network) -> None:
    """KEP-1669."""
    service = network.service(selector=None)
    going = {"conditions": {"ready": False, "serving": True, "terminating": True}}
    network.endpoints(service, endpoint(network.servers[0], **going), endpoint(network.servers[1]))
    address = service["spec"]["clusterIP"]
    wait_programmed(network.clients[0], address, 80, {"server-2"})
    network.endpoints(service, endpoint(network.servers[0], **going))
    wait_programmed(network.clients[0], address, 80, {"server-1"})
    gone = {"conditions": {"ready": False, "serving": False, "terminating": True}}
    network.endpoints(service, endpoint(network.servers[0], **gone))
    until(lambda: outcome(lambda: network.clients[0].tcp(address, 80)), "refused")


def test_pods_that_are_not_ready_serve_only_if_they_may(network: Network) -> None:
    late = pod("late", readinessGates=[{"conditionType": "example.com/never"}], nodeName="node-1")
    late["metadata"]["labels"] = {"app": "late"}
    apply(network.k, late)
    pods = network.k.wait_for(
        "pods", lambda pods: any(p.get("status", {}).get("phase") == "Running" for p in pods), selector="app=late"
    )
    place = place_of(pods[0])
    network.echo.serve(place, tcp=(PORT,))
    service = network.service(selector={"app": "late"})
    address = service["spec"]["clusterIP"]
    until(lambda: outcome(lambda: network.clients[0].tcp(address, 80)), "refused")
    network.patch(service, publishNotReadyAddresses=True)
    wait_programmed(network.clients[0], address, 80, {"late"})
    network.patch(service, publishNotReadyAddresses=False)
    until(lambda: outcome(lambda: network.clients[0].tcp(address, 80)), "refused")
    network.k("delete", "pod", "late", "--wait=false")


def test_a_service_changes_its_type(network: Network) -> None:
    """Conformance: type changes between ExternalName, ClusterIP and NodePort."""
    name = f"service-{next(_numbers)}"
    apply(network.k, {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "ExternalName", "externalName": "elsewhere.example"},
    })  # fmt: skip
    service = network.k.json("get", "service", name)
    service = network.patch(
        service,
        type="ClusterIP",
        externalName=None,
        selector={"app": "server"},
        ports=[{"port": 80, "targetPort": PORT}],
    )
    address = service["spec"]["clusterIP"]
    wait_programmed(network.clients[0], address, 80)
    service = network.patch(service, type="NodePort")
    node_port = service["spec"]["ports"][0]["nodePort"]
    wait_programmed(MACHINE, network.node_ips[2], node_port)
    service = network.patch(service, type="ClusterIP", ports=[{"port": 80, "targetPort": PORT, "nodePort": None}])
    until(lambda: outcome(lambda: MACHINE.tcp(network.node_ips[2], node_port)), "refused")
    wait_programmed(network.clients[0], address, 80)
    network.patch(service, type="ExternalName", externalName="elsewhere.example", clusterIP=None, clusterIPs=None)
    until(lambda: outcome(lambda: network.clients[0].tcp(address, 80, seconds=0.3)) != "answered")


def test_a_udp_conversation_moves_on_when_its_pod_goes(network: Network) -> None:
    """Conformance: "should be able to preserve UDP traffic when server pod cycles"."""
    service = network.service(selector=None, ports=[{"port": 53, "targetPort": PORT, "protocol": "UDP"}])
    address = service["spec"]["clusterIP"]
    with network.clients[0].socket(socket.SOCK_DGRAM) as conversation:
        conversation.settimeout(0.5)
        conversation.bind(("0.0.0.0", 45_678))

        def ask() -> str:
            conversation.sendto(b"?", (address, 53))
            return conversation.recv(100).decode().split()[0]

        network.endpoints(service, endpoint(network.servers[0]))
        until(ask, "server-1")
        network.endpoints(service, endpoint(network.servers[1]))
        until(ask, "server-2")
        network.endpoints(service)
        until(lambda: outcome(ask) == "lost" or outcome(ask) == "refused")
        network.endpoints(service, endpoint(network.servers[2]))
        until(ask, "server-3")


def test_host_ports_with_different_addresses_and_protocols_live_side_by_side(network: Network) -> None:
    """Conformance: "no conflict between pods with same hostPort but different hostIP and protocol".

    An address of the machine, which all nodes share, leads to the first pod that names it.
    """
    node, machine = network.node_ips[0], str(ip_address(network.node_ips[0]) - 1)
    wanted = [(node, "TCP"), (machine, "TCP"), (machine, "UDP")]
    manifests = []
    for number, (address, protocol) in enumerate([*wanted, (machine, "TCP")]):
        port = {"containerPort": PORT, "hostPort": 54_321, "hostIP": address, "protocol": protocol}
        manifest = pod(f"port-{number}", nodeName="node-1" if number < len(wanted) else "node-2")
        manifest["metadata"]["labels"] = {"app": "ported"}
        manifest["spec"]["containers"][0]["ports"] = [port]
        manifests.append(manifest)
    apply(network.k, *manifests[:3])
    network.k.wait_for("pods", lambda pods: len(pods) == 3 and all(map(is_ready, pods)), selector="app=ported")
    apply(network.k, manifests[3])
    pods = network.k.wait_for("pods", lambda pods: len(pods) == 4 and all(map(is_ready, pods)), selector="app=ported")
    for one in pods:
        network.echo.serve(place_of(one), tcp=(PORT,), udp=(PORT,))
    for place in network.everyone:
        for number, (address, protocol) in enumerate(wanted):
            ask = place.tcp if protocol == "TCP" else place.udp
            until(lambda: ask(address, 54_321).name, f"port-{number}")  # noqa: B023
    network.k("delete", "pods", "-l", "app=ported", "--wait=false")


def test_rules_that_somebody_flushes_are_written_again(network: Network) -> None:
    address = network.service()["spec"]["clusterIP"]
    wait_programmed(network.clients[0], address, 80)
    table = service_table(network.process)
    for command in (("flush", "table", "ip", table), ("delete", "table", "ip", table)):
        subprocess.run(["nft", *command], check=True)
        wait_programmed(network.clients[0], address, 80)


def test_a_change_is_one_transaction_that_touches_nothing_else(network: Network) -> None:
    table = service_table(network.process)
    before = rules_of_others()
    service = network.service()
    wait_programmed(network.clients[0], service["spec"]["clusterIP"], 80)
    assert rules_of_others() == before
    network.k("delete", "service", service["metadata"]["name"])
    until(lambda: service["spec"]["clusterIP"] not in nft("list", "table", "ip", table))


def test_a_service_of_many_endpoints_is_a_change_like_any_other(network: Network) -> None:
    """The chain that picks one of so many is not there from the start; nothing else is written for it."""
    table = service_table(network.process)
    before = handle_of(table)
    ports = range(9_000, 9_007)
    for server in network.servers:
        network.echo.serve(server, tcp=tuple(ports))
    service = network.service(selector=None, type="NodePort")
    name, address = service["metadata"]["name"], service["spec"]["clusterIP"]
    for port in ports:
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-{port}", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [endpoint(server) for server in network.servers],
            "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        }
        network.k("apply", "-f", "-", stdin=json.dumps(slice_))
    until(lambda: "random mod 21 map @targets" in nft("list", "chain", "ip", table, "pick_21"))
    for place in network.everyone:
        counted = place.count(address, 80, times=150)
        assert all(25 <= counted[name] <= 80 for name in ALL), counted
    assert set(MACHINE.count(network.node_ips[0], service["spec"]["ports"][0]["nodePort"], times=40)) == ALL
    network.k("delete", "service", name)
    until(lambda: "pick_21" not in nft("list", "table", "ip", table))
    assert handle_of(table) == before, "the whole table was written anew"


def handle_of(table: str) -> int:
    """The kernel's number for a table; a table that is made again has another."""
    tables = (item.get("table") or {} for item in json.loads(nft("-j", "list", "tables"))["nftables"])
    return next(int(one["handle"]) for one in tables if one.get("name") == table)


def nft(*arguments: str) -> str:
    """Run nft; its output."""
    return subprocess.run(["nft", *arguments], check=True, capture_output=True, text=True).stdout


def service_table(process: OrchestratorProcess) -> str:
    """The table that the proxy of this cluster keeps."""
    return f"orchestrator_svc_{hashlib.sha256(process.cluster_id.encode()).hexdigest()[:8]}"


def rules_of_others() -> list[str]:
    """Docker's rules as they are; packet counters do not count."""
    listing = nft("list", "table", "ip", "nat") + nft("list", "table", "ip", "filter")
    return re.sub(r"packets \d+ bytes \d+", "", listing).splitlines()


def test_the_health_check_port_tells_which_nodes_have_pods(network: Network) -> None:
    service = network.service(selector=None, type="LoadBalancer", externalTrafficPolicy="Local")
    network.endpoints(service, endpoint(network.servers[0]))
    port = service["spec"]["healthCheckNodePort"]

    def check(address: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(f"http://{address}:{port}/healthz", timeout=2) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    name = {"namespace": network.k.namespace, "name": service["metadata"]["name"]}
    serving = {"service": name, "localEndpoints": 1, "serviceProxyHealthy": True}
    until(lambda: check(network.node_ips[0]), (200, serving))
    until(lambda: check(network.node_ips[1]), (503, {**serving, "localEndpoints": 0}))
    network.endpoints(service, endpoint(network.servers[1]))
    until(lambda: check(network.node_ips[0])[0], 503)
    until(lambda: check(network.node_ips[1])[0], 200)
    network.patch(service, externalTrafficPolicy="Cluster")
    until(lambda: outcome(lambda: MACHINE.tcp(network.node_ips[1], port)), "refused")


def test_a_load_balancer_gets_an_address_that_leads_to_the_pods(network: Network) -> None:
    service = network.service(type="LoadBalancer", loadBalancerSourceRanges=["0.0.0.0/0"])
    name = service["metadata"]["name"]

    def balancer(services: list[dict[str, Any]]) -> str:
        return next(
            (
                ingress["ip"]
                for one in services
                if one["metadata"]["name"] == name
                for ingress in one["status"]["loadBalancer"].get("ingress", ())
            ),
            "",
        )

    address = balancer(network.k.wait_for("services", lambda services: bool(balancer(services))))
    assert address.startswith("203.0.113.1")
    for place in network.everyone:
        wait_programmed(place, address, 80)
    network.patch(service, loadBalancerSourceRanges=[f"{network.clients[0].address}/32"])
    until(lambda: outcome(lambda: network.clients[1].tcp(address, 80, seconds=0.3)), "lost")
    wait_programmed(network.clients[0], address, 80)


def test_a_load_balancer_of_somebody_else_is_served_where_its_address_leads_to_the_nodes(network: Network) -> None:
    """`ipMode` (KEP-1860), without node ports, and with different policies inside and outside."""
    service = network.service(
        type="LoadBalancer",
        loadBalancerClass="example.com/balancer",
        allocateLoadBalancerNodePorts=False,
        internalTrafficPolicy="Local",
    )
    assert "nodePort" not in service["spec"]["ports"][0]
    name, address = service["metadata"]["name"], "203.0.113.250"

    def tell(mode: str) -> None:
        status = {"status": {"loadBalancer": {"ingress": [{"ip": address, "ipMode": mode}]}}}
        network.k("patch", "service", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))

    tell("VIP")
    for place in network.everyone:
        wait_programmed(place, address, 80)
    wait_programmed(network.clients[0], service["spec"]["clusterIP"], 80, {"server-1"})
    tell("Proxy")
    until(lambda: outcome(lambda: network.clients[0].tcp(address, 80, seconds=0.2)) != "answered")
    wait_programmed(network.clients[0], service["spec"]["clusterIP"], 80, {"server-1"})
