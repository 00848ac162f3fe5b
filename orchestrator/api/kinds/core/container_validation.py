"""Which containers of a pod are valid.

Mirrors validateContainers and validateInitContainers of k8s.io/kubernetes/pkg/apis/core/validation;
causes come in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.core.field_references import (
    ENV_FIELDS,
    validate_field_reference,
    validate_resource_reference,
)
from orchestrator.api.kinds.core.resource_names import validate_resource_requirements
from orchestrator.api.kinds.core.security_validation import validate_security_context
from orchestrator.api.kinds.core.volume_validation import validate_local_descending_path, validate_no_backsteps

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_NOT_IN_INIT = "may not be set for init containers without restartPolicy=Always"
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_RESTART_ACTIONS = ("Restart", "RestartAllContainers")
_EXIT_CODE_OPERATORS = ("In", "NotIn")
_RESTART_RULES_MAX = 20
_SIGNALS = (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT RTMAX RTMIN SEGV STKFLT STOP SYS "
    "TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ"
)
_REAL_TIME_SIGNALS = (*(f"RTMIN+{n}" for n in range(1, 16)), *(f"RTMAX-{n}" for n in range(1, 15)))
_STOP_SIGNALS = {
    "linux": tuple(sorted(f"SIG{name}" for name in (*_SIGNALS.split(), *_REAL_TIME_SIGNALS))),
    "windows": ("SIGKILL", "SIGTERM"),
}
_EXIT_CODES_MAX = 255


def validate_port(value: int | str, path: str) -> list[Cause]:
    """A number, or the name of a port."""
    complaints = names.is_port_number(value) if isinstance(value, int) else names.is_port_name(value)
    return [fields.invalid(path, value, text) for text in complaints]


def _non_negative(holder: dict[str, Any], key: str, path: str) -> list[Cause]:
    value = holder.get(key) or 0
    if value < 0:
        return [fields.invalid(f"{path}.{key}", value, "must be greater than or equal to 0")]
    return []


def validate_images(containers: Iterable[dict[str, Any]], path: str) -> list[Cause]:
    """Images of pods have no blanks around them; those of templates may, for what was stored long ago."""
    return [
        fields.invalid(f"{fields.index(path, position)}.image", image, "must not have leading or trailing whitespace")
        for position, container in enumerate(containers)
        if (image := container.get("image") or "") != image.strip()
    ]


def validate_containers(
    spec: dict[str, Any], path: str, *, volumes: dict[str, dict[str, Any]], claims: set[str]
) -> list[Cause]:
    """The regular containers."""
    containers = spec.get("containers") or ()
    where = f"{path}.containers"
    if not containers:
        return [fields.required(where)]
    causes: list[Cause] = []
    seen: set[str] = set()
    for position, container in enumerate(containers):
        spot = fields.index(where, position)
        causes += _validate_container(container, spec, spot, volumes=volumes, claims=claims)
        name = container.get("name") or ""
        if name and name in seen:
            causes.append(fields.duplicate(f"{spot}.name", name))
        seen.add(name)
        causes += _validate_lifecycle(container, spec, spot)
        causes += _validate_probes(container, spot)
        causes += _validate_restart(container, spot)
    return causes + _validate_host_ports(containers, where)


def validate_init_containers(
    spec: dict[str, Any], path: str, *, volumes: dict[str, dict[str, Any]], claims: set[str]
) -> list[Cause]:
    """The init containers; those with restartPolicy Always (sidecars) may have probes and hooks."""
    causes: list[Cause] = []
    seen = {container.get("name") or "" for container in spec.get("containers") or ()}
    containers = spec.get("initContainers") or ()
    for position, container in enumerate(containers):
        spot = fields.index(f"{path}.initContainers", position)
        causes += _validate_container(container, spec, spot, volumes=volumes, claims=claims)
        policy = container.get("restartPolicy")
        causes += _validate_restart(container, spot)
        name = container.get("name") or ""
        if name and name in seen:
            causes.append(fields.duplicate(f"{spot}.name", name))
        elif name:
            seen.add(name)
        causes += _validate_host_ports([container], f"{path}.initContainers")
        if policy == "Always":
            causes += _validate_lifecycle(container, spec, spot)
            causes += _validate_probes(container, spot)
        else:
            for key in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
                if container.get(key) is not None:
                    causes.append(fields.forbidden(f"{spot}.{key}", _NOT_IN_INIT))
    return causes


def _validate_restart(container: dict[str, Any], spot: str) -> list[Cause]:
    """A container's own restart policy, and rules for single exit codes (KEP-5307, KEP-5532)."""
    causes: list[Cause] = []
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is not None and policy not in _RESTART_POLICIES:
        causes.append(fields.not_supported(f"{spot}.restartPolicy", policy, _RESTART_POLICIES))
    where = f"{spot}.restartPolicyRules"
    if rules and policy is None:
        causes.append(
            fields.required(f"{spot}.restartPolicy", "must specify restartPolicy when restart rules are used")
        )
    if len(rules) > _RESTART_RULES_MAX:
        causes.append(fields.too_long(where, _RESTART_RULES_MAX))
    for position, rule in enumerate(rules):
        at = fields.index(where, position)
        action, codes = rule.get("action") or "", rule.get("exitCodes")
        if action not in _RESTART_ACTIONS:
            causes.append(fields.not_supported(f"{at}.action", action, _RESTART_ACTIONS))
        if codes is None:
            causes.append(fields.required(f"{at}.exitCodes", "must be specified"))
            continue
        if codes.get("operator") not in _EXIT_CODE_OPERATORS:
            operator = codes.get("operator") or ""
            causes.append(fields.not_supported(f"{at}.exitCodes.operator", operator, _EXIT_CODE_OPERATORS))
        if len(codes.get("values") or ()) > _EXIT_CODES_MAX:
            causes.append(fields.too_long(f"{at}.exitCodes.values", _EXIT_CODES_MAX))
    return causes


_EPHEMERAL_FORBIDDEN = (
    "ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules",
    "livenessProbe", "readinessProbe", "startupProbe", "lifecycle",
)  # fmt: skip


def validate_ephemeral_containers(
    spec: dict[str, Any], path: str, *, volumes: dict[str, dict[str, Any]], claims: set[str]
) -> list[Cause]:
    """The debug containers: without ports, probes, hooks and resources, with a target that exists."""
    containers = spec.get("ephemeralContainers") or ()
    if not containers:
        return []
    causes = validate_images(containers, f"{path}.ephemeralContainers")
    others = {c.get("name") for key in ("containers", "initContainers") for c in spec.get(key) or ()}
    seen: set[str] = set()
    for position, container in enumerate(containers):
        spot = fields.index(f"{path}.ephemeralContainers", position)
        causes += _validate_container(container, spec, spot, volumes=volumes, claims=claims)
        name, target = container.get("name") or "", container.get("targetContainerName")
        if name in others or name in seen:
            causes.append(fields.duplicate(f"{spot}.name", name))
        seen.add(name)
        if target and target not in others:
            causes.append(fields.not_found(f"{spot}.targetContainerName", target))
        for key in _EPHEMERAL_FORBIDDEN:
            if container.get(key):
                causes.append(fields.forbidden(f"{spot}.{key}", "cannot be set for an Ephemeral Container"))
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            for key in ("subPath", "subPathExpr"):
                if mount.get(key):
                    causes.append(
                        fields.forbidden(
                            fields.index(f"{spot}.volumeMounts", number) + f".{key}",
                            "cannot be set for an Ephemeral Container",
                        )
                    )
    return causes


def _validate_container(
    container: dict[str, Any],
    spec: dict[str, Any],
    path: str,
    *,
    volumes: dict[str, dict[str, Any]],
    claims: set[str],
) -> list[Cause]:
    causes: list[Cause] = []
    name, image = container.get("name") or "", container.get("image") or ""
    if not name:
        causes.append(fields.required(f"{path}.name"))
    else:
        causes += [fields.invalid(f"{path}.name", name, text) for text in names.is_dns1123_label(name)]
    if not image:
        causes.append(fields.required(f"{path}.image"))
    policy = container.get("terminationMessagePolicy") or ""
    if not policy:
        causes.append(fields.required(f"{path}.terminationMessagePolicy"))
    elif policy not in _MESSAGE_POLICIES:
        causes.append(fields.not_supported(f"{path}.terminationMessagePolicy", policy, _MESSAGE_POLICIES))
    causes += _validate_ports(container.get("ports") or (), f"{path}.ports")
    causes += _validate_env(container.get("env") or (), f"{path}.env")
    causes += _validate_env_from(container.get("envFrom") or (), f"{path}.envFrom")
    causes += _validate_mounts(container, path, volumes)
    causes += _validate_devices(container, path, volumes)
    pull = container.get("imagePullPolicy") or ""
    if not pull:
        causes.append(fields.required(f"{path}.imagePullPolicy"))
    elif pull not in _PULL_POLICIES:
        causes.append(fields.not_supported(f"{path}.imagePullPolicy", pull, _PULL_POLICIES))
    causes += validate_resource_requirements(container.get("resources") or {}, f"{path}.resources", claims=claims)
    causes += _validate_resize_policy(container, spec, f"{path}.resizePolicy")
    causes += validate_security_context(
        container.get("securityContext"), f"{path}.securityContext", host_users=spec.get("hostUsers")
    )
    return causes


def _validate_resize_policy(container: dict[str, Any], spec: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for position, policy in enumerate(container.get("resizePolicy") or ()):
        where = fields.index(path, position)
        name, restart = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        if name in seen:
            causes.append(fields.duplicate(where, name))
        seen.add(name)
        if not name:
            causes.append(fields.required(path))
        elif name not in ("cpu", "memory"):
            causes.append(fields.not_supported(path, name, ("cpu", "memory")))
        if not restart:
            causes.append(fields.required(path))
        elif restart not in ("NotRequired", "RestartContainer"):
            causes.append(fields.not_supported(path, restart, ("NotRequired", "RestartContainer")))
        if spec.get("restartPolicy") == "Never" and restart != "NotRequired":
            causes.append(fields.invalid(path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
    return causes


def _validate_ports(ports: Iterable[dict[str, Any]], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for position, port in enumerate(ports):
        where = fields.index(path, position)
        name, protocol = port.get("name") or "", port.get("protocol") or ""
        if name:
            complaints = names.is_port_name(name)
            causes += [fields.invalid(f"{where}.name", name, text) for text in complaints]
            if not complaints and name in seen:
                causes.append(fields.duplicate(f"{where}.name", name))
            seen.add(name)
        number, host = port.get("containerPort") or 0, port.get("hostPort") or 0
        if not number:
            causes.append(fields.required(f"{where}.containerPort"))
        else:
            causes += [fields.invalid(f"{where}.containerPort", number, text) for text in names.is_port_number(number)]
        if host:
            causes += [fields.invalid(f"{where}.hostPort", host, text) for text in names.is_port_number(host)]
        if not protocol:
            causes.append(fields.required(f"{where}.protocol"))
        elif protocol not in _PROTOCOLS:
            causes.append(fields.not_supported(f"{where}.protocol", protocol, _PROTOCOLS))
    return causes


def _validate_host_ports(containers: Iterable[dict[str, Any]], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for position, container in enumerate(containers):
        for number, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol') or ''}/{port.get('hostIP') or ''}/{port['hostPort']}"
            if key in seen:
                where = fields.index(f"{fields.index(path, position)}.ports", number)
                causes.append(fields.duplicate(f"{where}.hostPort", key))
            seen.add(key)
    return causes


def _validate_env(variables: Iterable[dict[str, Any]], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for position, variable in enumerate(variables):
        where = fields.index(path, position)
        name = variable.get("name") or ""
        if not name:
            causes.append(fields.required(f"{where}.name"))
        else:
            causes += [fields.invalid(f"{where}.name", name, text) for text in names.is_relaxed_env_var_name(name)]
        if variable.get("valueFrom") is not None:
            causes += _validate_value_from(variable, f"{where}.valueFrom")
    return causes


def _validate_value_from(variable: dict[str, Any], path: str) -> list[Cause]:
    source = variable["valueFrom"]
    causes: list[Cause] = []
    count = 0
    if source.get("fieldRef") is not None:
        count += 1
        causes += validate_field_reference(source["fieldRef"], ENV_FIELDS, f"{path}.fieldRef")
    if source.get("resourceFieldRef") is not None:
        count += 1
        causes += validate_resource_reference(source["resourceFieldRef"], f"{path}.resourceFieldRef", is_volume=False)
    for key in ("configMapKeyRef", "secretKeyRef"):
        if source.get(key) is not None:
            count += 1
            causes += _validate_key_reference(source[key], f"{path}.{key}")
    if source.get("fileKeyRef") is not None:
        count += 1
        for key in ("key", "volumeName", "path"):
            if not source["fileKeyRef"].get(key):
                causes.append(fields.required(f"{path}.fileKeyRef.{key}"))
    if not count:
        causes.append(
            fields.invalid(
                path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
            )
        )
    if variable.get("value"):
        if count:
            causes.append(fields.invalid(path, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        causes.append(fields.invalid(path, "", "may not have more than one field specified at a time"))
    return causes


def _validate_key_reference(reference: dict[str, Any], path: str) -> list[Cause]:
    name, key = reference.get("name") or "", reference.get("key") or ""
    causes = [fields.invalid(f"{path}.name", name, text) for text in names.is_dns1123_subdomain(name)]
    if not key:
        causes.append(fields.required(f"{path}.key"))
    else:
        causes += [fields.invalid(f"{path}.key", key, text) for text in names.is_config_map_key(key)]
    return causes


def _validate_env_from(sources: Iterable[dict[str, Any]], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for position, source in enumerate(sources):
        where = fields.index(path, position)
        prefix = source.get("prefix") or ""
        if prefix:
            causes += [fields.invalid(f"{where}.prefix", prefix, t) for t in names.is_relaxed_env_var_name(prefix)]
        count = 0
        for key in ("configMapRef", "secretRef"):
            if source.get(key) is not None:
                count += 1
                name = source[key].get("name") or ""
                if not name:
                    causes.append(fields.required(f"{where}.{key}.name"))
                else:
                    wrong = names.is_dns1123_subdomain(names.mask_trailing_dash(name))
                    causes += [fields.invalid(f"{where}.{key}.name", name, text) for text in wrong]
        if not count:
            causes.append(fields.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif count > 1:
            causes.append(fields.invalid(path, "", "may not have more than one field specified at a time"))
    return causes


def _validate_mounts(container: dict[str, Any], path: str, volumes: dict[str, dict[str, Any]]) -> list[Cause]:
    causes: list[Cause] = []
    devices = {device.get("name"): device.get("devicePath") for device in container.get("volumeDevices") or ()}
    seen: set[str] = set()
    where = f"{path}.volumeMounts"
    for position, mount in enumerate(container.get("volumeMounts") or ()):
        spot = fields.index(where, position)
        name, target = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            causes.append(fields.required(f"{spot}.name"))
        if name not in volumes:
            causes.append(fields.not_found(f"{spot}.name", name))
        if not target:
            causes.append(fields.required(f"{spot}.mountPath"))
        if target in seen:
            causes.append(fields.invalid(f"{spot}.mountPath", target, "must be unique"))
        seen.add(target)
        if name in devices:
            causes.append(fields.invalid(f"{spot}.name", name, "must not already exist in volumeDevices"))
        if target and target in devices.values():
            causes.append(
                fields.invalid(f"{spot}.mountPath", target, "must not already exist as a path in volumeDevices")
            )
        if mount.get("subPath"):
            causes += validate_local_descending_path(mount["subPath"], f"{where}.subPath")
        if mount.get("subPathExpr"):
            if mount.get("subPath"):
                causes.append(
                    fields.invalid(
                        f"{spot}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"
                    )
                )
            causes += validate_local_descending_path(mount["subPathExpr"], f"{where}.subPathExpr")
        causes += _validate_propagation(mount, container, where)
    return causes


def _validate_propagation(mount: dict[str, Any], container: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    mode = mount.get("mountPropagation")
    supported = ("Bidirectional", "HostToContainer", "None")
    if mode is not None:
        if mode not in supported:
            causes.append(fields.not_supported(f"{path}.mountPropagation", mode, supported))
        elif mode == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
            causes.append(
                fields.forbidden(
                    f"{path}.mountPropagation",
                    "Bidirectional mount propagation is available only to privileged containers",
                )
            )
    recursive = mount.get("recursiveReadOnly")
    if recursive is not None:
        known = ("Disabled", "Enabled", "IfPossible")
        where = f"{path}.recursiveReadOnly"
        if recursive not in known:
            causes.append(fields.not_supported(where, recursive, known))
        elif recursive != "Disabled":
            if not mount.get("readOnly"):
                causes.append(fields.forbidden(where, "may only be specified when readOnly is true"))
            if mode not in (None, "None"):
                causes.append(
                    fields.forbidden(where, "may only be specified when mountPropagation is None or not specified")
                )
    return causes


def _validate_devices(container: dict[str, Any], path: str, volumes: dict[str, dict[str, Any]]) -> list[Cause]:
    causes: list[Cause] = []
    mounts = {mount.get("name"): mount.get("mountPath") for mount in container.get("volumeMounts") or ()}
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    for position, device in enumerate(container.get("volumeDevices") or ()):
        spot = fields.index(f"{path}.volumeDevices", position)
        name, target = device.get("name") or "", device.get("devicePath") or ""
        if not name:
            causes.append(fields.required(f"{spot}.name"))
        if name in seen_names:
            causes.append(fields.invalid(f"{spot}.name", name, "must be unique"))
        volume = volumes.get(name)
        if volume is None:
            causes.append(fields.not_found(f"{spot}.name", name))
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            causes.append(
                fields.invalid(
                    f"{spot}.name",
                    name,
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                )
            )
        if not target:
            causes.append(fields.required(f"{spot}.devicePath"))
        if target in seen_paths:
            causes.append(fields.invalid(f"{spot}.devicePath", target, "must be unique"))
        if target and validate_no_backsteps(target, f"{spot}.devicePath"):
            causes.append(fields.invalid(f"{spot}.devicePath", target, "can not contain backsteps ('..')"))
        else:
            seen_paths.add(target)
        if name in mounts:
            causes.append(fields.invalid(f"{spot}.name", name, "must not already exist in volumeMounts"))
        if target and target in mounts.values():
            causes.append(
                fields.invalid(f"{spot}.devicePath", target, "must not already exist as a path in volumeMounts")
            )
        seen_names.add(name)
    return causes


# --- handlers and probes ----------------------------------------------------------------------


def _validate_handler(handler: dict[str, Any], path: str, *, grace_seconds: int) -> list[Cause]:
    causes: list[Cause] = []
    count = 0
    for key in ("exec", "httpGet", "tcpSocket", "grpc", "sleep"):
        action = handler.get(key)
        if action is None:
            continue
        where = f"{path}.{key}"
        count += 1
        if count > 1:
            causes.append(fields.forbidden(where, "may not specify more than 1 handler type"))
            continue
        if key == "exec":
            if not action.get("command"):
                causes.append(fields.required(f"{where}.command"))
        elif key == "httpGet":
            causes += _validate_http(action, where)
        elif key == "tcpSocket":
            causes += validate_port(_port_of(action), f"{where}.port")
        elif key == "grpc":
            causes += validate_port(action.get("port") or 0, f"{where}.port")
        elif not 0 <= (seconds := action.get("seconds") or 0) <= grace_seconds:
            detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_seconds})"
            causes.append(fields.invalid(where, seconds, detail))
    if not count:
        causes.append(fields.required(path, "must specify a handler type"))
    return causes


def _port_of(action: dict[str, Any]) -> int | str:
    port = action.get("port")
    return 0 if port is None else port


def _validate_http(action: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    if not action.get("path"):
        causes.append(fields.required(f"{path}.path"))
    causes += validate_port(_port_of(action), f"{path}.port")
    scheme = action.get("scheme") or ""
    if scheme not in ("HTTP", "HTTPS"):
        causes.append(fields.not_supported(f"{path}.scheme", scheme, ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders") or ():
        name = header.get("name") or ""
        causes += [fields.invalid(f"{path}.httpHeaders", name, text) for text in names.is_http_header_name(name)]
    return causes


def _validate_lifecycle(container: dict[str, Any], spec: dict[str, Any], path: str) -> list[Cause]:
    lifecycle = container.get("lifecycle") or {}
    causes: list[Cause] = []
    for key in ("postStart", "preStop"):
        if lifecycle.get(key) is not None:
            grace_seconds = spec.get("terminationGracePeriodSeconds") or 0
            causes += _validate_handler(lifecycle[key], f"{path}.lifecycle.{key}", grace_seconds=grace_seconds)
    if lifecycle.get("stopSignal") is not None:
        causes += _validate_stop_signal(lifecycle["stopSignal"], spec, f"{path}.lifecycle.stopSignal")
    return causes


def _validate_stop_signal(signal: str, spec: dict[str, Any], path: str) -> list[Cause]:
    """KEP-4960: a signal of the system that the pod says it is made for."""
    system = spec.get("os")
    if system is None:
        return [fields.forbidden(path, "may not be set for containers with empty `spec.os.name`")]
    supported = _STOP_SIGNALS.get(system.get("name") or "")
    if supported is None or signal in supported:
        return []
    return [fields.not_supported(path, signal, supported)]


def _validate_probes(container: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(key)
        if probe is None:
            continue
        where = f"{path}.{key}"
        causes += _validate_handler(probe, where, grace_seconds=0)
        for number in (
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ):
            causes += _non_negative(probe, number, where)
        grace = probe.get("terminationGracePeriodSeconds")
        if key == "readinessProbe":
            if grace is not None:
                causes.append(
                    fields.invalid(
                        f"{where}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes"
                    )
                )
            continue
        if grace is not None and grace <= 0:
            causes.append(fields.invalid(f"{where}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
        threshold = probe.get("successThreshold") or 0
        if threshold != 1:
            causes.append(fields.invalid(f"{where}.successThreshold", threshold, "must be 1"))
    return causes
