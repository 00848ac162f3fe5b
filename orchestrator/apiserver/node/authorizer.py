"""The node authorizer: a kubelet reads what its pods need, and writes what is its own.

Source: "Using Node Authorization", kubernetes.io. Refuses by having no opinion, with a reason that the kubelet
gets to see; what needs a look at the object itself is left to the NodeRestriction admission plugin.
"""

from __future__ import annotations

from orchestrator.aiokit.recent import RecentMap
from orchestrator.api.selectors import parse_field_selector
from orchestrator.apiserver.authorizer import Attributes, Decision
from orchestrator.apiserver.node.graph import NodeGraph
from orchestrator.apiserver.rbac.defaults import node_rules
from orchestrator.apiserver.rbac.rules import compile_rules
from orchestrator.apiserver.user import User

NODES_GROUP = "system:nodes"
NODE_PREFIX = "system:node:"
LEASE_NAMESPACE = "kube-node-lease"
ANSWERS_MAX = 256
"""What is remembered of the rules, in each of two generations."""

_Answer = tuple[Decision, str]
_ALLOWED: _Answer = (Decision.ALLOW, "")
_CORE = frozenset(
    ("secrets", "configmaps", "persistentvolumeclaims", "persistentvolumes", "serviceaccounts", "nodes", "pods")
)
_READS = frozenset(("get", "list", "watch"))


def node_name_of(user: User) -> str | None:
    """The node that a user is; None for everybody who is no node, empty for a node without a name."""
    if not user.name.startswith(NODE_PREFIX) or NODES_GROUP not in user.groups:
        return None
    return user.name[len(NODE_PREFIX) :]


class NodeAuthorizer:
    """Has opinions about nodes only."""

    def __init__(self, graph: NodeGraph) -> None:
        self._graph = graph
        self._rules = compile_rules(node_rules())
        self._allowed: RecentMap[tuple[str, str, str, str], bool] = RecentMap(ANSWERS_MAX)
        """(verb, group, resource, subresource) → what the rules say of it."""

    def authorize(self, attributes: Attributes) -> _Answer:
        node = node_name_of(attributes.user)
        if node is None:
            return Decision.NO_OPINION, ""
        if not node:
            return _no(f'unknown node for user "{attributes.user.name}"')
        if not attributes.path:
            group, resource = attributes.group, attributes.resource
            if not group and resource in _CORE:
                answer = self._authorize_core(node, attributes)
                if answer is not None:
                    return answer
            elif resource == "leases" and group == "coordination.k8s.io":
                return _own_object(node, attributes, "a node lease", "node lease", LEASE_NAMESPACE)
            elif resource == "csinodes" and group == "storage.k8s.io":
                return _own_object(node, attributes, "a CSINode", "CSINode", "")
            elif resource == "volumeattachments" and group == "storage.k8s.io":
                return self._authorize_get(node, attributes, self._graph.has_attachment(node, attributes.name))
            elif resource == "resourceclaims" and group == "resource.k8s.io":
                related = self._graph.uses_claim(node, attributes.namespace, attributes.name)
                return self._authorize_get(node, attributes, related)
            elif resource == "resourceslices" and group == "resource.k8s.io":
                return _slices(node, attributes)
        return self._authorize_by_rules(attributes)

    def _authorize_by_rules(self, attributes: Attributes) -> _Answer:
        if attributes.path:
            return Decision.NO_OPINION, ""
        question = (attributes.verb, attributes.group, attributes.resource, attributes.subresource)
        is_allowed = self._allowed.get(question)
        if is_allowed is None:
            # No rule of nodes is about objects by name.
            is_allowed = any(rule.allows_resource(*question, "") for rule in self._rules)
            self._allowed.put(question, is_allowed)
        return _ALLOWED if is_allowed else (Decision.NO_OPINION, "")

    def _authorize_core(self, node: str, attributes: Attributes) -> _Answer | None:
        """None: the role of nodes decides."""
        graph, resource = self._graph, attributes.resource
        namespace, name, verb = attributes.namespace, attributes.name, attributes.verb
        if resource in ("secrets", "configmaps"):
            if verb not in _READS:
                return _no("can only read resources of this type")
            if attributes.subresource:
                return _no("cannot read subresource")
            if not name:
                return _no("No Object name found")
            if not namespace:
                return _no("can only read namespaced object of this type")
            related = graph.refers_to(node, resource, namespace, name)
            return _related(node, related or (resource == "secrets" and graph.mounts_with(node, namespace, name)))
        if resource == "persistentvolumeclaims":
            if attributes.subresource == "status":
                if verb not in ("get", "update", "patch"):
                    return _no("can only get/update/patch PVC status")
                return _related(node, graph.refers_to(node, resource, namespace, name))
            return self._authorize_get(node, attributes, graph.refers_to(node, resource, namespace, name))
        if resource == "persistentvolumes":
            return self._authorize_get(node, attributes, graph.uses_volume(node, name))
        if resource == "serviceaccounts":
            if verb == "get" and not attributes.subresource:
                return _related(node, graph.refers_to(node, resource, namespace, name))
            if verb != "create" or attributes.subresource != "token" or not name:
                return _no("can only create tokens for individual service accounts")
            return _related(node, graph.refers_to(node, resource, namespace, name))
        if resource == "nodes":
            return self._authorize_node(node, attributes)
        return self._authorize_pod(node, attributes)

    def _authorize_get(self, node: str, attributes: Attributes, related: bool) -> _Answer:
        if attributes.verb != "get":
            return _no("can only get individual resources of this type")
        if attributes.subresource:
            return _no("cannot get subresource")
        if not attributes.name:
            return _no("No Object name found")
        return _related(node, related)

    def _authorize_node(self, node: str, attributes: Attributes) -> _Answer | None:
        if attributes.verb not in _READS or attributes.subresource:
            return None
        if attributes.name == node:
            return _ALLOWED
        if not attributes.name:
            return _no(f"node '{node}' cannot read all nodes, only its own Node object")
        return _no(f"node '{node}' cannot read '{attributes.name}', only its own Node object")

    def _authorize_pod(self, node: str, attributes: Attributes) -> _Answer | None:
        if attributes.verb not in _READS or attributes.subresource:
            return None
        if attributes.verb == "get":
            return _related(node, self._graph.has_pod(node, attributes.namespace, attributes.name))
        if attributes.name and self._graph.has_pod(node, attributes.namespace, attributes.name):
            return _ALLOWED
        if _selects_node(attributes.field_selector, node):
            return _ALLOWED
        return _no("can only list/watch pods with spec.nodeName field selector")


def _selects_node(field_selector: str, node: str) -> bool:
    if "spec.nodeName" not in field_selector:
        return False
    try:
        return parse_field_selector(field_selector).exact_match("spec.nodeName") == node
    except ValueError:
        return False


def _own_object(node: str, attributes: Attributes, what: str, short: str, namespace: str) -> _Answer:
    if attributes.verb not in ("get", "create", "update", "patch", "delete"):
        return _no(f"can only get, create, update, patch, or delete {what}")
    if namespace and attributes.namespace != namespace:
        return _no(f'can only access leases in the "{namespace}" system namespace')
    # The name of what is created stands in the object: NodeRestriction looks at it.
    if attributes.verb != "create" and attributes.name != node:
        return _no(f"can only access {short} with the same name as the requesting node")
    return _ALLOWED


def _slices(node: str, attributes: Attributes) -> _Answer:
    """Drivers on a node describe its devices with the rights of its kubelet."""
    if attributes.subresource:
        return _no("cannot access subresource")
    if attributes.verb == "create":
        return _ALLOWED  # NodeRestriction looks at the object
    if attributes.verb in ("list", "watch", "deletecollection", "get", "update", "patch", "delete"):
        if attributes.name and attributes.verb not in ("list", "watch", "deletecollection"):
            return _ALLOWED  # NodeRestriction looks at the object
        if _selects_node(attributes.field_selector, node):
            return _ALLOWED
        return _no("can only list/watch/deletecollection resourceslices with nodeName field selector")
    return _no("can only create, get, update, patch, or delete a ResourceSlice")


def _related(node: str, related: bool) -> _Answer:
    return _ALLOWED if related else _no(f"no relationship found between node '{node}' and this object")


def _no(reason: str) -> _Answer:
    return Decision.NO_OPINION, reason
