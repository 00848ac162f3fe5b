"""Selecting controllers by name."""

from __future__ import annotations

import importlib

import pytest

from orchestrator.component.controller import Controller
from orchestrator.controllers.registry import CONTROLLERS, select_controllers


def test_star_is_all_and_minus_takes_away() -> None:
    assert select_controllers(["*"]) == list(CONTROLLERS)
    assert select_controllers(["*", "-deployment"]) == [name for name in CONTROLLERS if name != "deployment"]
    assert select_controllers(["replicaset", "deployment"]) == ["deployment", "replicaset"]
    assert select_controllers([]) == []


def test_long_names_mean_the_same() -> None:
    assert select_controllers(["deployment-controller"]) == ["deployment"]
    assert "namespace" not in select_controllers(["*", "-namespace-controller"])


@pytest.mark.parametrize("wrong", ["deploymnt", "-nothing"])
def test_an_unknown_name_is_refused_with_the_known_ones(wrong: str) -> None:
    with pytest.raises(
        ValueError, match=r'"(deploymnt|nothing)" is not in the list of known controllers \(deployment,'
    ):
        select_controllers(["*", wrong])


@pytest.mark.parametrize("name", CONTROLLERS)
def test_every_entry_names_a_controller_that_knows_its_name(name: str) -> None:
    entry = CONTROLLERS[name]
    controller = getattr(importlib.import_module(entry.module), entry.class_name)
    assert issubclass(controller, Controller)
    assert controller.name == name
