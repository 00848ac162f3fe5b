"""The ledger of a quota: always the sum of what is there."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.quantity import parse_quantity
from orchestrator.api.resources import PODS
from orchestrator.controllers.resourcequota import Ledger, plan_status, plan_used

QUOTA: dict[str, Any] = {
    "metadata": {"name": "q", "namespace": "d"},
    "spec": {"hard": {"pods": "10", "requests.cpu": "4"}},
}


def pod(name: int, cpu: int, phase: str = "Running") -> dict[str, Any]:
    requests = {"requests": {"cpu": f"{cpu}m"}}
    spec = {"containers": [{"resources": requests}]}
    return {"metadata": {"name": str(name), "namespace": "d"}, "spec": spec, "status": {"phase": phase}}


CHANGES = st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 3000), st.sampled_from(["Running", "Failed"])))


@given(CHANGES)
def test_the_ledger_is_the_sum_whatever_happened(changes: list[tuple[int, int, str]]) -> None:
    ledger = Ledger(QUOTA)
    there: dict[int, tuple[int, str]] = {}
    for name, cpu, phase in changes:
        if cpu < 0:
            ledger.drop(PODS, f"d/{name}")
            there.pop(name, None)
        else:
            ledger.put(PODS, pod(name, cpu, phase))
            there[name] = (cpu, phase)
    running = [cpu for cpu, phase in there.values() if phase == "Running"]
    expected = Ledger(QUOTA)
    for name, cpu in enumerate(running):
        expected.put(PODS, pod(name, cpu))
    assert ledger.used() == expected.used()
    assert ledger.used()["pods"] == parse_quantity(len(running))


def test_what_is_reserved_stays_until_all_writes_are_settled_but_for_what_was_freed() -> None:
    ledger = Ledger(QUOTA)
    for name in (1, 2):
        ledger.put(PODS, pod(name, 500))
    reserved = {**QUOTA, "status": {"hard": QUOTA["spec"]["hard"], "used": {"pods": "3", "requests.cpu": "1500m"}}}
    assert plan_used(reserved, ledger, is_settled=False)["pods"] == parse_quantity(3)
    ledger.drop(PODS, "d/1")
    used = plan_used(reserved, ledger, is_settled=False)
    assert used == {"pods": parse_quantity(2), "requests.cpu": parse_quantity("1")}
    assert plan_used(reserved, ledger, is_settled=True)["pods"] == parse_quantity(1)
    ledger.put(PODS, pod(3, 9000))
    assert plan_used(reserved, ledger, is_settled=False)["requests.cpu"] == parse_quantity("9500m"), "seen is used"


def test_status_is_written_only_for_another_amount() -> None:
    used = {"pods": parse_quantity("2"), "requests.cpu": parse_quantity("1500m")}
    status = plan_status(QUOTA, used)
    assert status == {"hard": QUOTA["spec"]["hard"], "used": {"pods": "2", "requests.cpu": "1500m"}}
    assert plan_status({**QUOTA, "status": {**status, "used": {"pods": "2", "requests.cpu": "1.5"}}}, used) is None
    assert plan_status({**QUOTA, "status": {**status, "hard": {"pods": "9"}}}, used) is not None
