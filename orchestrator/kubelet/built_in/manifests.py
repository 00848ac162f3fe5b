"""The static pods that show built-in components: pure functions from a component to a pod.

Mirrors the manifests that kubeadm writes for the control plane.
"""

from __future__ import annotations

from orchestrator import __version__
from orchestrator.api.objects import Object
from orchestrator.component.built_in import BuiltIn
from orchestrator.kubelet.static_pods.folder import static_pod

NAMESPACE = "kube-system"
SOURCE = "builtin"
"""What `kubernetes.io/config.source` says, where a manifest's pod has `file`."""
PRIORITY_CLASS = "system-node-critical"
PRIORITY = 2_000_001_000
"""That of the class, which static pods carry themselves: they are there before the API is asked."""


def plan_pod_of(component: BuiltIn, node_name: str) -> Object:
    """The static pod of a component on a node; it asks for nothing, since its process is none of the node's."""
    container: Object = {
        "name": component.name,
        "image": f"orchestrator/{component.name}:{__version__}",
        "imagePullPolicy": "IfNotPresent",
        "command": [component.name, *component.args],
    }
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": component.name, "namespace": NAMESPACE, "labels": dict(component.labels)},
        "spec": {
            "containers": [container],
            "hostNetwork": True,
            "priorityClassName": PRIORITY_CLASS,
            "priority": PRIORITY,
        },
    }
    return static_pod(manifest, source=SOURCE, node_name=node_name, kind=SOURCE)
