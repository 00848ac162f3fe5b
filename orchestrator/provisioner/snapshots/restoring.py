"""Which snapshot a claim begins with, or why it cannot. Pure.

The checks are those of kubernetes-csi/external-provisioner, which leaves the last word to the driver: here, that files
do not become a device.
"""

from __future__ import annotations

from orchestrator.api.objects import Object, is_terminating, name_of, namespace_of
from orchestrator.api.quantity import int_value
from orchestrator.api.resources import VOLUME_SNAPSHOTS
from orchestrator.provisioner.plan import data_source_of, source_claim_of
from orchestrator.provisioner.snapshots.plan import bound_content_of, handle_of, is_bound_to, is_ready


class Refusal(Exception):
    """A claim cannot begin with a snapshot now; its text says why."""


def source_snapshot_of(claim: Object) -> str:
    """The snapshot whose data a claim begins with, as `namespace/name`; empty without one."""
    source = data_source_of(claim)
    if source.get("kind") != VOLUME_SNAPSHOTS.kind or source.get("apiGroup") != VOLUME_SNAPSHOTS.group:
        return ""
    return f"{namespace_of(claim)}/{source.get('name')}"


def is_for_populator(claim: Object) -> bool:
    """Whether a claim begins with what only a volume populator knows to make (KEP-1495)."""
    return bool(data_source_of(claim)) and not source_claim_of(claim) and not source_snapshot_of(claim)


def plan_restore(claim: Object, snapshot: Object, content: Object | None, driver: str) -> str:
    """The handle of the snapshot whose data a claim begins with. Refusal."""
    name = name_of(snapshot)
    if is_terminating(snapshot):
        raise Refusal(f"snapshot {name} is currently being deleted")
    if not bound_content_of(snapshot):
        raise Refusal(f"snapshot {name} not bound")
    if content is None or not is_bound_to(content, snapshot):
        raise Refusal(f"snapshotcontent {bound_content_of(snapshot)} for snapshot {name} is bound to another snapshot")
    if content["spec"]["driver"] != driver:
        raise Refusal(f"snapshot {name} is one of driver {content['spec']['driver']}, not of {driver}")
    if not is_ready(snapshot):
        raise Refusal(f"snapshot {name} is not Ready")
    wanted = int_value(claim["spec"]["resources"]["requests"]["storage"])
    needed = int_value((snapshot["status"].get("restoreSize")) or "0")
    if wanted < needed:
        raise Refusal(f"requested volume size {wanted} is less than the size {needed} for the source snapshot {name}")
    mode = claim["spec"].get("volumeMode") or "Filesystem"
    if (content["spec"].get("sourceVolumeMode") or mode) != mode:
        raise Refusal(f"snapshot {name} is of a volume of mode {content['spec']['sourceVolumeMode']}, not {mode}")
    return handle_of(content)
