"""Which devices of a plugin a container gets. Pure.

Mirrors the choice of pkg/kubelet/cm/devicemanager without a topology policy, which is the default.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.api.quantity import int_value
from orchestrator.kubelet.parts import DeviceFailure
from orchestrator.kubelet.pod import app_containers_of, init_containers_of, is_sidecar

HEALTHY = "Healthy"


class Choice(Struct, frozen=True):
    """The devices of a container, as far as they are certain, and what the others are taken from."""

    certain: tuple[str, ...]
    candidates: tuple[str, ...] = ()
    missing: int = 0

    @property
    def is_open(self) -> bool:
        """Whether there is anything to choose."""
        return 0 < self.missing < len(self.candidates)

    def with_preferred(self, preferred: Iterable[str] = ()) -> tuple[str, ...]:
        """All devices: of the candidates the preferred ones first."""
        wanted = dict.fromkeys(device for device in preferred if device in self.candidates)
        return (*self.certain, *[*(wanted | dict.fromkeys(self.candidates))][: self.missing])


def choose_devices(
    resource: str, count: int, *, devices: Mapping[str, str], taken: Collection[str], reusable: Iterable[str] = ()
) -> Choice:
    """What a container that wants `count` devices gets; DeviceFailure.

    `devices`: health by id, `taken` are other containers', `reusable` those of the pod's init containers.
    """
    healthy = sorted(device for device, health in devices.items() if health == HEALTHY)
    if not healthy:
        raise DeviceFailure(f"no healthy devices present; cannot allocate unhealthy devices {resource}")
    certain = tuple(sorted(device for device in reusable if device in healthy)[:count])
    missing = count - len(certain)
    available = tuple(device for device in healthy if device not in taken and device not in certain)
    if len(available) < missing:
        raise DeviceFailure(
            f"requested number of devices unavailable for {resource}. Requested: {missing}, Available: {len(available)}"
        )
    return Choice(certain, available, missing)


def wanted_devices(pod: Object, resources: Collection[str]) -> Iterator[tuple[Object, bool, str, int]]:
    """(container, whether its devices are free for later ones, resource, count) in the order of their start."""
    inits = init_containers_of(pod)
    for container in (*inits, *app_containers_of(pod)):
        is_passing = container in inits and not is_sidecar(container)
        for resource, amount in ((container.get("resources") or {}).get("limits") or {}).items():
            if resource in resources and (count := int_value(amount)):
                yield container, is_passing, resource, count


def allocated_status(allocated: Mapping[str, Iterable[str]], health: Mapping[str, Mapping[str, str]]) -> list[Object]:
    """`allocatedResourcesStatus` of a container (KEP-4680): device ids by resource, and what is known of their health.

    A device that its plugin does not list any more counts as it was when it was allocated.
    """
    return [
        {
            "name": resource,
            "resources": [
                {
                    "resourceID": device,
                    "health": HEALTHY if health.get(resource, {}).get(device, HEALTHY) == HEALTHY else "Unhealthy",
                }
                for device in sorted(devices)
            ],
        }
        for resource, devices in sorted(allocated.items())
    ]
