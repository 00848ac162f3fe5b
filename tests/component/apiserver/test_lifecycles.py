"""The life of an object of every kind over HTTPS, as the conformance suite walks through its API operations."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from orchestrator.testing import running_cluster
from tests.golden.replay import session_of
from tests.signing_requests import signing_request

LABEL = "lifecycle=walked"
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "a"}},
    "spec": {"containers": [{"name": "c", "image": "web:1"}]},
}
SELECTED = {"selector": {"matchLabels": {"app": "a"}}, "template": TEMPLATE}
JOB = {"template": {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}
RULES = {"operations": ["CREATE"], "apiGroups": ["none.example.com"], "apiVersions": ["v1"], "resources": ["things"]}
MATCHED = {"matchConstraints": {"resourceRules": [RULES]}}
HOOK = {
    "name": "h.example.com",
    "clientConfig": {"url": "https://127.0.0.1:1/x"},
    "rules": [RULES],
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}
MUTATION = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
DEVICES = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu.example.com"}}]}}
SLICE = {
    "driver": "d.example.com",
    "nodeName": "none",
    "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
    "devices": [{"name": "one"}],
}
METRIC = {"scaleTargetRef": {"kind": "Deployment", "name": "none", "apiVersion": "apps/v1"}, "maxReplicas": 3}
REGARDING = {"kind": "Pod", "namespace": "default", "name": "p"}
NEW_EVENT = {
    "eventTime": "2026-01-01T00:00:00.000000Z",
    "reportingController": "c.example.com/c",
    "reportingInstance": "i",
    "action": "Act",
    "reason": "Tried",
    "type": "Normal",
    "regarding": REGARDING,
}
LEVEL = {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}
RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
SUBJECT = {"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}

# (API version, plural, kind, whether it has a namespace, the manifest without its head)
KINDS: list[tuple[str, str, str, bool, dict[str, Any]]] = [
    ("v1", "configmaps", "ConfigMap", True, {"data": {"a": "b"}}),
    ("v1", "secrets", "Secret", True, {"stringData": {"a": "b"}}),
    ("v1", "podtemplates", "PodTemplate", True, {"template": TEMPLATE}),
    ("v1", "limitranges", "LimitRange", True, {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "64"}}]}}),
    ("v1", "serviceaccounts", "ServiceAccount", True, {}),
    ("v1", "services", "Service", True, {"spec": {"ports": [{"port": 80}]}}),
    ("v1", "endpoints", "Endpoints", True, {}),
    ("v1", "events", "Event", True, {"involvedObject": REGARDING, "reason": "Tried", "type": "Normal"}),
    ("v1", "resourcequotas", "ResourceQuota", True, {"spec": {"hard": {"pods": "100"}}}),
    ("v1", "replicationcontrollers", "ReplicationController", True,
     {"spec": {"replicas": 0, "selector": {"app": "a"}, "template": TEMPLATE}}),
    ("v1", "persistentvolumeclaims", "PersistentVolumeClaim", True, {"spec": CLAIM}),
    ("v1", "persistentvolumes", "PersistentVolume", False,
     {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}}),
    ("apps/v1", "controllerrevisions", "ControllerRevision", True, {"revision": 1, "data": {"a": 1}}),
    ("apps/v1", "deployments", "Deployment", True, {"spec": {"replicas": 0, **SELECTED}}),
    ("apps/v1", "replicasets", "ReplicaSet", True, {"spec": {"replicas": 0, **SELECTED}}),
    ("apps/v1", "daemonsets", "DaemonSet", True, {"spec": SELECTED}),
    ("apps/v1", "statefulsets", "StatefulSet", True, {"spec": {"replicas": 0, "serviceName": "s", **SELECTED}}),
    ("batch/v1", "jobs", "Job", True, {"spec": {"suspend": True, **JOB}}),
    ("batch/v1", "cronjobs", "CronJob", True,
     {"spec": {"suspend": True, "schedule": "* * * * *", "jobTemplate": {"spec": JOB}}}),
    ("autoscaling/v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, {"spec": METRIC}),
    ("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, {"spec": METRIC}),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", True,
     {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "none"}}}}),
    ("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", True,
     {"addressType": "IPv4", "endpoints": [], "ports": []}),
    ("events.k8s.io/v1", "events", "Event", True, NEW_EVENT),
    ("coordination.k8s.io/v1", "leases", "Lease", True, {"spec": {"holderIdentity": "h", "leaseDurationSeconds": 30}}),
    ("networking.k8s.io/v1", "ingresses", "Ingress", True,
     {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
    ("networking.k8s.io/v1", "ingressclasses", "IngressClass", False, {"spec": {"controller": "example.com/c"}}),
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", True, {"spec": {"podSelector": {}}}),
    ("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", False, {"handler": "h"}),
    ("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", False, {"value": 7}),
    ("storage.k8s.io/v1", "storageclasses", "StorageClass", False, {"provisioner": "p.example.com"}),
    ("storage.k8s.io/v1", "csidrivers", "CSIDriver", False, {"spec": {"attachRequired": False}}),
    ("storage.k8s.io/v1", "csinodes", "CSINode", False, {"spec": {"drivers": []}}),
    ("storage.k8s.io/v1", "csistoragecapacities", "CSIStorageCapacity", True,
     {"storageClassName": "s", "capacity": "1Gi"}),
    ("storage.k8s.io/v1", "volumeattachments", "VolumeAttachment", False,
     {"spec": {"attacher": "a.example.com", "nodeName": "none", "source": {"persistentVolumeName": "pv"}}}),
    ("storage.k8s.io/v1", "volumeattributesclasses", "VolumeAttributesClass", False,
     {"driverName": "d.example.com", "parameters": {"a": "b"}}),
    ("flowcontrol.apiserver.k8s.io/v1", "flowschemas", "FlowSchema", False,
     {"spec": {"matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "global-default"}}}),
    ("flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", False,
     {"spec": LEVEL}),
    ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False,
     {"webhooks": [HOOK]}),
    ("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False,
     {"webhooks": [HOOK]}),
    ("admissionregistration.k8s.io/v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False,
     {"spec": {**MATCHED, "validations": [{"expression": "true"}]}}),
    ("admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False,
     {"spec": {"policyName": "none", "validationActions": ["Deny"]}}),
    ("admissionregistration.k8s.io/v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", False,
     {"spec": {**MATCHED, "reinvocationPolicy": "Never", "mutations": [MUTATION]}}),
    ("admissionregistration.k8s.io/v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", False,
     {"spec": {"policyName": "none"}}),
    ("rbac.authorization.k8s.io/v1", "roles", "Role", True, {"rules": [RULE]}),
    ("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", False, {"rules": [RULE]}),
    ("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", True,
     {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}, "subjects": [SUBJECT]}),
    ("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", False,
     {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}, "subjects": [SUBJECT]}),
    ("resource.k8s.io/v1", "deviceclasses", "DeviceClass", False, {"spec": {}}),
    ("resource.k8s.io/v1", "resourceclaims", "ResourceClaim", True, {"spec": DEVICES}),
    ("resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate", True, {"spec": {"spec": DEVICES}}),
    ("resource.k8s.io/v1", "resourceslices", "ResourceSlice", False, {"spec": SLICE}),
]  # fmt: skip

STATUS_ONLY = {"flowschemas", "prioritylevelconfigurations", "validatingadmissionpolicies", "volumeattachments"}
"""Writes of their subresource status change the status alone; elsewhere labels and annotations go along."""


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """The administrator's HTTPS session with an API server that nobody else uses."""
    async with (
        running_cluster(nodes=0, https=True, controllers=(), scheduler=False) as cluster,
        session_of(cluster) as session,
    ):
        yield session


async def call(
    session: aiohttp.ClientSession,
    method: str,
    path: str,
    body: Any = None,
    kind: str = "application/json",
    **query: str,
) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body)
    async with session.request(method, path, data=data, params=query, headers={"Content-Type": kind}) as response:
        return response.status, await response.json(content_type=None)


async def succeed(session: aiohttp.ClientSession, method: str, path: str, *args: Any, **query: str) -> dict[str, Any]:
    status, answer = await call(session, method, path, *args, **query)
    assert status in {200, 201}, answer
    return answer


MERGE = "application/merge-patch+json"


@pytest.mark.parametrize(
    ("version", "plural", "kind", "namespaced", "fields"), KINDS, ids=[f"{one[1]}.{one[0]}" for one in KINDS]
)
async def test_the_operations_of_every_kind(
    session: aiohttp.ClientSession, version: str, plural: str, kind: str, namespaced: bool, fields: dict[str, Any]
) -> None:
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    everywhere = f"{root}/{plural}"
    path = f"{root}/namespaces/default/{plural}" if namespaced else everywhere

    # It is found the way that clients look for it.
    if "/" in version:
        group = version.split("/")[0]
        groups = {one["name"]: one for one in (await succeed(session, "GET", "/apis"))["groups"]}
        assert version in {one["groupVersion"] for one in groups[group]["versions"]}
        listed = await succeed(session, "GET", f"/apis/{group}")
        assert version in {one["groupVersion"] for one in listed["versions"]}
    resources = {one["name"]: one for one in (await succeed(session, "GET", root))["resources"]}
    assert resources[plural]["kind"] == kind
    wanted = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
    assert set(resources[plural]["verbs"]) == wanted

    head = {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"generateName": "walk-", "labels": {"lifecycle": "walked"}},
    }
    created = [await succeed(session, "POST", path, {**head, **fields}) for _ in range(3)]
    one = f"{path}/{created[2]['metadata']['name']}"
    assert (await succeed(session, "GET", one))["metadata"]["uid"] == created[2]["metadata"]["uid"]
    found = await succeed(session, "GET", everywhere, labelSelector=LABEL)
    assert len(found["items"]) == 3
    since = found["metadata"]["resourceVersion"]

    patched = await succeed(session, "PATCH", one, {"metadata": {"annotations": {"patched": "true"}}}, MERGE)
    assert patched["metadata"]["annotations"]["patched"] == "true"
    patched["metadata"]["annotations"]["updated"] = "true"
    updated = await succeed(session, "PUT", one, patched)
    assert updated["metadata"]["annotations"] == patched["metadata"]["annotations"]
    patched["metadata"]["annotations"]["updated"] = "twice"
    assert (await call(session, "PUT", one, patched))[1]["reason"] == "Conflict"

    if f"{plural}/status" in resources and plural not in STATUS_ONLY:
        assert {"get", "patch", "update"} <= set(resources[f"{plural}/status"]["verbs"])
        read = await succeed(session, "GET", f"{one}/status")
        assert read["metadata"]["uid"] == created[2]["metadata"]["uid"]
        note = {"metadata": {"annotations": {"patchedstatus": "true"}}}
        marked = await succeed(session, "PATCH", f"{one}/status", note, MERGE)
        assert marked["metadata"]["annotations"]["patchedstatus"] == "true"
        marked["metadata"]["annotations"]["updatedstatus"] = "true"
        put = await succeed(session, "PUT", f"{one}/status", marked)
        assert put["metadata"]["annotations"]["updatedstatus"] == "true"
        assert put.get("spec") == updated.get("spec")

    gone = await succeed(session, "DELETE", one)
    status, left = await call(session, "GET", one)
    held = status == 200 and left["metadata"]["deletionTimestamp"] and left["metadata"]["finalizers"]
    assert held or left["reason"] == "NotFound", gone
    remaining = (await succeed(session, "GET", everywhere, labelSelector=LABEL))["items"]
    assert len([item for item in remaining if "deletionTimestamp" not in item["metadata"]]) == 2
    await succeed(session, "DELETE", path, labelSelector=LABEL)
    remaining = (await succeed(session, "GET", path, labelSelector=LABEL))["items"]
    assert [item for item in remaining if "deletionTimestamp" not in item["metadata"]] == []

    query = {"watch": "true", "resourceVersion": since, "labelSelector": LABEL, "timeoutSeconds": "20"}
    async with session.get(path, params=query) as events:
        seen = []
        async for line in events.content:
            event = json.loads(line)
            seen.append(event["type"])
            assert event["object"]["metadata"]["labels"] == {"lifecycle": "walked"}
            if len(seen) == 1:
                assert event["type"] == "MODIFIED"
                assert event["object"]["metadata"]["annotations"]["patched"] == "true"
            if seen.count("DELETED") == 3 or (held and len(seen) > 3):
                break


async def test_both_apis_select_events_by_their_own_names(session: aiohttp.ClientSession) -> None:
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    event = {"metadata": {"name": "e"}, **NEW_EVENT}
    await succeed(session, "POST", path, event)
    await succeed(session, "POST", path, {**event, "metadata": {"name": "f"}, "reportingController": "other.com/c"})
    new = ("reportingController=c.example.com/c", "regarding.name=p,reportingController!=other.com/c")
    old = ("reportingComponent=c.example.com/c", "source=c.example.com/c,involvedObject.name=p")
    for root, selectors in ((path, new), ("/api/v1/namespaces/default/events", old)):
        for selector in selectors:
            found = await succeed(session, "GET", root, fieldSelector=selector)
            assert [one["metadata"]["name"] for one in found["items"]] == ["e"], selector


async def test_an_approval_takes_annotations_along(session: aiohttp.ClientSession) -> None:
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    request = signing_request("e.example.com", name="r", signer="example.com/s", usages=["server auth"])
    await succeed(session, "POST", path, request)
    condition = {"type": "Noticed", "status": "True", "reason": "r"}
    change = {"metadata": {"annotations": {"by": "me"}}, "status": {"conditions": [condition]}, "spec": {"groups": []}}
    patched = await succeed(session, "PATCH", f"{path}/r/approval", change, MERGE)
    assert patched["metadata"]["annotations"] == {"by": "me"}
    assert [one["type"] for one in patched["status"]["conditions"]] == ["Noticed"]
    assert patched["spec"]["groups"] == ["system:masters", "system:authenticated"]
    patched["metadata"]["annotations"] = {}
    patched["status"]["conditions"].append({"type": "Approved", "status": "True", "reason": "r"})
    updated = await succeed(session, "PUT", f"{path}/r/approval", patched)
    assert "annotations" not in updated["metadata"]
    assert [one["type"] for one in updated["status"]["conditions"]] == ["Noticed", "Approved"]
