"""Adoption and release."""

from __future__ import annotations

from typing import Any

from orchestrator.api.selectors import from_labels
from orchestrator.controllers.expectations import Expectations
from orchestrator.controllers.ownership import index_by_controller, plan_claims

SELECTOR = from_labels({"app": "a"})


def pod(name: str, labels: dict[str, str], controller: str = "", deleted: bool = False) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "d", "uid": name, "labels": labels}
    if controller:
        metadata["ownerReferences"] = [{"uid": controller, "controller": True, "kind": "X", "apiVersion": "v1"}]
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"metadata": metadata}


CANDIDATES = [
    pod("mine", {"app": "a"}, "me"),
    pod("no longer mine", {"app": "b"}, "me"),
    pod("orphan", {"app": "a"}),
    pod("dying orphan", {"app": "a"}, deleted=True),
    pod("strange orphan", {"app": "b"}),
    pod("of another", {"app": "a"}, "you"),
]


def names(pods: list[dict[str, Any]]) -> list[str]:
    return [one["metadata"]["name"] for one in pods]


def test_claims() -> None:
    claims = plan_claims({"metadata": {"uid": "me"}}, SELECTOR, CANDIDATES)
    assert (names(claims.owned), names(claims.adopt), names(claims.release)) == (
        ["mine"],
        ["orphan"],
        ["no longer mine"],
    )


def test_an_owner_that_is_going_takes_and_releases_nothing() -> None:
    owner = {"metadata": {"uid": "me", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    claims = plan_claims(owner, SELECTOR, CANDIDATES)
    assert (names(claims.owned), claims.adopt, claims.release) == (["mine"], [], [])


def test_the_index_finds_owned_ones_by_uid_and_orphans_by_namespace() -> None:
    assert index_by_controller(CANDIDATES[0]) == ["me"]
    assert index_by_controller(CANDIDATES[2]) == ["orphans/d"]


class Cache:
    """As much of an informer as expectations look at."""

    def __init__(self) -> None:
        self.resource_version = "10"
        self.objects: dict[str, dict[str, Any]] = {}

    def get(self, key: str) -> dict[str, Any] | None:
        return self.objects.get(key)


def test_a_write_is_expected_until_the_cache_has_come_to_its_version() -> None:
    cache: Any = Cache()
    expectations = Expectations()
    expectations.wrote("k", cache, {"metadata": {"resourceVersion": "12"}})
    expectations.wrote("k", cache, {"metadata": {"resourceVersion": "11"}})
    assert not expectations.is_fulfilled("k")
    assert expectations.is_fulfilled("other")
    cache.resource_version = "11"
    assert not expectations.is_fulfilled("k")
    cache.resource_version = "12"
    assert expectations.is_fulfilled("k")


def test_a_deletion_is_expected_until_the_object_is_gone_marked_or_another() -> None:
    for after in (None, pod("p", {}, deleted=True), {"metadata": {"name": "p", "namespace": "d", "uid": "new"}}):
        cache: Any = Cache()
        cache.objects["d/p"] = pod("p", {})
        expectations = Expectations()
        expectations.deleted("k", cache, pod("p", {}))
        assert not expectations.is_fulfilled("k")
        if after is None:
            del cache.objects["d/p"]
        else:
            cache.objects["d/p"] = after
        assert expectations.is_fulfilled("k")
