"""Changes of the ruleset: what is written brings the kernel exactly where a full write would."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.proxy.plan import plan_service
from orchestrator.proxy.ruleset import ELEMENTS_MIN, STANDING_PICKS, Changes, Ruleset, StaleFlow, skeleton

from .kernel import Kernel
from .services import LAYOUT, NODES, service, slices

POD_1, POD_2 = "10.244.0.5", "10.244.1.5"


def written_whole(ruleset: Ruleset) -> Any:
    kernel = Kernel()
    text = ruleset.text()
    assert text.startswith(skeleton(LAYOUT))
    kernel.run(text.removeprefix(skeleton(LAYOUT)))
    return kernel.state()


def apply(ruleset: Ruleset, kernel: Kernel, *updates: tuple[str, Any, Any]) -> Changes:
    changes = Changes()
    for key, one, endpoints in updates:
        ruleset.update(key, plan_service(one, endpoints, NODES), changes)
    kernel.run(changes.text(LAYOUT.table))
    return changes


def test_elements_come_and_go_with_the_service() -> None:
    ruleset, kernel = Ruleset(LAYOUT), Kernel()
    apply(ruleset, kernel, ("default/web", service(), slices(POD_1, POD_2)))
    assert kernel.elements["targets", "10.96.0.1 . tcp . 80 . 0"] == f"{POD_1} . 8080"
    apply(ruleset, kernel, ("default/web", None, []))
    assert kernel.state() == Kernel().state()


def test_more_and_fewer_endpoints_change_elements_only() -> None:
    """The chains that pick one of a few are there from the start."""
    ruleset, kernel = Ruleset(LAYOUT), Kernel()
    for count in (0, 1, 2, STANDING_PICKS, 3, 0):
        pods = [f"10.244.0.{number}" for number in range(2, 2 + count)]
        changes = apply(ruleset, kernel, ("default/web", service(), slices(*pods)))
        assert not changes.chains
        for name, value in kernel.elements.items():
            if name[0] == "ways":
                assert f"  chain {value.removeprefix('goto ')} {{ " in skeleton(LAYOUT)


def test_nothing_is_written_when_nothing_changed() -> None:
    ruleset, kernel = Ruleset(LAYOUT), Kernel()
    apply(ruleset, kernel, ("default/web", service(), slices(POD_1)))
    assert apply(ruleset, kernel, ("default/web", service(), slices(POD_1))).text(LAYOUT.table) == ""


def test_an_address_that_two_services_claim_stays_with_the_first() -> None:
    ruleset, kernel = Ruleset(LAYOUT), Kernel()
    external: dict[str, Any] = {"externalIPs": ["203.0.113.1"]}
    apply(ruleset, kernel, ("a/first", service(**external), slices(POD_1)))
    apply(ruleset, kernel, ("a/second", service(ip="10.96.0.2", **external), slices(POD_2)))
    assert kernel.elements["targets", "203.0.113.1 . tcp . 80 . 0"] == f"{POD_1} . 8080"
    assert written_whole(ruleset) == kernel.state()
    apply(ruleset, kernel, ("a/first", None, []))
    assert kernel.elements["targets", "203.0.113.1 . tcp . 80 . 0"] == f"{POD_2} . 8080"


def test_udp_conversations_with_what_is_gone_are_stale() -> None:
    ruleset, kernel = Ruleset(LAYOUT), Kernel()
    udp = service(ports=[{"port": 53, "protocol": "UDP"}])
    first = apply(ruleset, kernel, ("a/dns", udp, slices(POD_1, protocol="UDP")))
    assert [flow.target for flow in first.stale] == [None]  # those that began before there was anybody
    second = apply(ruleset, kernel, ("a/dns", udp, slices(POD_2, protocol="UDP")))
    assert [flow.target for flow in second.stale] == [(POD_1, 8080)]
    assert isinstance(second.stale[0], StaleFlow)
    third = apply(ruleset, kernel, ("a/dns", None, []))
    assert [flow.target for flow in third.stale] == [(POD_2, 8080)]


def test_the_table_has_room_for_twice_what_it_holds() -> None:
    ruleset, changes = Ruleset(LAYOUT), Changes()
    for number in range(ELEMENTS_MIN):
        one = service(f"s{number}", ip=f"10.96.{number // 250}.{number % 250}")
        rules = plan_service(one, slices(POD_1), NODES)
        ruleset.update(f"default/s{number}", rules, changes)
    assert ruleset.count(changes)
    more = Changes()
    rules = plan_service(service("more", ip="10.96.9.9"), slices(POD_1), NODES)
    ruleset.update("default/more", rules, more)
    assert not ruleset.count(more)
    table = ruleset.empty_table()
    assert re.findall(r"(?:map|set) (\w+) .* size 4096;", table) == ["targets", "ways", "cluster_ips"]
    gone = Changes()
    ruleset.update("default/more", None, gone)
    assert ruleset.count(gone)


_specs = st.fixed_dictionaries(
    {},
    optional={
        "sessionAffinity": st.sampled_from(["None", "ClientIP"]),
        "sessionAffinityConfig": st.sampled_from([{"clientIP": {"timeoutSeconds": n}} for n in (1, 9)]),
        "internalTrafficPolicy": st.sampled_from(["Cluster", "Local"]),
        "externalTrafficPolicy": st.sampled_from(["Cluster", "Local"]),
        "externalIPs": st.sampled_from([["203.0.113.1"], ["203.0.113.2"]]),
    },
)
_addresses = st.lists(st.sampled_from(["10.244.0.5", "10.244.0.6", "10.244.1.5", "10.244.1.6"]), unique=True)
_updates = st.lists(st.tuples(st.integers(1, 3), st.none() | _specs, _addresses), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.lists(_updates, max_size=6))
def test_increments_lead_where_a_full_write_leads(transactions: list[list[tuple[int, Any, list[str]]]]) -> None:
    ruleset, kernel = Ruleset(LAYOUT), Kernel()
    for updates in transactions:
        planned = []
        for number, spec, addresses in updates:
            ports = [{"port": 80, "nodePort": 30000 + number}]
            one = None if spec is None else service(f"s{number}", ip=f"10.96.0.{number}", ports=ports, **spec)
            planned.append((f"default/s{number}", one, slices(*addresses)))
        apply(ruleset, kernel, *planned)
        assert written_whole(ruleset) == kernel.state()
