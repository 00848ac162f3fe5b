"""Static pods: from a file to a pod with an identity."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api.objects import Object
from orchestrator.kubelet.static_pods.folder import MANIFEST_BYTES_MAX, BadManifest, StaticPodFolder, decode_manifest


def manifest(name: str = "web", **spec: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "web:1"}], **spec},
    }


def decode(content: Object, source: str = "/m/web.yaml", node: str = "node-1") -> Object:
    return decode_manifest(yaml.safe_dump(content).encode(), source=source, node_name=node)


def test_a_static_pod_has_its_nodes_name_and_a_hash_for_a_uid() -> None:
    pod = decode(manifest())
    metadata = pod["metadata"]
    assert (metadata["name"], metadata["namespace"], metadata["labels"]) == ("web-node-1", "default", {"a": "b"})
    assert metadata["annotations"]["kubernetes.io/config.hash"] == metadata["uid"]
    assert metadata["annotations"]["kubernetes.io/config.source"] == "file"
    assert pod["spec"]["nodeName"] == "node-1"
    assert {"operator": "Exists", "effect": "NoExecute"} in pod["spec"]["tolerations"]
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"


def test_the_uid_follows_node_file_and_content() -> None:
    uids = {
        decode(manifest())["metadata"]["uid"],
        decode(manifest(), node="node-2")["metadata"]["uid"],
        decode(manifest(), source="/m/other.yaml")["metadata"]["uid"],
        decode(manifest(hostNetwork=True))["metadata"]["uid"],
    }
    assert len(uids) == 4
    assert decode(manifest())["metadata"]["uid"] in uids


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "cannot be read"),
        (b"kind: Service\napiVersion: v1\n", "no Pod"),
        (b"kind: Pod\napiVersion: v1\n", "no name"),
        (b"kind: Pod\napiVersion: v1\nmetadata: {name: a}\n", "no spec"),
        (b"kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {containers: [1]}\n", "structure"),
        (b"kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {containers: []}\n", "spec.containers"),
        (yaml.safe_dump(manifest(volumes=[{"name": "v", "secret": {"secretName": "s"}}])).encode(), "type secret"),
        (yaml.safe_dump(manifest(serviceAccountName="me")).encode(), "service account"),
    ],
)
def test_what_is_no_static_pod(content: bytes, why: str) -> None:
    with pytest.raises(BadManifest, match=why):
        decode_manifest(content, source="/m/a.yaml", node_name="n")


async def test_the_folder_is_followed(tmp_path: Path) -> None:
    states: asyncio.Queue[list[str]] = asyncio.Queue()

    def changed(pods: Mapping[str, Object]) -> None:
        states.put_nowait(sorted(pod["metadata"]["name"] for pod in pods.values()))

    async def until(*names: str) -> None:
        async with asyncio.timeout(10):
            while await states.get() != [*names]:
                pass

    folder = tmp_path / "manifests"
    source = StaticPodFolder(folder=folder, node_name="n", clock=SystemClock(), changed=changed)
    task = asyncio.create_task(source.run())
    try:
        await until()
        (folder / "a.yaml").write_text(yaml.safe_dump(manifest("a")))
        await until("a-n")
        (folder / ".hidden.yaml").write_text(yaml.safe_dump(manifest("hidden")))
        (folder / "same.yaml").write_text(yaml.safe_dump(manifest("a")))
        (folder / "z.yaml").write_text(yaml.safe_dump(manifest("z")))
        await until("a-n", "z-n")
        (folder / "z.yaml").rename(folder / ".z.yaml")
        await until("a-n")
        (folder / "large.yaml").write_bytes(b"#" * MANIFEST_BYTES_MAX + yaml.safe_dump(manifest("large")).encode())
        (folder / "a.yaml").write_text("nonsense: [")
        await until("a-n")  # the other file with a pod of this name takes its place
        (folder / "same.yaml").unlink()
        await until()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
