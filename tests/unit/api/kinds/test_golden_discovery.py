"""Discovery: verbs, short names, categories and subresources as a real API server lists them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.kinds import golden


def _cases() -> list[tuple[str, Any]]:
    cases = []
    for recording in golden.recordings("discovery"):
        for step in recording["steps"]:
            body = step["response"].get("body")
            if not isinstance(body, dict) or body.get("kind") != "APIResourceList":
                continue
            group, _, version = body["groupVersion"].rpartition("/")
            if group == "extensions":
                continue
            for entry in body["resources"]:
                if entry["name"] != "podsecuritypolicies":
                    cases.append((f"{group}/{version}/{entry['name']}", (group, version, entry)))
    return cases


@pytest.mark.parametrize("case", golden.params(_cases()))
def test_resource(case: Any) -> None:
    group, version, entry = case
    plural, _, name = entry["name"].partition("/")
    path = f"/apis/{group}/{version}/{plural}" if group else f"/api/{version}/{plural}"
    kind, _, _, _ = golden.kind_of(path)
    assert kind
    if not name:
        assert sorted(kind.verbs) == entry["verbs"]
        assert kind.resource.namespaced == entry["namespaced"]
        assert list(kind.short_names) == (entry.get("shortNames") or [])
        assert list(kind.categories) == (entry.get("categories") or [])
        assert kind.resource.kind == entry["kind"]
    elif name == "status":
        assert kind.has_status
    elif name == "scale":
        assert kind.scale
    else:
        (found,) = [subresource for subresource in kind.subresources if subresource.name == name]
        assert (found.kind, sorted(found.verbs)) == (entry["kind"], entry["verbs"])
