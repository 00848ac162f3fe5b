"""Devices on real containers: drivers in the test, on the sockets that a node offers them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.manifests import (
    WAIT,
    apply,
    container,
    has_phase,
    is_running,
    output_of,
    pod,
    status_of,
    wait_for_event,
    wait_for_pod,
)
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess
from tests.plugin_drivers import ClaimDriverService, DevicePluginService, DriverProcess, Registrar, list_pod_resources

DRIVER = "gpu.example.com"
RESOURCE = "example.com/fpga"
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
    apply(k, claim("good"), claim("broken"), with_claim("early", "good", WAIT))
    wait_for_event(k, "FailedPrepareDynamicResources", f"DRA driver {DRIVER} is not registered")
    service = start_driver(drivers, kubelet_dir, "v1")
    early = wait_for_pod(k, "early", is_running)
    health = {"resourceID": "example.com/gpu=one", "health": "Unknown"}
    assert status_of(early)["allocatedResourcesStatus"] == [{"name": "claim:gpu", "resources": [health]}]
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


def amounts(node: dict[str, Any]) -> tuple[str | None, str | None]:
    """What a Node shows of the plugin's resource: (capacity, allocatable)."""
    return node["status"]["capacity"].get(RESOURCE), node["status"]["allocatable"].get(RESOURCE)


def test_a_device_plugin_offers_devices(
    k: Kubectl, node: OrchestratorProcess, drivers: DriverProcess, kubelet_dir: Path
) -> None:
    folder = kubelet_dir / "device-plugins"

    def allocated(devices: list[str]) -> dict[str, Any]:
        nodes = [{"host_path": "/dev/zero", "container_path": "/dev/fpga", "permissions": "r"}]
        return {"envs": {"FPGA": " ".join(devices)}, "devices": nodes, "annotations": {"example.com/fpga": "yes"}}

    two = {"f0": "Healthy", "f1": "Healthy"}
    plugin = DevicePluginService(two, allocated=allocated, folder=folder)
    drivers.serve(folder / "fpga.sock", plugin.service())
    drivers.run(plugin.register("fpga.sock", RESOURCE))
    k.wait_for("nodes", lambda nodes: [*map(amounts, nodes)] == [("2", "2")])

    one = {"limits": {RESOURCE: "1"}}
    apply(k, pod("holds", container(resources=one)))
    held = wait_for_pod(k, "holds", is_running)
    script = "echo $FPGA; head -c 3 /dev/fpga | wc -c"
    resources = drivers.run(list_pod_resources(kubelet_dir / "pod-resources" / "kubelet.sock")).pod_resources
    (who,) = [one for one in resources if one.name == "holds"]
    assert [(one.resource_name, [*one.device_ids]) for one in who.containers[0].devices] == [(RESOURCE, ["f0"])]
    assert output_of(k, pod("uses", container(script, resources=one))).split() == ["f1", "3"]

    drivers.run(plugin.set_devices({"f0": "Unhealthy", "f1": "Healthy"}))
    k.wait_for("nodes", lambda nodes: [*map(amounts, nodes)] == [("2", "1")])
    unhealthy = [{"name": RESOURCE, "resources": [{"resourceID": "f0", "health": "Unhealthy"}]}]
    wait_for_pod(k, "holds", lambda p: status_of(p).get("allocatedResourcesStatus") == unhealthy)
    # Whoever asks for more than is left and passes the scheduler by fails as it does in Kubernetes.
    apply(k, pod("greedy", container(resources={"limits": {RESOURCE: "2"}}), nodeName="node-1"))
    greedy = wait_for_pod(k, "greedy", has_phase("Failed"))
    assert greedy["status"]["reason"] == "UnexpectedAdmissionError"
    assert greedy["status"]["message"] == (
        f"Pod was rejected: Allocate failed due to requested number of devices unavailable for {RESOURCE}. "
        "Requested: 2, Available: 1, which is unexpected"
    )

    # A plugin registers again when the kubelet is another one; what was allocated stays so.
    assert node.stop() == 0
    node.start()
    k.wait_for("nodes", lambda nodes: [*map(amounts, nodes)] == [("0", "0")])
    drivers.run(plugin.set_devices(two))
    drivers.serve(folder / "fpga.sock", plugin.service())
    drivers.run(plugin.register("fpga.sock", RESOURCE))
    k.wait_for("nodes", lambda nodes: [*map(amounts, nodes)] == [("2", "2")])
    assert status_of(wait_for_pod(k, "holds", is_running))["containerID"] == status_of(held)["containerID"]
    assert output_of(k, pod("again", container("echo $FPGA", resources=one))).strip() == "f1"
    k("delete", "pod", "holds", "--wait=false")
