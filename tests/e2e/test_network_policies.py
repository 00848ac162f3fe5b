"""NetworkPolicies with real packets, on one node and across two: what is not allowed does not arrive.

Source: kubernetes.io/docs/concepts/services-networking/network-policies.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.manifests import apply, container, pod
from tests.e2e.orchestrator_process import Kubectl, is_ready
from tests.e2e.packets import Echo, Place, outcome, place_of, sctp_init, until

PORT, OTHER_PORT = 8000, 8001
LOST_SECONDS = 0.3
MACHINE = Place("machine")
_numbers = itertools.count(1)


@dataclass
class Pods:
    """A server, and clients beside it, on the other node and in another namespace."""

    k: Kubectl
    other: Kubectl
    echo: Echo
    server: Place
    near: Place
    far: Place
    stranger: Place

    def allow(self, **spec: Any) -> str:
        """Create a policy for the server."""
        name = f"policy-{next(_numbers)}"
        spec = {"podSelector": {"matchLabels": {"app": "server"}}, **spec}
        apply(self.k, {
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec,
        })  # fmt: skip
        return name

    def reached(self, port: int = PORT, protocol: str = "tcp") -> set[str]:
        """Which clients get an answer from the server."""
        return {
            client.name
            for client in (self.near, self.far, self.stranger)
            if outcome(lambda: ask(client, self.server.address, port, protocol)) == "answered"  # noqa: B023
        }


def ask(client: Place, address: str, port: int, protocol: str = "tcp") -> str:
    """Who answers."""
    send = client.tcp if protocol == "tcp" else client.udp
    return send(address, port, seconds=LOST_SECONDS).name


def labelled(name: str, node: str) -> dict[str, Any]:
    one = pod(name, container(ports=[{"name": "web", "containerPort": PORT}]), nodeName=node)
    one["metadata"]["labels"] = {"app": name}
    return one


@pytest.fixture
def pods(k: Kubectl) -> Iterator[Pods]:
    """The pods, without any policy yet."""
    other = Kubectl(k.program, k.process, namespace=f"{k.namespace}-other")
    k("create", "namespace", other.namespace)
    k("label", "namespace", other.namespace, "team=blue")
    other.wait_for("serviceaccounts", lambda accounts: bool(accounts))
    apply(k, labelled("server", "node-1"), labelled("near", "node-1"), labelled("far", "node-2"))
    apply(other, labelled("stranger", "node-2"))
    found = [
        *k.wait_for("pods", lambda pods: len(pods) == 3 and all(map(is_ready, pods))),
        *other.wait_for("pods", lambda pods: len(pods) == 1 and all(map(is_ready, pods))),
    ]
    places = {one["metadata"]["name"]: place_of(one) for one in found}
    echo = Echo()
    for place in places.values():
        echo.serve(place, tcp=(PORT, OTHER_PORT), udp=(PORT,))
    yield Pods(k, other, echo, places["server"], places["near"], places["far"], places["stranger"])
    echo.close()
    k("delete", "namespace", other.namespace, "--wait=false")


EVERYBODY = {"near", "far", "stranger"}
NOBODY: set[str] = set()


def test_ingress(pods: Pods) -> None:
    """From open over closed to rules of every kind, and open again."""
    assert pods.reached() == EVERYBODY
    names = [pods.allow(policyTypes=["Ingress"])]
    until(pods.reached, NOBODY)
    before = pods.echo.received.copy()
    assert pods.reached() == set()
    assert not pods.echo.received - before  # counted where they would arrive
    assert MACHINE.tcp(pods.server.address, PORT).name == "server"  # the node itself is always allowed
    assert pods.server.tcp(pods.server.address, PORT).name == "server"  # and so is the pod

    names.append(pods.allow(ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "far"}}}]}]))
    until(pods.reached, {"far"})
    names.append(pods.allow(ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "blue"}}}]}]))
    until(pods.reached, {"far", "stranger"})
    pods.k("label", "namespace", pods.other.namespace, "team=red", "--overwrite")
    until(pods.reached, {"far"})
    pods.k("label", "pod", "near", "app=far", "--overwrite")
    until(pods.reached, {"far", "near"})
    pods.k("delete", "networkpolicy", *names)
    until(pods.reached, EVERYBODY)


def test_ports(pods: Pods) -> None:
    name = pods.allow(ingress=[{"ports": [{"port": "web"}]}])
    until(lambda: (pods.reached(), pods.reached(OTHER_PORT), pods.reached(protocol="udp")), (EVERYBODY, NOBODY, NOBODY))
    pods.k("delete", "networkpolicy", name)
    pods.allow(ingress=[{"ports": [{"port": OTHER_PORT, "endPort": 9000}, {"protocol": "UDP", "port": PORT}]}])
    until(
        lambda: (pods.reached(), pods.reached(OTHER_PORT), pods.reached(protocol="udp")), (NOBODY, EVERYBODY, EVERYBODY)
    )


def test_ports_of_sctp(pods: Pods) -> None:
    """INIT chunks from raw sockets, which need no SCTP of the kernel; counted where they arrive."""
    allowed, closed = 36_412, 36_413
    with pods.server.socket(socket.SOCK_RAW, socket.IPPROTO_SCTP) as server:
        server.settimeout(LOST_SECONDS)

        def arriving() -> set[int]:
            """Which of the two ports an INIT reaches."""
            source = 40_000 + next(_numbers)
            with pods.far.socket(socket.SOCK_RAW, socket.IPPROTO_SCTP) as sender:
                for port in (closed, allowed):
                    sender.sendto(sctp_init(source, port), (pods.server.address, port))
            found: set[int] = set()
            try:
                while len(found) < 2:
                    sent_from, port = struct.unpack_from("!HH", server.recv(1500), 20)
                    if sent_from == source:
                        found.add(port)
            except TimeoutError:
                pass
            return found

        until(arriving, {allowed, closed})
        pods.allow(ingress=[{"ports": [{"protocol": "SCTP", "port": allowed}]}])
        until(arriving, {allowed})
        assert pods.reached() == NOBODY


def test_blocks_of_addresses_with_exceptions(pods: Pods) -> None:
    block = {"cidr": "10.0.0.0/8", "except": [f"{pods.far.address}/32", f"{pods.stranger.address}/32"]}
    pods.allow(ingress=[{"from": [{"ipBlock": block}]}])
    until(pods.reached, {"near"})


def test_egress_is_checked_where_services_lead(pods: Pods) -> None:
    apply(pods.k, {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "far"},
        "spec": {"selector": {"app": "far"}, "ports": [{"port": 80, "targetPort": PORT}]},
    })  # fmt: skip
    address = pods.k.json("get", "service", "far")["spec"]["clusterIP"]
    until(lambda: ask(pods.server, address, 80), "far")
    far = {"podSelector": {"matchLabels": {"app": "far"}}}
    name = pods.allow(policyTypes=["Egress"], egress=[{"to": [far], "ports": [{"port": "web"}]}])

    def reached() -> set[str]:
        targets = {"near": (pods.near.address, PORT), "far": (pods.far.address, PORT), "service": (address, 80),
                   "other port": (pods.far.address, OTHER_PORT)}  # fmt: skip
        return {
            what
            for what, target in targets.items()
            if outcome(lambda: ask(pods.server, *target)) == "answered"  # noqa: B023
        }

    until(reached, {"far", "service"})
    assert pods.reached() == EVERYBODY  # answers are no egress
    # Cluster DNS answers on the node.
    dns = pods.k.json("get", "service", "kube-dns", "-n", "kube-system")["spec"]["clusterIP"]
    with pods.server.socket() as connection:
        connection.settimeout(2)
        connection.connect((dns, 53))
    pods.k("patch", "networkpolicy", name, "--type=merge", "-p", json.dumps({"spec": {"egress": []}}))
    until(reached, NOBODY)
    pods.k("delete", "networkpolicy", name)
    until(reached, {"near", "far", "service", "other port"})


def test_a_policy_ends_connections_that_live(pods: Pods) -> None:
    with pods.far.socket(socket.SOCK_DGRAM) as conversation:
        conversation.settimeout(LOST_SECONDS)
        conversation.connect((pods.server.address, PORT))

        def talk() -> str:
            conversation.send(b"?")
            return conversation.recv(100).decode().split()[0]

        assert talk() == "server"
        name = pods.allow(policyTypes=["Ingress"])
        until(lambda: outcome(talk), "lost")
        pods.k("delete", "networkpolicy", name)
        until(talk, "server")


def test_the_table_is_repaired_and_goes_with_the_last_policy(pods: Pods) -> None:
    digest = hashlib.sha256(pods.k.process.cluster_id.encode()).hexdigest()[:8]
    table = f"orchestrator_pol_{digest}"
    name = pods.allow(policyTypes=["Ingress"])
    until(pods.reached, NOBODY)
    for command in (("flush", "table", "ip", table), ("delete", "table", "ip", table)):
        subprocess.run(["nft", *command], check=True)
        until(pods.reached, NOBODY)
    pods.k("delete", "networkpolicy", name)
    until(pods.reached, EVERYBODY)

    def tables() -> str:
        return subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout

    until(lambda: table not in tables())


def test_a_new_pod_is_isolated_before_its_first_container_starts(pods: Pods) -> None:
    """kubernetes.io "Pod lifecycle": filtering is effective from the very first instant on."""
    pods.allow(podSelector={"matchLabels": {"app": "eager"}}, policyTypes=["Egress"])
    digest = hashlib.sha256(pods.k.process.cluster_id.encode()).hexdigest()[:8]
    until(lambda: "policy_egress" in nft("list", "table", "ip", f"orchestrator_pol_{digest}"))
    connect = f"busybox nc -w 1 {pods.server.address} {PORT} </dev/null 2>&1 | grep server"
    eager = []
    for number in range(4):
        one = pod(f"eager-{number}", container(f"{connect} || {connect} || echo isolated"), restartPolicy="Never")
        one["metadata"]["labels"] = {"app": "eager"}
        eager.append(one)
    apply(pods.k, *eager)
    pods.k.wait_for(
        "pods",
        lambda found: len(found) == len(eager) and all(one["status"]["phase"] == "Succeeded" for one in found),
        selector="app=eager",
    )
    assert {pods.k("logs", one["metadata"]["name"]) for one in eager} == {"isolated\n"}


def nft(*arguments: str) -> str:
    """Run nft; its output, or nothing when it fails."""
    return subprocess.run(["nft", *arguments], check=False, capture_output=True, text=True).stdout
