"""Lists in chunks: one moment for all pages, and what happens when that moment is too long ago."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import ManualClock, running_cluster
from tests.golden.replay import session_of

PATH = "/api/v1/namespaces/default/configmaps"
COUNT = 10


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def cluster(clock: ManualClock) -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=0, https=True, controllers=(), scheduler=False, clock=clock) as running:
        yield running


@pytest.fixture
async def session(cluster: Cluster) -> AsyncIterator[aiohttp.ClientSession]:
    async with session_of(cluster) as session:
        for number in range(COUNT):
            body = {"metadata": {"name": f"c-{number}", "labels": {"a": "b"}}}
            async with session.post(PATH, json=body) as response:
                assert response.status == 201
        yield session


async def page(session: aiohttp.ClientSession, token: str = "", **query: str) -> tuple[int, dict[str, Any]]:
    async with session.get(PATH, params={"limit": "3", **query, **({"continue": token} if token else {})}) as response:
        return response.status, await response.json()


def names(answer: dict[str, Any]) -> list[str]:
    return [item["metadata"]["name"] for item in answer["items"]]


@pytest.mark.parametrize("query", [{}, {"labelSelector": "a=b"}], ids=["all", "selected"])
async def test_pages_are_of_one_moment(session: aiohttp.ClientSession, query: dict[str, str]) -> None:
    _, answer = await page(session, **query)
    seen, version = names(answer), answer["metadata"]["resourceVersion"]
    async with session.delete(f"{PATH}/c-9") as response:
        assert response.status == 200
    while token := answer["metadata"].get("continue", ""):
        left = None if query else COUNT - len(seen)  # with a selector nobody counts what is left
        assert answer["metadata"].get("remainingItemCount") == left
        _, answer = await page(session, token, **query)
        assert answer["metadata"]["resourceVersion"] == version
        seen += names(answer)
    assert seen == [f"c-{number}" for number in range(COUNT)]
    assert "remainingItemCount" not in answer["metadata"]


@pytest.mark.parametrize("query", [{}, {"labelSelector": "a=b"}], ids=["all", "selected"])
async def test_an_old_token_is_refused_with_one_that_goes_on_at_another_moment(
    session: aiohttp.ClientSession, clock: ManualClock, query: dict[str, str]
) -> None:
    _, first = await page(session, **query)
    clock.advance(200)
    status, second = await page(session, first["metadata"]["continue"], **query)
    assert (status, names(second)) == (200, ["c-3", "c-4", "c-5"])
    async with session.delete(f"{PATH}/c-9") as response:
        assert response.status == 200
    clock.advance(200)  # the age of the first page counts, not that of the last
    for old in (first, second):
        status, refused = await page(session, old["metadata"]["continue"], **query)
        assert (status, refused["reason"]) == (410, "Expired")
    status, third = await page(session, refused["metadata"]["continue"], **query)
    assert (status, names(third)) == (200, ["c-6", "c-7", "c-8"])
    assert int(third["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    assert "continue" not in third["metadata"]


async def test_a_limit_reads_an_old_version_exactly_as_it_was(session: aiohttp.ClientSession) -> None:
    _, first = await page(session)
    async with session.post(PATH, json={"metadata": {"name": "c-0-later"}}) as response:
        assert response.status == 201
    _, again = await page(session, resourceVersion=first["metadata"]["resourceVersion"])
    assert names(again) == names(first)
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    _, newer = await page(
        session, resourceVersion=first["metadata"]["resourceVersion"], resourceVersionMatch="NotOlderThan"
    )
    assert "c-0-later" in names(newer)


async def test_what_is_wrong_first_is_told_first(session: aiohttp.ClientSession) -> None:
    _, first = await page(session)
    token = first["metadata"]["continue"]
    for given, version, expected in (
        (token, "x", "Invalid value"),
        ("bad", "x", "Invalid value"),
        ("bad", "5", "continue key is not valid"),
        (token, "5", "specifying resource version is not allowed when using continue"),
    ):
        code, answer = await page(session, given, resourceVersion=version)
        assert code == 400
        assert expected in answer["message"]
    code, _ = await page(session, token, resourceVersion="0")
    assert code == 200
