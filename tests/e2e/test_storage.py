"""Claims on real containers: volumes that are made for them, outlive pods, grow, are shared and go away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from orchestrator.aiokit.loop_devices import attach, detach
from tests.e2e.manifests import WAIT, Pod, apply, container, is_running, output_of, pod, wait_for_event, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess, docker
from tests.e2e.packets import until

MOUNTS = [{"name": "data", "mountPath": "/data"}]


def claim(name: str, size: str = "10Mi", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec},
    }


def using(claim_name: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name, **fields}}]


def directory_of(cluster: OrchestratorProcess, k: Kubectl, claim_name: str) -> Path:
    volume = k("get", "pvc", claim_name, "-o", "jsonpath={.spec.volumeName}")
    return cluster.data_dir / "volumes" / volume


def test_each_replica_of_a_stateful_set_finds_its_data_again(cluster: OrchestratorProcess, k: Kubectl) -> None:
    script = f"echo started >> /data/log; {WAIT}"
    template = claim("data")
    stateful_set = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {
            "replicas": 2,
            "serviceName": "db",
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": pod("x", container(script, volumeMounts=MOUNTS))["spec"],
            },
            "volumeClaimTemplates": [template],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
        },
    }
    apply(k, stateful_set)
    k("rollout", "status", "statefulset/db", "--timeout=60s")
    before = k("get", "pod", "db-0", "-o", "jsonpath={.metadata.uid} {.spec.nodeName}").split()
    k("delete", "pod", "db-0", "--wait=false")

    def is_another(one: Pod) -> bool:
        return is_running(one) and one["metadata"]["uid"] != before[0]

    again = wait_for_pod(k, "db-0", is_another)
    assert again["spec"]["nodeName"] == before[1], "a volume of one node keeps its pod there"
    assert k("exec", "db-0", "--", "cat", "/data/log") == "started\nstarted\n"
    assert k("exec", "db-1", "--", "cat", "/data/log") == "started\n"
    directories = [directory_of(cluster, k, f"data-db-{number}") for number in (0, 1)]
    assert all(directory.is_dir() for directory in directories)
    k("delete", "statefulset", "db")
    k("wait", "--for=delete", "pvc/data-db-0", "pvc/data-db-1", "--timeout=60s")
    until(lambda: any(directory.exists() for directory in directories), False)


def test_a_user_without_rights_writes_and_a_reader_only_reads(k: Kubectl) -> None:
    apply(k, claim("data"))
    security = {"runAsUser": 1000, "runAsGroup": 1000}
    writer = container("echo mine > /data/file && cat /data/file", volumeMounts=MOUNTS, securityContext=security)
    assert output_of(k, pod("writer", writer, volumes=using("data"))) == "mine\n"
    script = "cat /data/file; touch /data/other 2>/dev/null || echo read-only"
    reader = container(script, volumeMounts=MOUNTS)
    assert output_of(k, pod("reader", reader, volumes=using("data", readOnly=True))) == "mine\nread-only\n"


def test_nodes_share_a_volume_of_many(k: Kubectl) -> None:
    apply(k, claim("shared", accessModes=["ReadWriteMany"]))
    nodes = k("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()[:2]
    for node in nodes:
        script = f"echo {node} >> /data/log"
        manifest = pod(f"on-{node}", container(script, volumeMounts=MOUNTS), volumes=using("shared"))
        manifest["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
        output_of(k, manifest)
    reader = pod("reader", container("cat /data/log", volumeMounts=MOUNTS), volumes=using("shared"))
    assert output_of(k, reader).split() == nodes


def test_a_claim_grows_while_its_pod_runs_and_a_copy_begins_with_its_data(k: Kubectl) -> None:
    apply(k, claim("source"), pod("p", container(f"echo data > /data/file; {WAIT}", volumeMounts=MOUNTS),
                                  volumes=using("source")))  # fmt: skip
    node = wait_for_pod(k, "p", is_running)["spec"]["nodeName"]
    labels = f'namespace="{k.namespace}",persistentvolumeclaim="source"'
    assert f"kubelet_volume_stats_used_bytes{{{labels}}}" in k("get", "--raw", f"/api/v1/nodes/{node}/proxy/metrics")
    k("patch", "pvc", "source", "-p", '{"spec": {"resources": {"requests": {"storage": "20Mi"}}}}')
    k("wait", "pvc/source", "--for=jsonpath={.status.capacity.storage}=20Mi", "--timeout=30s")
    assert "VolumeResizeSuccessful" in wait_for_event(k, "VolumeResizeSuccessful")["reason"]
    data_source = {"kind": "PersistentVolumeClaim", "name": "source"}
    apply(k, claim("copy", "20Mi", dataSource=data_source))
    reader = pod("reader", container("cat /data/file", volumeMounts=MOUNTS), volumes=using("copy"))
    assert output_of(k, reader) == "data\n"


def test_an_ephemeral_volume_goes_with_its_pod(k: Kubectl) -> None:
    volumes = [{"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": claim("")["spec"]}}}]
    script = "touch /data/file && ls /data"
    assert output_of(k, pod("p", container(script, volumeMounts=MOUNTS), volumes=volumes)) == "file\n"
    assert k("get", "pvc", "p-data", "-o", "jsonpath={.status.phase}") == "Bound"
    k("delete", "pod", "p")
    k("wait", "--for=delete", "pvc/p-data", "--timeout=30s")


def docker_class(name: str, **parameters: str) -> dict[str, Any]:
    """A class of Docker's volume drivers."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "docker-volume.orchestrator.local",
        "volumeBindingMode": "WaitForFirstConsumer",
        "parameters": parameters,
    }


def test_a_volume_of_a_docker_volume_driver(k: Kubectl) -> None:
    """The driver `local` with mount options; a volume plug-in differs in its name only."""
    name = f"memory-{k.namespace}"
    apply(k, docker_class(name, type="tmpfs", device="tmpfs", o="size=1m,uid=1000,mode=0700"))
    apply(k, claim("data", storageClassName=name))
    fill = "dd if=/dev/zero of=/data/x bs=1M count=2 2>/dev/null || echo full"
    script = f"stat -f -c %T /data; stat -c %u /data; {fill}; {WAIT}"
    security = {"runAsUser": 1000}
    apply(k, pod("p", container(script, volumeMounts=MOUNTS, securityContext=security), volumes=using("data")))
    wait_for_pod(k, "p", is_running)
    until(lambda: k("logs", "p"), "tmpfs\n1000\nfull\n")
    volume = k.json("get", "pv", k("get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}"))
    handle = volume["spec"]["csi"]["volumeHandle"]
    assert docker("volume", "inspect", "-f", "{{.Driver}} {{.Options.type}}", handle) == "local tmpfs"
    k("delete", "pod/p", "pvc/data", "--wait=false")
    k("wait", "--for=delete", f"pv/{volume['metadata']['name']}", "--timeout=30s")
    assert handle not in docker("volume", "ls", "-q").split()
    k("delete", "storageclass", name)


def test_what_a_docker_volume_driver_refuses_is_told(k: Kubectl) -> None:
    name = f"broken-{k.namespace}"
    apply(k, docker_class(name, nonsense="x"))
    apply(k, claim("data", storageClassName=name), pod("p", container(volumeMounts=MOUNTS), volumes=using("data")))
    event = wait_for_event(k, "ProvisioningFailed")
    assert "invalid option" in event["message"]
    k("delete", "pod/p", "pvc/data", f"storageclass/{name}", "--wait=false")


def loop_devices() -> str:
    """The files behind the loop devices of the machine."""
    return "".join(path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file"))


def test_a_volume_is_a_device_that_two_pods_have_one_after_the_other(cluster: OrchestratorProcess, k: Kubectl) -> None:
    """The data of a Block volume stay, the device goes with its last pod, and a claim grows while it is used."""
    apply(k, claim("disk", "4Mi", volumeMode="Block"))
    devices = [{"name": "data", "devicePath": "/dev/xvda"}]
    write = f"echo block-data | dd of=/dev/xvda conv=sync bs=512 2>/dev/null; {WAIT}"
    apply(k, pod("writer", container(write, volumeDevices=devices), volumes=using("disk")))
    wait_for_pod(k, "writer", is_running)
    disk = str(directory_of(cluster, k, "disk"))
    assert disk in loop_devices()
    until(lambda: k("exec", "writer", "--", "head", "-c", "10", "/dev/xvda"), "block-data")
    k("patch", "pvc", "disk", "-p", '{"spec": {"resources": {"requests": {"storage": "8Mi"}}}}')
    k("wait", "pvc/disk", "--for=jsonpath={.status.capacity.storage}=8Mi", "--timeout=30s")
    size = k("exec", "writer", "--", "sh", "-c", "busybox blockdev --getsize64 /dev/xvda")
    assert size.strip() == str(8 << 20)
    k("delete", "pod", "writer")
    assert disk not in loop_devices()
    script = "head -c 10 /dev/xvda; echo x 2>/dev/null >/dev/xvda || echo read-only"
    reader = pod("reader", container(script, volumeDevices=devices), volumes=using("disk", readOnly=True))
    assert output_of(k, reader) == "block-data" + "read-only\n"
    k("delete", "pod/reader", "pvc/disk")
    until(lambda: Path(disk).exists(), False)


def local_volume(name: str, path: Path) -> dict[str, Any]:
    """A volume by hand, which is on node-1."""
    here = [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "10Mi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "local": {"path": str(path)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": here}]}},
        },
    }


def test_a_local_volume_on_a_device_has_a_file_system_and_stays_on_its_node(k: Kubectl, tmp_path: Path) -> None:
    """The specs of local volumes of type block, and "should fail due to wrong node"."""
    name, file = f"local-{k.namespace}", tmp_path / "file"
    file.write_bytes(b"")
    os.truncate(file, 20 << 20)
    device = attach(file)
    try:
        apply(k, local_volume(name, device), claim("data", storageClassName="", volumeName=name))
        script = "stat -f -c %T /data; stat -c %g /data; echo kept > /data/file"
        writer = pod("writer", container(script, volumeMounts=MOUNTS), volumes=using("data"))
        writer["spec"]["securityContext"] = {"fsGroup": 1234}
        assert output_of(k, writer) == "ext2/ext3\n1234\n"
        k("delete", "pod", "writer")
        reader = pod("reader", container("cat /data/file", volumeMounts=MOUNTS), volumes=using("data"))
        assert output_of(k, reader) == "kept\n"
        apply(k, pod("elsewhere", container(volumeMounts=MOUNTS), volumes=using("data"), nodeName="node-2"))
        assert name in wait_for_event(k, "FailedMount", "NodeAffinity check failed")["message"]
        k("delete", "pods", "--all")
        k("delete", "pvc/data", f"pv/{name}")
    finally:
        detach(device)


def test_files_and_devices_are_not_mistaken_for_each_other(k: Kubectl) -> None:
    apply(k, claim("disk", "1Mi", volumeMode="Block"))
    apply(k, pod("p", container(volumeMounts=MOUNTS), volumes=using("disk")))
    event = wait_for_event(k, "FailedMount", "volumeMounts")
    assert "has volumeMode Block, but is specified in volumeMounts" in event["message"]
    k("delete", "pod/p", "pvc/disk", "--wait=false")


SNAPSHOTS = Path(__file__).parents[2] / "config" / "snapshots"


def snapshot(name: str, claim_name: str) -> dict[str, Any]:
    return {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": {"name": name},
        "spec": {"source": {"persistentVolumeClaimName": claim_name}},
    }


def from_snapshot(name: str) -> dict[str, str]:
    return {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name}


def test_claims_begin_with_snapshots_of_files_and_of_a_device(k: Kubectl) -> None:
    """Taken while pods write; what a device's page cache still held is part of it."""
    k("apply", "-f", str(SNAPSHOTS / "definitions.yaml"))
    try:
        k("apply", "-f", str(SNAPSHOTS / "class.yaml"))
        devices = [{"name": "data", "devicePath": "/dev/xvda"}]
        script = f"echo before > /data/file; ln -s /etc/hostname /data/link; {WAIT}"
        on_disk = f"echo block-data | dd of=/dev/xvda conv=sync bs=512 2>/dev/null; {WAIT}"
        apply(
            k,
            claim("files"), pod("files", container(script, volumeMounts=MOUNTS), volumes=using("files")),
            claim("disk", "4Mi", volumeMode="Block"),
            pod("disk", container(on_disk, volumeDevices=devices), volumes=using("disk")),
        )  # fmt: skip
        wait_for_pod(k, "files", is_running)
        wait_for_pod(k, "disk", is_running)
        until(lambda: k("exec", "files", "--", "cat", "/data/file"), "before\n")
        until(lambda: k("exec", "disk", "--", "head", "-c", "10", "/dev/xvda"), "block-data")
        apply(k, snapshot("files", "files"), snapshot("disk", "disk"))
        k("wait", "volumesnapshots", "files", "disk", "--for=jsonpath={.status.readyToUse}=true", "--timeout=30s")
        k("exec", "files", "--", "sh", "-c", "echo after > /data/file")
        apply(
            k,
            claim("restored-files", dataSource=from_snapshot("files")),
            claim("restored-disk", "4Mi", volumeMode="Block", dataSource=from_snapshot("disk")),
        )
        reader = container("cat /data/file; readlink /data/link", volumeMounts=MOUNTS)
        assert output_of(k, pod("reader", reader, volumes=using("restored-files"))) == "before\n/etc/hostname\n"
        reader = container("head -c 10 /dev/xvda", volumeDevices=devices)
        assert output_of(k, pod("disk-reader", reader, volumes=using("restored-disk"))) == "block-data"
        table = k("get", "volumesnapshots").splitlines()
        assert table[0].split()[:3] == ["NAME", "READYTOUSE", "SOURCEPVC"]
        assert [line.split()[1] for line in table[1:]] == ["true", "true"]
        k("delete", "volumesnapshots", "--all", "--timeout=30s")
        assert k("get", "volumesnapshotcontents", "-o", "name") == ""
    finally:
        k("delete", "-f", str(SNAPSHOTS / "definitions.yaml"), "--timeout=30s")
