"""PodSecurity: a namespace's labels say how much its pods may do (`enforce`), and about what to warn.

Source: "Pod Security Admission", kubernetes.io. Pods are refused; workloads with pod templates are only warned
about, because it is their pods that would be refused.
# Simplified: `audit` has no effect, as there is no audit log; versions are checked as labels, not obeyed.
"""

from __future__ import annotations

from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.objects import Object, labels_of
from orchestrator.api.pod_security import LEVELS, PRIVILEGED, violations
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes, Reader

PREFIX = "pod-security.kubernetes.io/"
MODES = ("enforce", "audit", "warn")
_TEMPLATES = {
    "deployments.apps": ("spec", "template"),
    "replicasets.apps": ("spec", "template"),
    "daemonsets.apps": ("spec", "template"),
    "statefulsets.apps": ("spec", "template"),
    "replicationcontrollers": ("spec", "template"),
    "jobs.batch": ("spec", "template"),
    "cronjobs.batch": ("spec", "jobTemplate", "spec", "template"),
    "podtemplates": ("template",),
}
_WARNED_MAX = 5
"""Pods that a change of a namespace's labels is checked against and warned of by name."""


class PodSecurity(AdmissionPlugin):
    """Runs for pods, for what has pod templates, and for namespaces whose labels change."""

    name = "PodSecurity"
    resources = frozenset(("pods", "namespaces", *_TEMPLATES))

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, attributes: Attributes) -> bool:
        if attributes.operation not in ("CREATE", "UPDATE"):
            return False
        resource = attributes.group_resource
        if resource == "pods":
            return attributes.subresource in ("", "ephemeralcontainers", "resize")
        return not attributes.subresource and (resource in _TEMPLATES or resource == "namespaces")

    async def validate(self, attributes: Attributes) -> None:
        if attributes.group_resource == "namespaces":
            await self._check_namespace(attributes)
            return
        namespace = await self._reader.read("namespaces", attributes.namespace)
        labels = labels_of(namespace or {})
        enforced, warned = level_for(labels, "enforce"), level_for(labels, "warn")
        if enforced == PRIVILEGED and warned == PRIVILEGED:
            return
        if attributes.group_resource == "pods":
            self._check_pod(attributes, labels, enforced, warned)
            return
        template: Object | None = attributes.obj
        for field in _TEMPLATES[attributes.group_resource]:
            template = (template or {}).get(field)
        if template and template.get("spec"):
            self._warn(attributes, labels, warned, template)

    def _check_pod(self, attributes: Attributes, labels: dict[str, str], enforced: str, warned: str) -> None:
        pod, old = attributes.obj, attributes.old
        if attributes.operation == "UPDATE" and old is not None and not _differs(pod, old):
            return
        found = violations(enforced, pod["spec"], pod["metadata"])
        if found:
            why = ", ".join(str(violation) for violation in found)
            raise errors.forbidden(
                "",
                "pods",
                attributes.name,
                f'violates PodSecurity "{enforced}:{version_for(labels, "enforce")}": {why}',
            )
        self._warn(attributes, labels, warned, pod)

    def _warn(self, attributes: Attributes, labels: dict[str, str], level: str, pod: Object) -> None:
        found = violations(level, pod["spec"], pod.get("metadata"))
        if found:
            why = ", ".join(str(violation) for violation in found)
            attributes.warnings.append(f'would violate PodSecurity "{level}:{version_for(labels, "warn")}": {why}')

    async def _check_namespace(self, attributes: Attributes) -> None:
        labels, before = labels_of(attributes.obj), labels_of(attributes.old or {})
        causes = invalid_labels(labels)
        if causes and any(labels.get(key) != before.get(key) for key in labels if key.startswith(PREFIX)):
            raise errors.invalid("", "Namespace", attributes.name, causes)
        level = level_for(labels, "enforce")
        if attributes.operation != "UPDATE" or level in (PRIVILEGED, level_for(before, "enforce")):
            return
        pods = await self._reader.read_all("pods", attributes.name)
        violating = {
            pod["metadata"]["name"]: found for pod in pods if (found := violations(level, pod["spec"], pod["metadata"]))
        }
        if not violating:
            return
        attributes.warnings.append(
            f'existing pods in namespace "{attributes.name}" violate the new PodSecurity enforce level'
            f' "{level}:{version_for(labels, "enforce")}"'
        )
        for name in sorted(violating)[:_WARNED_MAX]:
            reasons = ", ".join(violation.reason for violation in violating[name])
            attributes.warnings.append(f"{name}: {reasons}")


def level_for(labels: dict[str, str], mode: str) -> str:
    """The level of a namespace; what cannot be understood is taken as the strictest, as Kubernetes does."""
    level = labels.get(PREFIX + mode, PRIVILEGED)
    return level if level in LEVELS else "restricted"


def version_for(labels: dict[str, str], mode: str) -> str:
    """The pinned version, `latest` otherwise."""
    return labels.get(f"{PREFIX}{mode}-version", "latest")


def invalid_labels(labels: dict[str, str]) -> list[Cause]:
    """What is wrong with the labels of a namespace."""
    causes = []
    for mode in MODES:
        key = PREFIX + mode
        if labels.get(key, PRIVILEGED) not in LEVELS:
            causes.append(
                Cause(
                    "FieldValueInvalid",
                    f'Invalid value: "{labels[key]}": must be one of {", ".join(LEVELS)}',
                    f"metadata.labels[{key}]",
                )
            )
        version = labels.get(f"{key}-version", "latest")
        if version != "latest" and not _is_version(version):
            causes.append(
                Cause(
                    "FieldValueInvalid",
                    f'Invalid value: "{version}": must be "latest" or "v1.x"',
                    f"metadata.labels[{key}-version]",
                )
            )
    return causes


def _is_version(text: str) -> bool:
    major, _, minor = text.partition(".")
    return major == "v1" and minor.isdigit()


def _differs(new: Object, old: Object) -> bool:
    """Whether an update changes anything that the checks look at: not for labels, images or tolerations."""
    return _relevant(new) != _relevant(old)


def _relevant(pod: Object) -> Object:
    spec = {key: value for key, value in pod["spec"].items() if key not in ("tolerations", "activeDeadlineSeconds")}
    for field in ("initContainers", "containers"):
        spec[field] = [
            {key: value for key, value in container.items() if key not in ("image", "resources")}
            for container in spec.get(field) or ()
        ]
    return spec
