"""Address ranges, addresses and firewall text of the pod network."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kubelet.network.plan import (
    ClusterCidrs,
    HostPort,
    MachinePort,
    Reservation,
    bridge_mac,
    bridge_name,
    forward_comment,
    gateway,
    machine_address,
    machine_ports_of,
    node_mac,
    plan_address,
    plan_cidrs,
    plan_forward_removal,
    plan_forward_rules,
    plan_host_ports,
    plan_node_ruleset,
    plan_ruleset,
    veth_name,
    veth_prefix,
)

CIDR = IPv4Network("10.244.0.0/24")
DEFAULT = ClusterCidrs(IPv4Network("10.244.0.0/16"), IPv4Network("10.96.0.0/16"), IPv4Network("10.192.0.0/24"))


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([], DEFAULT),
        (["0.0.0.0/0", "192.0.2.0/24", "172.17.0.0/16"], DEFAULT),
        (["10.244.7.0/24"], ClusterCidrs(IPv4Network("10.245.0.0/16"), DEFAULT.services, DEFAULT.nodes)),
        (
            ["10.244.0.0/15", "10.96.0.0/12", "10.192.0.5/32"],
            None,
        ),
        (
            ["10.244.0.0/15", "10.96.0.0/15", "10.192.0.5/32"],
            ClusterCidrs(IPv4Network("10.246.0.0/16"), IPv4Network("10.98.0.0/16"), IPv4Network("10.192.1.0/24")),
        ),
    ],
)
def test_ranges_avoid_what_is_routed_already(routes: list[str], expected: ClusterCidrs | None) -> None:
    networks = [IPv4Network(route) for route in routes]
    assert plan_cidrs(networks) == (
        expected
        or ClusterCidrs(IPv4Network("10.246.0.0/16"), IPv4Network("10.112.0.0/16"), IPv4Network("10.192.1.0/24"))
    )


def test_earlier_ranges_are_kept_while_they_are_free() -> None:
    earlier = ClusterCidrs(IPv4Network("10.250.0.0/16"), IPv4Network("10.100.0.0/16"), IPv4Network("10.192.9.0/24"))
    assert plan_cidrs([IPv4Network("10.244.0.0/16")], preferred=earlier) == earlier
    assert plan_cidrs([IPv4Network("10.250.1.0/24")], preferred=earlier) == DEFAULT


def test_no_room_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="no free address range for pods"):
        plan_cidrs([IPv4Network("10.0.0.0/8")])


def test_ranges_survive_json() -> None:
    assert ClusterCidrs.from_json(DEFAULT.to_json()) == DEFAULT


@given(st.text(min_size=1, max_size=80), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_interface_names_fit_the_kernel(cluster_id: str, sandbox_id: str) -> None:
    assert len(bridge_name(cluster_id)) <= 15
    assert len(veth_name(cluster_id, sandbox_id)) == 15
    assert veth_name(cluster_id, sandbox_id).startswith(veth_prefix(cluster_id))
    first = int(bridge_mac(cluster_id)[:2], 16)
    assert (first & 1, first & 2) == (0, 2), "unicast and locally administered"


@given(st.sets(st.integers(2, 254)), st.one_of(st.none(), st.integers(0, 255)))
def test_addresses_are_free_and_usable(taken_numbers: set[int], last: int | None) -> None:
    taken = {CIDR.network_address + number for number in taken_numbers}
    address = plan_address(CIDR, taken, None if last is None else CIDR.network_address + last)
    if len(taken) == 253:
        assert address is None
    else:
        assert address is not None
        assert address not in taken
        assert CIDR.network_address + 2 <= address <= CIDR.network_address + 254
        assert address != gateway(CIDR)


def test_addresses_go_round() -> None:
    assert plan_address(CIDR, set(), None) == IPv4Address("10.244.0.2")
    assert plan_address(CIDR, set(), IPv4Address("10.244.0.2")) == IPv4Address("10.244.0.3")
    assert plan_address(CIDR, set(), IPv4Address("10.244.0.254")) == IPv4Address("10.244.0.2")


def test_the_ruleset_replaces_the_table_in_one_transaction() -> None:
    text = plan_ruleset("c", DEFAULT)
    table = text.split()[2]
    assert text.startswith(f"table ip {table} {{}}\ndelete table ip {table}\ntable ip {table} {{")
    ours = f"{{ 10.244.0.0/16, {DEFAULT.nodes} }}"
    assert f'oifname != "{bridge_name("c")}" ip saddr {ours} ip daddr != 10.244.0.0/16 masquerade' in text


def test_node_ports_and_host_ports_are_looked_up_on_the_addresses_of_nodes_too() -> None:
    lookups = [line for line in plan_ruleset("c", DEFAULT).splitlines() if "jump host_ports_lookup" in line]
    assert [line.split()[0] for line in lookups] == ["fib", "ip", "fib", "ip"]


def test_a_node_knows_the_host_ports_of_its_pods_on_its_loopback() -> None:
    ports = (
        HostPort("tcp", 8080, 80),
        HostPort("tcp", 8081, 81, "127.0.0.1"),
        HostPort("tcp", 1, 2, "fd00::1"),
        HostPort("tcp", 3, 4, "1.2.3.4"),
    )
    reservation = Reservation(IPv4Address("10.244.0.2"), "sandbox", "n", "10.192.0.2", ports)
    text = plan_node_ruleset("10.192.0.2", str(machine_address(DEFAULT)), [reservation])
    assert "{ 10.192.0.2 . tcp . 8080 : 10.244.0.2 . 80 }" in text
    assert "{ 127.0.0.1 . tcp . 8080 : 10.244.0.2 . 80 }" in text
    assert "{ 127.0.0.1 . tcp . 8081 : 10.244.0.2 . 81 }" in text
    assert "{ 10.192.0.2 . tcp . 8081" not in text
    assert "fd00" not in text
    assert "1.2.3.4" not in text  # no address of this namespace
    assert f"th dport 30000-32767 dnat to {machine_address(DEFAULT)}" in text


def test_a_node_hands_the_ports_of_kubelet_and_proxy_to_the_machine() -> None:
    text = plan_node_ruleset("10.192.0.2", "10.192.0.1", [])
    assert "ip daddr { 10.192.0.2, 127.0.0.1 } tcp dport { 10250, 10256 } dnat to 10.192.0.1" in text
    assert "ip daddr 127.0.0.1 tcp dport 10249 dnat to 10.192.0.1" in text


def test_nodes_keep_their_hardware_address() -> None:
    assert node_mac("c", "n1") == node_mac("c", "n1") != node_mac("c", "n2")
    assert node_mac("c", "n1").startswith("02:")


def reserved(*ports: HostPort, machine: Collection[MachinePort] | None = None) -> Reservation:
    """A pod at 10.244.0.2 on the node 10.192.0.2, which got all that it asked for, or `machine`."""
    got = machine_ports_of("10.192.0.2", ports, DEFAULT) if machine is None else machine
    return Reservation(IPv4Address("10.244.0.2"), "sandbox", "n", "10.192.0.2", ports, tuple(got))


@pytest.mark.parametrize(
    ("host_ip", "of_the_machine", "elements"),
    [
        ("", [""], ["host_ports { 10.192.0.2 . tcp . 80", "machine_ports { tcp . 80"]),
        ("0.0.0.0", [""], ["host_ports { 10.192.0.2 . tcp . 80", "machine_ports { tcp . 80"]),
        ("10.192.0.2", [], ["host_ports { 10.192.0.2 . tcp . 80"]),
        ("10.192.0.3", [], []),  # another node's
        ("10.192.0.1", ["10.192.0.1"], ["host_ports { 10.192.0.1 . tcp . 80"]),  # the machine's among the nodes
        ("1.2.3.4", ["1.2.3.4"], ["host_ports { 1.2.3.4 . tcp . 80"]),
        ("127.0.0.1", [], []),  # in the node's own namespace
        ("fd00::1", [], []),
    ],
)
def test_where_a_host_port_leads_to_its_pod(host_ip: str, of_the_machine: list[str], elements: list[str]) -> None:
    port = HostPort("tcp", 80, 8080, host_ip)
    assert machine_ports_of("10.192.0.2", [port], DEFAULT) == {("tcp", 80, one) for one in of_the_machine}
    added = plan_host_ports("add", "c", reserved(port))
    deleted = plan_host_ports("delete", "c", reserved(port))
    assert len(added.splitlines()) == len(deleted.splitlines()) == (len(elements) + 1 if elements else 0)
    for element in elements:
        assert f"{element} : 10.244.0.2 . 8080 }}" in added
        assert f"{element} }}" in deleted


def test_what_another_pod_has_of_the_machine_is_not_added() -> None:
    ports = (HostPort("tcp", 80, 8080), HostPort("tcp", 81, 8081, "1.2.3.4"))
    added = plan_host_ports("add", "c", reserved(*ports, machine=()))
    assert "host_ports { 10.192.0.2 . tcp . 80 " in added
    assert "machine_ports" not in added
    assert "1.2.3.4" not in added
    assert plan_host_ports("add", "c", reserved()) == ""


def test_forward_rules_are_added_once_and_removed_wherever_they_are() -> None:
    listing = "-P FORWARD DROP\n-N DOCKER-USER\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN\n"
    rules = plan_forward_rules("c", listing)
    assert rules is not None
    bridge, comment = bridge_name("c"), forward_comment("c")
    assert rules.splitlines()[1] == f'-I DOCKER-USER 1 -i {bridge} -m comment --comment "{comment}" -j ACCEPT'
    assert len(rules.splitlines()) == 4
    present = listing + "".join(
        f'-A DOCKER-USER {flag} {bridge} -m comment --comment "{comment}" -j ACCEPT\n' for flag in ("-i", "-o")
    )
    assert plan_forward_rules("c", present) is None
    assert plan_forward_rules("other", present) is not None
    removal = plan_forward_removal("c", present)
    assert removal is not None
    assert removal.count("-D DOCKER-USER") == 2
    assert plan_forward_removal("other", present) is None


def test_without_docker_user_the_rules_go_into_forward() -> None:
    rules = plan_forward_rules("c", "-P FORWARD ACCEPT\n")
    assert rules is not None
    assert "-I FORWARD 1 -o" in rules


def test_reservations_survive_json() -> None:
    reservation = Reservation(
        IPv4Address("10.244.0.9"), "s", "n", "10.192.0.2", (HostPort("tcp", 1, 2, "h"),), (("tcp", 1, ""),)
    )
    assert Reservation.from_json("10.244.0.9", reservation.to_json()) == reservation
