"""The roles and bindings of a fresh cluster.

Source: "Default roles and role bindings", kubernetes.io "Using RBAC Authorization": user-facing roles
(three of them aggregated), roles of components, of controllers, and what everybody may do. A rule is
written as text: verbs, API groups (`core` is the empty one), resources, names.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from orchestrator.api.objects import Object

API_GROUP = "rbac.authorization.k8s.io"
API_VERSION = f"{API_GROUP}/v1"
BOOTSTRAPPING = {"kubernetes.io/bootstrapping": "rbac-defaults"}
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"

READ = "get list watch"
WRITE = "create delete deletecollection patch update"
READ_WRITE = "create delete deletecollection get list patch update watch"

RuleText = dict[str, Any]


def allow(verbs: str, groups: str, resources: str, names: str = "") -> RuleText:
    """A rule about resources."""
    rule: RuleText = {
        "verbs": sorted(verbs.split()),
        "apiGroups": ["" if group == "core" else group for group in groups.split()],
        "resources": sorted(resources.split()),
    }
    if names:
        rule["resourceNames"] = names.split()
    return rule


def allow_paths(verbs: str, paths: str) -> RuleText:
    """A rule about paths that are no resources."""
    return {"verbs": verbs.split(), "nonResourceURLs": sorted(paths.split())}


EVENTS = allow("create patch update", "core events.k8s.io", "events")

AGGREGATED: dict[str, tuple[str, ...]] = {"admin": (), "edit": ("admin",), "view": ("edit",)}
"""User-facing role → the roles that its own label makes it part of."""

_READABLE_IN_NAMESPACE = (
    allow(
        READ,
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers"
        " replicationcontrollers/scale serviceaccounts services services/status",
    ),
    allow(
        READ,
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status"
        " resourcequotas resourcequotas/status",
    ),
    allow(READ, "core", "namespaces"),
    allow(READ, "discovery.k8s.io", "endpointslices"),
    allow(
        READ,
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status"
        " replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
    ),
    allow(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    allow(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    allow(
        READ,
        "extensions",
        "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status"
        " networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale",
    ),
    allow(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    allow(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
)
_EDITABLE_IN_NAMESPACE = (
    allow(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    allow("impersonate", "core", "serviceaccounts"),
    allow(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    allow("create", "core", "pods/eviction"),
    allow(
        WRITE,
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets"
        " serviceaccounts services services/proxy",
    ),
    allow("create", "core", "serviceaccounts/token"),
    allow(
        WRITE,
        "apps",
        "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets"
        " statefulsets/scale",
    ),
    allow(WRITE, "autoscaling", "horizontalpodautoscalers"),
    allow(WRITE, "batch", "cronjobs jobs"),
    allow(
        WRITE,
        "extensions",
        "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets"
        " replicasets/scale replicationcontrollers/scale",
    ),
    allow(WRITE, "policy", "poddisruptionbudgets"),
    allow(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    allow(READ_WRITE, "coordination.k8s.io", "leases"),
)
_ADMINISTRABLE_IN_NAMESPACE = (
    allow("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    allow(READ_WRITE, API_GROUP, "rolebindings roles"),
)

_METRICS = allow(READ, "metrics.k8s.io", "nodes pods")

_NODE = (
    allow("create", "authentication.k8s.io", "tokenreviews"),
    allow("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
    allow(READ, "core", "services"),
    allow("create get list watch", "core", "nodes"),
    allow("patch update", "core", "nodes/status"),
    allow("patch update", "core", "nodes"),
    EVENTS,
    allow(READ, "core", "pods"),
    allow("create delete", "core", "pods"),
    allow("patch update", "core", "pods/status"),
    allow("create", "core", "pods/eviction"),
    allow(READ, "core", "configmaps secrets"),
    allow("get", "core", "persistentvolumeclaims persistentvolumes"),
    allow("get", "core", "endpoints"),
    allow("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    allow("create delete get patch update", "coordination.k8s.io", "leases"),
    allow("get", "storage.k8s.io", "volumeattachments"),
    allow("create", "core", "serviceaccounts/token"),
    allow("get patch update", "core", "persistentvolumeclaims/status"),
    allow(READ, "storage.k8s.io", "csidrivers"),
    allow("create delete get patch update", "storage.k8s.io", "csinodes"),
    allow(READ, "node.k8s.io", "runtimeclasses"),
    allow("get", "resource.k8s.io", "resourceclaims"),
    allow("create delete deletecollection get list patch update watch", "resource.k8s.io", "resourceslices"),
)

_SIGNERS = (
    ("kube-apiserver-client-approver", "kubernetes.io/kube-apiserver-client"),
    ("kube-apiserver-client-kubelet-approver", "kubernetes.io/kube-apiserver-client-kubelet"),
    ("kubelet-serving-approver", "kubernetes.io/kubelet-serving"),
    ("legacy-unknown-approver", "kubernetes.io/legacy-unknown"),
)

_CLUSTER_ROLES: tuple[tuple[str, tuple[RuleText, ...]], ...] = (
    ("cluster-admin", (allow("*", "*", "*"), allow_paths("*", "*"))),
    (
        "system:discovery",
        (
            allow_paths(
                "get", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"
            ),
        ),
    ),
    (
        "system:monitoring",
        (
            allow_paths(
                "get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* /statusz /flagz"
            ),
        ),
    ),
    (
        "system:basic-user",
        (
            allow("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
            allow("create", "authentication.k8s.io", "selfsubjectreviews"),
        ),
    ),
    ("system:public-info-viewer", (allow_paths("get", "/healthz /livez /readyz /version /version/"),)),
    (
        "system:auth-delegator",
        (
            allow("create", "authentication.k8s.io", "tokenreviews"),
            allow("create", "authorization.k8s.io", "subjectaccessreviews"),
        ),
    ),
    (
        "system:heapster",
        (
            allow(READ, "core", "events namespaces nodes pods"),
            allow(READ, "extensions", "deployments"),
        ),
    ),
    ("system:kube-aggregator", (allow(READ, "core", "endpoints services"),)),
    (
        "system:kube-controller-manager",
        (
            EVENTS,
            allow("create", "coordination.k8s.io", "leases"),
            allow("get update", "coordination.k8s.io", "leases", "kube-controller-manager"),
            allow("create", "core", "secrets serviceaccounts"),
            allow("delete", "core", "secrets"),
            allow("get", "core", "configmaps namespaces secrets serviceaccounts"),
            allow("update", "core", "secrets serviceaccounts"),
            allow("create", "authentication.k8s.io", "tokenreviews"),
            allow("create", "authorization.k8s.io", "subjectaccessreviews"),
            allow("create", "core", "serviceaccounts/token"),
            allow("list watch", "*", "*"),
        ),
    ),
    (
        "system:kube-dns",
        (allow("list watch", "core", "endpoints services"), allow("list watch", "discovery.k8s.io", "endpointslices")),
    ),
    (
        "system:kube-scheduler",
        (
            EVENTS,
            allow("create", "coordination.k8s.io", "leases"),
            allow("get update", "coordination.k8s.io", "leases", "kube-scheduler"),
            allow(READ, "core", "nodes"),
            allow("delete get list watch", "core", "pods"),
            allow("create", "core", "bindings pods/binding"),
            allow("patch update", "core", "pods/status"),
            allow(READ, "core", "replicationcontrollers services"),
            allow(READ, "apps extensions", "replicasets"),
            allow(READ, "apps", "statefulsets"),
            allow(READ, "policy", "poddisruptionbudgets"),
            allow(READ, "core", "persistentvolumeclaims persistentvolumes"),
            allow("create", "authentication.k8s.io", "tokenreviews"),
            allow("create", "authorization.k8s.io", "subjectaccessreviews"),
            allow(READ, "storage.k8s.io", "csinodes"),
            allow(READ, "core", "namespaces"),
            allow(READ, "storage.k8s.io", "csidrivers"),
            allow(READ, "storage.k8s.io", "csistoragecapacities"),
            allow(READ, "resource.k8s.io", "deviceclasses resourceslices"),
            allow("get list patch update watch", "resource.k8s.io", "resourceclaims"),
            allow("patch update", "resource.k8s.io", "resourceclaims/status"),
            allow("patch update", "core", "pods/finalizers"),
        ),
    ),
    ("system:node", _NODE),
    (
        "system:node-bootstrapper",
        (allow("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),),
    ),
    (
        "system:node-problem-detector",
        (allow("get", "core", "nodes"), allow("patch", "core", "nodes/status"), EVENTS),
    ),
    (
        "system:node-proxier",
        (
            allow("list watch", "core", "endpoints services"),
            allow(READ, "core", "nodes"),
            EVENTS,
            allow("list watch", "discovery.k8s.io", "endpointslices"),
            allow("list watch", "networking.k8s.io", "servicecidrs"),
        ),
    ),
    (
        "system:kubelet-api-admin",
        (
            allow(READ, "core", "nodes"),
            allow("proxy", "core", "nodes"),
            allow(
                "*",
                "core",
                "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats",
            ),
        ),
    ),
    (
        "system:persistent-volume-provisioner",
        (
            allow("create delete get list watch", "core", "persistentvolumes"),
            allow("get list update watch", "core", "persistentvolumeclaims"),
            allow(READ, "storage.k8s.io", "storageclasses"),
            allow("watch", "core", "events"),
            EVENTS,
        ),
    ),
    (
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        (allow("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient"),),
    ),
    (
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        (allow("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient"),),
    ),
    *(
        (f"system:certificates.k8s.io:{name}", (allow("approve", "certificates.k8s.io", "signers", signer),))
        for name, signer in _SIGNERS
    ),
    (
        "system:volume-scheduler",
        (
            allow("get list patch update watch", "core", "persistentvolumes"),
            allow(READ, "storage.k8s.io", "storageclasses"),
            allow("get list patch update watch", "core", "persistentvolumeclaims"),
        ),
    ),
    (
        "system:service-account-issuer-discovery",
        (
            allow_paths(
                "get",
                "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
            ),
        ),
    ),
)

_GROUP, _USER, _ACCOUNT = "Group", "User", "ServiceAccount"

_CLUSTER_ROLE_BINDINGS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("cluster-admin", ((_GROUP, "system:masters"),)),
    ("system:monitoring", ((_GROUP, "system:monitoring"),)),
    ("system:discovery", ((_GROUP, "system:authenticated"),)),
    ("system:basic-user", ((_GROUP, "system:authenticated"),)),
    ("system:public-info-viewer", ((_GROUP, "system:authenticated"), (_GROUP, "system:unauthenticated"))),
    ("system:node-proxier", ((_USER, "system:kube-proxy"),)),
    ("system:kube-controller-manager", ((_USER, "system:kube-controller-manager"),)),
    ("system:kube-dns", ((_ACCOUNT, "kube-dns"),)),
    ("system:kube-scheduler", ((_USER, "system:kube-scheduler"),)),
    ("system:volume-scheduler", ((_USER, "system:kube-scheduler"),)),
    ("system:service-account-issuer-discovery", ((_GROUP, "system:serviceaccounts"),)),
    ("system:node", ()),  # nodes are the node authorizer's; the role is there for those who bind it
)

# Beyond Kubernetes' own roles: our controllers of claims and volumes patch where Kubernetes' update.
_CONTROLLERS: dict[str, tuple[RuleText, ...]] = {
    "attachdetach-controller": (
        allow("list watch", "core", "persistentvolumeclaims persistentvolumes"),
        allow(READ, "core", "nodes"),
        allow("patch update", "core", "nodes/status"),
        allow("list watch", "core", "pods"),
        EVENTS,
        allow("create delete get list watch", "storage.k8s.io", "volumeattachments"),
        allow(READ, "storage.k8s.io", "csidrivers"),
        allow(READ, "storage.k8s.io", "csinodes"),
    ),
    "clusterrole-aggregation-controller": (allow("escalate get list patch update watch", API_GROUP, "clusterroles"),),
    "cronjob-controller": (
        allow("get list update watch", "batch", "cronjobs"),
        allow("create delete get list patch update watch", "batch", "jobs"),
        allow("update", "batch", "cronjobs/status"),
        allow("update", "batch", "cronjobs/finalizers"),
        allow("delete list", "core", "pods"),
        EVENTS,
    ),
    "daemon-set-controller": (
        allow(READ, "apps extensions", "daemonsets"),
        allow("update", "apps extensions", "daemonsets/status"),
        allow("update", "apps extensions", "daemonsets/finalizers"),
        allow("list watch", "core", "nodes"),
        allow("create delete list patch watch", "core", "pods"),
        allow("create", "core", "pods/binding"),
        allow("create delete get list patch update watch", "apps", "controllerrevisions"),
        EVENTS,
    ),
    "deployment-controller": (
        allow("get list update watch", "apps extensions", "deployments"),
        allow("update", "apps extensions", "deployments/status"),
        allow("update", "apps extensions", "deployments/finalizers"),
        allow("create delete get list patch update watch", "apps extensions", "replicasets"),
        allow("get list update watch", "core", "pods"),
        EVENTS,
    ),
    "disruption-controller": (
        allow(READ, "apps extensions", "deployments"),
        allow(READ, "apps extensions", "replicasets"),
        allow(READ, "core", "replicationcontrollers"),
        allow(READ, "policy", "poddisruptionbudgets"),
        allow(READ, "apps", "statefulsets"),
        allow("patch update", "core", "pods/status"),
        allow("update", "policy", "poddisruptionbudgets/status"),
        allow("get", "*", "*/scale"),
        EVENTS,
    ),
    "endpoint-controller": (
        allow(READ, "core", "pods services"),
        allow("create delete get list update", "core", "endpoints"),
        allow("create", "core", "endpoints/restricted"),
        EVENTS,
    ),
    "endpointslice-controller": (
        allow(READ, "core", "nodes pods services"),
        allow("update", "core", "services/finalizers"),
        allow("create delete get list update", "discovery.k8s.io", "endpointslices"),
        allow("create", "discovery.k8s.io", "endpointslices/restricted"),
        EVENTS,
    ),
    "endpointslicemirroring-controller": (
        allow(READ, "core", "endpoints services"),
        allow("update", "core", "services/finalizers"),
        allow("update", "core", "endpoints/finalizers"),
        allow("create delete get list update", "discovery.k8s.io", "endpointslices"),
        allow("create", "discovery.k8s.io", "endpointslices/restricted"),
        EVENTS,
    ),
    "ephemeral-volume-controller": (
        allow("update", "core", "pods/finalizers"),
        allow(READ, "core", "pods"),
        allow("create get list watch", "core", "persistentvolumeclaims"),
        EVENTS,
    ),
    "expand-controller": (
        allow("get list patch update watch", "core", "persistentvolumes"),
        allow("patch update", "core", "persistentvolumeclaims/status"),
        allow(READ, "core", "persistentvolumeclaims"),
        EVENTS,
    ),
    "generic-garbage-collector": (
        allow("delete get list patch update watch", "*", "*"),
        EVENTS,
    ),
    "horizontal-pod-autoscaler": (
        allow(READ, "autoscaling", "horizontalpodautoscalers"),
        allow("update", "autoscaling", "horizontalpodautoscalers/status"),
        allow("get update", "*", "*/scale"),
        allow("list", "core", "pods"),
        allow("list", "metrics.k8s.io", "pods"),
        allow("get list", "custom.metrics.k8s.io", "*"),
        allow("get list", "external.metrics.k8s.io", "*"),
        EVENTS,
    ),
    "job-controller": (
        allow("get list patch update watch", "batch", "jobs"),
        allow("patch update", "batch", "jobs/status"),
        allow("update", "batch", "jobs/finalizers"),
        allow("create delete list patch watch", "core", "pods"),
        EVENTS,
    ),
    "legacy-service-account-token-cleaner": (
        allow("get", "core", "configmaps"),
        allow("delete patch", "core", "secrets"),
    ),
    "namespace-controller": (
        allow("delete get list watch", "core", "namespaces"),
        allow("update", "core", "namespaces/finalize namespaces/status"),
        allow("delete deletecollection get list", "*", "*"),
    ),
    "node-controller": (
        allow("delete get list patch update", "core", "nodes"),
        allow("patch update", "core", "nodes/status"),
        allow("patch update", "core", "pods/status"),
        allow("delete get list", "core", "pods"),
        EVENTS,
    ),
    "persistent-volume-binder": (
        allow("create delete get list update watch", "core", "persistentvolumes"),
        allow("update", "core", "persistentvolumes/status"),
        allow("get list update watch", "core", "persistentvolumeclaims"),
        allow("update", "core", "persistentvolumeclaims/status"),
        allow("create delete get list watch", "core", "pods"),
        allow(READ, "storage.k8s.io", "storageclasses"),
        allow("create delete get list update watch", "core", "endpoints services"),
        allow("get list", "core", "secrets"),
        allow("watch", "core", "events"),
        EVENTS,
    ),
    "pod-garbage-collector": (
        allow("delete list watch", "core", "pods"),
        allow("get list", "core", "nodes"),
        allow("patch", "core", "pods/status"),
    ),
    "pv-protection-controller": (
        allow("get list patch update watch", "core", "persistentvolumes"),
        EVENTS,
    ),
    "pvc-protection-controller": (
        allow("get list patch update watch", "core", "persistentvolumeclaims"),
        allow(READ, "core", "pods"),
        EVENTS,
    ),
    "volumeattributesclass-protection-controller": (
        allow(READ, "core", "persistentvolumeclaims persistentvolumes"),
        allow("get list patch update watch", "storage.k8s.io", "volumeattributesclasses"),
        EVENTS,
    ),
    "replicaset-controller": (
        allow("get list update watch", "apps extensions", "replicasets"),
        allow("update", "apps extensions", "replicasets/status"),
        allow("update", "apps extensions", "replicasets/finalizers"),
        allow("create delete list patch watch", "core", "pods"),
        EVENTS,
    ),
    "replication-controller": (
        allow("get list update watch", "core", "replicationcontrollers"),
        allow("update", "core", "replicationcontrollers/status"),
        allow("update", "core", "replicationcontrollers/finalizers"),
        allow("create delete list patch watch", "core", "pods"),
        EVENTS,
    ),
    "resource-claim-controller": (
        allow(READ, "core", "pods"),
        allow("update", "core", "pods/finalizers"),
        allow("create delete get list update watch", "resource.k8s.io", "resourceclaims"),
        allow("update", "resource.k8s.io", "resourceclaims/finalizers"),
        allow(READ, "resource.k8s.io", "resourceclaimtemplates"),
        allow("patch update", "resource.k8s.io", "resourceclaims/status"),
        allow("patch update", "core", "pods/status"),
        EVENTS,
    ),
    "resourcequota-controller": (
        allow("list watch", "*", "*"),
        allow("update", "core", "resourcequotas/status"),
        EVENTS,
    ),
    "root-ca-cert-publisher": (
        allow("create update", "core", "configmaps"),
        EVENTS,
    ),
    "route-controller": (
        allow("list watch", "core", "nodes"),
        allow("patch", "core", "nodes/status"),
        EVENTS,
    ),
    "service-account-controller": (
        allow("create", "core", "serviceaccounts"),
        EVENTS,
    ),
    "service-cidrs-controller": (
        allow("get list patch update watch", "networking.k8s.io", "servicecidrs"),
        allow("patch update", "networking.k8s.io", "servicecidrs/finalizers"),
        allow("patch update", "networking.k8s.io", "servicecidrs/status"),
        allow(READ, "networking.k8s.io", "ipaddresses"),
        EVENTS,
    ),
    "service-controller": (
        allow(READ, "core", "services"),
        allow("patch update", "core", "services/status"),
        allow("list watch", "core", "nodes"),
        EVENTS,
    ),
    # Not one of Kubernetes' own: the account of kubernetes-csi's controller of volume snapshots.
    "snapshot-controller": (
        allow("get patch", "core", "persistentvolumeclaims"),
        allow("get patch", "snapshot.storage.k8s.io", "volumesnapshots"),
        allow("patch update", "snapshot.storage.k8s.io", "volumesnapshots/status"),
        allow("create delete get patch", "snapshot.storage.k8s.io", "volumesnapshotcontents"),
        allow("patch", "snapshot.storage.k8s.io", "volumesnapshotcontents/status"),
        EVENTS,
    ),
    "statefulset-controller": (
        allow("list watch", "core", "pods"),
        allow(READ, "apps", "statefulsets"),
        allow("update", "apps", "statefulsets/status"),
        allow("update", "apps", "statefulsets/finalizers"),
        allow("create delete get patch update", "core", "pods"),
        allow("create delete get list patch update watch", "apps", "controllerrevisions"),
        allow("create get", "core", "persistentvolumeclaims"),
        allow("delete patch update", "core", "persistentvolumeclaims"),
        EVENTS,
    ),
    "ttl-after-finished-controller": (
        allow("delete get list watch", "batch", "jobs"),
        EVENTS,
    ),
    "ttl-controller": (
        allow("list patch update watch", "core", "nodes"),
        EVENTS,
    ),
    "validatingadmissionpolicy-status-controller": (
        allow(READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
        allow("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
        EVENTS,
    ),
    "certificate-controller": (
        allow("delete get list watch", "certificates.k8s.io", "certificatesigningrequests"),
        allow("update", "certificates.k8s.io", "certificatesigningrequests/approval certificatesigningrequests/status"),
        allow("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
        allow(
            "sign",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet"
            " kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown",
        ),
        allow("create", "authorization.k8s.io", "subjectaccessreviews"),
        EVENTS,
    ),
}

_LEADER_LOCK = (
    allow("create get list update watch", "coordination.k8s.io", "leases"),
    allow("create get list update watch", "coordination.k8s.io", "leasecandidates"),
)
_NAMESPACED: tuple[tuple[str, str, tuple[RuleText, ...], str, tuple[tuple[str, str], ...]], ...] = (
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        (
            allow(READ, "core", "configmaps"),
            allow("update", "core", "configmaps", "cluster-info"),
            EVENTS,
        ),
        "",
        ((_ACCOUNT, "bootstrap-signer"),),
    ),
    (
        "kube-system",
        "extension-apiserver-authentication-reader",
        (allow(READ, "core", "configmaps", "extension-apiserver-authentication"),),
        "system::extension-apiserver-authentication-reader",
        ((_USER, "system:kube-controller-manager"), (_USER, "system:kube-scheduler")),
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        _LEADER_LOCK,
        "",
        (
            (_USER, "system:kube-controller-manager"),
            (_ACCOUNT, "kube-controller-manager"),
            (_ACCOUNT, "leader-election-controller"),
        ),
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        _LEADER_LOCK,
        "",
        ((_USER, "system:kube-scheduler"), (_ACCOUNT, "kube-scheduler")),
    ),
    (
        "kube-system",
        "system:controller:bootstrap-signer",
        (allow(READ, "core", "secrets"),),
        "",
        ((_ACCOUNT, "bootstrap-signer"),),
    ),
    (
        "kube-system",
        "system:controller:cloud-provider",
        (allow("create get list watch", "core", "configmaps"),),
        "",
        ((_ACCOUNT, "cloud-provider"),),
    ),
    (
        "kube-system",
        "system:controller:token-cleaner",
        (allow("delete get list watch", "core", "secrets"), EVENTS),
        "",
        ((_ACCOUNT, "token-cleaner"),),
    ),
)
"""namespace, role, rules, name of the binding (empty: the role's), subjects"""


def node_rules() -> tuple[RuleText, ...]:
    """What every node may do, by the node authorizer; the same as the role `system:node`."""
    return _NODE


@cache
def default_objects() -> tuple[tuple[str, Object], ...]:
    """(group-resource, object) of everything, roles before bindings. Read-only."""
    return tuple(_default_objects())


def _default_objects() -> Iterator[tuple[str, Object]]:
    roles, bindings = f"clusterroles.{API_GROUP}", f"clusterrolebindings.{API_GROUP}"
    parts = {
        "view": list(_READABLE_IN_NAMESPACE),
        "edit": list(_EDITABLE_IN_NAMESPACE),
        "admin": list(_ADMINISTRABLE_IN_NAMESPACE),
    }
    # What the aggregation controller will find: each role's own part and the role below, by name.
    view = [*parts["view"], _METRICS]
    edit = [*parts["edit"], *view]
    admin = [*edit, *parts["admin"]]
    for name, rules in (("admin", admin), ("edit", edit), ("view", view)):
        role = _object("ClusterRole", name, rules=list(rules))
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {f"{AGGREGATE}{name}": "true"}}]}
        for above in AGGREGATED[name]:
            role["metadata"]["labels"] = {**BOOTSTRAPPING, f"{AGGREGATE}{above}": "true"}
        yield roles, role
        part = _object("ClusterRole", f"system:aggregate-to-{name}", rules=parts[name])
        part["metadata"]["labels"] = {**BOOTSTRAPPING, f"{AGGREGATE}{name}": "true"}
        yield roles, part
    # What metrics-server brings along where it serves this group.
    metrics = _object("ClusterRole", "system:aggregated-metrics-reader", rules=[_METRICS])
    metrics["metadata"]["labels"] = {**BOOTSTRAPPING, **{f"{AGGREGATE}{name}": "true" for name in parts}}
    yield roles, metrics
    for name, fixed in _CLUSTER_ROLES:
        yield roles, _object("ClusterRole", name, rules=list(fixed))
    for name, fixed in _CONTROLLERS.items():
        yield roles, _object("ClusterRole", f"system:controller:{name}", rules=list(fixed))
    for name, subjects in _CLUSTER_ROLE_BINDINGS:
        yield bindings, _binding("ClusterRoleBinding", name, "ClusterRole", name, subjects)
    for name in _CONTROLLERS:
        role_name = f"system:controller:{name}"
        yield bindings, _binding("ClusterRoleBinding", role_name, "ClusterRole", role_name, ((_ACCOUNT, name),))
    for namespace, name, fixed, binding, subjects in _NAMESPACED:
        yield f"roles.{API_GROUP}", _object("Role", name, namespace, rules=list(fixed))
        bound = _binding("RoleBinding", binding or name, "Role", name, subjects, namespace)
        yield f"rolebindings.{API_GROUP}", bound


def _object(kind: str, name: str, namespace: str = "", **fields: Any) -> Object:
    metadata: Object = {"name": name, "labels": BOOTSTRAPPING, "annotations": {AUTOUPDATE: "true"}}
    if namespace:
        metadata["namespace"] = namespace
    return {"kind": kind, "apiVersion": API_VERSION, "metadata": metadata, **fields}


def _binding(
    kind: str,
    name: str,
    role_kind: str,
    role: str,
    subjects: tuple[tuple[str, str], ...],
    namespace: str = "",
) -> Object:
    bound: list[Object] = [
        {"kind": subject_kind, "name": subject, "namespace": "kube-system"}
        if subject_kind == _ACCOUNT
        else {"kind": subject_kind, "apiGroup": API_GROUP, "name": subject}
        for subject_kind, subject in subjects
    ]
    fields: Object = {"subjects": bound} if bound else {}
    fields["roleRef"] = {"apiGroup": API_GROUP, "kind": role_kind, "name": role}
    return _object(kind, name, namespace, **fields)
