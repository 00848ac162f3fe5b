"""Descriptions of what governs workloads: accounts, roles, claims and volumes, budgets, quotas, limits, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.cli.connection import Object
from orchestrator.cli.describe.text import NONE, Related, list_lines, map_lines, metadata_lines
from orchestrator.cli.targets import selector_text

_ACCESS_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
UNSET = "<unset>"


def _head(obj: Object, *, with_namespace: bool = False) -> list[str]:
    metadata = obj["metadata"]
    lines = [f"Name:\t{metadata['name']}"]
    if with_namespace:
        lines.append(f"Namespace:\t{metadata['namespace']}")
    return lines


def _names(references: Sequence[Object] | None) -> list[str]:
    return [reference.get("name", "") for reference in references or ()]


def _brackets(values: Sequence[str] | None) -> str:
    return f"[{' '.join(values or ())}]"


def service_account_lines(account: Object, related: Related) -> list[str]:
    """A ServiceAccount; `related` has the Secrets with tokens of it."""
    lines = [*_head(account, with_namespace=True), *metadata_lines(account)]
    lines += list_lines("Image pull secrets", _names(account.get("imagePullSecrets")))
    lines += list_lines("Mountable secrets", _names(account.get("secrets")))
    return lines + list_lines("Tokens", [secret["metadata"]["name"] for secret in related.get("Secret", ())])


def role_lines(role: Object, _related: Related) -> list[str]:
    """A Role or ClusterRole: one row for each resource of a rule."""
    lines = [*_head(role), *metadata_lines(role), "PolicyRule:"]
    lines += ["  Resources\tNon-Resource URLs\tResource Names\tVerbs"]
    lines += ["  ---------\t-----------------\t--------------\t-----"]
    rows: list[tuple[str, str, str, str]] = []
    for rule in role.get("rules") or ():
        names, verbs = _brackets(rule.get("resourceNames")), _brackets(rule.get("verbs"))
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                plural, slash, subresource = resource.partition("/")
                full = f"{plural}.{group}" if group else plural
                rows.append((full + slash + subresource, "[]", names, verbs))
        rows += [("", _brackets([url]), names, verbs) for url in rule.get("nonResourceURLs") or ()]
    return [*lines, *("  " + "\t".join(row) for row in sorted(rows))]


def binding_lines(binding: Object, _related: Related) -> list[str]:
    """A RoleBinding or ClusterRoleBinding."""
    reference = binding["roleRef"]
    lines = [*_head(binding), *metadata_lines(binding)]
    lines += ["Role:", f"  Kind:\t{reference['kind']}", f"  Name:\t{reference['name']}"]
    lines += ["Subjects:", "  Kind\tName\tNamespace", "  ----\t----\t---------"]
    return lines + [
        f"  {subject['kind']}\t{subject['name']}\t{subject.get('namespace', '')}"
        for subject in binding.get("subjects") or ()
    ]


def _access_modes(modes: Sequence[str] | None) -> str:
    return ",".join(short for mode, short in _ACCESS_MODES.items() if mode in (modes or ()))


def _volume_head(obj: Object) -> list[str]:
    finalizers = f"Finalizers:\t{_brackets(obj['metadata'].get('finalizers'))}"
    return [*map_lines("Annotations", _annotations(obj), separator=": "), finalizers]


def _annotations(obj: Object) -> Mapping[str, Any]:
    annotations = obj["metadata"].get("annotations") or {}
    return {key: value for key, value in annotations.items() if "last-applied-configuration" not in key}


def claim_lines(claim: Object, related: Related) -> list[str]:
    """A PersistentVolumeClaim; `related` has the pods of its namespace."""
    metadata, spec, status = claim["metadata"], claim["spec"], claim.get("status") or {}
    lines = _head(claim, with_namespace=True)
    lines.append(f"StorageClass:\t{spec.get('storageClassName', '')}")
    lines.append(f"Status:\t{status.get('phase', '')}")
    lines.append(f"Volume:\t{spec.get('volumeName', '')}")
    lines += [*map_lines("Labels", metadata.get("labels")), *_volume_head(claim)]
    bound = bool(spec.get("volumeName"))
    lines.append(f"Capacity:\t{(status.get('capacity') or {}).get('storage', '') if bound else ''}")
    lines.append(f"Access Modes:\t{_access_modes(status.get('accessModes')) if bound else ''}")
    lines.append(f"VolumeMode:\t{spec.get('volumeMode', '')}")
    users = [pod["metadata"]["name"] for pod in related.get("Pod", ()) if metadata["name"] in _claims(pod)]
    return lines + list_lines("Used By", users)


def _claims(pod: Object) -> set[str]:
    volumes = pod["spec"].get("volumes") or ()
    return {volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume}


def budget_lines(budget: Object, _related: Related) -> list[str]:
    """A PodDisruptionBudget."""
    spec, status = budget["spec"], budget.get("status") or {}
    lines = _head(budget, with_namespace=True)
    for title, field in (("Min available", "minAvailable"), ("Max unavailable", "maxUnavailable")):
        if field in spec:
            lines.append(f"{title}:\t{spec[field]}")
    lines += [f"Selector:\t{selector_text(spec.get('selector') or {}) or UNSET}", "Status:"]
    return lines + [
        f"    {title}:\t{status.get(field, 0)}"
        for title, field in (
            ("Allowed disruptions", "disruptionsAllowed"),
            ("Current", "currentHealthy"),
            ("Desired", "desiredHealthy"),
            ("Total", "expectedPods"),
        )
    ]


def quota_lines(quota: Object, _related: Related) -> list[str]:
    """A ResourceQuota: what is used of what there may be."""
    status = quota.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    lines = _head(quota, with_namespace=True)
    if scopes := quota["spec"].get("scopes"):
        lines.append(f"Scopes:\t{', '.join(sorted(scopes))}")
    lines += ["Resource\tUsed\tHard", "--------\t----\t----"]
    return lines + [f"{name}\t{used.get(name, '')}\t{hard[name]}" for name in sorted(hard)]


_LIMITS = ("min", "max", "defaultRequest", "default", "maxLimitRequestRatio")


def limit_range_lines(limits: Object, _related: Related) -> list[str]:
    """A LimitRange: a row for each resource of each type."""
    lines = _head(limits, with_namespace=True)
    lines.append("Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio")
    lines.append("----\t--------\t---\t---\t---------------\t-------------\t-----------------------")
    for item in limits["spec"].get("limits") or ():
        names = sorted({name for field in _LIMITS for name in item.get(field) or {}})
        for name in names:
            cells = [str((item.get(field) or {}).get(name, "-")) for field in _LIMITS]
            lines.append("\t".join([item["type"], name, *cells]))
    return lines


def priority_class_lines(priority: Object, _related: Related) -> list[str]:
    """A PriorityClass."""
    lines = [*_head(priority), f"Value:\t{priority.get('value', 0)}"]
    lines.append(f"GlobalDefault:\t{str(bool(priority.get('globalDefault'))).lower()}")
    lines.append(f"PreemptionPolicy:\t{priority.get('preemptionPolicy', NONE)}")
    lines.append(f"Description:\t{priority.get('description', '')}")
    return lines + map_lines("Annotations", priority["metadata"].get("annotations"))
