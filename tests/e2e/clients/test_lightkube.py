"""lightkube: both clients, server-side apply, generic resources, subresources, watches that resume."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from lightkube import ApiError, AsyncClient, Client, KubeConfig, codecs
from lightkube.core.exceptions import ObjectDeleted
from lightkube.generic_resource import create_namespaced_resource, load_in_cluster_generic_resources
from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.autoscaling_v1 import ScaleSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.authorization_v1 import SelfSubjectAccessReview
from lightkube.resources.core_v1 import ConfigMap, Namespace, Node, Pod
from lightkube.types import CascadeType, PatchType

from tests.e2e.clients.conftest import widget_definition


@pytest.fixture
def lk(hollow: Any, namespace: str) -> Client:
    return Client(config=KubeConfig.from_file(hollow.kubeconfig), namespace=namespace, field_manager="lightkube")


def a_pod(name: str, **labels: str) -> Pod:
    return Pod(
        metadata=ObjectMeta(name=name, labels=labels),
        spec=PodSpec(containers=[Container(name="main", image="hollow/app:1")], terminationGracePeriodSeconds=1),
    )


def a_deployment(name: str, replicas: int) -> Deployment:
    return Deployment(
        metadata=ObjectMeta(name=name),
        spec=DeploymentSpec(
            replicas=replicas,
            selector=LabelSelector(matchLabels={"app": name}),
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels={"app": name}),
                spec=PodSpec(containers=[Container(name="main", image="hollow/app:1")]),
            ),
        ),
    )


def test_pods_are_created_waited_for_and_deleted(lk: Client) -> None:
    lk.create(a_pod("p", app="x"))
    assert lk.wait(Pod, "p", for_conditions=["Ready"]).status.phase == "Running"
    assert [pod.metadata.name for pod in lk.list(Pod, labels={"app": ["x", "y"]})] == ["p"]
    assert list(lk.list(Pod, fields={"status.phase": "Failed"})) == []
    assert isinstance(list(lk.log("p")), list)
    lk.delete(Pod, "p", grace_period=0)
    with pytest.raises(ApiError, match="not found"):
        lk.get(Pod, "p")
    lk.create(a_pod("q"))
    deletion = threading.Timer(0.2, lambda: lk.delete(Pod, "q", grace_period=0, cascade=CascadeType.BACKGROUND))
    deletion.start()
    with pytest.raises(ObjectDeleted):
        lk.wait(Pod, "q", for_conditions=["Never"])
    deletion.join()


def test_lists_in_chunks_and_with_resource_version(lk: Client) -> None:
    for number in range(5):
        lk.create(ConfigMap(metadata=ObjectMeta(name=f"c-{number}", labels={"chunk": "yes"})))
    listed = lk.list(ConfigMap, labels={"chunk": "yes"}, chunk_size=2)
    assert [one.metadata.name for one in listed] == [f"c-{number}" for number in range(5)]
    assert int(listed.resourceVersion) > 0
    lk.deletecollection(ConfigMap)
    assert list(lk.list(ConfigMap, labels={"chunk": "yes"})) == []


def test_a_watch_begins_at_the_version_of_a_list(lk: Client) -> None:
    listed = lk.list(ConfigMap)
    assert listed is not None
    list(listed)
    lk.create(ConfigMap(metadata=ObjectMeta(name="w"), data={"a": "1"}))
    lk.patch(ConfigMap, "w", {"data": {"a": "2"}})
    lk.delete(ConfigMap, "w")
    seen = []
    for kind, obj in lk.watch(ConfigMap, resource_version=listed.resourceVersion, server_timeout=20):
        if obj.metadata.name == "w":
            seen.append((kind, obj.data["a"]))
        if kind == "DELETED":
            break
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


def test_server_side_apply_and_its_conflicts(lk: Client) -> None:
    assert lk.apply(a_deployment("d", 1)).metadata.managedFields[0].manager == "lightkube"
    with pytest.raises(ApiError, match="conflict") as caught:
        lk.apply(a_deployment("d", 0), field_manager="other")
    assert caught.value.status.details.causes[0].field == ".spec.replicas"
    assert lk.apply(a_deployment("d", 0), field_manager="other", force=True).spec.replicas == 0
    applied = ConfigMap(metadata=ObjectMeta(name="c"), data={"a": "1", "b": "2"})
    lk.apply(applied)
    applied.data = {"a": "1"}
    assert lk.apply(applied).data == {"a": "1"}
    status = lk.get(Deployment.Status, "d")
    assert status.metadata.name == "d"


def test_scale_replace_and_every_patch(lk: Client) -> None:
    lk.create(a_deployment("d", 1))
    assert lk.get(Deployment.Scale, "d").spec.replicas == 1
    scale = Deployment.Scale(metadata=ObjectMeta(name="d"), spec=ScaleSpec(replicas=2))
    assert lk.replace(scale).spec.replicas == 2
    patched = lk.patch(
        Deployment, "d", [{"op": "replace", "path": "/spec/replicas", "value": 3}], patch_type=PatchType.JSON
    )
    assert patched.spec.replicas == 3
    patched = lk.patch(Deployment, "d", {"spec": {"paused": True}}, patch_type=PatchType.MERGE)
    assert patched.spec.paused
    lk.create(ConfigMap(metadata=ObjectMeta(name="c"), data={"a": "1"}))
    current = lk.get(ConfigMap, "c")
    current.data = {"b": "2"}
    assert lk.replace(current).data == {"b": "2"}
    with pytest.raises(ApiError) as caught:
        lk.replace(current)
    assert caught.value.status.code == 409
    dry = lk.create(ConfigMap(metadata=ObjectMeta(name="dry")), dry_run=True)
    assert dry.metadata.uid
    with pytest.raises(ApiError, match="not found"):
        lk.get(ConfigMap, "dry")


def test_generic_resources_of_definitions_in_the_cluster(lk: Client) -> None:
    lk.create(CustomResourceDefinition.from_dict(widget_definition("lights")))
    lk.wait(CustomResourceDefinition, "lights.clients.example.com", for_conditions=["Established"])
    load_in_cluster_generic_resources(lk)
    light = create_namespaced_resource("clients.example.com", "v1", "Light", "lights")
    created = lk.create(light(metadata=ObjectMeta(name="l"), spec={"size": "s", "replicas": 1}))
    assert created.spec == {"size": "s", "replicas": 1}
    assert lk.patch(light.Status, "l", {"status": {"on": True}}, patch_type=PatchType.MERGE).status == {"on": True}
    assert lk.get(light.Scale, "l").spec.replicas == 1
    applied = lk.apply(light(metadata=ObjectMeta(name="l"), spec={"size": "m"}), force=True)
    assert applied.spec["size"] == "m"
    text = "apiVersion: clients.example.com/v1\nkind: Light\nmetadata: {name: m}\n"
    for obj in codecs.load_all_yaml(text):
        lk.create(obj)
    assert sorted(one.metadata.name for one in lk.list(light)) == ["l", "m"]
    lk.delete(CustomResourceDefinition, "lights.clients.example.com", cascade=CascadeType.FOREGROUND)


def test_reviews_and_cluster_resources(lk: Client) -> None:
    review = SelfSubjectAccessReview.from_dict({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}})
    assert lk.create(review).status.allowed
    assert len(list(lk.list(Node))) == 2
    assert "default" in [one.metadata.name for one in lk.list(Namespace)]


async def test_the_asynchronous_client(hollow: Any, namespace: str) -> None:
    lk = AsyncClient(config=KubeConfig.from_file(hollow.kubeconfig), namespace=namespace, field_manager="lightkube")
    await lk.create(a_pod("p"))
    ready = await lk.wait(Pod, "p", for_conditions=["Ready"])
    assert ready.spec.nodeName
    assert [pod.metadata.name async for pod in lk.list(Pod)] == ["p"]
    await lk.apply(ConfigMap(metadata=ObjectMeta(name="c"), data={"a": "1"}))
    async for kind, obj in lk.watch(ConfigMap, fields={"metadata.name": "c"}, server_timeout=20):
        assert (kind, obj.data) == ("ADDED", {"a": "1"})
        break
    await lk.delete(Pod, "p", grace_period=0)
    await lk.close()
