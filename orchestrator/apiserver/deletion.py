"""What a DELETE does to an object: remove it, mark it, or let it drain; decided without I/O.

Mirrors the graceful deletion of kube-apiserver's generic registry (`rest.BeforeDelete`, and the
finalizers that `DeleteOptions.propagationPolicy` asks for).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from orchestrator.aiokit.clock import format_time, parse_time
from orchestrator.api import errors, fields
from orchestrator.api.decode import decode
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object, name_of
from orchestrator.api.schema import definition
from orchestrator.apiserver.incoming import not_an_object
from orchestrator.apiserver.listing import parse_number
from orchestrator.apiserver.request import is_true

ORPHAN_FINALIZER = "orphan"
FOREGROUND_FINALIZER = "foregroundDeletion"


_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"


class DeleteOptions(Struct, frozen=True):
    """`metav1.DeleteOptions`, validated."""

    grace_period_seconds: int | None = None
    uid: str = ""
    resource_version: str = ""
    propagation_policy: str = ""
    """Orphan, Background, Foreground, or empty: the kind's default."""
    dry_run: bool = False


class DeletionPlan(Struct, frozen=True):
    """The object is changed into `marked`, and goes or stays; with neither it is on its way already."""

    remove: bool
    marked: Object | None = None
    """Also of one that goes, where a grace period of 0 is a graceful deletion too: watchers see that it ends."""


def parse_delete_options(body: Any, query: dict[str, str]) -> DeleteOptions:
    """Options from the body, or from the URL where there is no body; 400 or 422 when they are wrong."""
    if body is not None and not isinstance(body, dict):
        raise errors.BadRequest(not_an_object("DeleteOptions", body))
    if body is not None:
        query = {}
    options = body or {}
    kind = options.get("kind")
    if kind and kind != "DeleteOptions":
        raise errors.BadRequest(
            f"converting (/{options.get('apiVersion', '')}, Kind={kind}) to (/v1, Kind=DeleteOptions):"
            " unknown conversion"
        )
    options, _ = decode(options, definition(_OPTIONS), field_validation="Ignore", kind="DeleteOptions")
    grace = options.get("gracePeriodSeconds")
    if grace is None and query.get("gracePeriodSeconds"):
        grace = parse_number(query["gracePeriodSeconds"])
    preconditions = options.get("preconditions") or {}
    policy = options.get("propagationPolicy") or query.get("propagationPolicy", "")
    orphan = options.get("orphanDependents")
    if orphan is None and "orphanDependents" in query:
        orphan = is_true(query["orphanDependents"])
    causes: list[Cause] = []
    if orphan is not None and policy:
        causes.append(
            Cause(
                "FieldValueInvalid",
                f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set',
                "propagationPolicy",
            )
        )
    elif policy not in ("", "Orphan", "Background", "Foreground"):
        causes.append(
            Cause(
                "FieldValueNotSupported",
                f'Unsupported value: "{policy}": supported values: "Foreground", "Background", "Orphan", "nil"',
                "propagationPolicy",
            )
        )
    dry_run = options.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
    if any(value != "All" for value in dry_run):
        causes.append(fields.not_supported("dryRun", dry_run, ("All",)))
    if causes:
        raise errors.invalid("meta.k8s.io", "DeleteOptions", "", causes)
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    return DeleteOptions(
        grace_period_seconds=max(grace, 1) if grace is not None and grace < 0 else grace,
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        propagation_policy=policy,
        dry_run=bool(dry_run),
    )


def check_preconditions(kind: Kind, obj: Object, options: DeleteOptions) -> None:
    """409 when the object is not the one, or not in the state, that the client meant."""
    metadata, resource = obj["metadata"], kind.resource
    if options.uid and options.uid != metadata["uid"]:
        raise errors.conflict(
            resource.group,
            resource.kind,
            name_of(obj),
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']})."
            " The object might have been deleted and then recreated",
        )
    if options.resource_version and options.resource_version != metadata["resourceVersion"]:
        raise errors.conflict(
            resource.group,
            resource.kind,
            name_of(obj),
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the"
            f" ResourceVersion in record ({metadata['resourceVersion']}). The object might have been modified",
        )


def plan_deletion(kind: Kind, obj: Object, options: DeleteOptions, now: datetime) -> DeletionPlan:
    """Decide what happens to an object that a client deletes."""
    metadata = obj["metadata"]
    finalizers = plan_finalizers(kind, metadata.get("finalizers") or [], options)
    terminating = bool(metadata.get("deletionTimestamp"))
    grace = _grace_seconds(kind, obj, options) if kind.graceful_deletion else 0
    if terminating:
        return _plan_second_deletion(kind, obj, finalizers, grace, options)
    finalizers = _with_own_finalizers(kind, finalizers)
    remove = grace == 0 and not finalizers and not _keeps_itself(kind, obj)
    if remove and not kind.graceful_deletion:
        return DeletionPlan(remove=True)
    marked_metadata = dict(metadata)
    marked_metadata["deletionTimestamp"] = format_time(now + timedelta(seconds=grace))
    if kind.resource.group_resource != "namespaces":
        marked_metadata["deletionGracePeriodSeconds"] = grace
    _set_finalizers(marked_metadata, finalizers)
    if metadata.get("generation"):
        marked_metadata["generation"] = metadata["generation"] + 1
    return DeletionPlan(remove, marked=_marked(kind, obj, marked_metadata))


def _plan_second_deletion(
    kind: Kind, obj: Object, finalizers: list[str], grace: int, options: DeleteOptions
) -> DeletionPlan:
    """The object is terminating already: its grace period may only become shorter."""
    metadata = obj["metadata"]
    current = metadata.get("deletionGracePeriodSeconds") or 0
    shorter = kind.graceful_deletion and options.grace_period_seconds is not None and grace < current
    if kind.graceful_deletion and current == 0 and not finalizers:
        return DeletionPlan(remove=True)
    if not kind.graceful_deletion and not finalizers and not _keeps_itself(kind, obj):
        return DeletionPlan(remove=True)
    changed = finalizers != (metadata.get("finalizers") or [])
    if not shorter and not changed:
        return DeletionPlan(remove=False)
    marked_metadata = dict(metadata)
    _set_finalizers(marked_metadata, finalizers)
    if shorter:
        due = parse_time(metadata["deletionTimestamp"]) - timedelta(seconds=current - grace)
        marked_metadata["deletionTimestamp"] = format_time(due)
        marked_metadata["deletionGracePeriodSeconds"] = grace
    return DeletionPlan(remove=shorter and grace == 0 and not finalizers, marked={**obj, "metadata": marked_metadata})


def plan_finalizers(kind: Kind, existing: list[str], options: DeleteOptions) -> list[str]:
    """The finalizers after a deletion with this propagation policy; an explicit policy replaces an earlier one."""
    if not kind.has_dependents:
        return [f for f in existing if f not in (ORPHAN_FINALIZER, FOREGROUND_FINALIZER)]
    policy = options.propagation_policy or kind.default_propagation
    explicit = bool(options.propagation_policy)
    orphan = policy == "Orphan" or (not explicit and ORPHAN_FINALIZER in existing)
    foreground = policy == "Foreground" or (not explicit and FOREGROUND_FINALIZER in existing)
    finalizers = [f for f in existing if f not in (ORPHAN_FINALIZER, FOREGROUND_FINALIZER)]
    if orphan:
        finalizers.append(ORPHAN_FINALIZER)
    if foreground:
        finalizers.append(FOREGROUND_FINALIZER)
    return finalizers


def _with_own_finalizers(kind: Kind, finalizers: list[str]) -> list[str]:
    return [*finalizers, *(own for own in kind.finalizers_on_delete if own not in finalizers)]


def is_removable(kind: Kind, obj: Object) -> bool:
    """Whether a terminating object has nothing left to wait for, so that an update completes its deletion."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if kind.graceful_deletion and (metadata.get("deletionGracePeriodSeconds") or 0) > 0:
        return False
    return not _keeps_itself(kind, obj)


def _grace_seconds(kind: Kind, obj: Object, options: DeleteOptions) -> int:
    """How long a pod may take to stop; 0 when no kubelet has anything to stop."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if options.grace_period_seconds is not None:
        grace = options.grace_period_seconds
    else:
        default = spec.get("terminationGracePeriodSeconds")
        grace = 30 if default is None else default
    if grace < 0:
        grace = 1
    if not spec.get("nodeName") or status.get("phase") in ("Failed", "Succeeded"):
        return 0
    return int(grace)


def _keeps_itself(kind: Kind, obj: Object) -> bool:
    """Namespaces have finalizers of their own in `spec`."""
    return kind.resource.group_resource == "namespaces" and bool((obj.get("spec") or {}).get("finalizers"))


def _marked(kind: Kind, obj: Object, metadata: dict[str, Any]) -> Object:
    marked = {**obj, "metadata": metadata}
    if kind.resource.group_resource == "namespaces":
        marked["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
    return kind.mark_terminating(marked) if kind.mark_terminating is not None else marked


def _set_finalizers(metadata: dict[str, Any], finalizers: list[str]) -> None:
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
