"""What devices add to a container: variables, mounts, device nodes, annotations, groups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from orchestrator.kubelet.runtime import ContainerSpec, DeviceNode, Mount


class Injection(Struct, frozen=True):
    """Additions to one container."""

    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    devices: tuple[DeviceNode, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()

    def beneath(self, spec: ContainerSpec) -> ContainerSpec:
        """The container with additions where it has nothing of its own at the same place (device plugins)."""
        return _with(spec, merge_injections([self, _of(spec)]))

    def over(self, spec: ContainerSpec) -> ContainerSpec:
        """The container with additions, which replace what it has at the same place (CDI)."""
        return _with(spec, merge_injections([_of(spec), self]))


def merge_injections(injections: Iterable[Injection]) -> Injection:
    """All of them in one; of two values, mounts or devices for the same place the later counts."""
    env: dict[str, str] = {}
    annotations: dict[str, str] = {}
    mounts: dict[str, Mount] = {}
    devices: dict[str, DeviceNode] = {}
    groups: dict[str, None] = {}
    for each in injections:
        env |= each.env
        annotations |= each.annotations
        mounts |= {mount.target: mount for mount in each.mounts}
        devices |= {device.path: device for device in each.devices}
        groups |= dict.fromkeys(each.groups)
    return Injection(env, tuple(mounts.values()), tuple(devices.values()), annotations, tuple(groups))


def _of(spec: ContainerSpec) -> Injection:
    """What a container has itself."""
    return Injection(dict(spec.env), spec.mounts, spec.devices, spec.annotations, spec.security.groups)


def _with(spec: ContainerSpec, everything: Injection) -> ContainerSpec:
    return replace(
        spec,
        env=tuple(everything.env.items()),
        mounts=everything.mounts,
        devices=everything.devices,
        annotations=everything.annotations,
        security=replace(spec.security, groups=everything.groups),
    )
