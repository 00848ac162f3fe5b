"""What a pod's status is made of beside the Pod and what the runtime holds."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from orchestrator.api.objects import Object
from orchestrator.kubelet.holds import Waiting
from orchestrator.kubelet.probes.verdict import ProbeVerdict
from orchestrator.kubelet.resources.resize import Pending


class NodeIdentity(Struct, frozen=True):
    """What of its node a pod's status shows."""

    ips: tuple[str, ...] = ()
    runtime_name: str = "docker"
    """The scheme of container ids: `docker://...`."""


class StatusInputs(Struct, frozen=True):
    """What the kubelet knows beside the runtime."""

    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    verdicts: Mapping[str, ProbeVerdict] = field(default_factory=dict)
    termination_messages: Mapping[str, str] = field(default_factory=dict)
    """By container id."""
    finished: bool = False
    """The plan said that no container runs or will run again."""
    is_over: bool = False
    """The pod was stopped for good: what never ran never will."""
    failure: tuple[str, str] | None = None
    """(reason, message) when the kubelet itself ended the pod: DeadlineExceeded, Evicted, ..."""
    mounts_shown: bool = True
    ips: tuple[str, ...] = ()
    """The addresses of the pod's last sandbox."""
    applied: Mapping[str, Object] = field(default_factory=dict)
    """`resources` of running containers as they were set, by container id."""
    devices: Mapping[str, list[Object]] = field(default_factory=dict)
    """`allocatedResourcesStatus` by container."""
    pod_resources: Object | None = None
    """What the pod itself was given, if it asks for something."""
    resize_pending: Pending | None = None
    resize_error: str = ""
    restarting: str = ""
    """Why all containers are being restarted (KEP-5532)."""
    is_disrupted: bool = False
    """The kubelet ended the pod for the node's sake, which is not the pod's fault."""
