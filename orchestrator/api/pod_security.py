"""Pod Security Standards: what a pod may not be at the levels `baseline` and `restricted`; pure.

Source: "Pod Security Standards", kubernetes.io. Each check names what it forbids and where it was found, in the
words of k8s.io/pod-security-admission, because clients show them.
# Simplified: the checks are those of the newest version, whatever version a namespace pins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from orchestrator.api.objects import Object, annotations_of

PRIVILEGED, BASELINE, RESTRICTED = "privileged", "baseline", "restricted"
LEVELS = (PRIVILEGED, BASELINE, RESTRICTED)

_CAPABILITIES = frozenset((
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
))  # fmt: skip
_SELINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"))
_SYSCTLS = frozenset((
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
))  # fmt: skip
_VOLUMES = frozenset((
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
))  # fmt: skip
_APPARMOR_PREFIX = "container.apparmor.security.beta.kubernetes.io/"

Spec = Mapping[str, Any]


class Violation(Struct, frozen=True):
    """What is forbidden, and the detail that follows it in parentheses."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


def violations(level: str, spec: Spec, metadata: Spec | None = None) -> list[Violation]:
    """Everything about a pod that its level forbids."""
    if level not in (BASELINE, RESTRICTED):
        return []
    obj: Object = {"metadata": dict(metadata or {}), "spec": spec}
    checks = _BASELINE if level == BASELINE else _RESTRICTED
    return [violation for check in checks for violation in check(obj)]


def _containers(spec: Spec) -> list[Mapping[str, Any]]:
    return [
        container
        for field in ("initContainers", "containers", "ephemeralContainers")
        for container in spec.get(field) or ()
    ]


def _context(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    context: Mapping[str, Any] = holder.get("securityContext") or {}
    return context


def _named(names: Sequence[str], what: str = "container") -> str:
    return f"{what}{'s' if len(names) > 1 else ''} {', '.join(quoted(name) for name in names)}"


def _must(names: Sequence[str]) -> str:
    return f"{_named(names)} must"


def quoted(text: str) -> str:
    return f'"{text}"'


def _privileged(pod: Object) -> Iterator[Violation]:
    bad = [c["name"] for c in _containers(pod["spec"]) if _context(c).get("privileged")]
    if bad:
        yield Violation("privileged", f"{_named(bad)} must not set securityContext.privileged=true")


def _host_namespaces(pod: Object) -> Iterator[Violation]:
    bad = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if pod["spec"].get(field)]
    if bad:
        yield Violation("host namespaces", ", ".join(bad))


def _host_path(pod: Object) -> Iterator[Violation]:
    bad = [volume["name"] for volume in pod["spec"].get("volumes") or () if volume.get("hostPath") is not None]
    if bad:
        yield Violation("hostPath volumes", _named(bad, "volume"))


def _host_ports(pod: Object) -> Iterator[Violation]:
    bad: dict[str, list[int]] = {}
    for container in _containers(pod["spec"]):
        ports = [port["hostPort"] for port in container.get("ports") or () if port.get("hostPort")]
        if ports:
            bad[container["name"]] = ports
    if bad:
        ports = sorted({port for some in bad.values() for port in some})
        noun = "hostPorts" if len(ports) > 1 else "hostPort"
        verb = "use" if len(bad) > 1 else "uses"
        yield Violation("hostPort", f"{_named(list(bad))} {verb} {noun} {', '.join(map(str, ports))}")


def _host_process(pod: Object) -> Iterator[Violation]:
    spec = pod["spec"]
    bad = [
        container["name"]
        for container in _containers(spec)
        if (_context(container).get("windowsOptions") or {}).get("hostProcess")
    ]
    of_pod = bool((_context(spec).get("windowsOptions") or {}).get("hostProcess"))
    if bad or of_pod:
        who = [*(["pod"] if of_pod else []), *([_named(bad)] if bad else [])]
        yield Violation("hostProcess", f"{' and '.join(who)} must not set securityContext.windowsOptions.hostProcess=true")  # fmt: skip  # noqa: E501


def _host_probes(pod: Object) -> Iterator[Violation]:
    bad = []
    for container in _containers(pod["spec"]):
        handlers = [container.get(probe) or {} for probe in ("livenessProbe", "readinessProbe", "startupProbe")]
        handlers += [(container.get("lifecycle") or {}).get(hook) or {} for hook in ("postStart", "preStop")]
        if any((handler.get(kind) or {}).get("host") for handler in handlers for kind in ("httpGet", "tcpSocket")):
            bad.append(container["name"])
    if bad:
        yield Violation("probe or lifecycle host", f"{_named(bad)} must not set the host of a probe or lifecycle handler")  # fmt: skip  # noqa: E501


def _proc_mount(pod: Object) -> Iterator[Violation]:
    bad = [
        container["name"]
        for container in _containers(pod["spec"])
        if _context(container).get("procMount") not in (None, "", "Default")
    ]
    if bad:
        yield Violation("procMount", f'{_named(bad)} must not set securityContext.procMount to "Unmasked"')


def _selinux(pod: Object) -> Iterator[Violation]:
    holders = [pod["spec"], *_containers(pod["spec"])]
    options = [_context(holder).get("seLinuxOptions") or {} for holder in holders]
    types = sorted({one.get("type") or "" for one in options} - _SELINUX_TYPES)
    user, role = any(one.get("user") for one in options), any(one.get("role") for one in options)
    found = []
    if types:
        found.append(f"type{'s' if len(types) > 1 else ''} {', '.join(quoted(one) for one in types)}")
    if user:
        found.append("user may not be set")
    if role:
        found.append("role may not be set")
    if found:
        yield Violation("seLinuxOptions", "; ".join(found))


def _apparmor(pod: Object) -> Iterator[Violation]:
    bad = [
        f"{key}={quoted(value)}"
        for key, value in sorted(annotations_of(pod).items())
        if key.startswith(_APPARMOR_PREFIX)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    ]
    unconfined = [
        container["name"]
        for container in _containers(pod["spec"])
        if (_context(container).get("appArmorProfile") or {}).get("type") == "Unconfined"
    ]
    if (_context(pod["spec"]).get("appArmorProfile") or {}).get("type") == "Unconfined":
        bad.append('pod must not set AppArmor profile type to "Unconfined"')
    if unconfined:
        bad.append(f'{_named(unconfined)} must not set AppArmor profile type to "Unconfined"')
    if bad:
        yield Violation("forbidden AppArmor profile" + ("s" if len(bad) > 1 else ""), ", ".join(bad))


def _sysctls(pod: Object) -> Iterator[Violation]:
    names = [one["name"] for one in _context(pod["spec"]).get("sysctls") or ()]
    bad = [name for name in names if name not in _SYSCTLS]
    if bad:
        yield Violation("forbidden sysctl" + ("s" if len(bad) > 1 else ""), ", ".join(bad))


def _capabilities_baseline(pod: Object) -> Iterator[Violation]:
    bad: list[str] = []
    added: set[str] = set()
    for container in _containers(pod["spec"]):
        beyond = set((_context(container).get("capabilities") or {}).get("add") or ()) - _CAPABILITIES
        if beyond:
            bad.append(container["name"])
            added |= beyond
    if bad:
        shown = ", ".join(quoted(name) for name in sorted(added))
        yield Violation(
            "non-default capabilities", f"{_must(bad)} not include {shown} in securityContext.capabilities.add"
        )


def _seccomp_baseline(pod: Object) -> Iterator[Violation]:
    spec = pod["spec"]
    bad = [
        container["name"]
        for container in _containers(spec)
        if (_context(container).get("seccompProfile") or {}).get("type") == "Unconfined"
    ]
    of_pod = (_context(spec).get("seccompProfile") or {}).get("type") == "Unconfined"
    if bad or of_pod:
        who = [*(["pod"] if of_pod else []), *([_named(bad)] if bad else [])]
        yield Violation(
            "seccompProfile", f'{" and ".join(who)} must not set securityContext.seccompProfile.type to "Unconfined"'
        )


# Restricted: some baseline checks are replaced by stricter ones.


def _is_windows(pod: Object) -> bool:
    return (pod["spec"].get("os") or {}).get("name") == "windows"


def _restricted_volumes(pod: Object) -> Iterator[Violation]:
    bad: dict[str, str] = {}
    for volume in pod["spec"].get("volumes") or ():
        kinds = [key for key in volume if key != "name"]
        if not any(kind in _VOLUMES for kind in kinds):
            bad[volume["name"]] = kinds[0] if kinds else "unknown"
    if bad:
        types = sorted(set(bad.values()))
        noun = "volume types" if len(types) > 1 else "volume type"
        verb = "use" if len(bad) > 1 else "uses"
        shown = ", ".join(quoted(one) for one in types)
        yield Violation("restricted volume types", f"{_named(list(bad), 'volume')} {verb} restricted {noun} {shown}")


def _privilege_escalation(pod: Object) -> Iterator[Violation]:
    if _is_windows(pod):
        return
    bad = [
        container["name"]
        for container in _containers(pod["spec"])
        if _context(container).get("allowPrivilegeEscalation") is not False
    ]
    if bad:
        yield Violation(
            "allowPrivilegeEscalation != false", f"{_must(bad)} set securityContext.allowPrivilegeEscalation=false"
        )


def _capabilities_restricted(pod: Object) -> Iterator[Violation]:
    if _is_windows(pod):
        return
    keeping, adding = [], []
    added: set[str] = set()
    for container in _containers(pod["spec"]):
        capabilities = _context(container).get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or ()):
            keeping.append(container["name"])
        beyond = set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}
        if beyond:
            adding.append(container["name"])
            added |= beyond
    found = []
    if keeping:
        found.append(f'{_must(keeping)} set securityContext.capabilities.drop=["ALL"]')
    if adding:
        shown = ", ".join(quoted(name) for name in sorted(added))
        found.append(f"{_must(adding)} not include {shown} in securityContext.capabilities.add")
    if found:
        yield Violation("unrestricted capabilities", "; ".join(found))


def _run_as_non_root(pod: Object) -> Iterator[Violation]:
    spec = pod["spec"]
    of_pod = _context(spec).get("runAsNonRoot")
    explicit = [c["name"] for c in _containers(spec) if _context(c).get("runAsNonRoot") is False]
    implicit = [c["name"] for c in _containers(spec) if _context(c).get("runAsNonRoot") is None]
    if explicit or (of_pod is False and implicit):
        who = [*(["pod"] if of_pod is False else []), *([_named(explicit)] if explicit else [])]
        yield Violation("runAsNonRoot != true", f"{' and '.join(who)} must not set securityContext.runAsNonRoot=false")
    elif implicit and not of_pod:
        yield Violation("runAsNonRoot != true", f"pod or {_must(implicit)} set securityContext.runAsNonRoot=true")


def _run_as_user(pod: Object) -> Iterator[Violation]:
    spec = pod["spec"]
    bad = [c["name"] for c in _containers(spec) if _context(c).get("runAsUser") == 0]
    of_pod = _context(spec).get("runAsUser") == 0
    if bad or of_pod:
        who = [*(["pod"] if of_pod else []), *([_named(bad)] if bad else [])]
        yield Violation("runAsUser=0", f"{' and '.join(who)} must not set runAsUser=0")


def _seccomp_restricted(pod: Object) -> Iterator[Violation]:
    if _is_windows(pod):
        return
    spec = pod["spec"]
    allowed = ("RuntimeDefault", "Localhost")
    of_pod = (_context(spec).get("seccompProfile") or {}).get("type")
    types = {c["name"]: (_context(c).get("seccompProfile") or {}).get("type") for c in _containers(spec)}
    bad = [name for name, kind in types.items() if kind is not None and kind not in allowed]
    implicit = [name for name, kind in types.items() if kind is None]
    if bad or (of_pod is not None and of_pod not in allowed):
        wrong = sorted({str(kind) for kind in (*types.values(), of_pod) if kind is not None and kind not in allowed})
        who = [*(["pod"] if of_pod is not None and of_pod not in allowed else []), *([_named(bad)] if bad else [])]
        shown = ", ".join(quoted(kind) for kind in wrong)
        yield Violation("seccompProfile", f"{' and '.join(who)} must not set securityContext.seccompProfile.type to {shown}")  # fmt: skip  # noqa: E501
    elif implicit and of_pod is None:
        yield Violation(
            "seccompProfile",
            f'pod or {_must(implicit)} set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"',
        )


Check = Callable[[Object], Iterator[Violation]]
_BASELINE: tuple[Check, ...] = (
    _apparmor,
    _capabilities_baseline,
    _host_namespaces,
    _host_path,
    _host_ports,
    _host_probes,
    _privileged,
    _proc_mount,
    _selinux,
    _seccomp_baseline,
    _sysctls,
    _host_process,
)
"""In the order in which Kubernetes names violations."""
_REPLACED: frozenset[Check] = frozenset((_capabilities_baseline, _host_path, _seccomp_baseline))
_RESTRICTED: tuple[Check, ...] = (
    *(check for check in _BASELINE if check not in _REPLACED),
    _privilege_escalation,
    _capabilities_restricted,
    _restricted_volumes,
    _run_as_non_root,
    _run_as_user,
    _seccomp_restricted,
)
