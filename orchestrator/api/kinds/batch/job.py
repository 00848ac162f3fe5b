"""Job. Mirrors registry/batch/job, pkg/apis/batch and its printer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.durations import human_duration
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.apps.rollout_validation import non_negative
from orchestrator.api.kinds.batch.indexes import IndexesError, parse_indexes
from orchestrator.api.kinds.batch.job_status import validate_job_status_update
from orchestrator.api.kinds.changes import describe_changes
from orchestrator.api.kinds.columns import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    age,
    container_cells,
    dig,
    format_label_selector,
    parse_time,
    ref,
)
from orchestrator.api.kinds.core.pod_spec import default_pod_template
from orchestrator.api.kinds.core.pod_template import NO_MATCH, validate_pod_template
from orchestrator.api.kinds.core.pod_warnings import warn_pod_names, warn_pod_template
from orchestrator.api.kinds.defaulting import clear_status, condition_times, fill, items, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.label_selectors import selects, validate_label_selector
from orchestrator.api.objects import Object, condition_of, copy_object, name_of, uid_of
from orchestrator.api.resources import JOBS

CONTROLLER_UID_LABEL = "batch.kubernetes.io/controller-uid"
JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
_LEGACY_UID_LABEL = "controller-uid"
_LEGACY_NAME_LABEL = "job-name"
_INT32_MAX = 2**31 - 1
_SAFE_COMPLETIONS_MAX = 100_000
_SAFE_PARALLELISM_MAX = 10_000
_FAILED_INDEXES_MAX = 100_000
_SUCCEEDED_INDEXES_BYTES_MAX = 64 * 1024
_PARALLELISM_MAX = 100000


def default_job_template(spec: dict[str, Any]) -> None:
    """What also the template inside a CronJob gets."""
    default_pod_template(struct(spec, "template"))
    for rule in items(spec.get("podFailurePolicy"), "rules"):
        for condition in items(rule, "onPodConditions"):
            if not condition.get("status"):
                condition["status"] = "True"


def default_job(obj: Object) -> None:
    """One pod, once, with six retries."""
    spec = struct(obj, "spec")
    struct(obj, "status")
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec.update(completions=1, parallelism=1)
    fill(spec, parallelism=1)
    per_index = spec.get("backoffLimitPerIndex") is not None
    fill(
        spec,
        backoffLimit=_INT32_MAX if per_index else 6,
        completionMode="NonIndexed",
        suspend=False,
        manualSelector=False,
        podReplacementPolicy="Failed" if spec.get("podFailurePolicy") is not None else "TerminatingOrFailed",
    )
    labels = dig(spec, "template", "metadata", "labels")
    meta = struct(obj, "metadata")
    if labels and not meta.get("labels"):
        meta["labels"] = dict(labels)
    default_job_template(spec)


def prepare_create(obj: Object) -> None:
    """The selector is made from the uid, which the server has assigned before, and labels the template."""
    clear_status(obj)
    spec = struct(obj, "spec")
    if spec.get("manualSelector"):
        return
    uid = uid_of(obj)
    meta = struct(obj, "metadata")
    labels = struct(spec, "template", "metadata", "labels")
    follows_template = (meta.get("labels") or {}) == labels  # by default: clients read the selector's label there
    for key, value in (
        (JOB_NAME_LABEL, name_of(obj)), (_LEGACY_NAME_LABEL, name_of(obj)),
        (CONTROLLER_UID_LABEL, uid), (_LEGACY_UID_LABEL, uid),
    ):  # fmt: skip
        labels.setdefault(key, value)
    if follows_template:
        meta["labels"] = dict(labels)
    struct(spec, "selector", "matchLabels").setdefault(CONTROLLER_UID_LABEL, uid)


def validate_job(obj: Object) -> list[Cause]:
    """Everything wrong with a Job."""
    return (
        _validate_generated_selector(obj) + _validate_spec(obj.get("spec") or {}, "spec") + _validate_indexed_name(obj)
    )


def _validate_generated_selector(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    if spec.get("manualSelector"):
        return []
    selector = spec.get("selector")
    if selector is None:
        return []
    causes: list[Cause] = []
    uid, name = uid_of(obj), name_of(obj)
    labels = dig(spec, "template", "metadata", "labels") or {}
    expected = {
        _LEGACY_UID_LABEL: uid, _LEGACY_NAME_LABEL: name, CONTROLLER_UID_LABEL: uid, JOB_NAME_LABEL: name,
    }  # fmt: skip
    for key, wanted in expected.items():
        where, detail = fields.key("spec.template.metadata.labels", key), f"must be '{wanted}'"
        if key not in labels:
            causes.append(fields.required(where, detail))
        elif labels[key] != wanted:
            causes.append(fields.invalid(where, labels, detail))
    if selects(selector, expected) is False:
        causes.append(fields.invalid("spec.selector", selector, "`selector` not auto-generated"))
    return causes


def _validate_spec(spec: dict[str, Any], path: str) -> list[Cause]:
    causes = validate_job_template_spec(spec, path)
    selector = spec.get("selector")
    if selector is None:
        causes.append(fields.required(f"{path}.selector"))
    else:
        causes += validate_label_selector(selector, f"{path}.selector")
    labels = dig(spec, "template", "metadata", "labels")
    if selects(selector, labels) is False:
        causes.append(fields.invalid(f"{path}.template.metadata.labels", labels, NO_MATCH))
    return causes


def validate_job_template_spec(spec: dict[str, Any], path: str) -> list[Cause]:
    """What is also valid inside a CronJob: numbers, policies, template."""
    causes: list[Cause] = []
    for key in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
                "backoffLimitPerIndex", "maxFailedIndexes"):  # fmt: skip
        causes += non_negative(spec, key, path)
    manager = spec.get("managedBy")
    if manager is not None:
        causes += [fields.invalid(f"{path}.managedBy", manager, t) for t in names.is_domain_prefixed_path(manager)]
        if len(manager) > 63:
            causes.append(fields.too_long(f"{path}.managedBy", 63))
    if spec.get("backoffLimitPerIndex") is None and spec.get("maxFailedIndexes") is not None:
        causes.append(fields.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    mode = spec.get("completionMode")
    if mode is not None:
        if mode not in ("Indexed", "NonIndexed"):
            causes.append(fields.not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed")))
        if mode == "Indexed":
            completions = spec.get("completions")
            if completions is None:
                causes.append(fields.required(f"{path}.completions", "when completion mode is Indexed"))
            if (spec.get("parallelism") or 0) > _PARALLELISM_MAX:
                causes.append(
                    fields.invalid(
                        f"{path}.parallelism",
                        spec["parallelism"],
                        f"must be less than or equal to {_PARALLELISM_MAX} when completion mode is Indexed",
                    )
                )
            causes += _validate_failed_indexes(spec, path)
    if mode != "Indexed":
        for key in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(key) is not None:
                causes.append(fields.invalid(f"{path}.{key}", spec[key], "requires indexed completion mode"))
    causes += _validate_failure_policy(spec, f"{path}.podFailurePolicy")
    causes += _validate_success_policy(spec, f"{path}.successPolicy")
    causes += _validate_replacement(spec, f"{path}.podReplacementPolicy")
    template = spec.get("template") or {}
    causes += validate_pod_template(template, f"{path}.template")
    policy = dig(template, "spec", "restartPolicy") or ""
    where = f"{path}.template.spec.restartPolicy"
    if policy == "Always":
        causes.append(fields.required(where, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        causes.append(fields.not_supported(where, policy, ("OnFailure", "Never")))
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        causes.append(fields.invalid(where, policy, 'only "Never" is supported when podFailurePolicy is specified'))
    return causes


def _validate_failed_indexes(spec: dict[str, Any], path: str) -> list[Cause]:
    """As many indexes as can be told apart in a status when they fail."""
    causes: list[Cause] = []
    where, failed, completions = f"{path}.maxFailedIndexes", spec.get("maxFailedIndexes"), spec.get("completions")
    if failed is not None and completions is not None and failed > completions:
        causes.append(fields.invalid(where, failed, "must be less than or equal to completions"))
    if failed is not None and failed > _FAILED_INDEXES_MAX:
        causes.append(fields.invalid(where, failed, f"must be less than or equal to {_FAILED_INDEXES_MAX}"))
    if (completions or 0) <= _SAFE_COMPLETIONS_MAX or spec.get("backoffLimitPerIndex") is None:
        return causes
    if failed is None:
        detail = f"must be specified when completions is above {_SAFE_COMPLETIONS_MAX}"
        causes.append(fields.required(where, detail))
    for key in ("parallelism", "maxFailedIndexes"):
        if (spec.get(key) or 0) > _SAFE_PARALLELISM_MAX:
            detail = (
                f"must be less than or equal to {_SAFE_PARALLELISM_MAX} when completions are above"
                f" {_SAFE_COMPLETIONS_MAX} and used with backoff limit per index"
            )
            causes.append(fields.invalid(f"{path}.{key}", spec[key], detail))
    return causes


def _validate_failure_policy(spec: dict[str, Any], path: str) -> list[Cause]:
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return []
    causes: list[Cause] = []
    known = {
        c.get("name") for key in ("containers", "initContainers") for c in dig(spec, "template", "spec", key) or ()
    }
    rules = policy.get("rules") or ()
    if len(rules) > 20:
        causes.append(fields.too_many(f"{path}.rules", len(rules), 20))
    actions = ("Count", "FailIndex", "FailJob", "Ignore")
    for position, rule in enumerate(rules):
        where = fields.index(f"{path}.rules", position)
        action = rule.get("action") or ""
        if not action:
            causes.append(fields.required(f"{where}.action", f"valid values: {list(actions)}".replace("'", '"')))
        elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            causes.append(fields.invalid(f"{where}.action", action, "requires the backoffLimitPerIndex to be set"))
        elif action not in actions:
            causes.append(fields.not_supported(f"{where}.action", action, actions))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
        if codes is not None:
            causes += _validate_exit_codes(codes, f"{where}.onExitCodes", known)
        if len(conditions) > 20:
            causes.append(fields.too_many(f"{where}.onPodConditions", len(conditions), 20))
        for number, condition in enumerate(conditions):
            spot = fields.index(f"{where}.onPodConditions", number)
            kind, status = condition.get("type") or "", condition.get("status") or ""
            causes += [fields.invalid(f"{spot}.type", kind, text) for text in names.is_qualified_name(kind)]
            if not status:
                causes.append(fields.required(f"{spot}.status", 'valid values: ["False" "True" "Unknown"]'))
            elif status not in ("False", "True", "Unknown"):
                causes.append(fields.not_supported(f"{spot}.status", status, ("False", "True", "Unknown")))
        if codes is not None and conditions:
            causes.append(
                fields.invalid(where, fields.OMIT, "specifying both OnExitCodes and OnPodConditions is not supported")
            )
        if codes is None and not conditions:
            detail = "specifying one of OnExitCodes and OnPodConditions is required"
            causes.append(fields.invalid(where, fields.OMIT, detail))
    return causes


def _validate_exit_codes(codes: dict[str, Any], path: str, known: set[Any]) -> list[Cause]:
    causes: list[Cause] = []
    operator, values, name = codes.get("operator") or "", codes.get("values") or [], codes.get("containerName")
    if not operator:
        causes.append(fields.required(f"{path}.operator", 'valid values: ["In" "NotIn"]'))
    elif operator not in ("In", "NotIn"):
        causes.append(fields.not_supported(f"{path}.operator", operator, ("In", "NotIn")))
    if name is not None and name not in known:
        causes.append(
            fields.invalid(
                f"{path}.containerName",
                name,
                "must be one of the container or initContainer names in the pod template",
            )
        )
    where = f"{path}.values"
    if not values:
        causes.append(fields.invalid(where, values, "at least one value is required"))
    elif len(values) > 255:
        causes.append(fields.too_many(where, len(values), 255))
    again = fields.repeated(values)
    for position, value in enumerate(values):
        spot = fields.index(where, position)
        if operator == "In" and value == 0:
            causes.append(fields.invalid(spot, value, "must not be 0 for the In operator"))
        if position in again:
            causes.append(fields.duplicate(spot, value))
    if values != sorted(values):
        causes.append(fields.invalid(where, values, "must be ordered"))
    return causes


def _validate_success_policy(spec: dict[str, Any], path: str) -> list[Cause]:
    policy = spec.get("successPolicy")
    if policy is None:
        return []
    if spec.get("completionMode") != "Indexed":
        return [fields.invalid(path, policy, "requires indexed completion mode")]
    rules = policy.get("rules") or ()
    causes: list[Cause] = []
    if not rules:
        detail = "at least one rules must be specified when the successPolicy is specified"
        causes.append(fields.required(f"{path}.rules", detail))
    if len(rules) > 20:
        causes.append(fields.too_many(f"{path}.rules", len(rules), 20))
    for position, rule in enumerate(rules):
        where = fields.index(f"{path}.rules", position)
        if rule.get("succeededCount") is None and rule.get("succeededIndexes") is None:
            causes.append(
                fields.required(where, "at least one of succeededCount or succeededIndexes must be specified")
            )
        causes += _validate_success_rule(rule, spec.get("completions") or 0, where)
    return causes


def _validate_success_rule(rule: dict[str, Any], completions: int, path: str) -> list[Cause]:
    causes: list[Cause] = []
    indexes, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    total = 0
    if indexes is not None:
        if len(indexes) > _SUCCEEDED_INDEXES_BYTES_MAX:
            causes.append(fields.too_long(f"{path}.succeededIndexes", _SUCCEEDED_INDEXES_BYTES_MAX))
        try:
            total = parse_indexes(indexes, completions)
        except IndexesError as error:
            detail = f"error parsing succeededIndexes: {error}"
            causes.append(fields.invalid(f"{path}.succeededIndexes", indexes, detail))
    if count is not None:
        causes += non_negative(rule, "succeededCount", path)
        for limit, what in (
            (completions, "completions"),
            (total if indexes is not None else count, "indexes in the specified succeededIndexes field"),
        ):
            if count > limit:
                number = "specified completions" if what == "completions" else what
                detail = f"must be less than or equal to {limit} (the number of {number})"
                causes.append(fields.invalid(f"{path}.succeededCount", count, detail))
    return causes


def _validate_replacement(spec: dict[str, Any], path: str) -> list[Cause]:
    policy = spec.get("podReplacementPolicy")
    if policy is None:
        return []
    if spec.get("podFailurePolicy") is not None:
        if policy != "Failed":
            return [fields.not_supported(path, policy, ("Failed",))]
    elif policy not in ("Failed", "TerminatingOrFailed"):
        return [fields.not_supported(path, policy, ("Failed", "TerminatingOrFailed"))]
    return []


def _validate_indexed_name(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    if spec.get("completionMode") != "Indexed" or not (spec.get("completions") or 0) > 0:
        return []
    name = f"{name_of(obj)}-{spec['completions'] - 1}"
    return [
        fields.invalid("metadata.name", name_of(obj), f"will not able to create pod with invalid DNS label: {name}")
        for _ in names.is_dns1123_label(name)[:1]
    ]


def validate_job_update(new: Object, old: Object) -> list[Cause]:
    """Selector, template and mode never change; a suspended Job that has not begun may be re-placed."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    causes = _validate_spec(spec, "spec")
    completions = spec.get("completions")
    if completions != before.get("completions"):
        if spec.get("completionMode") != "Indexed":
            causes.append(fields.immutable("spec.completions", completions))
        elif completions is not None and completions != spec.get("parallelism"):
            detail = "can only be modified in tandem with spec.parallelism"
            causes.append(fields.invalid("spec.completions", completions, detail))
    if spec.get("selector") != before.get("selector"):
        causes.append(fields.immutable("spec.selector", spec.get("selector")))
    template, was = spec.get("template") or {}, before.get("template") or {}
    if before.get("suspend") and not (old.get("status") or {}).get("startTime"):
        template = _with_placement_of(template, was)
    if template != was:
        cause = fields.immutable("spec.template", spec.get("template"))
        causes.append(Cause(cause.reason, cause.message + describe_changes(template, was), cause.field))
    for key in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        if spec.get(key) != before.get(key):
            causes.append(fields.immutable(f"spec.{key}", spec.get(key)))
    return causes


_PLACEMENT = ("nodeSelector", "tolerations", "schedulingGates")


def _with_placement_of(template: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """The template with everything put back that may change while a Job has not begun."""
    munged = copy_object(template)
    spec, before = struct(munged, "spec"), old.get("spec") or {}
    for key in _PLACEMENT:
        if key in before:
            spec[key] = before[key]
        else:
            spec.pop(key, None)
    _restore_node_affinity(spec, before)
    munged["metadata"] = old.get("metadata") or {}
    for key in ("containers", "initContainers"):
        for container, was in zip(spec.get(key) or (), before.get(key) or (), strict=False):
            container["resources"] = was.get("resources") or {}
    return munged


def _restore_node_affinity(spec: dict[str, Any], before: dict[str, Any]) -> None:
    """Of affinities only that to nodes may change."""
    affinity, was = spec.get("affinity"), before.get("affinity")
    node = (was or {}).get("nodeAffinity")
    others = {key: value for key, value in (affinity or {}).items() if key != "nodeAffinity"}
    if node is not None:
        spec["affinity"] = {**others, "nodeAffinity": node}
    elif others or was is not None:
        spec["affinity"] = others
    else:
        spec.pop("affinity", None)


def job_state(obj: Object) -> str:
    """The cell Status: what the conditions say."""

    def has(kind: str) -> bool:
        condition = condition_of(obj, kind)
        return bool(condition and condition.get("status") == "True")

    for kind in ("Complete", "Failed"):
        if has(kind):
            return kind
    if obj.get("metadata", {}).get("deletionTimestamp"):
        return "Terminating"
    if has("Suspended"):
        return "Suspended"
    if has("FailureTarget"):
        return "FailureTarget"
    if has("SuccessCriteriaMet"):
        return "SuccessCriteriaMet"
    return "Running"


def _row(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    succeeded = status.get("succeeded") or 0
    if spec.get("completions") is not None:
        completions = f"{succeeded}/{spec['completions']}"
    else:
        parallelism = spec.get("parallelism") or 0
        completions = f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"
    duration = ""
    started = parse_time(status.get("startTime") or "")
    if started is not None:
        ended = parse_time(status.get("completionTime") or "") or now
        duration = human_duration((ended - started).total_seconds())
    return [
        name_of(obj),
        job_state(obj),
        completions,
        duration,
        age(obj, now),
        *container_cells(dig(obj, "spec", "template", "spec")),
        format_label_selector(spec.get("selector")),
    ]


def warn_job_spec(spec: dict[str, Any], path: str) -> list[str]:
    """About a Job's template, and about more indexes than can be told apart when they fail."""
    warnings: list[str] = []
    if (
        spec.get("completionMode") == "Indexed"
        and (spec.get("completions") or 0) > _SAFE_COMPLETIONS_MAX
        and (spec.get("parallelism") or 0) > _SAFE_PARALLELISM_MAX
    ):
        warnings.append(
            f"{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4,"
            " Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    return warnings + warn_pod_template(spec.get("template"), f"{path}.template")


def _warn(new: Object, old: Object | None) -> list[str]:
    if old is None:
        return warn_pod_names(new) + warn_job_spec(new["spec"], "spec")
    return warn_job_spec(new["spec"], "spec") if new["spec"] != old["spec"] else []


JOB = Kind(
    JOBS,
    "io.k8s.api.batch.v1.Job",
    "job",
    categories=("all",),
    has_status=True,
    default_status=condition_times("lastProbeTime", "lastTransitionTime"),
    has_generation=True,
    default=default_job,
    prepare_create=prepare_create,
    validate=validate_job,
    validate_update=validate_job_update,
    validate_status_update=validate_job_status_update,
    warn=_warn,
    columns=(
        NAME,
        Column("Status", description="Status of the job."),
        Column("Completions", description="The number of pods which reached phase Succeeded."),
        Column("Duration", description="Time required to complete the job."),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", description=ref("batch.v1.JobSpec", "selector"), priority=1),
    ),
    row=_row,
    selectable_fields={"status.successful": lambda obj: str(dig(obj, "status", "succeeded") or 0)},
    default_propagation="Orphan",
)
