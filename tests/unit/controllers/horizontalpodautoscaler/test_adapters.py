"""How selectors of metrics are shown."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.controllers.horizontalpodautoscaler.adapters import format_selector


@pytest.mark.parametrize(
    ("selector", "shown"),
    [
        (None, "nil"),
        ({}, "&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:[]LabelSelectorRequirement{},}"),
        (
            {
                "matchLabels": {"b": "2", "a": "1"},
                "matchExpressions": [{"key": "c", "operator": "In", "values": ["x"]}],
            },
            "&LabelSelector{MatchLabels:map[string]string{a: 1,b: 2,},MatchExpressions:[]LabelSelectorRequirement{"
            "LabelSelectorRequirement{Key:c,Operator:In,Values:[x],},},}",
        ),
    ],
)
def test_selectors_are_shown_as_go_prints_them(selector: Any, shown: str) -> None:
    assert format_selector(selector) == shown
