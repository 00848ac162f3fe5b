"""The example in config/examples/shop: one apply brings it up, it is rolled under load, and everything is killed once.

Each node reaches the Engine through a proxy of its own, so that a node can be lost: its Engine does not answer any
more, and all its containers are dead.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.engine_proxy import EngineProxy
from tests.e2e.manifests import Pod, apply, is_running, pod, status_of, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess, docker, is_ready
from tests.e2e.packets import place_of, until

MANIFESTS = Path(__file__).parents[2] / "config" / "examples" / "shop"
HOST = "shop.example"
NODES = ("node-1", "node-2", "node-3")
WORKLOADS = {"api": 2, "cache": 1, "database": 1, "frontend": 2, "worker": 1}
DEPLOYMENTS = ("api", "cache", "frontend", "worker")
REQUEST_SECONDS = 10.0


def part_of(pod: Pod) -> str:
    return str(pod["metadata"]["labels"]["app.kubernetes.io/name"])


def is_complete(pods: list[Pod]) -> bool:
    """Whether every part runs with its number of replicas, and nothing else does; Jobs aside."""
    parts = [one for one in pods if part_of(one) in WORKLOADS]
    return Counter(map(part_of, parts)) == WORKLOADS and all(
        is_ready(one) and "deletionTimestamp" not in one["metadata"] for one in parts
    )


@dataclass
class Shop:
    """The shop on its cluster, and the ways to it."""

    k: Kubectl
    proxies: dict[str, EngineProxy]
    addresses: dict[str, str] = field(default_factory=dict)
    """node → its address"""
    cluster_ip: str = ""
    node_port: int = 0

    def ask(self, address: str, port: int, path: str = "/", body: str | None = None) -> tuple[int, str]:
        """Status and body of one request."""
        connection = http.client.HTTPConnection(address, port, timeout=REQUEST_SECONDS)
        try:
            connection.request("GET" if body is None else "POST", path, body, headers={"Host": HOST})
            response = connection.getresponse()
            return response.status, response.read().decode().strip()
        finally:
            connection.close()

    def ways(self) -> list[tuple[str, int]]:
        """Through the Ingress, a node port, and the cluster IP."""
        return [(self.addresses["node-1"], 80), (self.addresses["node-2"], self.node_port), (self.cluster_ip, 8080)]

    def page(self, address: str = "", port: int = 80) -> str:
        """What the front page says, be it an error."""
        return self.ask(address or self.addresses["node-1"], port)[1]

    def order(self, item: str) -> str:
        """The id of a new order."""
        status, body = self.ask(*self.ways()[0], "/cgi-bin/order", item)
        assert status == 201, body
        return body

    def is_served_with(self, text: str) -> None:
        """Return once the page says this."""
        until(lambda: text in self.page(), seconds=30)

    def pods(self, predicate: Callable[[list[Pod]], bool] = is_complete) -> list[Pod]:
        """The pods of the parts, as soon as the predicate holds."""
        found = self.k.wait_for("pods", predicate, selector="app.kubernetes.io/part-of=shop", seconds=120)
        return [one for one in found if part_of(one) in WORKLOADS]


@pytest.fixture(scope="module")
def shop(
    start_orchestrator: Callable[..., OrchestratorProcess], kubectl: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Three nodes with the shop on them."""
    folder = tmp_path_factory.mktemp("shop")
    proxies = {node: EngineProxy(folder / f"{node}.sock") for node in NODES}
    for proxy in proxies.values():
        proxy.start()
    config = folder / "orchestrator.yaml"
    config.write_text(json.dumps({
        "nodes": len(NODES), "nodeEngines": [f"{node}={proxy.url}" for node, proxy in proxies.items()],
    }))  # fmt: skip
    k = Kubectl(kubectl, start_orchestrator("--config", str(config)), namespace="shop")
    k("apply", "-f", str(MANIFESTS))
    shop = Shop(k, proxies)
    for node in k.json("get", "nodes")["items"]:
        shop.addresses[node["metadata"]["name"]] = node["status"]["addresses"][0]["address"]
    service = k.json("get", "service", "frontend")["spec"]
    shop.cluster_ip, shop.node_port = service["clusterIP"], service["ports"][0]["nodePort"]
    yield shop
    k.process.stop()
    for proxy in proxies.values():
        proxy.close()


def test_one_apply_brings_everything_up(shop: Shop) -> None:
    for name in (*(f"deployment/{one}" for one in DEPLOYMENTS), "statefulset/database"):
        shop.k("rollout", "status", name, "--timeout=60s")
    pods = shop.pods()
    for part in ("api", "frontend"):
        assert len({one["spec"]["nodeName"] for one in pods if part_of(one) == part}) == 2, "replicas are spread"
    until(lambda: "api 1 on " in shop.page())
    for way in shop.ways():
        assert shop.page(*way).startswith("Welcome to the shop\nfrontend 1 on frontend-")
    (claim,) = shop.k.json("get", "persistentvolumeclaims")["items"]
    assert (claim["status"]["phase"], claim["spec"]["storageClassName"]) == ("Bound", "standard")
    shop.k("apply", "-f", str(MANIFESTS))
    assert {one["metadata"]["uid"] for one in shop.pods()} == {one["metadata"]["uid"] for one in pods}


def test_an_order_goes_through_every_part(shop: Shop) -> None:
    number = shop.order("tea")
    shop.is_served_with(f"{number} tea done")
    until(lambda: "orders from the cache" in shop.page())
    assert f"done: {number} tea" in shop.k("logs", "deployment/worker")
    shop.k("create", "job", "report-now", "--from=cronjob/report")
    shop.k("wait", "--for=condition=Complete", "job/report-now", "--timeout=60s")
    assert f"{number} tea done" in shop.k("logs", "job/report-now")
    shop.k("delete", "job", "report-now")


def test_what_no_policy_allows_does_not_arrive(shop: Shop) -> None:
    stranger = Kubectl(shop.k.program, shop.k.process)
    apply(stranger, pod("stranger"))
    places = {part_of(one): place_of(one) for one in shop.pods()}
    places["stranger"] = place_of(wait_for_pod(stranger, "stranger", is_running))

    def reaches(client: str, server: str) -> bool:
        with places[client].socket() as connection:
            connection.settimeout(0.5)
            try:
                connection.connect((places[server].address, 8080))
            except TimeoutError:
                return False
            return True

    allowed = {("stranger", "frontend"), ("frontend", "api"), ("api", "database"), ("api", "cache"),
               ("worker", "database")}  # fmt: skip
    until(lambda: {pair for pair in allowed if reaches(*pair)}, allowed)
    denied = {("stranger", "api"), ("stranger", "database"), ("frontend", "database"), ("worker", "cache"),
              ("cache", "database"), ("api", "frontend")}  # fmt: skip
    assert not {pair for pair in denied if reaches(*pair)}
    stranger("delete", "pod", "stranger", "--wait=false")


def test_the_database_wants_to_know_the_token(shop: Shop) -> None:
    (worker,) = (one for one in shop.pods() if part_of(one) == "worker")
    name = worker["metadata"]["name"]
    ask = 'ask "$DATABASE" orders'
    assert shop.k.run("exec", name, "--", "sh", "-c", ask).returncode == 0
    refused = shop.k.run("exec", name, "--", "sh", "-c", f"TOKEN=wrong {ask}")
    assert "401 Unauthorized" in refused.stderr


class Load:
    """Asks for the page again and again, each way on a thread of its own."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._is_over = threading.Event()
        self.answered: Counter[tuple[str, int]] = Counter()
        self.failed: list[str] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ask until the end of the block."""
        threads = [threading.Thread(target=self._ask, args=(way,)) for way in self._shop.ways()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join()

    def _ask(self, way: tuple[str, int]) -> None:
        while not self._is_over.is_set():
            try:
                status, body = self._shop.ask(*way)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{way}: {error!r}")
                continue
            if status == 200 and "\napi " in body:
                self.answered[way] += 1
            else:
                self.failed.append(f"{way}: {status} {body}")


def test_no_request_fails_while_it_rolls_forward_and_back(shop: Shop) -> None:
    load = Load(shop)
    with load.running():
        shop.k("set", "image", "deployment", "--all", "*=orchestrator.test/shop:2")
        for name in DEPLOYMENTS:
            shop.k("rollout", "status", f"deployment/{name}", "--timeout=90s")
        assert re.search(r"^frontend 2 on .*\napi 2 on ", shop.page(), re.MULTILINE)
        shop.k("rollout", "undo", *(f"deployment/{name}" for name in DEPLOYMENTS))
        for name in DEPLOYMENTS:
            shop.k("rollout", "status", f"deployment/{name}", "--timeout=90s")
        assert re.search(r"^frontend 1 on .*\napi 1 on ", shop.page(), re.MULTILINE)
        shop.k.wait_for("pods", lambda pods: not any("deletionTimestamp" in one["metadata"] for one in pods))
    assert not load.failed
    assert len(load.answered) == len(shop.ways())
    assert min(load.answered.values()) >= 10


def test_the_autoscaler_sees_how_busy_the_api_is(shop: Shop) -> None:
    def is_measured(found: list[Any]) -> bool:
        return any("resource" in metric for one in found for metric in one["status"].get("currentMetrics") or ())

    (scaler,) = shop.k.wait_for("horizontalpodautoscalers", is_measured)
    assert scaler["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"] >= 0
    assert scaler["status"]["desiredReplicas"] >= 2


def test_the_kill_of_every_container_is_survived(shop: Shop) -> None:
    shop.k("patch", "hpa", "api", "--type=merge", "-p", json.dumps({"spec": {"maxReplicas": 2}}))
    number = shop.order("coffee")
    before = {one["metadata"]["name"]: status_of(one, part_of(one)) for one in shop.pods()}
    for status in before.values():
        docker("kill", status["containerID"].removeprefix("docker://"))

    def is_again(pods: list[Pod]) -> bool:
        return is_complete(pods) and all(
            status_of(one, part_of(one))["restartCount"] == before[one["metadata"]["name"]]["restartCount"] + 1
            for one in pods
            if one["metadata"]["name"] in before
        )

    assert {one["metadata"]["name"] for one in shop.pods(is_again)} == before.keys()
    shop.is_served_with(f"{number} coffee done")
    assert " tea done" in shop.page()


@pytest.mark.parametrize("node", NODES)
def test_the_kill_of_a_node_is_survived(shop: Shop, node: str) -> None:
    number = shop.order(f"water-{node}")
    has_database = any(part_of(one) == "database" and one["spec"]["nodeName"] == node for one in shop.pods())
    # The volume is a folder of that node, and a worker without the database is not ready.
    waiting = {"database", "worker"} if has_database else set()
    shop.proxies[node].cut()
    try:
        labels = (f"label=orchestrator.dev/cluster={shop.k.process.cluster_id}", f"label=orchestrator.dev/node={node}")
        # After all that was rolled and killed before, a node may have no container at this moment.
        if containers := docker("ps", "-q", "--filter", labels[0], "--filter", labels[1]).split():
            docker("kill", *containers)

        def others_do_its_work(pods: list[Pod]) -> bool:
            ready = Counter(part_of(one) for one in pods if is_ready(one) and one["spec"]["nodeName"] != node)
            return all(ready[part] >= count for part, count in WORKLOADS.items() if part not in waiting)

        shop.pods(others_do_its_work)
        if not has_database:
            other = next(name for name in NODES if name != node)
            until(lambda: f" water-{node} done" in shop.page(shop.addresses[other]), seconds=30)
    finally:
        shop.proxies[node].mend()
    shop.pods()
    shop.is_served_with(f"{number} water-{node} done")
    assert " tea done" in shop.page()
    assert " coffee done" in shop.page()
