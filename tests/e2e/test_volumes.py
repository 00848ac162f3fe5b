"""Volumes on real containers: what containers see, who may read it, and how it changes under them."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.manifests import (
    BUSYBOX,
    WAIT,
    apply,
    container,
    has_phase,
    output_of,
    pod,
    status_of,
    wait_for_event,
    wait_for_pod,
    waiting_reason,
)
from tests.e2e.orchestrator_process import Kubectl, docker, is_ready


def test_config_maps_and_secrets_change_under_a_running_container(k: Kubectl) -> None:
    k("create", "configmap", "c", "--from-literal=key=one", "--from-literal=other=x")
    k("create", "secret", "generic", "s", "--from-literal=key=one")
    # Waits in the container, so that only the file's own change ends the test.
    script = """
        cat /c/key /s/key /p/renamed/key; readlink /c/key
        while [ "$(cat /c/key)" = one ] || [ "$(cat /s/key)" = one ] || [ "$(cat /p/renamed/key)" = one ]; do
          sleep 0.1
        done
        echo; cat /c/key /s/key /p/renamed/key /sub/key; stat -c %a /c/..data/key /s/..data/key; ls /c; id -g
        stat -f -c %T /s
        touch /c/new 2>/dev/null || echo read-only
    """
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("c", "s", "p")]
    mounts.append({"name": "c", "mountPath": "/sub/key", "subPath": "key"})
    projected = {"sources": [{"configMap": {"name": "c", "items": [{"key": "key", "path": "renamed/key"}]}}]}
    volumes = [
        {"name": "c", "configMap": {"name": "c"}},
        {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}},
        {"name": "p", "projected": projected},
    ]
    manifest = pod("live", container(script, volumeMounts=mounts), volumes=volumes, restartPolicy="Never")
    apply(k, manifest)
    wait_for_pod(k, "live", is_ready)
    k("patch", "configmap", "c", "-p", '{"data": {"key": "two", "other": null}}')
    k("patch", "secret", "s", "-p", '{"stringData": {"key": "two"}}')
    wait_for_pod(k, "live", lambda p: p["status"]["phase"] == "Succeeded", seconds=30)
    first, second = k("logs", "live").split("\n", 1)
    assert first == "oneoneone..data/key"
    # A sub-path is a file of its own, which does not change.
    assert second.split() == ["twotwotwoone644", "400", "key", "0", "tmpfs", "read-only"]


def test_optional_and_missing_sources(k: Kubectl) -> None:
    optional = [{"name": "v", "configMap": {"name": "later", "optional": True}}]
    mount = [{"name": "v", "mountPath": "/v"}]
    wait = container("while [ ! -e /v/key ]; do sleep 0.1; done; cat /v/key", volumeMounts=mount)
    apply(k, pod("optional", wait, volumes=optional, restartPolicy="Never"))
    wait_for_pod(k, "optional", is_ready)
    needed = [{"name": "v", "secret": {"secretName": "later"}}]
    apply(k, pod("needed", container(volumeMounts=mount), volumes=needed))
    wait_for_event(k, "FailedMount", 'MountVolume.SetUp failed for volume "v" : secret "later" not found')
    k("create", "configmap", "later", "--from-literal=key=here")
    k("create", "secret", "generic", "later", "--from-literal=key=here")
    wait_for_pod(k, "optional", lambda p: p["status"]["phase"] == "Succeeded")
    assert k("logs", "optional") == "here"
    wait_for_pod(k, "needed", is_ready)


def test_sources_that_are_not_there_are_refused(k: Kubectl) -> None:
    """Bundles and certificates of pods are APIs that a cluster has to switch on; here they are not to be had."""
    bundle = {"clusterTrustBundle": {"name": "b", "path": "ca.pem"}}
    mounted = container(volumeMounts=[{"name": "v", "mountPath": "/v"}])
    apply(k, pod("bundle", mounted, volumes=[{"name": "v", "projected": {"sources": [bundle]}}]))
    wait_for_event(k, "FailedMount", 'volume "v" : unsupported projected volume source: clusterTrustBundle')
    certificate = {"podCertificate": {"signerName": "example.com/s", "keyType": "ED25519"}}
    manifest = pod("certificate", volumes=[{"name": "v", "projected": {"sources": [certificate]}}])
    refused = k.run("apply", "-f", "-", stdin=json.dumps(manifest))
    assert refused.returncode == 1
    assert "spec.volumes[0].projected.sources[0]: Required value: must specify a volume type" in refused.stderr


def test_mounts_that_are_to_be_read_only_throughout(k: Kubectl) -> None:
    """`IfPossible` is what the runtime has, which the status tells; `Enabled` is not to be had (KEP-3857)."""
    volumes = [{"name": "v", "emptyDir": {}}]

    def mounted(how: str) -> dict[str, Any]:
        mount = {"name": "v", "mountPath": "/v", "readOnly": True, "recursiveReadOnly": how}
        return container(volumeMounts=[mount])

    apply(k, pod("possible", mounted("IfPossible"), volumes=volumes))
    apply(k, pod("enabled", mounted("Enabled"), volumes=volumes))
    shown = status_of(wait_for_pod(k, "possible", is_ready))["volumeMounts"]
    assert next(one for one in shown if one["name"] == "v")["recursiveReadOnly"] == "Disabled"
    waiting = wait_for_pod(k, "enabled", lambda p: waiting_reason(p) == "CreateContainerConfigError")
    assert "recursive read-only" in status_of(waiting)["state"]["waiting"]["message"]


def test_a_downward_volume_follows_labels(k: Kubectl) -> None:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "deep/uid", "fieldRef": {"fieldPath": "metadata.uid"}, "mode": 0o400},
        {
            "path": "memory",
            "resourceFieldRef": {"containerName": "main", "resource": "limits.memory", "divisor": "1Mi"},
        },
    ]
    script = "cat /d/deep/uid /d/memory; while ! grep -q 'new=\"label\"' /d/labels; do sleep 0.1; done; cat /d/labels"
    main = container(script, volumeMounts=[{"name": "d", "mountPath": "/d"}], resources={"limits": {"memory": "48Mi"}})
    manifest = pod("down", main, volumes=[{"name": "d", "downwardAPI": {"items": items}}], restartPolicy="Never")
    manifest["metadata"]["labels"] = {"app": "x"}
    apply(k, manifest)
    running = wait_for_pod(k, "down", is_ready)
    k("label", "pod", "down", "new=label")
    wait_for_pod(k, "down", lambda p: p["status"]["phase"] == "Succeeded", seconds=30)
    assert k("logs", "down") == running["metadata"]["uid"] + '48app="x"\nnew="label"'


def test_empty_dirs_are_shared_survive_restarts_and_can_be_memory(k: Kubectl) -> None:
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
    ]
    mounts = [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in volumes]
    script = """
        stat -f -c %T /memory; stat -c %a /disk
        head -c 6000000 /dev/zero > /memory/large 2>/dev/null || echo full
        wc -c < /memory/large; echo from-init > /disk/file
    """
    reader = container("cat /disk/file", volumeMounts=mounts)
    writer = container(script, name="init", volumeMounts=mounts)
    manifest = pod("scratch", reader, initContainers=[writer], volumes=volumes)
    assert output_of(k, manifest) == "from-init\n"
    assert k("logs", "scratch", "-c", "init").split() == ["tmpfs", "777", "full", str(4 << 20)]


def test_a_group_owns_the_volumes_of_a_pod(k: Kubectl) -> None:
    k("create", "secret", "generic", "s", "--from-literal=key=readable")
    volumes = [
        {"name": "e", "emptyDir": {}},
        {"name": "m", "emptyDir": {"medium": "Memory"}},
        {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}},
    ]
    mounts = [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in volumes]
    script = "id -u; id -G; stat -c '%g %a' /e /m; touch /e/f /m/f; stat -c %g /e/f /m/f; cat /s/key"
    context = {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "supplementalGroups": [4000]}
    manifest = pod("grouped", container(script, volumeMounts=mounts), volumes=volumes, securityContext=context)
    lines = output_of(k, manifest).splitlines()
    assert lines[0] == "1000"
    assert set(lines[1].split()) == {"3000", "2000", "4000"}
    assert lines[2:] == ["2000 2777", "2000 2777", "2000", "2000", "readable"]


def test_sub_paths_stay_inside_their_volume(k: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "file").write_text("inside")
    (tmp_path / "escape").symlink_to("/etc")
    volumes = [{"name": "v", "hostPath": {"path": str(tmp_path)}}]

    def mounted(**mount: str) -> list[dict[str, str]]:
        return [{"name": "v", "mountPath": "/v", **mount}]

    good = container("cat /v/file", volumeMounts=mounted(subPath="inside"))
    assert output_of(k, pod("good", good, volumes=volumes)) == "inside"
    expression = container(
        "echo made > /v/file",
        volumeMounts=mounted(subPathExpr="$(POD)"),
        env=[{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    )
    output_of(k, pod("expression", expression, volumes=volumes))
    assert (tmp_path / "expression" / "file").read_text() == "made\n"
    apply(k, pod("bad", container(volumeMounts=mounted(subPath="escape")), volumes=volumes))
    wait_for_event(k, "Failed", "is not within the volume path")
    k("delete", "pod", "good", "expression", "bad", "--wait=true")
    # What was mounted is gone, what was mounted from is not.
    assert (tmp_path / "inside" / "file").read_text() == "inside"
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_host_paths_are_checked_or_made(k: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    kinds = {
        "Directory": "directory", "File": "file", "Socket": "socket", "DirectoryOrCreate": "made/directory",
        "FileOrCreate": "made-file", "CharDevice": "/dev/null", "": "anything",
    }  # fmt: skip
    volumes = [
        {"name": f"v{number}", "hostPath": {"path": str(tmp_path / path), "type": kind}}
        for number, (kind, path) in enumerate(kinds.items())
    ]
    mounts = [{"name": v["name"], "mountPath": f"/mnt/{v['name']}"} for v in volumes]
    script = "for i in 0 1 2 3 4 5 6; do stat -c %F /mnt/v$i; done"
    shown = output_of(k, pod("kinds", container(script, volumeMounts=mounts), volumes=volumes)).splitlines()
    listener.close()
    assert shown == [
        "directory", "regular empty file", "socket", "directory", "regular empty file", "character special file",
        "directory",
    ]  # fmt: skip
    for kind, path in (("Directory", "file"), ("File", "directory"), ("Socket", "file"), ("BlockDevice", "none")):
        volume = {"name": "v", "hostPath": {"path": str(tmp_path / path), "type": kind}}
        mount = [{"name": "v", "mountPath": "/v"}]
        apply(k, pod(f"wrong-{kind.lower()}", container(volumeMounts=mount), volumes=[volume]))
    for message in ("is not a directory", "is not a file", "is not a socket file", "is not a block device"):
        wait_for_event(k, "FailedMount", message)


@pytest.fixture
def shared_mount(tmp_path: Path) -> Iterator[Path]:
    """A directory that is a mount of its own whose mounts are shared, as a machine's root is with systemd."""
    base = tmp_path / "shared"
    base.mkdir()
    subprocess.run(["mount", "--bind", base, base], check=True)
    subprocess.run(["mount", "--make-shared", base], check=True)
    yield base
    subprocess.run(["umount", "-R", base], check=True)


def test_mounts_propagate_when_asked(k: Kubectl, shared_mount: Path) -> None:
    volumes = [{"name": "v", "hostPath": {"path": str(shared_mount)}}]
    mount = {"name": "v", "mountPath": "/v"}
    script = "while [ ! -e /v/inner/file ]; do sleep 0.1; done; cat /v/inner/file"
    receiver = container(script, name="main", volumeMounts=[{**mount, "mountPropagation": "HostToContainer"}])
    sender = container(
        "mkdir /v/inner; mount -t tmpfs none /v/inner; echo seen > /v/inner/file; trap 'umount /v/inner; exit 0' TERM;"
        " while :; do sleep 1000 & wait $!; done",
        name="sender",
        volumeMounts=[{**mount, "mountPropagation": "Bidirectional"}],
        securityContext={"privileged": True},
        restartPolicy="Always",
    )
    assert output_of(k, pod("propagating", receiver, initContainers=[sender], volumes=volumes)) == "seen\n"
    k("delete", "pod", "propagating", "--wait=true")


def test_tokens_of_the_service_account_are_mounted(k: Kubectl) -> None:
    source = {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}}
    volumes = [{"name": "t", "projected": {"sources": [source]}}]
    script = "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo; cat /t/token"
    manifest = pod("token", container(script, volumeMounts=[{"name": "t", "mountPath": "/t"}]), volumes=volumes)
    namespace, token = output_of(k, manifest).split("\n")
    assert namespace == k.namespace
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["aud"] == ["vault"]
    assert claims["kubernetes.io"]["pod"]["name"] == "token"


def test_nothing_of_a_deleted_pod_stays(k: Kubectl) -> None:
    volumes = [{"name": "m", "emptyDir": {"medium": "Memory"}}]
    apply(k, pod("gone", container(volumeMounts=[{"name": "m", "mountPath": "/m"}]), volumes=volumes))
    running = wait_for_pod(k, "gone", is_ready)
    uid = running["metadata"]["uid"]
    node_dir = k.process.data_dir / "kubelet" / running["spec"]["nodeName"] / "pods"
    assert uid in os.listdir(node_dir)
    k("delete", "pod", "gone", "--wait=true")
    assert uid not in os.listdir(node_dir)
    assert uid not in Path("/proc/self/mountinfo").read_text()
    assert docker("ps", "-aq", "--filter", f"label=io.kubernetes.pod.uid={uid}") == ""


def test_image_volumes_show_the_files_of_an_image(k: Kubectl) -> None:
    def source(reference: str) -> dict[str, Any]:
        return {"image": {"reference": reference, "pullPolicy": "Never"}}

    volumes = [{"name": "v", **source("orchestrator.test/users:1")}, {"name": "one", **source(BUSYBOX)}]
    mounts = [
        {"name": "v", "mountPath": "/v"},
        {"name": "v", "mountPath": "/sub", "subPath": "data/sub"},
        {"name": "one", "mountPath": "/one"},
    ]
    script = """
        cat /v/data/file /sub/file /one/www/index.html; ls /v/www
        touch /v/x 2>/dev/null || echo read-only
        touch /sub/x 2>/dev/null || echo read-only
        /v/bin/busybox true 2>/dev/null || echo no programs
    """
    shown = output_of(k, pod("image", container(script, volumeMounts=mounts), volumes=volumes)).splitlines()
    assert shown == ["from an image", "from a folder of an image", "busybox", "read-only", "read-only", "no programs"]
    missing = [{"name": "v", **source("orchestrator.test/none:1")}]
    apply(k, pod("missing", container(volumeMounts=mounts[:1]), volumes=missing))
    wait_for_pod(k, "missing", lambda p: waiting_reason(p) == "ErrImageNeverPull")


def test_claims_of_local_and_host_path_volumes_are_mounted(k: Kubectl, tmp_path: Path) -> None:
    objects: list[dict[str, Any]] = []
    for kind in ("local", "hostPath"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "old").write_text("old")
        node = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}
        spec: dict[str, Any] = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": k.namespace,
            "claimRef": {"namespace": k.namespace, "name": kind.lower()},
            kind: {"path": str(tmp_path / kind)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
        }
        claim = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": k.namespace,
            "volumeName": f"{k.namespace}-{kind.lower()}",
            "resources": {"requests": {"storage": "1Gi"}},
        }
        name = f"{k.namespace}-{kind.lower()}"
        objects += [
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec},
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": kind.lower()}, "spec": claim},
        ]
    volumes: list[dict[str, Any]] = [
        {"name": "l", "persistentVolumeClaim": {"claimName": "local"}},
        {"name": "h", "persistentVolumeClaim": {"claimName": "hostpath", "readOnly": True}},
    ]
    mounts = [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in volumes]
    script = "cat /l/old /h/old; echo new > /l/new; touch /h/new 2>/dev/null || echo ' read-only'; stat -c %g /l/old"
    # Its node is named, so that the kubelet and not the scheduler waits for the claims.
    context = {"fsGroup": 2000, "fsGroupChangePolicy": "OnRootMismatch"}
    manifest = pod(
        "claims", container(script, volumeMounts=mounts), volumes=volumes, nodeName="node-1", securityContext=context,
        restartPolicy="Never",
    )  # fmt: skip
    apply(k, manifest)
    wait_for_event(k, "FailedMount", 'persistentvolumeclaims "local" not found')
    apply(k, *objects)
    try:
        wait_for_pod(k, "claims", has_phase("Succeeded"))
        assert k("logs", "claims") == "oldold read-only\n2000\n"
        assert (tmp_path / "local" / "new").read_text() == "new\n"
        assert (tmp_path / "local" / "old").stat().st_mode & 0o7777 == 0o664
    finally:
        k("delete", "pod/claims", "pvc/local", "pvc/hostpath")
        k("delete", "pv", f"{k.namespace}-local", f"{k.namespace}-hostpath")


def test_sub_paths_wait_for_what_their_expression_needs(k: Kubectl) -> None:
    field = {"fieldRef": {"fieldPath": "metadata.annotations['where']"}}
    main = container(
        env=[{"name": "WHERE", "valueFrom": field}, {"name": "NAME", "value": "x"}],
        volumeMounts=[{"name": "v", "mountPath": "/v", "subPathExpr": "$(WHERE)/$(NAME)"}],
    )
    apply(k, pod("waiting", main, volumes=[{"name": "v", "emptyDir": {}}]))
    wait_for_pod(k, "waiting", lambda p: waiting_reason(p) == "CreateContainerConfigError")
    k("annotate", "pod", "waiting", "where=here")
    wait_for_pod(k, "waiting", is_ready)


def test_sub_paths_are_made_as_their_volume_is(k: Kubectl) -> None:
    mount = {"name": "v", "mountPath": "/v", "subPath": "a/b"}
    context = {"runAsUser": 1000, "fsGroup": 2000}
    script = "echo mine > /v/file && stat -c '%g %a' /v"
    manifest = pod(
        "made", container(script, volumeMounts=[mount]), volumes=[{"name": "v", "emptyDir": {}}],
        securityContext=context,
    )  # fmt: skip
    assert output_of(k, manifest) == "2000 2777\n"


def test_mounts_propagate_within_a_pod(k: Kubectl) -> None:
    mount = {"name": "v", "mountPath": "/v"}
    script = "while [ ! -e /v/inner/file ]; do sleep 0.1; done; cat /v/inner/file"
    receiver = container(script, volumeMounts=[{**mount, "mountPropagation": "HostToContainer"}])
    sender = container(
        f"mkdir /v/inner; mount -t tmpfs none /v/inner; echo seen > /v/inner/file; {WAIT}",
        name="sender",
        volumeMounts=[{**mount, "mountPropagation": "Bidirectional"}],
        securityContext={"privileged": True},
        restartPolicy="Always",
    )
    manifest = pod("inside", receiver, initContainers=[sender], volumes=[{"name": "v", "emptyDir": {}}])
    assert output_of(k, manifest) == "seen\n"
    k("delete", "pod", "inside", "--wait=true")


def test_a_token_belongs_to_the_user_of_its_pod(k: Kubectl) -> None:
    script = "cd /var/run/secrets/kubernetes.io/serviceaccount; stat -L -c '%u %g %a' token; head -c 2 token"
    manifest = pod("owner", container(script), securityContext={"runAsUser": 1000, "fsGroup": 2000})
    assert output_of(k, manifest) == "1000 2000 640\ney"
