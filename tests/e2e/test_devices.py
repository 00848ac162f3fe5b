"""Devices on real containers: drivers in the test, on the sockets that a node offers them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.manifests import apply, container, is_running, output_of, pod, wait_for_event, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess
from tests.plugin_drivers import ClaimDriverService, DriverProcess, Registrar

DRIVER = "gpu.example.com"
API = "resource.k8s.io/v1"
CDI = {
    "cdiVersion": "0.6.0",
    "kind": "example.com/gpu",
    "containerEdits": {"env": ["GPU_DRIVER=test"]},
    "devices": [
        {
            "name": "one",
            "containerEdits": {
                "env": ["GPU=one"],
                "deviceNodes": [{"path": "/dev/gpu-one", "hostPath": "/dev/zero"}],
                "mounts": [
                    {
                        "hostPath": "/var/lib/kubelet/plugins/gpu.example.com/share",
                        "containerPath": "/gpu",
                        "options": ["ro", "bind"],
                    }
                ],
            },
        }
    ],
}


@pytest.fixture(scope="module")
def node(start_orchestrator: Callable[..., OrchestratorProcess]) -> OrchestratorProcess:
    return start_orchestrator("--nodes", "1", "--runtime", "docker")


@pytest.fixture(scope="module")
def kubelet_dir(node: OrchestratorProcess) -> Path:
    """What drivers on the node know as /var/lib/kubelet."""
    return node.data_dir / "kubelet" / "node-1"


@pytest.fixture
def k(node: OrchestratorProcess, kubectl: Path) -> Kubectl:
    one = Kubectl(kubectl, node)
    one.wait_for("serviceaccounts", lambda accounts: any(a["metadata"]["name"] == "default" for a in accounts))
    one.wait_for("nodes", bool)  # a node that begins removes what drivers had published before
    return one


@pytest.fixture
def drivers() -> Iterator[DriverProcess]:
    with DriverProcess() as running:
        yield running


def prepared(claim: str) -> dict[str, Any]:
    """The answer to a claim: the device of the description, or an error for one that is called `broken`."""
    if claim == "broken":
        return {"error": "the fan does not turn"}
    device = {"request_names": ["gpu"], "pool_name": "node-1", "device_name": "one"}
    return {"devices": [{**device, "cdi_device_ids": ["example.com/gpu=one"]}]}


def claim(name: str) -> dict[str, Any]:
    requests = [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]
    return {
        "apiVersion": API,
        "kind": "ResourceClaim",
        "metadata": {"name": name},
        "spec": {"devices": {"requests": requests}},
    }


def with_claim(name: str, claim_name: str, script: str) -> dict[str, Any]:
    main = container(script, resources={"claims": [{"name": "gpu"}]})
    return pod(name, main, resourceClaims=[{"name": "gpu", "resourceClaimName": claim_name}])


def start_driver(drivers: DriverProcess, kubelet_dir: Path, version: str) -> ClaimDriverService:
    """Serve and register a driver, as its container would."""
    share = kubelet_dir / "plugins" / DRIVER / "share"
    share.mkdir(parents=True, exist_ok=True)
    (share / "firmware").write_text("7\n")
    (kubelet_dir / "cdi" / "example.json").write_text(json.dumps(CDI))
    service = ClaimDriverService(prepared, version)
    drivers.serve(kubelet_dir / "plugins" / DRIVER / "dra.sock", service.service())
    registrar = Registrar(
        "DRAPlugin",
        DRIVER,
        endpoint=f"/var/lib/kubelet/plugins/{DRIVER}/dra.sock",
        versions=(f"{version}.DRAPlugin",),
    )
    drivers.serve(kubelet_dir / "plugins_registry" / f"{DRIVER}-reg.sock", registrar.service())
    return service


def publish(k: Kubectl) -> None:
    """What the driver would publish: two devices on the node, one of which is broken."""
    spec = {
        "driver": DRIVER,
        "nodeName": "node-1",
        "pool": {"name": "node-1", "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": "one"}, {"name": "two"}],
    }
    apply(
        k,
        {"apiVersion": API, "kind": "DeviceClass", "metadata": {"name": "gpu"}, "spec": {}},
        {"apiVersion": API, "kind": "ResourceSlice", "metadata": {"name": "node-1-gpus"}, "spec": spec},
    )


def test_a_driver_prepares_devices_and_lets_go_of_them(
    k: Kubectl, node: OrchestratorProcess, drivers: DriverProcess, kubelet_dir: Path
) -> None:
    publish(k)
    apply(k, claim("good"), claim("broken"), with_claim("early", "good", "sleep 1000"))
    wait_for_event(k, "FailedPrepareDynamicResources", f"DRA driver {DRIVER} is not registered")
    service = start_driver(drivers, kubelet_dir, "v1")
    wait_for_pod(k, "early", is_running)
    assert service.calls.get(timeout=10) == ("NodePrepareResources", "good")
    script = (
        "echo $GPU $GPU_DRIVER; cat /gpu/firmware; head -c 3 /dev/gpu-one | wc -c; touch /gpu/x 2>/dev/null || echo ro"
    )
    assert output_of(k, with_claim("second", "good", script)).split() == ["one", "test", "7", "3", "ro"]
    apply(k, with_claim("unlucky", "broken", "true"))
    wait_for_event(
        k,
        "FailedPrepareDynamicResources",
        "Failed to prepare dynamic resources: prepare dynamic resources: "
        "NodePrepareResources failed for ResourceClaim broken: the fan does not turn",
    )
    assert service.calls.get(timeout=10) == ("NodePrepareResources", "broken")
    k("delete", "pod", "unlucky", "second")
    # What a killed kubelet had prepared it lets go of after it came back.
    node.kill()
    node.start()
    wait_for_pod(k, "early", is_running)
    k("delete", "pod", "early")
    calls = [service.calls.get(timeout=10) for _ in range(2)]
    assert calls == [("NodeUnprepareResources", "broken"), ("NodeUnprepareResources", "good")]
