"""Annotations of pods and of templates that mean something: which values are valid, and what may not change.

Mirrors ValidatePodSpecificAnnotations and what belongs to it in k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.core.volume_validation import validate_local_descending_path

MIRROR = "kubernetes.io/config.mirror"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
APP_ARMOR_PREFIX = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER_PREFIX = "container.seccomp.security.alpha.kubernetes.io/"
_INTEGER = re.compile("0|-?[1-9][0-9]*|-0+[0-9]*")
_SECCOMP = ("runtime/default", "docker/default", "unconfined")
_APP_ARMOR = ("", "runtime/default", "unconfined")
_LOCAL = "localhost/"


def containers_of(spec: Mapping[str, Any], path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Each container of a pod, of whatever sort, and where it stands."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for position, container in enumerate(spec.get(key) or ()):
            yield container, fields.index(f"{path}.{key}", position)


def validate_pod_annotations(annotations: Mapping[str, str], spec: Mapping[str, Any], path: str) -> list[Cause]:
    """What is wrong with the values."""
    causes: list[Cause] = []
    if MIRROR in annotations and not spec.get("nodeName"):
        detail = "must set spec.nodeName if mirror pod annotation is set"
        causes.append(fields.invalid(fields.key(path, MIRROR), annotations[MIRROR], detail))
    cost = annotations.get(DELETION_COST)
    if cost is not None and not _is_int32(cost):
        causes.append(fields.invalid(fields.key(path, DELETION_COST), cost, "must be a 32bit integer"))
    for key, value in sorted(annotations.items()):
        if key == SECCOMP_POD or key.startswith(SECCOMP_CONTAINER_PREFIX):
            causes += _validate_seccomp(value, f"{path}.{key}")
        elif key.startswith(APP_ARMOR_PREFIX):
            name, where = key.removeprefix(APP_ARMOR_PREFIX), fields.key(path, key)
            if all(container.get("name") != name for container, _ in containers_of(spec, "")):
                causes.append(fields.invalid(where, name, "container not found"))
            if value not in _APP_ARMOR and not value.startswith(_LOCAL):
                detail = f"invalid AppArmor profile name: {fields.quote(value)}"
                causes.append(fields.invalid(where, value, detail))
    return causes


def _is_int32(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None and len(text) <= 11 and -(2**31) <= int(text) < 2**31


def _validate_seccomp(value: str, path: str) -> list[Cause]:
    if value in _SECCOMP:
        return []
    if value.startswith(_LOCAL):
        return validate_local_descending_path(value.removeprefix(_LOCAL), path)
    return [fields.invalid(path, value, "must be a valid seccomp profile")]


def validate_profiles_match(annotations: Mapping[str, str], spec: Mapping[str, Any], path: str) -> list[Cause]:
    """A profile that is given both ways is the same both ways."""
    context = spec.get("securityContext") or {}
    causes: list[Cause] = []
    if SECCOMP_POD in annotations:
        where = f"{path}.securityContext.seccompProfile"
        causes += _differ(annotations[SECCOMP_POD], context.get("seccompProfile"), where, "seccomp")
    for prefix, field, what in (
        (SECCOMP_CONTAINER_PREFIX, "seccompProfile", "seccomp"),
        (APP_ARMOR_PREFIX, "appArmorProfile", "apparmor"),
    ):
        for container, spot in containers_of(spec, path):
            value = annotations.get(f"{prefix}{container.get('name') or ''}")
            if value is None:
                continue
            profile = (container.get("securityContext") or {}).get(field)
            if profile is None and what == "apparmor":
                profile = context.get(field)
            causes += _differ(value, profile, f"{spot}.securityContext.{field}", what)
    return causes


def _differ(value: str, profile: Mapping[str, Any] | None, path: str, what: str) -> list[Cause]:
    if profile is None:
        return []
    kind, other = profile.get("type"), f"{what} type in annotation and field must match"
    if kind == "Localhost" and value.startswith(_LOCAL):
        if value.removeprefix(_LOCAL) == profile.get("localhostProfile"):
            return []
        detail = f"{what} profile in annotation and field must match"
        return [fields.forbidden(f"{path}.localhostProfile", detail)]
    same = {"Unconfined": ("unconfined",), "RuntimeDefault": ("runtime/default",), "Localhost": ()}
    if what == "seccomp":
        same["RuntimeDefault"] = ("runtime/default", "docker/default")
    if kind not in same or value in same[kind]:
        return []
    return [fields.forbidden(f"{path}.type", other)]


def validate_annotations_update(new: Mapping[str, str], old: Mapping[str, str], path: str) -> list[Cause]:
    """That a pod mirrors a static one, and its AppArmor profiles, never change."""
    if new == old:
        return []
    causes: list[Cause] = []
    for change, keys in (
        ("remove or update", [key for key in old if new.get(key) != old[key]]),
        ("add", [key for key in new if key not in old]),
    ):
        for key in sorted(keys):
            if key.startswith(APP_ARMOR_PREFIX):
                causes.append(fields.forbidden(fields.key(path, key), f"may not {change} AppArmor annotations"))
            elif key == MIRROR:
                causes.append(fields.forbidden(fields.key(path, key), f"may not {change} mirror pod annotation"))
    return causes


def app_armor_profile(value: str) -> dict[str, Any] | None:
    """The field that an AppArmor annotation stands for (KEP-24); None when it stands for none."""
    if value == "unconfined":
        return {"type": "Unconfined"}
    if value == "runtime/default":
        return {"type": "RuntimeDefault"}
    local = value.removeprefix(_LOCAL)
    if not value.startswith(_LOCAL) or not local or local != local.strip():
        return None
    return {"type": "Localhost", "localhostProfile": local}
