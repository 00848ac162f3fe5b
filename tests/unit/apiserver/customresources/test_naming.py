"""Which names are accepted, and the conditions that say so."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.apiserver.customresources.naming import plan_names, plan_status

NAMES: dict[str, Any] = {
    "plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList", "shortNames": ["gd"],
    "categories": ["all"],
}  # fmt: skip


def definition(name: str = "gadgets.g.example.com", accepted: dict[str, Any] | None = None, **more: Any) -> Any:
    return {
        "metadata": {"name": name, **more},
        "spec": {"group": name.partition(".")[2], "names": NAMES},
        "status": {"acceptedNames": accepted or {}, "conditions": None, "storedVersions": ["v1"]},
    }


def conditions(status: Any) -> dict[str, tuple[str, str, str]]:
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in status["conditions"]}


def test_free_names_are_accepted() -> None:
    accepted, conflict = plan_names(NAMES, {}, [])
    assert accepted == NAMES
    assert conflict is None


@pytest.mark.parametrize(
    ("taken", "reason", "message", "lost"),
    [
        ({"plural": "gadgets"}, "PluralConflict", '"gadgets" is already in use', "plural"),
        ({"singular": "gadget"}, "SingularConflict", '"gadget" is already in use', "singular"),
        ({"shortNames": ["x", "gd"]}, "ShortNamesConflict", '"gd" is already in use', "shortNames"),
        ({"singular": "gd"}, "ShortNamesConflict", '"gd" is already in use', "shortNames"),
        ({"kind": "Gadget"}, "KindConflict", '"Gadget" is already in use', "kind"),
        ({"kind": "GadgetList"}, "ListKindConflict", '"GadgetList" is already in use', "listKind"),
    ],
)
def test_names_of_others_are_not(taken: dict[str, Any], reason: str, message: str, lost: str) -> None:
    accepted, conflict = plan_names(NAMES, {}, [definition("others.g.example.com", taken)])
    assert conflict == (reason, message)
    assert not accepted.get(lost)


def test_only_definitions_of_the_same_group_compete() -> None:
    other = definition("gadgets.h.example.com", NAMES)
    assert conditions(plan_status(definition(), [other], "now"))["NamesAccepted"][0] == "True"


def test_a_definition_does_not_compete_with_itself() -> None:
    own = definition(accepted=NAMES)
    assert conditions(plan_status(own, [own], "now"))["Established"] == (
        "True", "InitialNamesAccepted", "the initial names have been accepted",
    )  # fmt: skip


def test_what_is_established_stays_so_and_keeps_its_time() -> None:
    own = definition()
    own["status"] = plan_status(own, [], "then")
    rival = definition("others.g.example.com", {"kind": "Gadget"})
    status = plan_status(own, [rival], "now")
    assert conditions(status)["Established"][0] == "True"
    assert conditions(status)["NamesAccepted"][0] == "False"
    times = {c["type"]: c["lastTransitionTime"] for c in status["conditions"]}
    assert times == {"Established": "then", "NamesAccepted": "now"}
    assert status["acceptedNames"]["kind"] == "Gadget"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://github.com/x", ("True", "ApprovedAnnotation", "approved in https://github.com/x")),
        ("unapproved, testing", ("False", "UnapprovedAnnotation", 'not approved: "unapproved, testing"')),
    ],
)
def test_protected_groups_say_whether_they_are_approved(value: str, expected: tuple[str, str, str]) -> None:
    own = definition("gadgets.x.k8s.io", annotations={"api-approved.kubernetes.io": value})
    assert conditions(plan_status(own, [], "now"))["KubernetesAPIApprovalPolicyConformant"] == expected
