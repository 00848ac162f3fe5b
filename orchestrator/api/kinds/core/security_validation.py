"""Which security contexts of containers and pods are valid.

Mirrors ValidateSecurityContext and validatePodSpecSecurityContext of pkg/apis/core/validation.
"""

from __future__ import annotations

import re
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.core.volume_validation import validate_local_descending_path

_SYSCTL = re.compile(r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?([./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)*")
_SYSCTL_TEXT = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_SYSCTL_BYTES_MAX = 253
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_APP_ARMOR_BYTES_MAX = 4095
"""The longest path of a file."""
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "fs.mqueue.")


def _user_ids(context: dict[str, Any], path: str, *keys: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in keys:
        value = context.get(key)
        if value is not None:
            causes += [fields.invalid(f"{path}.{key}", value, text) for text in names.is_user_id(value)]
    return causes


def _profile(context: dict[str, Any], key: str, path: str) -> list[Cause]:
    profile = context.get(key)
    if profile is None:
        return []
    where = f"{path}.{key}"
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    causes: list[Cause] = []
    if not kind:
        causes.append(fields.required(f"{where}.type", f"type is required when {key} is set"))
    elif kind not in _PROFILES:
        causes.append(fields.not_supported(f"{where}.type", kind, _PROFILES))
    check = _local_seccomp if key == "seccompProfile" else _local_app_armor
    return causes + check(kind, local, f"{where}.localhostProfile")


def _local_seccomp(kind: str, local: str | None, path: str) -> list[Cause]:
    if kind != "Localhost":
        return [] if local is None else [fields.invalid(path, local, "can only be set when seccomp type is Localhost")]
    if local is None:
        return [fields.required(path, "must be set when seccomp type is Localhost")]
    return validate_local_descending_path(local, path)


def _local_app_armor(kind: str, local: str | None, path: str) -> list[Cause]:
    if kind in ("RuntimeDefault", "Unconfined") and local is not None:
        return [fields.invalid(path, local, "can only be set when AppArmor type is Localhost")]
    if kind != "Localhost":
        return []
    causes: list[Cause] = []
    if local and local != local.strip():
        causes.append(fields.invalid(path, local, "must not be padded with whitespace"))
    elif not local:
        causes.append(fields.required(path, "must be set when AppArmor type is Localhost"))
    if local and len(local.encode()) > _APP_ARMOR_BYTES_MAX:
        causes.append(fields.too_long(path, _APP_ARMOR_BYTES_MAX))
    return causes


# Simplified: `windowsOptions` are not checked; no node of ours runs Windows.
def validate_security_context(context: dict[str, Any] | None, path: str, *, host_users: bool | None) -> list[Cause]:
    """The security context of a container."""
    if context is None:
        return []
    causes = _user_ids(context, path, "runAsUser", "runAsGroup")
    mount = context.get("procMount")
    if mount is not None:
        if mount not in ("Default", "Unmasked"):
            causes.append(fields.not_supported(f"{path}.procMount", mount, ("Default", "Unmasked")))
        elif mount == "Unmasked" and host_users is not False:
            causes.append(fields.invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    causes += _profile(context, "seccompProfile", path)
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            causes.append(
                fields.invalid(path, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
            )
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            causes.append(
                fields.invalid(
                    path,
                    context,
                    "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
                )
            )
    return causes + _profile(context, "appArmorProfile", path)


def validate_pod_security(spec: dict[str, Any], path: str) -> list[Cause]:
    """The security context of a pod, and what of its spec depends on the host's namespaces."""
    context = spec.get("securityContext") or {}
    where = f"{path}.securityContext"
    causes: list[Cause] = []
    if spec.get("hostNetwork"):
        for position, container in enumerate(spec.get("containers") or ()):
            for number, port in enumerate(container.get("ports") or ()):
                if port.get("hostPort") and port["hostPort"] != port.get("containerPort"):
                    spot = fields.index(fields.index(f"{path}.containers", position) + ".ports", number)
                    detail = "must match `containerPort` when `hostNetwork` is true"
                    causes.append(fields.invalid(f"{spot}.hostPort", port["hostPort"], detail))
    causes += _user_ids(context, where, "fsGroup", "runAsUser", "runAsGroup")
    for position, group in enumerate(context.get("supplementalGroups") or ()):
        spot = fields.index(f"{where}.supplementalGroups", position)
        causes += [fields.invalid(spot, group, text) for text in names.is_user_id(group)]
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        causes.append(
            fields.invalid(
                f"{where}.shareProcessNamespace",
                True,
                "ShareProcessNamespace and HostPID cannot both be enabled",
            )
        )
    causes += _validate_sysctls(context, spec, f"{where}.sysctls")
    policy = context.get("fsGroupChangePolicy")
    if policy is not None and policy not in ("Always", "OnRootMismatch"):
        causes.append(fields.not_supported(f"{where}.fsGroupChangePolicy", policy, ("Always", "OnRootMismatch")))
    causes += _profile(context, "seccompProfile", where) + _profile(context, "appArmorProfile", where)
    groups, selinux = context.get("supplementalGroupsPolicy"), context.get("seLinuxChangePolicy")
    if groups is not None and groups not in ("Merge", "Strict"):
        causes.append(fields.not_supported(f"{where}.supplementalGroupsPolicy", groups, ("Merge", "Strict")))
    if selinux is not None and selinux not in ("MountOption", "Recursive"):
        causes.append(fields.not_supported(f"{where}.seLinuxChangePolicy", selinux, ("MountOption", "Recursive")))
    if spec.get("hostUsers") is False:
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(key):
                causes.append(fields.forbidden(f"{path}.{key}", "when `hostUsers` is false"))
    return causes


def _validate_sysctls(context: dict[str, Any], spec: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for position, entry in enumerate(context.get("sysctls") or ()):
        where = fields.index(path, position)
        name = entry.get("name") or ""
        if not name:
            causes.append(fields.required(f"{where}.name"))
        elif len(name) > _SYSCTL_BYTES_MAX or not _SYSCTL.fullmatch(name):
            causes.append(
                fields.invalid(
                    f"{where}.name",
                    name,
                    f"must have at most {_SYSCTL_BYTES_MAX} characters and match regex {_SYSCTL_TEXT}",
                )
            )
        elif name.replace("/", ".") in seen:
            causes.append(fields.duplicate(f"{where}.name", name))
        causes += _validate_host_sysctl(name, spec, f"{where}.name")
        seen.add(name.replace("/", "."))
    return causes


def _validate_host_sysctl(name: str, spec: dict[str, Any], path: str) -> list[Cause]:
    """A parameter of a namespace that the pod shares with its node is the node's."""
    plain = name.replace("/", ".")
    if spec.get("hostNetwork") and plain.startswith("net."):
        return [fields.invalid(path, name, "may not be specified when 'hostNetwork' is true")]
    if spec.get("hostIPC") and (plain == "kernel.sem" or plain.startswith(_IPC_SYSCTLS)):
        return [fields.invalid(path, name, "may not be specified when 'hostIPC' is true")]
    return []
