"""Replays recordings of a real kube-apiserver against ours, over HTTPS.

Each scenario gets its own namespace on one cluster without controllers or nodes, as it was
recorded. A recording is a JSON list of `{id, namespace, steps: [{request, response}]}`.
"""

from __future__ import annotations

import asyncio
import copy
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from orchestrator.apiserver.user import User
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import running_cluster
from tests.golden.align import aligned, is_old, is_same_message, modernized
from tests.golden.compare import Bindings, Difference, differences
from tests.golden.expected import answered_otherwise, is_expected

CACHE_RETRIES = 10
"""A recorder waited for caches of the real server where a scenario depends on them; ours has none."""

STATIC_TOKENS = {
    "admin-token": User("kubernetes-admin", "admin", ("system:masters",)),
    **{
        f"node-token-{number}": User(f"system:node:hollow-node-{number}", f"node-{number}", ("system:nodes",))
        for number in range(1, 10)
    },
}
"""The token file of the recorded servers."""


@dataclass
class StepResult:
    """How one step went."""

    number: int
    request: str
    differences: list[Difference] = field(default_factory=list)
    expected: list[Difference] = field(default_factory=list)


@dataclass
class Outcome:
    """How one scenario went."""

    id: str
    steps: list[StepResult] = field(default_factory=list)

    @property
    def is_same(self) -> bool:
        return not any(step.differences for step in self.steps)


@asynccontextmanager
async def session_of(cluster: Cluster) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTPS session with the cluster, as its administrator."""
    pki = cluster.config.data_dir / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    connector = aiohttp.TCPConnector(ssl=context, limit=4)
    async with aiohttp.ClientSession(base_url=cluster.url, connector=connector) as session:
        yield session


@asynccontextmanager
async def anonymous_session_of(cluster: Cluster) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTPS session without a client certificate."""
    context = ssl.create_default_context(cafile=str(cluster.config.data_dir / "pki" / "ca.crt"))
    async with aiohttp.ClientSession(
        base_url=cluster.url, connector=aiohttp.TCPConnector(ssl=context, limit=4)
    ) as session:
        yield session


async def replay_all(scenarios: list[dict[str, Any]]) -> list[Outcome]:
    """Replay scenarios one after the other on one fresh cluster."""
    outcomes = []
    async with (
        running_cluster(
            nodes=0, https=True, controllers=(), scheduler=False, detect_mutations=False, static_tokens=STATIC_TOKENS
        ) as cluster,
        session_of(cluster) as admin,
        anonymous_session_of(cluster) as anonymous,
    ):
        for scenario in scenarios:
            if scenario["id"].endswith("-compacted"):
                await cluster.store.compact(cluster.store.revision)
            outcomes.append(await replay(scenario, admin, anonymous))
    return outcomes


async def replay(scenario: dict[str, Any], admin: aiohttp.ClientSession, anonymous: aiohttp.ClientSession) -> Outcome:
    """Replay one scenario and clean up what it made cluster-wide."""
    scenario = modernized(scenario)
    outcome = Outcome(scenario["id"])
    bindings = Bindings()
    namespace = scenario.get("namespace")
    made: list[str] = []
    if namespace:
        await _send(admin, "POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        await _send(
            admin,
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts",
            {"metadata": {"name": "default"}, "automountServiceAccountToken": False},
        )
    if scenario.get("setup"):
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        setup = scenario["setup"]
        await _send(admin, "POST", path, setup)
        made.append(f"{path}/{setup['metadata']['name']}")
    for number, step in enumerate(scenario["steps"]):
        outcome.steps.append(await _replay_step(number, step, scenario, bindings, admin, anonymous, made))
    for path in reversed(made):
        await _send(admin, "DELETE", path, {"propagationPolicy": "Background"})
    return outcome


async def _replay_step(
    number: int,
    step: dict[str, Any],
    scenario: dict[str, Any],
    bindings: Bindings,
    admin: aiohttp.ClientSession,
    anonymous: aiohttp.ClientSession,
    made: list[str],
) -> StepResult:
    request, recorded = step["request"], step["response"]
    path = bindings.fill(request["path"])
    result = StepResult(number, f"{request['method']} {path}")
    headers = {key: bindings.fill(value) for key, value in request["headers"].items()}
    headers.setdefault("User-Agent", "")
    credentials = headers.pop("authorization", None)
    if credentials is None and is_old(scenario):
        credentials = "Bearer admin-token"
    session = admin if credentials is None else anonymous
    if credentials not in (None, "none"):
        headers["Authorization"] = credentials
    ours = await _exchange(session, request["method"], path, headers, _body_of(request, bindings), "events" in recorded)
    if request["method"] == "POST" and ours["code"] == 201 and "/namespaces/" not in path and "/apis" in path + "/apis":
        name = (ours.get("body") or {}).get("metadata", {}).get("name") if isinstance(ours.get("body"), dict) else None
        if name and "reviews" not in path:
            made.append(f"{path.partition('?')[0]}/{name}")
    theirs = copy.deepcopy({key: recorded[key] for key in ("code", "headers", "body", "events") if key in recorded})
    theirs, ours = aligned(theirs, ours, scenario, step)
    otherwise = answered_otherwise(theirs, ours, request, old=is_old(scenario))
    for difference in differences(theirs, ours, bindings, is_same_message if is_old(scenario) else str.__eq__):
        reason = otherwise or is_expected(difference, scenario, step)
        (result.expected if reason else result.differences).append(difference)
    return result


def _body_of(request: dict[str, Any], bindings: Bindings) -> bytes | None:
    if "rawBody" in request:
        return str(bindings.fill(request["rawBody"])).encode()
    if "bigBody" in request:
        big = copy.deepcopy(request["bigBody"]["object"])
        *parents, last = request["bigBody"]["pad"]["path"].split(".")
        target = big
        for part in parents:
            target = target[part]
        target[last] = "x" * request["bigBody"]["pad"]["n"]
        return json.dumps(big).encode()
    if "body" in request and request["body"] is not None:
        return json.dumps(bindings.fill(request["body"])).encode()
    return None


async def _exchange(
    session: aiohttp.ClientSession,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes | None,
    is_watch: bool,
) -> dict[str, Any]:
    from yarl import URL

    url = URL(str(session._base_url).rstrip("/") + path, encoded=True)
    skipped = ("Content-Type", "User-Agent")
    async with session.request(method, url, headers=headers, data=body, skip_auto_headers=skipped) as response:
        answer: dict[str, Any] = {"code": response.status, "headers": {}}
        kept = ("content-type", "warning", "retry-after", "www-authenticate", "allow")
        for name in kept:
            values = response.headers.getall(name, [])
            if values:
                answer["headers"][name] = values[0] if len(values) == 1 else list(values)
        if is_watch:
            try:
                async with asyncio.timeout(8):
                    text = await response.text()
            except TimeoutError:
                text = '{"replay": "the watch did not end"}'
            answer["events"] = [json.loads(line) for line in text.splitlines() if line]
            return answer
        text = await response.text()
        try:
            answer["body"] = json.loads(text)
        except json.JSONDecodeError:
            answer["body"] = text
        return answer


async def _send(session: aiohttp.ClientSession, method: str, path: str, body: dict[str, Any]) -> None:
    async with session.request(method, path, json=body, headers={"User-Agent": ""}) as response:
        await response.read()
