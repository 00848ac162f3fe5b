"""What all tests share: markers by folder, reasons to skip, the kubectl versions, and a look for leftovers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.leftovers import find_engine, find_leftovers

E2E = Path(__file__).parent / "e2e"
KUBECTLS = "ORCHESTRATOR_KUBECTLS"
"""Paths of kubectl programs, separated by colons, instead of those that are found."""

# How long one example takes says nothing on a machine that does other work as well.
hypothesis.settings.register_profile("machine-independent", deadline=None)
hypothesis.settings.load_profile("machine-independent")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in tests/e2e, and skip it where it cannot run."""
    e2e = [item for item in items if item.path.is_relative_to(E2E)]
    reason = _reason_to_skip_e2e() if e2e else ""
    for item in e2e:
        item.add_marker(pytest.mark.e2e)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def _reason_to_skip_e2e() -> str:
    engine, why = find_engine()
    if engine is None:
        return f"no Docker Engine answers ({why}); `make setup` tells what to do"
    if os.geteuid() != 0:
        return "the network of the nodes needs root; run `make e2e` as root"
    return ""


def find_kubectls() -> list[Path]:
    """The kubectl programs of this machine, one for each version, oldest first.

    Taken from ORCHESTRATOR_KUBECTLS, else the one in PATH and its siblings named `kubectl.1.27` and alike.
    """
    if listed := os.environ.get(KUBECTLS):
        return [Path(path) for path in listed.split(":") if path]
    first = shutil.which("kubectl")
    if first is None:
        return []
    siblings = Path(first).resolve().parent.glob("kubectl.1.*")
    versioned = sorted(siblings, key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])
    return versioned or [Path(first)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the parameter `each_kubectl` runs once with every kubectl version."""
    if "each_kubectl" not in metafunc.fixturenames:
        return
    found = find_kubectls()
    if found:
        metafunc.parametrize("each_kubectl", found, ids=[path.name for path in found])
    else:
        skipped = pytest.param(None, marks=pytest.mark.skip(reason=_no_kubectl()), id="none")
        metafunc.parametrize("each_kubectl", [skipped])


def _no_kubectl() -> str:
    return f"kubectl is not installed and {KUBECTLS} is not set"


@pytest.fixture(scope="session")
def kubectls() -> list[Path]:
    """Every kubectl version of this machine, oldest first; the test is skipped where there is none."""
    found = find_kubectls()
    if not found:
        pytest.skip(_no_kubectl())
    return found


@pytest.fixture(scope="session")
def kubectl(kubectls: list[Path]) -> Path:
    """The newest kubectl of this machine; the test is skipped where there is none."""
    newest = kubectls[-1]
    subprocess.run([newest, "version", "--client"], check=True, capture_output=True)
    return newest


@pytest.fixture(scope="session")
def test_clusters() -> set[str]:
    """Ids of the clusters that tests start on the Engine: whoever starts one adds its id."""
    return set()


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left(test_clusters: set[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After the last test no container, interface, rule, mount or process of a test's cluster exists."""
    yield
    leftovers = find_leftovers(cluster_ids=test_clusters, folders=[tmp_path_factory.getbasetemp()])
    assert not leftovers, "left behind by the tests:\n" + "\n".join(leftovers)
