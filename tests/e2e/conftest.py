"""Fixtures of the tests with real containers and real clients."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def start_orchestrator(
    tmp_path_factory: pytest.TempPathFactory, test_clusters: set[str]
) -> Iterator[Callable[..., OrchestratorProcess]]:
    """Starts orchestrators with the given options; takes them and their containers down at the end."""
    started: list[OrchestratorProcess] = []

    def start(*options: str) -> OrchestratorProcess:
        process = OrchestratorProcess(tmp_path_factory.mktemp("cluster") / "data", *options)
        started.append(process)
        process.start()
        if process.has_containers:
            test_clusters.add(process.cluster_id)
        return process

    yield start
    for process in started:
        process.kill()
        if process.has_containers:
            process.down()


@pytest.fixture(scope="session")
def cluster(start_orchestrator: Callable[..., OrchestratorProcess]) -> OrchestratorProcess:
    """A cluster of two nodes with real containers, shared by the tests that harm nothing of others."""
    return start_orchestrator("--nodes", "2", "--runtime", "docker")


@pytest.fixture
def k(cluster: OrchestratorProcess, kubectl: Path) -> Iterator[Kubectl]:
    """The newest kubectl, in a namespace of its own on the shared cluster."""
    yield from in_fresh_namespace(cluster, kubectl)


@pytest.fixture
def each_k(cluster: OrchestratorProcess, each_kubectl: Path) -> Iterator[Kubectl]:
    """Every kubectl in turn, in a namespace of its own on the shared cluster."""
    yield from in_fresh_namespace(cluster, each_kubectl)


def in_fresh_namespace(process: OrchestratorProcess, program: Path) -> Iterator[Kubectl]:
    """A kubectl in a new namespace, which is deleted afterwards."""
    namespace = f"test-{next(_numbers)}"
    k = Kubectl(program, process, namespace=namespace)
    k("create", "namespace", namespace)
    # A pod needs the account that a controller makes for each namespace.
    k.wait_for("serviceaccounts", lambda accounts: any(a["metadata"]["name"] == "default" for a in accounts))
    yield k
    k("delete", "namespace", namespace, "--wait=true", timeout=120)
