"""Under which user each component of the cluster talks to the API, and which program it names itself.

The names are Kubernetes' own, so that the default RBAC policy is about them. Decides nothing: what they may do
is the authorizers' business.
"""

from __future__ import annotations

CONTROLLER_MANAGER = "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"
APISERVER = "system:apiserver"
PROXY = "system:kube-proxy"
DNS = "system:dns"
"""Reads Services and namespaces, and writes the Service that leads to itself."""
NETWORK_POLICY = "system:network-policy"
"""Reads pods, namespaces and NetworkPolicies."""
INGRESS = "system:ingress"
"""Reads Ingresses, what they lead to and their certificates; writes their status and the Service of its own."""
PROVISIONER = "system:local-volume-provisioner"
"""Reads claims, storage classes and nodes; writes volumes, and the size that claims were given."""
SNAPSHOTS = "system:serviceaccount:kube-system:snapshot-controller"
"""Reads claims and volumes; writes snapshots, their contents, and a finalizer of claims."""
KUBELETS = "system:kubelets"
"""The informers that all nodes of this process share: they hold what each kubelet may read for itself."""

_CONTROLLER_ACCOUNTS = {
    "bootstrapsigner": "bootstrap-signer",
    "clusterrole-aggregation": "clusterrole-aggregation-controller",
    "csrapproving": "certificate-controller",
    "csrcleaner": "certificate-controller",
    "csrsigning": "certificate-controller",
    "daemonset": "daemon-set-controller",
    "garbagecollector": "generic-garbage-collector",
    "horizontalpodautoscaling": "horizontal-pod-autoscaler",
    "nodeipam": "node-controller",
    "nodelifecycle": "node-controller",
    "persistentvolume-binder": "persistent-volume-binder",
    "persistentvolume-expander": "expand-controller",
    "podgc": "pod-garbage-collector",
    "replicationcontroller": "replication-controller",
    "resourceclaim": "resource-claim-controller",
    "root-ca-cert-publisher": "root-ca-cert-publisher",
    "service-cidr": "service-cidrs-controller",
    "serviceaccount": "service-account-controller",
    "taint-eviction": "node-controller",
    "tokencleaner": "token-cleaner",
}
"""Controllers whose account is not called after them, as kube-controller-manager names them."""


_AS_MANAGER = frozenset({"serviceaccount-token"})
"""Controllers that have no account of their own: before they ran, accounts had no tokens."""


def controller_user(name: str) -> str:
    """The identity of a controller, by its short name."""
    if name in _AS_MANAGER:
        return CONTROLLER_MANAGER
    account = _CONTROLLER_ACCOUNTS.get(name, f"{name}-controller")
    return f"system:serviceaccount:kube-system:{account}"


def controller_groups() -> tuple[str, ...]:
    """The groups of every service account of kube-system."""
    return ("system:serviceaccounts", "system:serviceaccounts:kube-system")


def program_of(user: str) -> str:
    """What a component calls itself in its User-Agent, which makes it the manager of the fields that it writes."""
    if user == SNAPSHOTS:
        return "snapshot-controller"
    if user.startswith("system:serviceaccount:kube-system:"):
        return "kube-controller-manager"
    if user.startswith("system:node:") or user == KUBELETS:
        return "kubelet"
    return user.rpartition(":")[2]
