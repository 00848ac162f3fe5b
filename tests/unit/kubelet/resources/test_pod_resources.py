"""What a pod asks for in all."""

from __future__ import annotations

from orchestrator.api.objects import Object
from orchestrator.kubelet.resources.pod_resources import pod_requests
from tests.unit.kubelet.pods import pod, sidecar


def asking(**requests: str) -> Object:
    return {"resources": {"requests": requests}}


def test_requests_are_the_larger_of_init_and_running() -> None:
    obj = pod("a", "b", init=[{"name": "i", **asking(cpu="3")}, {**sidecar("p"), **asking(cpu="1")}])
    for container in obj["spec"]["containers"]:
        container.update(asking(cpu="500m", memory="1Mi"))
    assert pod_requests(obj) == {"cpu": 3000, "memory": 2 << 20}
    obj["spec"]["initContainers"].reverse()  # now the init container runs beside the sidecar
    assert pod_requests(obj) == {"cpu": 4000, "memory": 2 << 20}
