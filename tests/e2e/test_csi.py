"""A CSI driver that runs in a pod, as any: it registers, really mounts, and is asked to clean up."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.csi_volumes import attachment_name
from tests.e2e.manifests import WAIT, apply, container, is_running, pod, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess

DRIVER = "mounts.example.com"
NODE = "node-1"


def driver_pod() -> dict[str, Any]:
    """The driver of `tests.csi_driver`, with this machine's Python, which the pod sees below /host."""
    libraries = sorted({os.path.dirname(path) for path in mapped_files() if ".so" in path})
    loader = next((path for path in mapped_files() if os.path.basename(path).startswith("ld-")), None)
    if loader is None:
        pytest.skip("this Python is linked statically")
    python = os.path.realpath(sys.executable)
    command = [
        f"/host{loader}", "--library-path", ":".join(f"/host{one}" for one in libraries), f"/host{python}",
        "-m", "tests.csi_driver", DRIVER, "/var/lib/kubelet", "/data",
    ]  # fmt: skip
    packages = [str(Path(__file__).parents[2]), *(path for path in sys.path if path)]
    variables = {
        "PYTHONHOME": f"/host{sys.base_prefix}",
        "PYTHONPATH": ":".join(f"/host{os.path.realpath(path)}" for path in packages),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    main = container(
        command=command,
        env=[{"name": name, "value": value} for name, value in variables.items()],
        securityContext={"privileged": True},
        volumeMounts=[
            {"name": "host", "mountPath": "/host", "readOnly": True},
            {"name": "kubelet", "mountPath": "/var/lib/kubelet", "mountPropagation": "Bidirectional"},
            {"name": "data", "mountPath": "/data"},
        ],
    )
    volumes = [
        {"name": "host", "hostPath": {"path": "/"}},
        {"name": "kubelet", "hostPath": {"path": "/var/lib/kubelet", "type": "Directory"}},
        {"name": "data", "emptyDir": {}},
    ]
    return pod("driver", main, volumes=volumes, nodeName=NODE)


def mapped_files() -> set[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {os.path.realpath(line.split(maxsplit=5)[5]) for line in lines if len(line.split()) > 5 and "/" in line}


@pytest.fixture
def driver(k: Kubectl) -> Iterator[Kubectl]:
    """A namespace with the driver, and a CSIDriver that describes it."""
    described: dict[str, Any] = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}}
    described["spec"] = {"fsGroupPolicy": "File", "podInfoOnMount": True}
    apply(k, described, driver_pod())
    k.wait_for("csinodes", lambda nodes: any(
        one["metadata"]["name"] == NODE and [d["name"] for d in one["spec"]["drivers"] or ()] == [DRIVER]
        for one in nodes
    ))  # fmt: skip
    yield k
    # Whoever has a volume ends before the driver, who has to take it back.
    k("delete", "pods", "--field-selector=metadata.name!=driver", "--wait=true")
    k("delete", "csidriver", DRIVER)


def volume(name: str, namespace: str, **spec: Any) -> list[dict[str, Any]]:
    """A volume of the driver and the claim that has it."""
    shared = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", **spec}
    persistent = {
        **shared,
        "capacity": {"storage": "1Gi"},
        "csi": {"driver": DRIVER, "volumeHandle": name},
        "claimRef": {"namespace": namespace, "name": name},
    }
    claim = {**shared, "resources": {"requests": {"storage": "1Gi"}}, "volumeName": name}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": persistent},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": claim},
    ]


def calls_of(k: Kubectl) -> list[tuple[str, dict[str, Any]]]:
    return [tuple(json.loads(line)) for line in k("logs", "driver").splitlines() if line.startswith("[")]


def test_pods_share_what_a_driver_in_a_pod_mounts(driver: Kubectl, cluster: OrchestratorProcess) -> None:
    k = driver
    name, device = f"csi-{k.namespace}", f"device-{k.namespace}"
    script = f"echo hello > /v/file; stat -c '%g %a' /v; test -b /dev/of-test && echo device; {WAIT}"
    mounts = [{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/s", "subPath": "sub"}]
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]
    devices = [{"name": "d", "devicePath": "/dev/of-test"}]
    writer = pod(
        "writer",
        container(script, volumeMounts=mounts, volumeDevices=devices),
        volumes=[*volumes, {"name": "d", "persistentVolumeClaim": {"claimName": device}}],
        nodeName=NODE,
        securityContext={"fsGroup": 2000},
    )
    apply(k, *volume(name, k.namespace), *volume(device, k.namespace, volumeMode="Block"), writer)
    # The part of the external attacher.
    attachments = [attachment_name(DRIVER, one, NODE) for one in (name, device)]
    k.wait_for("volumeattachments", lambda found: {one["metadata"]["name"] for one in found} >= {*attachments})
    k("patch", "volumeattachment", *attachments, "--subresource=status", "--type=merge",
      "-p", '{"status": {"attached": true, "attachmentMetadata": {"disk": "1"}}}')  # fmt: skip
    wait_for_pod(k, "writer", is_running)
    reader = container(f"cat /v/file; {WAIT}", volumeMounts=mounts[:1])
    apply(k, pod("reader", reader, volumes=volumes, nodeName=NODE))
    wait_for_pod(k, "reader", is_running)
    assert k("logs", "reader") == "hello\n"
    group, said = k("logs", "writer").splitlines()
    assert group.startswith("2000 2")
    assert said == "device"
    kubelet_dir = cluster.data_dir / "kubelet" / NODE
    uid = k.json("get", "pod", "reader")["metadata"]["uid"]
    target = kubelet_dir / "pods" / uid / "volumes" / "kubernetes.io~csi" / name / "mount"
    assert (target / "file").read_text() == "hello\n", "what the driver mounted in its pod is on the machine"

    k("delete", "pod", "writer", "reader", "--wait=true")
    k.wait_for("volumeattachments", lambda found: not {one["metadata"]["name"] for one in found} & {*attachments})
    assert not [path for path in (kubelet_dir / "plugins/kubernetes.io/csi").rglob("*") if not path.is_dir()]
    calls = [call for call in calls_of(k) if call[1].get("volume_id") == name]
    counted = {method: [name for name, _ in calls].count(method) for method, _ in calls}
    assert {method: counted.get(f"Node{method}Volume") for method in ("Stage", "Publish", "Unpublish", "Unstage")} == {
        "Stage": 1, "Publish": 2, "Unpublish": 2, "Unstage": 1,
    }  # fmt: skip
    published = next(fields for method, fields in calls if method == "NodePublishVolume")
    assert published["target_path"].startswith("/var/lib/kubelet/pods/")
    assert published["publish_context"] == {"disk": "1"}
    assert published["volume_context"]["csi.storage.k8s.io/pod.name"] == "writer"
    assert not target.parent.exists()
    k("delete", "pvc", name, device, "--wait=true")
    k("delete", "pv", name, device, "--wait=true")
