"""Every controller by name: which exist, which a configuration selects, and how they are built.

Controllers are imported only when they are built, so that a cluster without them starts faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

from msgspec import Struct

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object
from orchestrator.api.resources import Resource
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.component.controller import Controller
from orchestrator.component.events import EventRecorder


class Entry(Struct, frozen=True):
    """One controller: its names, where its class is, and what it needs beyond the usual."""

    canonical: str
    """Its name since Kubernetes 1.28; the short one, older, is the key of `CONTROLLERS`."""
    module: str
    class_name: str
    component: str
    """`source.component` of its events, which `kubectl describe` shows under From."""
    needs: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    """Resources without which it is not started, as kube-controller-manager leaves it out then."""


def _entry(
    canonical: str,
    module: str,
    class_name: str,
    component: str = "",
    needs: tuple[str, ...] = (),
    requires: tuple[str, ...] = (),
) -> Entry:
    module = f"orchestrator.controllers.{module}"
    return Entry(canonical, module, class_name, component or canonical, needs, requires)


CONTROLLERS: dict[str, Entry] = {
    "deployment": _entry("deployment-controller", "deployment", "DeploymentController"),
    "replicaset": _entry("replicaset-controller", "replicaset", "ReplicaSetController"),
    "replicationcontroller": _entry(
        "replicationcontroller-controller",
        "replicationcontroller",
        "ReplicationControllerController",
        "replication-controller",
        requires=("replicationcontrollers",),
    ),
    "statefulset": _entry(
        "statefulset-controller",
        "statefulset",
        "StatefulSetController",
        requires=("statefulsets.apps", "controllerrevisions.apps", "persistentvolumeclaims"),
    ),
    "daemonset": _entry(
        "daemonset-controller",
        "daemonset",
        "DaemonSetController",
        requires=("daemonsets.apps", "controllerrevisions.apps"),
    ),
    "job": _entry("job-controller", "job", "JobController", requires=("jobs.batch",)),
    "cronjob": _entry("cronjob-controller", "cronjob", "CronJobController", requires=("cronjobs.batch", "jobs.batch")),
    "ttl-after-finished": _entry(
        "ttl-after-finished-controller", "ttlafterfinished", "TTLAfterFinishedController", requires=("jobs.batch",)
    ),
    "clusterrole-aggregation": _entry(
        "clusterrole-aggregation-controller",
        "clusterroleaggregation",
        "ClusterRoleAggregationController",
        requires=("clusterroles.rbac.authorization.k8s.io",),
    ),
    "namespace": _entry("namespace-controller", "namespace", "NamespaceController", needs=("resources",)),
    "garbagecollector": _entry(
        "garbage-collector-controller", "garbagecollector", "GarbageCollector", needs=("resources",)
    ),
    "endpoint": _entry("endpoints-controller", "endpoints", "EndpointsController", "endpoint-controller"),
    "endpointslice": _entry(
        "endpointslice-controller", "endpoints", "EndpointSliceController", "endpoint-slice-controller"
    ),
    "endpointslicemirroring": _entry(
        "endpointslice-mirroring-controller",
        "endpoints",
        "EndpointSliceMirroringController",
        "endpoint-slice-mirroring-controller",
    ),
    "persistentvolume-binder": _entry(
        "persistentvolume-binder-controller",
        "persistentvolume",
        "PersistentVolumeBinder",
        "persistentvolume-controller",
        requires=("persistentvolumes", "persistentvolumeclaims", "storageclasses.storage.k8s.io"),
    ),
    "persistentvolume-expander": _entry(
        "persistentvolume-expander-controller",
        "volumeexpansion",
        "VolumeExpander",
        "volume_expand",
        requires=("persistentvolumes", "persistentvolumeclaims"),
    ),
    "attachdetach": _entry(
        "persistentvolume-attach-detach-controller",
        "attachdetach",
        "AttachDetachController",
        "attachdetach-controller",
        requires=("volumeattachments.storage.k8s.io", "csidrivers.storage.k8s.io", "persistentvolumes"),
    ),
    "ephemeral-volume": _entry(
        "ephemeral-volume-controller",
        "ephemeralvolume",
        "EphemeralVolumeController",
        "ephemeral_volume",
        requires=("persistentvolumeclaims",),
    ),
    "resourceclaim": _entry(
        "resourceclaim-controller",
        "resourceclaim",
        "ResourceClaimController",
        "resource_claim",
        requires=("resourceclaims.resource.k8s.io", "resourceclaimtemplates.resource.k8s.io"),
    ),
    "pvc-protection": _entry(
        "persistentvolumeclaim-protection-controller",
        "storageprotection",
        "ClaimProtectionController",
        requires=("persistentvolumeclaims",),
    ),
    "pv-protection": _entry(
        "persistentvolume-protection-controller",
        "storageprotection",
        "VolumeProtectionController",
        requires=("persistentvolumes",),
    ),
    "volumeattributesclass-protection": _entry(
        "volumeattributesclass-protection-controller",
        "storageprotection",
        "AttributesClassProtectionController",
        requires=("volumeattributesclasses.storage.k8s.io", "persistentvolumeclaims", "persistentvolumes"),
    ),
    "horizontalpodautoscaling": _entry(
        "horizontal-pod-autoscaler-controller",
        "horizontalpodautoscaler",
        "HorizontalPodAutoscalerController",
        "horizontal-pod-autoscaler",
        needs=("resources",),
        requires=("horizontalpodautoscalers.autoscaling",),
    ),
    "disruption": _entry(
        "disruption-controller",
        "disruption",
        "DisruptionController",
        "controllermanager",
        needs=("resources",),
        requires=("poddisruptionbudgets.policy",),
    ),
    "resourcequota": _entry(
        "resourcequota-controller",
        "resourcequota",
        "ResourceQuotaController",
        needs=("resources",),
        requires=("resourcequotas",),
    ),
    "service": _entry(
        "service-lb-controller",
        "servicelb",
        "ServiceLBController",
        "service-controller",
        needs=("load_balancer_addresses",),
        requires=("services",),
    ),
    "service-cidr": _entry(
        "service-cidr-controller",
        "servicecidr",
        "ServiceCIDRController",
        requires=("servicecidrs.networking.k8s.io", "ipaddresses.networking.k8s.io"),
    ),
    "nodelifecycle": _entry("node-lifecycle-controller", "nodelifecycle", "NodeLifecycleController", "node-controller"),
    "ttl": _entry("ttl-controller", "nodettl", "NodeTTLController"),
    "taint-eviction": _entry("taint-eviction-controller", "tainteviction", "TaintEvictionController"),
    "podgc": _entry("pod-garbage-collector-controller", "podgc", "PodGarbageCollector"),
    "serviceaccount": _entry("serviceaccount-controller", "serviceaccount", "ServiceAccountController"),
    "serviceaccount-token": _entry(
        "serviceaccount-token-controller",
        "serviceaccounttoken",
        "ServiceAccountTokenController",
        needs=("ca_pem", "token_for"),
        requires=("secrets", "serviceaccounts"),
    ),
    "csrapproving": _entry(
        "certificatesigningrequest-approving-controller",
        "certificates",
        "CSRApproving",
        requires=("certificatesigningrequests.certificates.k8s.io",),
    ),
    "csrsigning": _entry(
        "certificatesigningrequest-signing-controller",
        "certificates",
        "CSRSigning",
        needs=("ca_pem", "ca_key_pem"),
        requires=("certificatesigningrequests.certificates.k8s.io",),
    ),
    "csrcleaner": _entry(
        "certificatesigningrequest-cleaner-controller",
        "certificates",
        "CSRCleaner",
        requires=("certificatesigningrequests.certificates.k8s.io",),
    ),
    "bootstrapsigner": _entry(
        "bootstrap-signer-controller", "bootstraptokens", "BootstrapSigner", requires=("secrets", "configmaps")
    ),
    "tokencleaner": _entry("token-cleaner-controller", "bootstraptokens", "TokenCleaner", requires=("secrets",)),
    "nodeipam": _entry("node-ipam-controller", "nodeipam", "NodeIpamController", "cidrAllocator", needs=("pod_cidr",)),
    "root-ca-cert-publisher": _entry(
        "root-ca-certificate-publisher-controller", "serviceaccount", "RootCAPublisher", needs=("ca_pem",)
    ),
}

_BY_CANONICAL = {entry.canonical: name for name, entry in CONTROLLERS.items()}


def select_controllers(selection: Iterable[str]) -> list[str]:
    """The names that a selection such as `["*", "-cronjob"]` means, in the order of `CONTROLLERS`.

    As kube-controller-manager's `--controllers`: `*` is all, `name` one, `-name` none of it; short
    and long names are both known. ValueError for a name that is not.
    """
    wanted = list(selection)
    for one in wanted:
        if one != "*" and one.removeprefix("-") not in CONTROLLERS and one.removeprefix("-") not in _BY_CANONICAL:
            known = ", ".join(CONTROLLERS)
            raise ValueError(f'"{one.removeprefix("-")}" is not in the list of known controllers ({known})')
    enabled = {_short(one) for one in wanted if one != "*" and not one.startswith("-")}
    disabled = {_short(one[1:]) for one in wanted if one.startswith("-")}
    return [name for name in CONTROLLERS if name in enabled or ("*" in wanted and name not in disabled)]


def _short(name: str) -> str:
    return _BY_CANONICAL.get(name, name)


def event_component(name: str) -> str:
    """The `source.component` of a controller's events."""
    return CONTROLLERS[name].component


def build_controllers(
    names: Iterable[str],
    *,
    client_for: Callable[[str], Client],
    informers: Informers,
    recorder_for: Callable[[str], EventRecorder],
    clock: Clock,
    resources: Callable[[], Sequence[Resource]],
    ca_pem: str = "",
    ca_key_pem: str = "",
    pod_cidr: str = "",
    load_balancer_addresses: Sequence[str] = (),
    token_for: Callable[[Object, Object], str] | None = None,
) -> list[Controller]:
    """The controllers with these (short) names, each with a client and an event recorder of its own.

    `resources` names everything that can be listed and deleted, now; `ca_pem` is published to pods, its
    key signs requests, `pod_cidr` is shared among nodes, `load_balancer_addresses` among Services, and
    `token_for` signs what stands in token Secrets. A controller that needs one of the last five is left out
    where it is empty.
    """
    extras: dict[str, Any] = {
        "resources": resources,
        "ca_pem": ca_pem,
        "ca_key_pem": ca_key_pem,
        "pod_cidr": pod_cidr,
        "load_balancer_addresses": load_balancer_addresses,
        "token_for": token_for,
    }
    built: list[Controller] = []
    served = {resource.group_resource for resource in resources()}
    for name in names:
        entry = CONTROLLERS[name]
        if not all(extras[need] for need in entry.needs) or not served.issuperset(entry.requires):
            continue
        controller_class: Any = getattr(import_module(entry.module), entry.class_name)
        controller: Controller = controller_class(
            client=client_for(name),
            informers=informers,
            recorder=recorder_for(name),
            clock=clock,
            **{need: extras[need] for need in entry.needs},
        )
        built.append(controller)
    return built
