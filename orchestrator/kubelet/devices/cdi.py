"""Descriptions of devices by the Container Device Interface, resolved here: Engines before 25 know nothing of it.

Drivers write them into the node's /var/run/cdi, vendors' tools into the machine's /var/run/cdi and /etc/cdi; of two
descriptions of a device the one in the directory named first counts. Owns reading and checking; never touches a
device. What an Engine cannot do with a container is refused, not left out.

https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from msgspec import Struct

from orchestrator.kubelet.devices.injection import Injection, merge_injections
from orchestrator.kubelet.node_paths import NodePaths
from orchestrator.kubelet.parts import DeviceFailure
from orchestrator.kubelet.runtime import DeviceNode, Mount

MACHINE_DIRS = (Path("/var/run/cdi"), Path("/etc/cdi"))
FILES_MAX = 1_000
FILE_BYTES_MAX = 4 << 20
_PROPAGATION = {"rslave": "rslave", "slave": "rslave", "rshared": "rshared", "shared": "rshared"}
_REFUSED = {"hooks": "hooks", "intelRdt": "Intel RDT", "netDevices": "network devices"}


class Description(Struct, frozen=True):
    """One device of one file."""

    edits: Mapping[str, Any]
    file_edits: Mapping[str, Any]
    """What all devices of the file have in common."""
    file: str


def read_descriptions(folders: Sequence[Path]) -> dict[str, Description]:
    """All devices by qualified name (`vendor/class=name`); one that two files of a folder describe is none.

    Blocking. Files that cannot be read or are no descriptions are passed over, as container runtimes do.
    """
    found: dict[str, Description] = {}
    for folder in folders:
        here: dict[str, Description] = {}
        twice: set[str] = set()
        for path in _files(folder):
            for name, description in describe(_read(path), str(path)):
                if name in here:
                    twice.add(name)
                here[name] = description
        for name, description in here.items():
            if name not in twice:
                found.setdefault(name, description)
    return found


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in (".json", ".yaml"))[:FILES_MAX]
    except OSError:
        return []


def _read(path: Path) -> Any:
    """The content of a file; None for one that cannot be read."""
    import yaml

    try:
        with path.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX)
        if path.suffix == ".json":
            return orjson.loads(content)
        return yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, orjson.JSONDecodeError, yaml.YAMLError):
        return None


def describe(content: Any, file: str) -> Iterator[tuple[str, Description]]:
    """The devices of a file's content, by qualified name; none when it is no description."""
    if not isinstance(content, dict) or not isinstance(content.get("kind"), str) or "/" not in content["kind"]:
        return
    for device in content.get("devices") or ():
        if isinstance(device, dict) and isinstance(device.get("name"), str):
            yield (
                f"{content['kind']}={device['name']}",
                Description(
                    edits=_mapping(device.get("containerEdits")),
                    file_edits=_mapping(content.get("containerEdits")),
                    file=file,
                ),
            )


def plan_injection(names: Sequence[str], known: Mapping[str, Description], paths: NodePaths) -> Injection:
    """What these devices add to a container, by their qualified names; DeviceFailure."""
    if missing := [name for name in dict.fromkeys(names) if name not in known]:
        raise DeviceFailure(f"CDI device injection failed: unresolvable CDI devices {', '.join(missing)}")
    injections: list[Injection] = []
    files: set[str] = set()
    for name in dict.fromkeys(names):
        description = known[name]
        if description.file not in files:
            files.add(description.file)
            injections.append(_edits(name, description.file_edits, paths))
        injections.append(_edits(name, description.edits, paths))
    return merge_injections(injections)


def _edits(name: str, edits: Mapping[str, Any], paths: NodePaths) -> Injection:
    for key, what in _REFUSED.items():
        if edits.get(key):
            raise DeviceFailure(f"CDI device injection failed: {name} has {what}, which this node does not support")
    try:
        return Injection(
            env=dict(_variable(text) for text in edits.get("env") or ()),
            mounts=tuple(_mount(name, mount, paths) for mount in edits.get("mounts") or ()),
            devices=tuple(_device(device, paths) for device in edits.get("deviceNodes") or ()),
            groups=tuple(str(int(group)) for group in edits.get("additionalGids") or () if group),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DeviceFailure(f"CDI device injection failed: the description of {name} is invalid: {error!r}") from None


def _variable(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _mount(name: str, mount: Mapping[str, Any], paths: NodePaths) -> Mount:
    options = mount.get("options") or ()
    if mount.get("type") not in (None, "", "none", "bind"):
        raise DeviceFailure(
            f"CDI device injection failed: {name} has a mount of type {mount['type']}, which this node does not support"
        )
    # Simplified: the Engine's mounts have no options nosuid, nodev and noexec.
    return Mount(
        source=str(paths.on_machine(mount["hostPath"])),
        target=str(mount["containerPath"]),
        read_only="ro" in options,
        propagation=next((_PROPAGATION[option] for option in options if option in _PROPAGATION), ""),
    )


def _device(device: Mapping[str, Any], paths: NodePaths) -> DeviceNode:
    # Simplified: the node in the container has the owner and the mode of the machine's.
    return DeviceNode(
        host_path=str(paths.on_machine(device.get("hostPath") or device["path"])),
        path=str(device["path"]),
        permissions=device.get("permissions") or "rwm",
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
