"""From a pod to what the runtime takes: sandbox, container, security.

Pure functions. Everything that can be refused for its configuration is refused here, before the
runtime is asked. Mirrors kuberuntime's `generatePodSandboxConfig`, `generateContainerConfig`
and `kuberuntime_container_linux.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from orchestrator.api.objects import Object, annotations_of, labels_of, name_of, namespace_of, uid_of
from orchestrator.kubelet.containers.environment import ConfigurationError, expand, expand_command
from orchestrator.kubelet.containers.labels import HASH_LABEL, IMAGE_DIGEST_LABEL
from orchestrator.kubelet.images.accounts import Accounts
from orchestrator.kubelet.pod import (
    ContainerKind,
    app_containers_of,
    container_hash,
    describe_pod,
    init_containers_of,
    is_host_network,
    is_sidecar,
    spec_of,
)
from orchestrator.kubelet.resources.values import resources_of
from orchestrator.kubelet.restart_all import ROUND_LABEL
from orchestrator.kubelet.runtime import (
    Container,
    ContainerPhase,
    ContainerSpec,
    Image,
    Mount,
    SandboxSpec,
    SecurityOptions,
)

HOSTNAME_MAX = 63
LOCALHOST_PROFILE_BYTES_MAX = 1 << 20
NO_ACCOUNTS = Accounts()


def _merged_context(pod: Object, container: Object) -> Object:
    """The container's security context over what it inherits from the pod's."""
    pod_context = spec_of(pod).get("securityContext") or {}
    inherited = {
        key: pod_context[key]
        for key in ("runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile", "appArmorProfile")
        if pod_context.get(key) is not None
    }
    own = {key: value for key, value in (container.get("securityContext") or {}).items() if value is not None}
    return {**inherited, **own}


def needs_accounts(pod: Object, container: Object, image: Image) -> bool:
    """Whether the groups of the process depend on what /etc/passwd and /etc/group of the image say."""
    group = _merged_context(pod, container).get("runAsGroup")
    return is_strict(pod) if group is None and ":" not in image.user else not is_strict(pod)


def is_strict(pod: Object) -> bool:
    """Whether a process gets only the groups that its pod names (KEP-3619)."""
    return bool((spec_of(pod).get("securityContext") or {}).get("supplementalGroupsPolicy") == "Strict")


def _plan_user(pod: Object, context: Object, image: Image, accounts: Accounts) -> tuple[str, tuple[int, ...]]:
    """(user as the Engine takes it, groups that it would not add by itself).

    The Engine adds the image's groups of a user that is written without a group, and only then.
    """
    user, group = context.get("runAsUser"), context.get("runAsGroup")
    image_user, _, image_group = image.user.partition(":")
    name = str(user) if user is not None else image_user
    if group is not None:
        text = f"{name or 0}:{group}"
    elif user is not None:
        text = name
    else:
        text = image.user if image_group else ""
    if is_strict(pod):
        return (text if ":" in text else f"{name or 0}:{accounts.primary_group(name or '0')}"), ()
    return text, accounts.groups_of(name or "0") if ":" in text else ()


def security_of(
    pod: Object,
    container: Object,
    image: Image,
    *,
    fs_group_applies: bool = True,
    seccomp_root: Path | None = None,
    accounts: Accounts = NO_ACCOUNTS,
) -> SecurityOptions:
    """The security options of a container; ConfigurationError when it must not run as what it would run as."""
    pod_context = spec_of(pod).get("securityContext") or {}
    context = _merged_context(pod, container)
    user = context.get("runAsUser")
    if context.get("runAsNonRoot"):
        _check_non_root(pod, container, image, user)
    user_text, image_groups = _plan_user(pod, context, image, accounts)
    groups = [str(gid) for gid in (*image_groups, *(pod_context.get("supplementalGroups") or ()))]
    if fs_group_applies and pod_context.get("fsGroup") is not None:
        groups.append(str(pod_context["fsGroup"]))
    capabilities = context.get("capabilities") or {}
    privileged = bool(context.get("privileged"))
    return SecurityOptions(
        user=user_text,
        groups=tuple(dict.fromkeys(groups)),
        privileged=privileged,
        read_only_root=bool(context.get("readOnlyRootFilesystem")),
        no_new_privileges=context.get("allowPrivilegeEscalation") is False,
        capabilities_add=tuple(capabilities.get("add") or ()),
        capabilities_drop=tuple(capabilities.get("drop") or ()),
        seccomp=_seccomp(context.get("seccompProfile"), privileged=privileged, root=seccomp_root),
        apparmor=_apparmor(context.get("appArmorProfile")),
        unmasked_proc=context.get("procMount") == "Unmasked",
    )


def _check_non_root(pod: Object, container: Object, image: Image, user: int | None) -> None:
    where = f'(pod: "{describe_pod(pod)}", container: {container["name"]})'
    if user is not None:
        if user == 0:
            raise ConfigurationError(f"container's runAsUser breaks non-root policy {where}")
        return
    image_user = image.user.partition(":")[0]
    if not image_user or image_user == "0":
        raise ConfigurationError(f"container has runAsNonRoot and image will run as root {where}")
    if not image_user.isdigit():
        raise ConfigurationError(
            f"container has runAsNonRoot and image has non-numeric user ({image_user}), "
            f"cannot verify user is non-root {where}"
        )


def _seccomp(profile: Object | None, *, privileged: bool, root: Path | None) -> str:
    """Kubernetes runs a container without a profile unconfined, not with the runtime's default."""
    kind = (profile or {}).get("type") or "Unconfined"
    if privileged or kind == "Unconfined":
        return "unconfined"
    if kind == "RuntimeDefault":
        return ""
    name = (profile or {}).get("localhostProfile") or ""
    if root is None or not name:
        raise ConfigurationError("localhostProfile must be set if seccompProfile type is Localhost.")
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ConfigurationError(f"seccomp profile {name} is outside of the profile directory")
    try:
        with path.open() as stream:
            return stream.read(LOCALHOST_PROFILE_BYTES_MAX)
    except OSError as error:
        raise ConfigurationError(f"cannot load seccomp profile {name}: {error.strerror}") from error


def _apparmor(profile: Object | None) -> str:
    kind = (profile or {}).get("type")
    if kind == "Unconfined":
        return "unconfined"
    if kind == "Localhost":
        return str((profile or {}).get("localhostProfile") or "")
    return ""


def hostname_of(pod: Object, node_name: str) -> str:
    """The host name inside the pod: its own, else the pod's name cut to what a host name may be."""
    spec = spec_of(pod)
    if spec.get("hostnameOverride"):
        return str(spec["hostnameOverride"])
    if is_host_network(pod):
        return node_name
    return str(spec.get("hostname") or name_of(pod))[:HOSTNAME_MAX].rstrip("-.")


def domain_of(pod: Object, cluster_domain: str) -> str:
    """`subdomain.namespace.svc.cluster.local`, or empty for a pod without a subdomain."""
    subdomain = spec_of(pod).get("subdomain")
    if not subdomain or spec_of(pod).get("hostnameOverride"):
        return ""
    return f"{subdomain}.{namespace_of(pod)}.svc.{cluster_domain}"


def kernel_hostname(pod: Object, node_name: str, cluster_domain: str) -> str:
    """What `hostname` prints; the full name with `setHostnameAsFQDN`. ConfigurationError when that is too long."""
    hostname, domain = hostname_of(pod, node_name), domain_of(pod, cluster_domain)
    if spec_of(pod).get("setHostnameAsFQDN") and domain:
        full = f"{hostname}.{domain}"
        if len(full) > HOSTNAME_MAX + 1:
            raise ConfigurationError(
                f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
                f"({HOSTNAME_MAX + 1} characters is the max, {len(full)} characters requested)"
            )
        return full
    return hostname


def sandbox_spec(
    pod: Object,
    attempt: int,
    *,
    node_name: str,
    cluster_domain: str,
    runtime_handler: str = "",
    cgroup_parent: str = "",
) -> SandboxSpec:
    """The sandbox of a pod; ConfigurationError for what the runtime cannot give it."""
    spec = spec_of(pod)
    if spec.get("hostUsers") is False:
        raise ConfigurationError("the container runtime does not support user namespaces (hostUsers: false)")
    ports = []
    for container in (*init_containers_of(pod), *app_containers_of(pod)):
        if container in init_containers_of(pod) and not is_sidecar(container):
            continue
        for port in container.get("ports") or ():
            if port.get("hostPort") and not is_host_network(pod):
                ports.append(
                    (port.get("hostIP") or "", port.get("protocol") or "TCP", port["hostPort"], port["containerPort"])
                )
    return SandboxSpec(
        namespace=namespace_of(pod),
        name=name_of(pod),
        uid=uid_of(pod),
        attempt=attempt,
        hostname=kernel_hostname(pod, node_name, cluster_domain),
        host_network=is_host_network(pod),
        host_pid=bool(spec.get("hostPID")),
        host_ipc=bool(spec.get("hostIPC")),
        share_process_namespace=bool(spec.get("shareProcessNamespace")),
        sysctls={s["name"]: s["value"] for s in (spec.get("securityContext") or {}).get("sysctls") or ()},
        labels=labels_of(pod),
        annotations=annotations_of(pod),
        cgroup_parent=cgroup_parent,
        runtime_handler=runtime_handler,
        host_ports=tuple(ports),
    )


class ContainerInputs(Struct, frozen=True):
    """What a container is made of beside its pod."""

    image: Image
    environment: Mapping[str, str]
    mounts: Sequence[Mount] = ()
    node_memory_bytes: int = 0
    seccomp_root: Path | None = None
    accounts: Accounts = NO_ACCOUNTS
    target: Container | None = None
    """The running container that an ephemeral one names as its target."""
    round: int = 0
    """The round of restarts that it belongs to."""


def container_spec(
    pod: Object, container: Object, kind: ContainerKind, attempt: int, inputs: ContainerInputs
) -> ContainerSpec:  # fmt: skip
    """One container with everything filled in; ConfigurationError when it is refused."""
    target = container.get("targetContainerName") or ""
    stop_signal = ((container.get("lifecycle") or {}).get("stopSignal")) or ""
    labels = {HASH_LABEL: container_hash(container)}
    if inputs.round:
        labels[ROUND_LABEL] = str(inputs.round)
    if inputs.image.digests:
        labels[IMAGE_DIGEST_LABEL] = inputs.image.digests[0]
    pid_container = ""
    if kind is ContainerKind.EPHEMERAL and target:
        labels["io.kubernetes.container.target"] = target
        if inputs.target is None or inputs.target.phase is not ContainerPhase.RUNNING:
            raise ConfigurationError(f"unable to find target container {target}")
        pid_container = inputs.target.id
    command = expand_command(container.get("command") or None, inputs.environment)
    args = expand_command(container.get("args") or None, inputs.environment)
    return ContainerSpec(
        name=container["name"],
        attempt=attempt,
        image=inputs.image.id,
        image_ref=container.get("image") or "",
        command=command,
        args=args,
        working_dir=expand(container.get("workingDir") or "", inputs.environment),
        env=tuple(inputs.environment.items()),
        mounts=tuple(inputs.mounts),
        resources=resources_of(pod, container, inputs.node_memory_bytes),
        security=security_of(pod, container, inputs.image, seccomp_root=inputs.seccomp_root, accounts=inputs.accounts),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
        stop_signal=stop_signal,
        share_process_namespace=bool(spec_of(pod).get("shareProcessNamespace")),
        pid_container=pid_container,
        labels=labels,
    )
