"""Static pods: what the manifests in a node's folder ask for.

Owns decoding and identity; `StaticPodFolder` tells when a file changes. Never starts anything and never talks to
the API (see `mirrors`). Mirrors pkg/kubelet/config's file source.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from orchestrator.aiokit.clock import Clock, format_time
from orchestrator.aiokit.inotify import CLOSE_WRITE, DELETE, DELETE_SELF, GONE, MOVE, MOVE_SELF, Inotify
from orchestrator.api.objects import Object, name_of, uid_of
from orchestrator.kubelet.pod import (
    HASH_ANNOTATION,
    SEEN_ANNOTATION,
    STATIC_SOURCE_ANNOTATION,
    spec_of,
)
from orchestrator.logs import get_logger

MANIFEST_BYTES_MAX = 1 << 20
FILES_MAX = 1_000
_TOLERATION = {"operator": "Exists", "effect": "NoExecute"}


class BadManifest(ValueError):
    """A file that is no pod; the message says why."""


def decode_manifest(content: bytes, *, source: str, node_name: str) -> Object:
    """The static pod that a manifest describes, with its identity on this node; BadManifest."""
    import yaml

    try:
        manifest = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        # Dates and the like become texts, and what JSON does not know is refused.
        pod: Any = orjson.loads(orjson.dumps(manifest))
    except (yaml.YAMLError, orjson.JSONEncodeError) as error:
        raise BadManifest(f"it cannot be read: {error}") from None
    return static_pod(pod, source=source, node_name=node_name)


def static_pod(manifest: Any, *, source: str, node_name: str, kind: str = "file") -> Object:
    """A manifest's static pod, from a source of this kind; BadManifest.

    Its name ends with the node's, its uid is a hash of everything that makes it what it is, and it stays when
    the node is tainted (docs, "Create static Pods").
    """
    from orchestrator.api.kinds.core.pod import POD

    pod = manifest
    if not isinstance(pod, dict) or (pod.get("apiVersion"), pod.get("kind")) != ("v1", "Pod"):
        raise BadManifest("it is no Pod of version v1")
    metadata = pod.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise BadManifest("the pod has no name")
    if not isinstance(pod.get("spec"), dict):
        raise BadManifest("the pod has no spec")
    identity = hashlib.md5(
        b"\0".join((node_name.encode(), source.encode(), orjson.dumps(pod, option=orjson.OPT_SORT_KEYS))),
        usedforsecurity=False,
    ).hexdigest()
    pod["metadata"] = {
        **{key: value for key, value in metadata.items() if key in ("labels", "annotations")},
        "name": f"{metadata['name']}-{node_name}",
        "namespace": metadata.get("namespace") or "default",
        "uid": identity,
    }
    pod.pop("status", None)
    try:
        POD.default(pod)
        causes = POD.validate(pod)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadManifest(f"its structure is not that of a Pod: {error!r}") from None
    if causes:
        raise BadManifest("; ".join(f"{cause.field}: {cause.message}" for cause in causes))
    if reference := _reference_to_api(pod):
        raise BadManifest(f"static pods cannot refer to API objects, and it has a {reference}")
    pod["spec"]["nodeName"] = node_name
    tolerations = pod["spec"].setdefault("tolerations", [])
    if _TOLERATION not in tolerations:
        tolerations.append(dict(_TOLERATION))
    pod["metadata"]["annotations"] = {
        **(pod["metadata"].get("annotations") or {}),
        HASH_ANNOTATION: identity,
        STATIC_SOURCE_ANNOTATION: kind,
    }
    return dict(pod)


def mark_seen(pod: Object, at: str) -> None:
    """Say when a static pod was seen first."""
    pod["metadata"]["annotations"][SEEN_ANNOTATION] = at
    pod["metadata"]["creationTimestamp"] = at


def _reference_to_api(pod: Object) -> str:
    """What of the API a pod needs that a static pod cannot have; empty for nothing."""
    spec = spec_of(pod)
    if spec.get("serviceAccountName"):
        return "service account"
    for volume in spec.get("volumes") or ():
        for kind in ("configMap", "secret", "persistentVolumeClaim", "projected"):
            if volume.get(kind) is not None:
                return f"volume of type {kind}"
    return ""


class StaticPodFolder:
    """Follows the manifests of one node."""

    def __init__(
        self, *, folder: Path, node_name: str, clock: Clock, changed: Callable[[Mapping[str, Object]], None]
    ) -> None:
        """`changed` gets all static pods by uid, first of all from `load`."""
        self._folder = folder
        self._node_name = node_name
        self._clock = clock
        self._changed = changed
        self._seen: dict[str, str] = {}
        self._complaints: dict[str, str] = {}
        self._log = get_logger("kubelet", node=node_name)

    async def load(self) -> None:
        """Read the folder (made if need be) and tell what is in it; OSError."""
        files, complaints = await asyncio.to_thread(self._read)
        pods: dict[str, Object] = {}
        names: dict[tuple[str, str], str] = {}
        for file, content in files.items():
            try:
                pod = decode_manifest(content, source=str(self._folder / file), node_name=self._node_name)
                key = (pod["metadata"]["namespace"], name_of(pod))
                if key in names:
                    raise BadManifest(f"{names[key]} has a pod of this name already")
            except BadManifest as error:
                complaints[file] = str(error)
                continue
            names[key] = file
            pods[uid_of(pod)] = pod
        for file, why in complaints.items():
            if self._complaints.get(file) != why:
                self._log.warning("static_pod.refused", file=file, reason=why)
        self._complaints = complaints
        now = format_time(self._clock.now())
        self._seen = {uid: self._seen.get(uid, now) for uid in pods}
        for uid, pod in pods.items():
            mark_seen(pod, self._seen[uid])
        self._changed(pods)

    def _read(self) -> tuple[dict[str, bytes], dict[str, str]]:
        """Contents, and what is wrong with files, by name in the order of names; hidden files and folders do not count.

        OSError for the folder itself; one bad file is no reason to lose the others.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        contents: dict[str, bytes] = {}
        complaints: dict[str, str] = {}
        for path in sorted(self._folder.iterdir())[:FILES_MAX]:
            if path.name.startswith(".") or not path.is_file():
                continue
            try:
                with path.open("rb") as stream:
                    content = stream.read(MANIFEST_BYTES_MAX + 1)
            except FileNotFoundError:
                continue  # gone since; that is another event
            except OSError as error:
                complaints[path.name] = f"it cannot be read: {error.strerror}"
                continue
            if len(content) > MANIFEST_BYTES_MAX:
                complaints[path.name] = f"it is larger than {MANIFEST_BYTES_MAX} bytes"
                continue
            contents[path.name] = content
        return contents, complaints

    async def run(self) -> None:
        """Load again whenever something in the folder changes; ends only by cancellation. OSError."""
        while True:
            self._folder.mkdir(parents=True, exist_ok=True)
            with Inotify() as inotify:
                inotify.watch(self._folder, CLOSE_WRITE | MOVE | DELETE | DELETE_SELF | MOVE_SELF)
                # What changed before the watch began is read here.
                await self.load()
                while True:
                    changes = await inotify.changes()
                    await self.load()
                    if any(change.mask & GONE for change in changes):
                        break  # another folder is to be watched now
