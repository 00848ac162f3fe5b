"""Addresses that survive a crash and are never given twice."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from orchestrator.kubelet.network.plan import ClusterCidrs, HostPort
from orchestrator.kubelet.network.reservations import AddressesExhausted, HostPortTaken, Reservations

CIDR = IPv4Network("10.244.0.0/29")  # .2 to .6
CIDRS = ClusterCidrs(CIDR, IPv4Network("10.96.0.0/16"), IPv4Network("10.192.0.0/24"))


def opened(directory: Path) -> Reservations:
    reservations = Reservations(directory, CIDRS)
    reservations.load()
    return reservations


def test_a_second_life_knows_what_was_given(tmp_path: Path) -> None:
    first = opened(tmp_path)
    given = first.reserve("s1", node_name="n", pod_cidr=CIDR, node_ip="10.192.0.2", host_ports=(HostPort("tcp", 1, 2),))
    second = opened(tmp_path)
    assert second.all() == [given]
    assert second.machine_ports_taken() == {("tcp", 1, "")}
    assert second.reserve("s1", node_name="n", pod_cidr=CIDR) == given
    assert second.reserve("s2", node_name="n", pod_cidr=CIDR).address != given.address


def test_released_addresses_are_gone_from_the_directory(tmp_path: Path) -> None:
    reservations = opened(tmp_path)
    reservations.reserve("s1", node_name="n", pod_cidr=CIDR)
    assert reservations.release("s1") is not None
    assert reservations.release("s1") is None
    assert list(tmp_path.iterdir()) == []
    assert opened(tmp_path).all() == []


def test_a_full_range_is_an_error_until_one_is_released(tmp_path: Path) -> None:
    reservations = opened(tmp_path)
    given = [reservations.reserve(f"s{number}", node_name="n", pod_cidr=CIDR) for number in range(5)]
    assert len({reservation.address for reservation in given}) == 5
    with pytest.raises(AddressesExhausted, match=r"no IP addresses available in range 10\.244\.0\.0/29"):
        reservations.reserve("one-more", node_name="n", pod_cidr=CIDR)
    reservations.release("s3")
    assert reservations.reserve("one-more", node_name="n", pod_cidr=CIDR).address == given[3].address


def test_torn_writes_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "10.244.0.2.tmp").write_text('{"sand')
    (tmp_path / "10.244.0.3").write_text("{}")
    assert opened(tmp_path).all() == []
    assert list(tmp_path.iterdir()) == []


def test_the_machines_port_belongs_to_the_first_pod(tmp_path: Path) -> None:
    reservations = opened(tmp_path)
    port = (HostPort("tcp", 80, 8080),)
    assert reservations.reserve("s1", node_name="n1", pod_cidr=CIDR, host_ports=port).machine_ports == (
        ("tcp", 80, ""),
    )
    assert reservations.reserve("s2", node_name="n2", pod_cidr=CIDR, host_ports=port).machine_ports == ()
    reservations.release("s1")
    assert reservations.machine_ports_taken() == frozenset()


def test_an_address_of_the_machine_belongs_to_the_first_pod_that_names_it(tmp_path: Path) -> None:
    """Nodes share the machine's addresses, and no two pods of different nodes can have the same port of one."""
    reservations = opened(tmp_path)
    port = (HostPort("tcp", 80, 8080, "192.0.2.1"),)
    one = reservations.reserve("s1", node_name="n1", pod_cidr=CIDR, node_ip="10.192.0.2", host_ports=port)
    two = reservations.reserve("s2", node_name="n2", pod_cidr=CIDR, node_ip="10.192.0.3", host_ports=port)
    assert (one.machine_ports, two.machine_ports) == ((("tcp", 80, "192.0.2.1"),), ())
    again = opened(tmp_path)
    assert again.machine_ports_taken() == {("tcp", 80, "192.0.2.1")}
    again.release("s1")
    assert again.reserve("s3", node_name="n3", pod_cidr=CIDR, host_ports=port).machine_ports == one.machine_ports


def test_a_host_port_of_a_node_is_one_pods(tmp_path: Path) -> None:
    reservations = opened(tmp_path)
    port = (HostPort("tcp", 80, 8080),)
    reservations.reserve("s1", node_name="n1", pod_cidr=CIDR, host_ports=port)
    with pytest.raises(HostPortTaken, match="host port 80/tcp is in use"):
        reservations.reserve("s2", node_name="n1", pod_cidr=CIDR, host_ports=(HostPort("tcp", 80, 1, "10.0.0.1"),))
    assert [one.sandbox_id for one in opened(tmp_path).all()] == ["s1"], "nothing of the refused one is left"
    reservations.reserve("s3", node_name="n1", pod_cidr=CIDR, host_ports=(HostPort("udp", 80, 8080),))
    reservations.release("s1")
    reservations.reserve("s4", node_name="n1", pod_cidr=CIDR, host_ports=port)


def test_what_was_reserved_by_name_becomes_the_sandboxs(tmp_path: Path) -> None:
    reservations = opened(tmp_path)
    port = (HostPort("tcp", 80, 8080),)
    address = reservations.reserve("name", node_name="n", pod_cidr=CIDR, host_ports=port).address
    reservations.rename("name", "id")
    assert reservations.get("name") is None
    for known in (reservations, opened(tmp_path)):
        (one,) = known.all()
        assert (one.sandbox_id, one.address, one.host_ports) == ("id", address, port)
    reservations.release("id")
    assert not list(tmp_path.iterdir())


def test_a_sandbox_that_has_an_address_keeps_it(tmp_path: Path) -> None:
    reservations = opened(tmp_path)
    first = reservations.reserve("id", node_name="n", pod_cidr=CIDR)
    reservations.reserve("name", node_name="n", pod_cidr=CIDR)
    reservations.rename("name", "id")
    reservations.rename("another", "id")
    assert reservations.all() == [first]
