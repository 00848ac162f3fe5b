"""What all controllers have in common: own identity and rights, a switch, metrics. The whole set runs at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.aiokit.clock import format_time
from orchestrator.api.objects import Object, condition_of
from orchestrator.api.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    JOBS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICATION_CONTROLLERS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICE_CIDRS,
    SERVICES,
    STATEFUL_SETS,
    STORAGE_CLASSES,
    VOLUME_ATTRIBUTES_CLASSES,
    Resource,
)
from orchestrator.component.metrics import REGISTRY
from orchestrator.controllers.registry import CONTROLLERS
from orchestrator.testing import ManualClock
from tests.signing_requests import signing_request

from .conftest import TimedStage, deployment, stage_with, template
from .test_disruption import budget
from .test_job import job
from .test_nodes import add_node
from .test_persistentvolume import claim, storage_class, volume
from .test_resourcequota import quota


@pytest.fixture
async def everything() -> AsyncIterator[TimedStage]:
    """Every controller there is, the authority that signs included, on a clock that stands still."""
    async with stage_with("*", clock=ManualClock(), https=True, load_balancer_addresses=["192.0.2.1"]) as one:
        one.__class__ = TimedStage
        assert isinstance(one, TimedStage)
        yield one


def reconciles(name: str, result: str) -> float:
    labels = {"controller": name, "result": result}
    return REGISTRY.get_sample_value("orchestrator_controller_reconcile_total", labels) or 0.0


def named(kind: str, name: str, namespace: str = "default", api_version: str = "v1", **fields: Any) -> Object:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


async def add_workloads(stage: TimedStage) -> None:
    """One object of every kind that a controller of workloads follows."""
    web = deployment()
    stateful = {**deployment("db", 2), "kind": "StatefulSet"}
    stateful["spec"] = {**stateful["spec"], "serviceName": "db", "volumeClaimTemplates": [
        {"metadata": {"name": "data"}, "spec": claim("data")["spec"]}]}  # fmt: skip
    daemon = {**deployment("agent"), "kind": "DaemonSet"}
    daemon["spec"] = {key: daemon["spec"][key] for key in ("selector", "template")}
    controller = named("ReplicationController", "rc", spec={"replicas": 2, "template": template("rc")})
    short = job("short", ttlSecondsAfterFinished=60)
    cron = named("CronJob", "tick", api_version="batch/v1",
                 spec={"schedule": "* * * * *", "jobTemplate": {"spec": job("tick")["spec"]}})  # fmt: skip
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaler = named("HorizontalPodAutoscaler", "h", api_version="autoscaling/v2",
                   spec={"scaleTargetRef": target, "maxReplicas": 5})  # fmt: skip
    volumes = [volume("v1"), volume("v2")]
    per_resource: dict[Resource, list[Object]] = {
        DEPLOYMENTS: [web], STATEFUL_SETS: [stateful], DAEMON_SETS: [daemon], REPLICATION_CONTROLLERS: [controller],
        JOBS: [short], CRON_JOBS: [cron], HORIZONTAL_POD_AUTOSCALERS: [scaler], PERSISTENT_VOLUMES: volumes,
        POD_DISRUPTION_BUDGETS: [budget(maxUnavailable="50%")], RESOURCE_QUOTAS: [quota({"pods": "100"})],
    }  # fmt: skip
    for resource, objects in per_resource.items():
        for one in objects:
            await stage.client.create(resource, one)


async def add_services(stage: TimedStage) -> None:
    """A Service with a selector, one whose Endpoints somebody writes, and a namespace that comes and goes."""
    ports = [{"port": 80}]
    await stage.client.create(SERVICES, named("Service", "web", spec={"selector": {"app": "web"}, "ports": ports}))
    await stage.client.create(SERVICES, named("Service", "other", spec={"ports": ports}))
    await stage.client.create(SERVICES, named("Service", "public", spec={"type": "LoadBalancer", "ports": ports}))
    subset = {"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}
    await stage.client.create(ENDPOINTS, named("Endpoints", "other", subsets=[subset]))
    await stage.client.create(NAMESPACES, named("Namespace", "team", ""))
    cidr = named("ServiceCIDR", "more", "", "networking.k8s.io/v1", spec={"cidrs": ["10.97.0.0/24"]})
    await stage.client.create(SERVICE_CIDRS, cidr)


async def add_cluster_parts(stage: TimedStage) -> None:
    """Nodes, tokens, requests and roles."""
    tainted = {"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]}
    await add_node(stage, "good")
    await stage.client.create(NODES, named("Node", "bad", "", spec=tainted))
    for name, node in (("on-bad", "bad"), ("on-none", "gone")):
        await stage.client.create(PODS, named("Pod", name, spec={**template()["spec"], "nodeName": node}))
    claim_spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    volume_source = {"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": claim_spec}}}
    with_volume = {**template()["spec"], "nodeName": "good", "volumes": [volume_source]}
    await stage.client.create(PODS, named("Pod", "with-volume", spec=with_volume))
    device = {"name": "one", "exactly": {"deviceClassName": "any"}}
    devices = named("ResourceClaimTemplate", "device", api_version="resource.k8s.io/v1")
    devices["spec"] = {"spec": {"devices": {"requests": [device]}}}
    await stage.client.create(RESOURCE_CLAIM_TEMPLATES, devices)
    with_device = {**template()["spec"], "resourceClaims": [{"name": "d", "resourceClaimTemplateName": "device"}]}
    await stage.client.create(PODS, named("Pod", "with-device", spec=with_device))
    role = named("ClusterRole", "sum", "", "rbac.authorization.k8s.io/v1", rules=[])
    role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {"part": "yes"}}]}
    await stage.client.create(CLUSTER_ROLES, role)
    part = named("ClusterRole", "part", "", "rbac.authorization.k8s.io/v1")
    part["metadata"]["labels"] = {"part": "yes"}
    part["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    await stage.client.create(CLUSTER_ROLES, part)
    end = format_time(stage.clock.now().replace(minute=30))
    token = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true",
             "expiration": end}  # fmt: skip
    await stage.client.create(SECRETS, named("Secret", "bootstrap-token-abcdef", "kube-system",
                                             type="bootstrap.kubernetes.io/token", stringData=token))  # fmt: skip
    attributes = named("VolumeAttributesClass", "fast", "", "storage.k8s.io/v1", driverName="d")
    await stage.client.create(VOLUME_ATTRIBUTES_CLASSES, {**attributes, "parameters": {"iops": "1"}})
    of_account = named("Secret", "default-token", type="kubernetes.io/service-account-token")
    of_account["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "default"}
    await stage.client.create(SECRETS, of_account)
    await stage.client.create(CONFIG_MAPS, named("ConfigMap", "cluster-info", "kube-public", data={"kubeconfig": "x"}))
    approve = named("ClusterRoleBinding", "approve", "", "rbac.authorization.k8s.io/v1")
    approve["roleRef"] = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                          "name": "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"}  # fmt: skip
    approve["subjects"] = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}]
    await stage.client.create(CLUSTER_ROLE_BINDINGS, approve)
    node = stage.cluster.client("system:node:good", ("system:nodes",))
    await node.create(CERTIFICATE_SIGNING_REQUESTS, signing_request("system:node:good"))


async def grow_a_claim(stage: TimedStage) -> None:
    """A claim with a volume of a CSI driver asks for more."""
    await stage.client.create(STORAGE_CLASSES, {**storage_class("grows"), "allowVolumeExpansion": True})
    source: Object = {
        "csi": {"driver": "d.example.com", "volumeHandle": "h"},
        "hostPath": None,
        "storageClassName": "grows",
    }
    await stage.client.create(PERSISTENT_VOLUMES, volume("v3", **source))
    one = claim("data", storageClassName="grows")
    one["metadata"]["namespace"] = "team"
    await stage.client.create(PERSISTENT_VOLUME_CLAIMS, one)
    await stage.after(1)
    larger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    await stage.client.patch(PERSISTENT_VOLUME_CLAIMS, "data", larger, "team")


async def test_the_whole_set_works_under_its_own_identities(everything: TimedStage) -> None:
    """Nothing is refused (see `stage_with`), no reconcile fails, and each controller had something to do."""
    stage = everything
    stage.exit_code = lambda pod: 0 if "job-name" in (pod["metadata"].get("labels") or {}) else None
    before = {(name, result): reconciles(name, result) for name in CONTROLLERS for result in ("success", "error")}
    await add_workloads(stage)
    await add_services(stage)
    await add_cluster_parts(stage)
    await grow_a_claim(stage)
    await stage.after(10)
    sources = {event["source"]["component"] for event in (await stage.client.list(EVENTS))["items"]}
    assert sources >= {"deployment-controller", "replicaset-controller", "statefulset-controller",
                       "daemonset-controller", "job-controller", "replication-controller",
                       "horizontal-pod-autoscaler", "taint-eviction-controller"}  # fmt: skip
    request = await stage.client.get(CERTIFICATE_SIGNING_REQUESTS, "request")
    assert condition_of(request, "Approved")["reason"] == "AutoApproved"  # type: ignore[index]
    assert request["status"]["certificate"]
    info = await stage.client.get(CONFIG_MAPS, "cluster-info", "kube-public")
    assert set(info["data"]) == {"kubeconfig", "jws-kubeconfig-abcdef"}
    role = await stage.client.get(CLUSTER_ROLES, "sum")
    assert [rule["resources"] for rule in role["rules"]] == [["pods"]]
    for name in ("web", "other"):
        slices = await stage.client.list(
            ENDPOINT_SLICES, "default", label_selector=f"kubernetes.io/service-name={name}"
        )
        assert [bool(one["endpoints"]) for one in slices["items"]] == [True], name
    claims = (await stage.client.list(PERSISTENT_VOLUME_CLAIMS, "default"))["items"]
    assert [one["status"]["phase"] for one in claims] == ["Bound", "Bound", "Pending"]  # the last: no volume for it

    await stage.client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
    await stage.client.delete(STATEFUL_SETS, "db", "default")
    for one in claims:
        await stage.client.delete(PERSISTENT_VOLUME_CLAIMS, one["metadata"]["name"], "default")
    await stage.client.delete(PERSISTENT_VOLUMES, "v1")
    await stage.client.delete(NAMESPACES, "team")
    await stage.after(4000)

    pods = {pod["metadata"]["name"] for pod in (await stage.client.list(PODS, "default"))["items"]}
    assert not {"on-bad", "on-none"} & pods
    assert not any(name.startswith(("web", "db", "short")) for name in pods)
    assert {ns["metadata"]["name"] for ns in (await stage.client.list(NAMESPACES))["items"]} >= {"default"}
    for resource, name, namespace in ((NAMESPACES, "team", ""), (SECRETS, "bootstrap-token-abcdef", "kube-system"),
                                      (PERSISTENT_VOLUMES, "v1", ""), (JOBS, "short", "default"),
                                      (CERTIFICATE_SIGNING_REQUESTS, "request", "")):  # fmt: skip
        listed = (await stage.client.list(resource, namespace))["items"]
        assert name not in {one["metadata"]["name"] for one in listed}, name
    ready = condition_of(await stage.client.get(NODES, "good"), "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")

    idle = [name for name in CONTROLLERS if reconciles(name, "success") == before[name, "success"]]
    assert not idle
    # Without a metrics API the autoscaler says so in its status and its events; it is no failed reconcile.
    failed = [name for name in CONTROLLERS if reconciles(name, "error") != before[name, "error"]]
    assert not failed


async def test_a_controller_without_its_role_is_refused() -> None:
    """The check that every test here ends with can fail."""
    async with stage_with("*", "-podgc", "-nodelifecycle", clock=ManualClock()) as stage:
        await stage.client.delete(CLUSTER_ROLES, "system:controller:deployment-controller")
        await stage.client.create(DEPLOYMENTS, deployment())
        await stage.clock.run(1)  # type: ignore[attr-defined]
        user = "system:serviceaccount:kube-system:deployment-controller"
        assert f"{user} may not create replicasets.apps" in stage.refusals.seen
        stage.refusals.seen.clear()


@pytest.mark.parametrize("selection", [("*", "-cronjob"), ("*", "-cronjob-controller")])
async def test_a_controller_that_is_switched_off_does_nothing(selection: tuple[str, ...]) -> None:
    async with stage_with(*selection, "-podgc", "-nodelifecycle", clock=ManualClock()) as stage:
        spec = {"schedule": "* * * * *", "jobTemplate": {"spec": job("tick")["spec"]}}
        await stage.client.create(CRON_JOBS, named("CronJob", "tick", api_version="batch/v1", spec=spec))
        await stage.client.create(JOBS, job("other"))
        await stage.clock.run(600)  # type: ignore[attr-defined]
        jobs = (await stage.client.list(JOBS, "default"))["items"]
        assert [(one["metadata"]["name"], one["status"]["active"]) for one in jobs] == [("other", 1)]
