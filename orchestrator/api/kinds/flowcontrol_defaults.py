"""The default FlowSchemas and PriorityLevelConfigurations, which every cluster has.

Mirrors k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap at v1.36.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import FLOW_SCHEMAS, PRIORITY_LEVEL_CONFIGURATIONS, Resource

AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
EXEMPT, CATCH_ALL = "exempt", "catch-all"
"""The names of the mandatory objects of both kinds: nothing can be classified without them."""
_API_VERSION = "flowcontrol.apiserver.k8s.io/v1"

# name: shares, lendable percent, queues, hand size
_QUEUED_LEVELS = {
    "node-high": (40, 25, 64, 6),
    "system": (30, 33, 64, 6),
    "leader-election": (10, 0, 16, 4),
    "workload-high": (40, 50, 128, 6),
    "workload-low": (100, 90, 128, 6),
    "global-default": (20, 50, 128, 6),
}
_QUEUE_LENGTH = 50

_EVERYTHING: Object = {
    "resourceRules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
    ],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}


def default_flow_control() -> Iterator[tuple[Resource, Object]]:
    """Every default object, priority levels before the schemas that name them."""
    yield PRIORITY_LEVEL_CONFIGURATIONS, _level("exempt", {"type": "Exempt", "exempt": _lending(0, 0)})
    rejecting = {**_lending(5, 0), "limitResponse": {"type": "Reject"}}
    yield PRIORITY_LEVEL_CONFIGURATIONS, _level("catch-all", {"type": "Limited", "limited": rejecting})
    for name, (shares, lendable, queues, hand) in _QUEUED_LEVELS.items():
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": _QUEUE_LENGTH}
        limited = {**_lending(shares, lendable), "limitResponse": {"type": "Queue", "queuing": queuing}}
        yield PRIORITY_LEVEL_CONFIGURATIONS, _level(name, {"type": "Limited", "limited": limited})
    for schema in _schemas():
        yield FLOW_SCHEMAS, schema


def _schemas() -> Iterator[Object]:
    everybody = _groups("system:unauthenticated", "system:authenticated")
    controllers, scheduler = _users("system:kube-controller-manager"), _users("system:kube-scheduler")
    leases = _resources(["get", "create", "update"], ["coordination.k8s.io"], ["leases"])
    yield _schema("exempt", "exempt", 1, "", _groups("system:masters"))
    healthy = {"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}
    yield _schema("probes", "exempt", 2, "", everybody, healthy)
    leaders = [*controllers, *scheduler, *_system_accounts("*")]
    yield _schema("system-leader-election", "leader-election", 100, "ByUser", leaders, leases)
    endpoints = _resources(["get", "create", "update"], [""], ["endpoints"])
    by_controller = [*controllers, *_system_accounts("endpoint-controller", "endpointslicemirroring-controller")]
    yield _schema("endpoint-controller", "workload-high", 150, "ByUser", by_controller, endpoints)
    yield _schema("workload-leader-election", "leader-election", 200, "ByUser", _system_accounts("*"), leases)
    node = {
        "resourceRules": [
            {**_rule(["*"], [""], ["nodes", "nodes/status"]), "clusterScope": True},
            _rule(["*"], ["coordination.k8s.io"], ["leases"]),
        ]
    }
    nodes = _groups("system:nodes")
    yield _schema("system-node-high", "node-high", 400, "ByUser", nodes, node)
    yield _schema("system-nodes", "system", 500, "ByUser", nodes)
    yield _schema("kube-controller-manager", "workload-high", 800, "ByNamespace", controllers)
    yield _schema("kube-scheduler", "workload-high", 800, "ByNamespace", scheduler)
    yield _schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", _system_accounts("*"))
    yield _schema("service-accounts", "workload-low", 9000, "ByUser", _groups("system:serviceaccounts"))
    yield _schema("global-default", "global-default", 9900, "ByUser", everybody)
    yield _schema("catch-all", "catch-all", 10000, "ByUser", everybody)


def _lending(shares: int, percent: int) -> Object:
    return {"nominalConcurrencyShares": shares, "lendablePercent": percent}


def _level(name: str, spec: Object) -> Object:
    return {
        "kind": "PriorityLevelConfiguration",
        "apiVersion": _API_VERSION,
        "metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}, "generation": 1},
        "spec": spec,
        "status": {},
    }


def _schema(
    name: str, level: str, precedence: int, distinguisher: str, subjects: Sequence[Object], rules: Object = _EVERYTHING
) -> Object:
    spec: Object = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    if distinguisher:
        spec["distinguisherMethod"] = {"type": distinguisher}
    spec["rules"] = [{"subjects": list(subjects), **rules}]
    return {
        "kind": "FlowSchema",
        "apiVersion": _API_VERSION,
        "metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}, "generation": 1},
        "spec": spec,
        "status": {"conditions": [dangling_condition(level, exists=True)]},
    }


def dangling_condition(level: str, *, exists: bool) -> Object:
    """The condition of a FlowSchema that leads to this priority level; without its time."""
    named = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
    if exists:
        return {"type": "Dangling", "status": "False", "reason": "Found", "message": f"{named} and it exists"}
    message = f"{named} but there is no such object"
    return {"type": "Dangling", "status": "True", "reason": "NotFound", "message": message}


def _rule(verbs: list[str], groups: list[str], resources: list[str]) -> Object:
    return {"verbs": verbs, "apiGroups": groups, "resources": resources, "namespaces": ["*"]}


def _resources(verbs: list[str], groups: list[str], resources: list[str]) -> Object:
    return {"resourceRules": [_rule(verbs, groups, resources)]}


def _users(*names: str) -> list[Object]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _groups(*names: str) -> list[Object]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _system_accounts(*names: str) -> list[Object]:
    return [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}} for name in names]


MANDATORY_LEVELS, MANDATORY_SCHEMAS = (
    tuple(obj for resource, obj in default_flow_control() if resource is wanted and name_of(obj) in (EXEMPT, CATCH_ALL))
    for wanted in (PRIORITY_LEVEL_CONFIGURATIONS, FLOW_SCHEMAS)
)
"""What counts, without a uid, while the store lacks them."""
