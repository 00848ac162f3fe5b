"""NodeRestriction: a kubelet writes its own node, its own pods' status, its own lease, and nothing else.

Source: "Admission Controllers / NodeRestriction", kubernetes.io. Runs for users that are nodes.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.api import errors
from orchestrator.api.objects import Object, annotations_of, labels_of
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes, Reader
from orchestrator.apiserver.node.authorizer import LEASE_NAMESPACE, node_name_of
from orchestrator.apiserver.node.graph import MIRROR_ANNOTATION, references_of

_OWN_LABELS = frozenset(
    (
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    )
)
"""Labels in Kubernetes' own namespaces that a kubelet may set on its node."""
_OWN_LABEL_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_RESOURCES = frozenset(
    (
        "pods",
        "nodes",
        "serviceaccounts",
        "leases.coordination.k8s.io",
        "csinodes.storage.k8s.io",
        "persistentvolumeclaims",
        "resourceslices.resource.k8s.io",
    )
)


class NodeRestriction(AdmissionPlugin):
    """Looks at what the node authorizer could not see: the object itself."""

    name = "NodeRestriction"
    resources = _RESOURCES
    changes_objects = False

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, attributes: Attributes) -> bool:
        return (
            attributes.operation != "CONNECT"
            and attributes.group_resource in _RESOURCES
            and node_name_of(attributes.user) is not None
        )

    async def admit(self, attributes: Attributes) -> None:
        if attributes.operation != "DELETE":
            await self._check(attributes)

    async def validate(self, attributes: Attributes) -> None:
        if attributes.operation == "DELETE":
            await self._check(attributes)

    async def _check(self, attributes: Attributes) -> None:
        node = node_name_of(attributes.user)
        if not node:
            raise _forbidden(attributes, f'could not determine node from user "{attributes.user.name}"')
        resource = attributes.group_resource
        if resource == "pods":
            await self._check_pod(node, attributes)
        elif resource == "nodes":
            self._check_node(node, attributes)
        elif resource == "serviceaccounts":
            await self._check_token(node, attributes)
        elif resource == "leases.coordination.k8s.io":
            if attributes.namespace != LEASE_NAMESPACE:
                raise _forbidden(attributes, f'can only access leases in the "{LEASE_NAMESPACE}" system namespace')
            if attributes.name != node:
                raise _forbidden(attributes, "can only access node lease with the same name as the requesting node")
        elif resource == "csinodes.storage.k8s.io" and attributes.name != node:
            raise _forbidden(attributes, "can only access CSINode with the same name as the requesting node")
        elif resource == "persistentvolumeclaims" and attributes.subresource != "status":
            raise _forbidden(attributes, "is forbidden: nodes may only update the status of a claim")
        elif resource == "resourceslices.resource.k8s.io":
            self._check_slice(node, attributes)

    async def _check_pod(self, node: str, attributes: Attributes) -> None:
        subresource, operation = attributes.subresource, attributes.operation
        if subresource == "status":
            old = attributes.old or {}
            if (old.get("spec") or {}).get("nodeName") != node:
                why = f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
                raise _forbidden(attributes, why)
            if labels_of(old) != labels_of(attributes.obj):
                raise _forbidden(attributes, f'node "{node}" cannot update labels through pod status')
        elif subresource == "eviction":
            pod = await self._reader.read("pods", attributes.name, attributes.namespace)
            if pod is None:
                raise errors.not_found("", "pods", attributes.name)
            if pod["spec"].get("nodeName") != node:
                raise _forbidden(attributes, f'node "{node}" can only evict pods with spec.nodeName set to itself')
        elif subresource:
            why = f"unexpected pod subresource \"{subresource}\", only 'status' and 'eviction' are allowed"
            raise _forbidden(attributes, why)
        elif operation == "DELETE":
            if (attributes.old or {}).get("spec", {}).get("nodeName") != node:
                raise _forbidden(attributes, f'node "{node}" can only delete pods with spec.nodeName set to itself')
        elif operation == "CREATE":
            await self._check_mirror_pod(node, attributes)
        else:
            raise _forbidden(attributes, f'unexpected operation "{operation}", node "{node}" can only create and delete mirror pods')  # fmt: skip  # noqa: E501

    async def _check_mirror_pod(self, node: str, attributes: Attributes) -> None:
        pod = attributes.obj
        if MIRROR_ANNOTATION not in annotations_of(pod):
            why = f'pod does not have "{MIRROR_ANNOTATION}" annotation, node "{node}" can only create mirror pods'
            raise _forbidden(attributes, why)
        if pod["spec"].get("nodeName") != node:
            raise _forbidden(attributes, f'node "{node}" can only create pods with spec.nodeName set to itself')
        owners = pod["metadata"].get("ownerReferences") or []
        if len(owners) > 1:
            raise _forbidden(attributes, f'node "{node}" can only create pods with a single owner reference set to itself')  # fmt: skip  # noqa: E501
        if not owners:
            raise _forbidden(attributes, f'node "{node}" can only create pods with an owner reference set to itself')
        owner = owners[0]
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise _forbidden(attributes, f'node "{node}" can only create pods with an owner reference set to itself')
        if not owner.get("controller"):
            raise _forbidden(attributes, f'node "{node}" can only create pods with a controller owner reference set to itself')  # fmt: skip  # noqa: E501
        found = await self._reader.read("nodes", node)
        if found is None or found["metadata"]["uid"] != owner.get("uid"):
            raise _forbidden(attributes, f"node {node} UID mismatch")
        unmarked = {**pod, "metadata": {**pod["metadata"], "annotations": {}}}
        for resource, _ in references_of(unmarked):
            what = "a service account" if resource == "serviceaccounts" else resource
            raise _forbidden(attributes, f'node "{node}" can not create pods that reference {what}')

    def _check_slice(self, node: str, attributes: Attributes) -> None:
        is_deletion = attributes.operation == "DELETE"
        found = (attributes.old or {}) if is_deletion else attributes.obj
        if (found.get("spec") or {}).get("nodeName") != node:
            what = attributes.operation.lower()
            raise _forbidden(attributes, f"can only {what} ResourceSlice with the same NodeName as the requesting node")

    def _check_node(self, node: str, attributes: Attributes) -> None:
        name = attributes.name
        if name != node:
            raise _forbidden(attributes, f'node "{node}" is not allowed to modify node "{name}"')
        new, old = attributes.obj, attributes.old
        if attributes.operation == "CREATE":
            forbidden = forbidden_labels(labels_of(new), {})
            if forbidden:
                what = ", ".join(sorted(forbidden))
                raise _forbidden(attributes, f'node "{node}" is not allowed to set the following labels: {what}')
            if new["metadata"].get("ownerReferences"):
                raise _forbidden(attributes, f'node "{node}" is not allowed to modify ownerReferences')
        elif attributes.operation == "UPDATE" and old is not None:
            if (new["metadata"].get("ownerReferences") or []) != (old["metadata"].get("ownerReferences") or []):
                raise _forbidden(attributes, f'node "{node}" is not allowed to modify ownerReferences')
            if not attributes.subresource and _taints(new) != _taints(old):
                raise _forbidden(attributes, f'node "{node}" is not allowed to modify taints')
            changed = forbidden_labels(labels_of(new), labels_of(old))
            if changed:
                what = ", ".join(sorted(changed))
                raise _forbidden(attributes, f'node "{node}" is not allowed to modify labels: {what}')

    async def _check_token(self, node: str, attributes: Attributes) -> None:
        if attributes.subresource != "token":
            return
        reference = (attributes.obj.get("spec") or {}).get("boundObjectRef") or {}
        if reference.get("apiVersion") != "v1" or reference.get("kind") != "Pod" or not reference.get("name"):
            raise _forbidden(attributes, "node requested token not bound to a pod")
        if not reference.get("uid"):
            raise _forbidden(attributes, "node requested token with a pod binding without a uid")
        pod = await self._reader.read("pods", reference["name"], attributes.namespace)
        if pod is None:
            raise errors.not_found("", "pods", reference["name"])
        if pod["metadata"]["uid"] != reference["uid"]:
            why = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record"
            raise _forbidden(attributes, f"{why} ({pod['metadata']['uid']})")
        if pod["spec"].get("nodeName") != node:
            raise _forbidden(attributes, "node requested token bound to a pod scheduled on a different node")


def forbidden_labels(new: Mapping[str, str], old: Mapping[str, str]) -> set[str]:
    """The changed labels that belong to Kubernetes and not to kubelets."""
    changed = {key for key in new.keys() | old.keys() if new.get(key) != old.get(key)}
    return {key for key in changed if _is_forbidden(key)}


def _is_forbidden(key: str) -> bool:
    namespace = key.partition("/")[0] if "/" in key else ""
    if namespace == "node-restriction.kubernetes.io" or namespace.endswith(".node-restriction.kubernetes.io"):
        return True
    if not _is_under(namespace, "kubernetes.io") and not _is_under(namespace, "k8s.io"):
        return False
    return key not in _OWN_LABELS and not any(_is_under(namespace, own) for own in _OWN_LABEL_NAMESPACES)


def _is_under(namespace: str, domain: str) -> bool:
    return namespace == domain or namespace.endswith("." + domain)


def _taints(node: Object) -> list[Object]:
    return (node.get("spec") or {}).get("taints") or []


def _forbidden(attributes: Attributes, why: str) -> errors.Forbidden:
    resource = attributes.kind.resource
    return errors.forbidden(resource.group, resource.plural, attributes.name, why)
