"""The arithmetic of pod requests, with the examples of the KEPs."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.scheduler.pod_info import PodInfo, pod_requests
from tests.unit.scheduler.builders import make_pod


def container(cpu: str, *, sidecar: bool = False, name: str = "c") -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "resources": {"requests": {"cpu": cpu}}}
    if sidecar:
        made["restartPolicy"] = "Always"
    return made


def pod(containers: list[Any], init: list[Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": containers, "initContainers": init or [], **spec}}


@pytest.mark.parametrize(
    ("containers", "init", "expected"),
    [
        ([container("100m"), container("200m")], [], 300),
        ([container("100m")], [container("500m"), container("400m")], 500),  # one init container at a time
        ([container("100m")], [container("50m", sidecar=True)], 150),
        ([container("100m")], [container("50m", sidecar=True), container("200m")], 250),  # beside the earlier sidecar
        ([container("100m")], [container("200m"), container("50m", sidecar=True)], 200),  # before the sidecar starts
        (
            [container("100m")],
            [container("10m", sidecar=True), container("20m", sidecar=True), container("300m")],
            330,
        ),
        ([container("0.5")], [], 500),
        ([], [], 0),
    ],
)
def test_init_containers_and_sidecars(containers: list[Any], init: list[Any], expected: int) -> None:
    assert pod_requests(pod(containers, init)).get("cpu", 0) == expected


def test_pod_level_requests_replace_the_sum_for_the_resources_they_name() -> None:
    made = pod([container("100m")], resources={"requests": {"cpu": "1", "memory": "1Gi"}})
    made["spec"]["containers"][0]["resources"]["requests"]["ephemeral-storage"] = "1Ki"
    assert pod_requests(made) == {"cpu": 1000, "memory": 2**30, "ephemeral-storage": 1024}


def test_overhead_is_added() -> None:
    assert pod_requests(pod([container("100m")], overhead={"cpu": "250m", "memory": "1Ki"})) == {
        "cpu": 350,
        "memory": 1024,
    }


def test_a_resize_in_progress_counts_with_what_is_still_allocated() -> None:
    made = pod([container("100m", name="c")], nodeName="n")
    made["status"] = {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "400m"}}]}
    assert pod_requests(made) == {"cpu": 400}


def test_scoring_assumes_defaults_for_containers_without_requests() -> None:
    info = PodInfo(make_pod())
    assert (info.nonzero_cpu, info.nonzero_memory) == (100, 200 * 2**20)
    assert info.requests == {}
    info = PodInfo(make_pod(cpu="1"))
    assert (info.nonzero_cpu, info.nonzero_memory) == (1000, 200 * 2**20)


def test_host_ports_of_sidecars_count_and_of_init_containers_do_not() -> None:
    ports = [{"containerPort": 80, "hostPort": 8080}]
    made = make_pod(ports=ports)
    made["spec"]["initContainers"] = [
        {"name": "s", "restartPolicy": "Always", "ports": [{"hostPort": 53, "protocol": "UDP", "hostIP": "10.0.0.1"}]},
        {"name": "i", "ports": [{"hostPort": 99}]},
    ]
    assert PodInfo(made).ports == (("0.0.0.0", "TCP", 8080), ("10.0.0.1", "UDP", 53))
