"""Ranges, helpers and host ports of a network on Docker's."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from orchestrator.component.places import MACHINE, Listener
from orchestrator.kubelet.docker.network.plan import (
    Interpreter,
    candidates,
    default_interface,
    helper_settings,
    network_config,
    parse_routes,
    plan_forwards,
    plan_ranges,
    ranges_of,
    services_address,
    subnets_of,
)
from orchestrator.kubelet.network.plan import ClusterCidrs, HostPort, MachinePort, Reservation, machine_address
from orchestrator.kubelet.network.sandbox_network import Endpoint

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
orc12345678\t0000F40A\t00000000\t0001\t0\t0\t0\t0000FCFF\t0\t0\t0
"""


def cidrs(pods: str, services: str, nodes: str) -> ClusterCidrs:
    return ClusterCidrs(IPv4Network(pods), IPv4Network(services), IPv4Network(nodes))


FAR_APART = cidrs("10.244.0.0/16", "10.96.0.0/16", "172.30.0.0/24")
CLOSE = cidrs("10.60.0.0/16", "10.61.0.0/20", "10.62.5.0/24")


def test_the_first_candidate_and_its_parts() -> None:
    first = next(candidates())
    assert first.network == IPv4Network("10.244.0.0/14")
    assert first.parts == cidrs("10.244.0.0/16", "10.245.0.0/16", "10.246.0.0/24")
    assert str(machine_address(first.parts)) == "10.246.0.1"
    assert str(services_address(first.parts)) == "10.246.0.254"


def test_candidates_never_overlap() -> None:
    networks = [one.network for one in candidates()]
    assert not any(one.overlaps(other) for n, one in enumerate(networks) for other in networks[n + 1 :])
    for one in candidates():
        assert all(part.subnet_of(one.network) for part in (one.parts.pods, one.parts.services, one.parts.nodes))


def test_parts_lie_in_the_smallest_network_that_has_them_all() -> None:
    found = ranges_of(CLOSE)
    assert found is not None
    assert found.network == IPv4Network("10.60.0.0/14")
    assert ranges_of(FAR_APART) is None


def test_what_is_taken_is_passed_over() -> None:
    taken = [IPv4Network("0.0.0.0/0"), IPv4Network("10.245.7.0/24"), IPv4Network("10.240.0.0/14")]
    assert plan_ranges(taken)[0].network == IPv4Network("10.236.0.0/14")
    assert plan_ranges([IPv4Network("10.0.0.0/8")]) == []


def test_the_preferred_ranges_come_first_while_they_are_free() -> None:
    assert plan_ranges([], preferred=CLOSE)[0].parts == CLOSE
    assert plan_ranges([IPv4Network("10.60.0.0/16")], preferred=CLOSE)[0] == next(candidates())


def test_preferred_ranges_that_share_no_network_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"10\.96\.0\.0/16.*one network"):
        plan_ranges([], preferred=FAR_APART)


def test_routes_of_the_machine() -> None:
    found = parse_routes(ROUTES, without="orc12345678")
    assert found == [IPv4Network("0.0.0.0/0"), IPv4Network("172.17.0.0/16")]
    assert default_interface(ROUTES) == "eth0"
    assert default_interface("Iface\n") == ""


def test_the_network_that_is_asked_for_is_the_one_that_is_found() -> None:
    ranges = next(candidates())
    body = network_config("abc", ranges, mtu=1400)
    assert subnets_of(body) == [ranges.network]
    assert body["Labels"] == {"orchestrator.dev/cluster": "abc"}
    assert body["Options"]["com.docker.network.driver.mtu"] == "1400"


INTERPRETER = Interpreter("/opt/py/bin/python3", "/opt/py", "/srv/orchestrator", ("/usr", "/lib"))
BARE = {"DAC_OVERRIDE"}


@pytest.mark.parametrize(
    ("local_range", "files_root", "capabilities"),
    [
        ("", "", BARE),
        ("10.245.0.0/16", "", BARE | {"NET_ADMIN"}),
        ("", "/data", BARE | {"CHOWN", "FOWNER", "FSETID"}),
    ],
)
def test_a_helper_has_only_the_rights_that_its_work_takes(
    local_range: str, files_root: str, capabilities: set[str]
) -> None:
    endpoint = Endpoint("net", "10.246.0.2")
    body = helper_settings(
        INTERPRETER, folder="/data/h", endpoint=endpoint, local_range=local_range, files_root=files_root
    )
    host = body["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert set(host["CapAdd"]) == capabilities
    assert host["ReadonlyRootfs"]
    assert host["NetworkMode"] == "net"
    writable = {mount["Source"] for mount in host["Mounts"] if not mount["ReadOnly"]}
    assert writable == {"/data/h"} | ({files_root} if files_root else set())
    assert body["NetworkingConfig"]["EndpointsConfig"]["net"]["IPAMConfig"]["IPv4Address"] == "10.246.0.2"


@pytest.mark.parametrize(
    ("prefix", "shown"),
    [
        pytest.param("/opt/py", ["/usr", "/lib", "/opt/py"], id="an installation of its own"),
        pytest.param("/usr", ["/usr", "/lib"], id="the machine's"),
        pytest.param("/usr/local", ["/usr", "/lib"], id="below what is there anyway"),
    ],
)
def test_a_helper_sees_the_interpreter_and_nothing_else(prefix: str, shown: list[str]) -> None:
    interpreter = Interpreter(f"{prefix}/bin/python3", prefix, "/srv/orchestrator", ("/usr", "/lib"))
    mounts = helper_settings(interpreter, folder="/data/h", network="container:x")["HostConfig"]["Mounts"]
    assert [mount["Source"] for mount in mounts] == [*shown, "/srv/orchestrator", "/data/h"]


def reservation(*ports: HostPort, machine: tuple[MachinePort, ...] = ()) -> Reservation:
    return Reservation(IPv4Address("10.244.0.5"), "id", "node-1", "10.246.0.2", ports, machine)


def test_a_host_port_answers_on_its_node_and_once_on_the_machine() -> None:
    port = HostPort("tcp", 8080, 80)
    node, machine = Listener("node-1", "0.0.0.0", "tcp", 8080), Listener(MACHINE, "0.0.0.0", "tcp", 8080)
    assert plan_forwards([reservation(port, machine=(("tcp", 8080, ""),))]) == dict.fromkeys(
        (node, machine), ("10.244.0.5", 80)
    )
    assert set(plan_forwards([reservation(port)])) == {node}


@pytest.mark.parametrize(
    ("host_ip", "place"),
    [("10.246.0.2", "node-1"), ("127.0.0.1", "node-1"), ("192.0.2.7", MACHINE)],
)
def test_a_host_port_on_one_address(host_ip: str, place: str) -> None:
    machine = (("udp", 53, host_ip),) if place == MACHINE else ()
    found = plan_forwards([reservation(HostPort("udp", 53, 5353, host_ip), machine=machine)])
    assert found == {Listener(place, host_ip, "udp", 53): ("10.244.0.5", 5353)}


def test_a_host_port_on_an_address_that_another_pod_has_leads_nowhere() -> None:
    assert plan_forwards([reservation(HostPort("udp", 53, 5353, "192.0.2.7"))]) == {}


@pytest.mark.parametrize("port", [HostPort("sctp", 1, 2), HostPort("tcp", 1, 2, "fd00::1")], ids=["SCTP", "IPv6"])
def test_host_ports_that_are_not_carried(port: HostPort) -> None:
    assert plan_forwards([reservation(port)]) == {}
