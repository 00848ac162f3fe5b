"""The official Python client: typed APIs, watch, dynamic client, create_from_yaml, leader election.

Follows what its own end-to-end suite asks of a cluster.
"""

from __future__ import annotations

import queue
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic import exceptions as dynamic_errors
from kubernetes.dynamic.resource import ResourceInstance
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from tests.e2e.clients.conftest import widget_definition
from tests.e2e.orchestrator_process import OrchestratorProcess


def pod_manifest(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "hollow/app:1"}]},
    }


def deployment_manifest(name: str, replicas: int = 2) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "hollow/app:1"}]},
            },
        },
    }


class TestTyped:
    def test_a_pod_from_creation_to_deletion(self, api: client.ApiClient, namespace: str) -> None:
        core = client.CoreV1Api(api)
        created = core.create_namespaced_pod(namespace, pod_manifest("one", app="x"))
        assert created.metadata.uid
        for event in watch.Watch().stream(core.list_namespaced_pod, namespace, timeout_seconds=30):
            if event["object"].status.phase == "Running":
                break
        assert [pod.metadata.name for pod in core.list_namespaced_pod(namespace, label_selector="app=x").items] == [
            "one"
        ]
        assert core.read_namespaced_pod_status("one", namespace).status.phase == "Running"
        assert isinstance(core.read_namespaced_pod_log("one", namespace), str)
        patched = core.patch_namespaced_pod("one", namespace, {"metadata": {"labels": {"tier": "back"}}})
        assert patched.metadata.labels == {"app": "x", "tier": "back"}
        core.delete_namespaced_pod("one", namespace, body=client.V1DeleteOptions(grace_period_seconds=0))
        with pytest.raises(ApiException) as caught:
            core.read_namespaced_pod("one", namespace)
        assert caught.value.status == 404

    def test_services_are_created_and_patched(self, api: client.ApiClient, namespace: str) -> None:
        core = client.CoreV1Api(api)
        service = {
            "metadata": {"name": "frontend", "labels": {"name": "frontend"}},
            "spec": {"ports": [{"port": 80, "name": "port", "protocol": "TCP", "targetPort": 80}],
                     "selector": {"name": "frontend"}},
        }  # fmt: skip
        created = core.create_namespaced_service(namespace, service)
        assert created.spec.cluster_ip
        service["spec"]["ports"] = [{"name": "new", "port": 8080, "protocol": "TCP", "targetPort": 8080}]
        patched = core.patch_namespaced_service("frontend", namespace, service)
        assert [port.name for port in patched.spec.ports] == ["new", "port"]
        replaced = core.replace_namespaced_service("frontend", namespace, patched)
        assert replaced.spec.cluster_ip == created.spec.cluster_ip
        core.delete_namespaced_service("frontend", namespace)

    def test_replication_controllers_and_config_maps(self, api: client.ApiClient, namespace: str) -> None:
        core = client.CoreV1Api(api)
        controller = {
            "metadata": {"name": "frontend"},
            "spec": {"replicas": 2, "selector": {"name": "frontend"}, "template": {
                "metadata": {"labels": {"name": "frontend"}},
                "spec": {"containers": [{"name": "nginx", "image": "hollow/nginx:1"}]}}},
        }  # fmt: skip
        assert core.create_namespaced_replication_controller(namespace, controller).spec.replicas == 2
        core.patch_namespaced_replication_controller_scale("frontend", namespace, {"spec": {"replicas": 0}})
        assert core.read_namespaced_replication_controller("frontend", namespace).spec.replicas == 0
        core.delete_namespaced_replication_controller("frontend", namespace, propagation_policy="Background")
        core.create_namespaced_config_map(namespace, {"metadata": {"name": "c"}, "data": {"a": "1"}})
        assert core.patch_namespaced_config_map("c", namespace, {"data": {"a": None, "b": "2"}}).data == {"b": "2"}
        patched = core.patch_namespaced_config_map("c", namespace, [{"op": "add", "path": "/data/c", "value": "3"}])
        assert patched.data == {"b": "2", "c": "3"}
        core.delete_collection_namespaced_config_map(namespace, field_selector="metadata.name=c")
        assert "c" not in [one.metadata.name for one in core.list_namespaced_config_map(namespace).items]

    def test_a_list_in_chunks(self, api: client.ApiClient, namespace: str) -> None:
        core = client.CoreV1Api(api)
        names = [f"c-{number}" for number in range(7)]
        for name in names:
            core.create_namespaced_config_map(namespace, {"metadata": {"name": name, "labels": {"x": "y"}}})
        found, token, versions = [], None, set()
        while token != "":
            page = core.list_namespaced_config_map(namespace, limit=3, _continue=token, label_selector="x=y")
            found += [one.metadata.name for one in page.items]
            versions.add(page.metadata.resource_version)
            token = page.metadata._continue or ""
        assert found == names
        assert len(versions) == 1

    def test_jobs_deployments_and_autoscalers(self, api: client.ApiClient, namespace: str) -> None:
        apps, batch, scaling = client.AppsV1Api(api), client.BatchV1Api(api), client.AutoscalingV2Api(api)
        apps.create_namespaced_deployment(namespace, deployment_manifest("web"))
        for event in watch.Watch().stream(apps.list_namespaced_deployment, namespace, timeout_seconds=30):
            if event["object"].status.available_replicas == 2:
                break
        assert apps.read_namespaced_deployment_scale("web", namespace).status.replicas == 2
        scaling.create_namespaced_horizontal_pod_autoscaler(
            namespace,
            {"metadata": {"name": "web"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {
                "apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}},
        )  # fmt: skip
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "pi", "image": "hollow/pi:1"}]}}
        batch.create_namespaced_job(namespace, {"metadata": {"name": "pi"}, "spec": {"template": template}})
        assert batch.list_namespaced_job(namespace).items[0].metadata.name == "pi"
        batch.delete_namespaced_job("pi", namespace, propagation_policy="Background")
        apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")

    def test_nodes_versions_discovery_and_reviews(self, api: client.ApiClient, namespace: str) -> None:
        core = client.CoreV1Api(api)
        for node in core.list_node().items:
            assert core.read_node(node.metadata.name).metadata.name == node.metadata.name
        assert client.VersionApi(api).get_code().major == "1"
        assert "apps" in [group.name for group in client.ApisApi(api).get_api_versions().groups]
        assert any(one.name == "pods/exec" for one in core.get_api_resources().resources)
        review = client.AuthorizationV1Api(api).create_self_subject_access_review(
            {"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": namespace}}}
        )
        assert review.status.allowed

    def test_a_token_of_a_service_account_authenticates(
        self, api: client.ApiClient, hollow: Any, namespace: str
    ) -> None:
        core = client.CoreV1Api(api)
        core.create_namespaced_service_account(namespace, {"metadata": {"name": "robot"}})
        request = {"spec": {"audiences": None, "expirationSeconds": 3600}}
        token = core.create_namespaced_service_account_token("robot", namespace, request).status.token
        configuration = client.Configuration(host=hollow.url)
        configuration.ssl_ca_cert = api.configuration.ssl_ca_cert
        configuration.api_key["authorization"] = f"Bearer {token}"
        robot = client.ApiClient(configuration)
        user = client.AuthenticationV1Api(robot).create_self_subject_review({}).status.user_info
        assert user.username == f"system:serviceaccount:{namespace}:robot"
        with pytest.raises(ApiException) as caught:
            client.CoreV1Api(robot).list_namespaced_pod(namespace)
        assert caught.value.status == 403

    def test_events_and_leases_keep_microseconds(self, api: client.ApiClient, namespace: str) -> None:
        leases = client.CoordinationV1Api(api)
        lease = {"metadata": {"name": "l"}, "spec": {"renewTime": "2030-01-02T03:04:05.678901Z"}}
        assert leases.create_namespaced_lease(namespace, lease).spec.renew_time.microsecond == 678901


class TestWatch:
    def test_a_watch_goes_on_where_it_stopped(self, api: client.ApiClient, namespace: str) -> None:
        core = client.CoreV1Api(api)
        version = core.list_namespaced_config_map(namespace).metadata.resource_version
        for name in "abc":
            core.create_namespaced_config_map(namespace, {"metadata": {"name": name, "labels": {"w": ""}}})
        seen = []
        follower = watch.Watch()
        for event in follower.stream(
            core.list_namespaced_config_map, namespace, resource_version=version, label_selector="w", timeout_seconds=20
        ):
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 2:
                follower.stop()
        again = watch.Watch()
        for event in again.stream(
            core.list_namespaced_config_map,
            namespace,
            resource_version=follower.resource_version,
            label_selector="w",
            timeout_seconds=20,
        ):
            seen.append((event["type"], event["object"].metadata.name))
            again.stop()
        assert seen == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]

    def test_a_watch_ends_after_its_time(self, api: client.ApiClient, namespace: str) -> None:
        core = client.CoreV1Api(api)
        events = watch.Watch().stream(core.list_namespaced_secret, namespace, timeout_seconds=1)
        assert list(events) == []

    def test_bookmarks_and_initial_events(self, api: client.ApiClient, namespace: str) -> None:
        core = client.CoreV1Api(api)
        core.create_namespaced_secret(namespace, {"metadata": {"name": "s"}})
        follower, types = watch.Watch(), []
        for event in follower.stream(
            core.list_namespaced_secret,
            namespace,
            send_initial_events=True,
            allow_watch_bookmarks=True,
            resource_version_match="NotOlderThan",
            timeout_seconds=20,
        ):
            types.append(event["type"])
            if event["type"] == "BOOKMARK":
                annotations = event["raw_object"]["metadata"]["annotations"]
                assert annotations == {"k8s.io/initial-events-end": "true"}
                follower.stop()
        assert types == ["ADDED", "BOOKMARK"]

    def test_events_of_custom_objects_are_dictionaries(
        self, api: client.ApiClient, namespace: str, hollow: Any
    ) -> None:
        extensions, custom = client.ApiextensionsV1Api(api), client.CustomObjectsApi(api)
        extensions.create_custom_resource_definition(widget_definition("watchables"))
        where = ("clients.example.com", "v1", namespace, "watchables")
        body = {"apiVersion": "clients.example.com/v1", "kind": "Watchable", "metadata": {"name": "w"}}
        custom.create_namespaced_custom_object(*where, {**body, "spec": {"size": "s", "replicas": 1}})
        assert custom.patch_namespaced_custom_object(*where, "w", {"spec": {"size": "m"}})["spec"]["size"] == "m"
        assert custom.get_namespaced_custom_object_scale(*where, "w")["spec"] == {"replicas": 1}
        custom.patch_namespaced_custom_object_status(*where, "w", {"status": {"phase": "Good"}})
        follower = watch.Watch()
        for event in follower.stream(custom.list_namespaced_custom_object, *where, timeout_seconds=20):
            assert event["object"]["status"] == {"phase": "Good"}
            follower.stop()
        custom.delete_collection_namespaced_custom_object(*where)
        assert custom.list_namespaced_custom_object(*where)["items"] == []
        extensions.delete_custom_resource_definition("watchables.clients.example.com")


class TestDynamic:
    @pytest.fixture
    def dynamic(self, api: client.ApiClient, tmp_path: Path) -> DynamicClient:
        return DynamicClient(api, cache_file=str(tmp_path / "discovery.json"))

    def test_every_resource_is_discovered(self, dynamic: DynamicClient) -> None:
        assert dynamic.version["kubernetes"]["major"] == "1"
        groups = {resource.group for resource in dynamic.resources.search()}
        assert {"", "apps", "batch", "rbac.authorization.k8s.io", "apiregistration.k8s.io"} <= groups
        assert dynamic.resources.get(api_version="v1", kind="Pod").name == "pods"
        assert dynamic.resources.search(short_names=["cm"])[0].kind == "ConfigMap"

    def test_config_maps_from_creation_to_deletion(self, dynamic: DynamicClient, namespace: str) -> None:
        maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
        name = f"test-{uuid.uuid4()}"
        body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "labels": {"e2e": "x"}}}
        created = maps.create(body=body, namespace=namespace)
        assert created.metadata.name == name
        with pytest.raises(dynamic_errors.ConflictError):
            maps.create(body=body, namespace=namespace)
        body["data"] = {"a": "b"}
        for content_type in ("application/merge-patch+json", "application/strategic-merge-patch+json"):
            assert maps.patch(body=body, namespace=namespace, content_type=content_type).data.a == "b"
        listed = maps.get(namespace=namespace, label_selector="e2e=x")
        assert [one.metadata.name for one in listed.items] == [name]
        replaced = maps.replace(
            body={**maps.get(name=name, namespace=namespace).to_dict(), "data": {"c": "d"}}, namespace=namespace
        )
        assert replaced.data.to_dict() == {"c": "d"}
        with pytest.raises(dynamic_errors.ConflictError):
            maps.replace(body={**body, "metadata": {**body["metadata"], "resourceVersion": "1"}}, namespace=namespace)
        maps.delete(name=name, namespace=namespace, body={})
        with pytest.raises(dynamic_errors.NotFoundError):
            maps.get(name=name, namespace=namespace)

    def test_server_side_apply(self, dynamic: DynamicClient, namespace: str) -> None:
        deployments = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
        applied = deployments.server_side_apply(
            namespace=namespace, body=deployment_manifest("ssa", 1), field_manager="one"
        )
        assert applied.metadata.managedFields[0].manager == "one"
        with pytest.raises(dynamic_errors.ConflictError) as caught:
            deployments.server_side_apply(namespace=namespace, body=deployment_manifest("ssa", 0), field_manager="two")
        assert 'conflict with \\"one\\": .spec.replicas' in str(caught.value.body)
        forced = deployments.server_side_apply(
            namespace=namespace, body=deployment_manifest("ssa", 0), field_manager="two", force_conflicts=True
        )
        assert forced.spec.replicas == 0
        deployments.delete(name="ssa", namespace=namespace)

    def test_custom_resources_of_both_scopes(self, dynamic: DynamicClient, namespace: str) -> None:
        definitions = dynamic.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
        cluster_scoped = widget_definition("globals")
        cluster_scoped["spec"]["scope"] = "Cluster"
        for definition, where in ((widget_definition("locals"), {"namespace": namespace}), (cluster_scoped, {})):
            definitions.create(definition)
            kind = definition["spec"]["names"]["kind"]
            widgets = dynamic.resources.get(api_version="clients.example.com/v1", kind=kind)
            body = {"apiVersion": "clients.example.com/v1", "kind": kind, "metadata": {"name": "w"}}
            assert isinstance(widgets.create(body=body, **where), ResourceInstance)
            patched = widgets.patch(
                body={"spec": {"size": "l"}}, name="w", content_type="application/merge-patch+json", **where
            )
            assert patched.spec.size == "l"
            status = widgets.status.patch(
                body={"status": {"ok": True}}, name="w", content_type="application/merge-patch+json", **where
            )
            assert status.status.ok is True
            assert [one.metadata.name for one in widgets.get(**where).items] == ["w"]
            widgets.delete(name="w", **where)
            with pytest.raises(dynamic_errors.NotFoundError):
                widgets.get(name="w", **where)
            definitions.delete(name=definition["metadata"]["name"])

    def test_watch(self, dynamic: DynamicClient, namespace: str) -> None:
        maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
        version = maps.get(namespace=namespace).metadata.resourceVersion
        maps.create(body={"metadata": {"name": "seen"}}, namespace=namespace)
        maps.delete(name="seen", namespace=namespace)
        types = []
        stop = watch.Watch()
        for event in maps.watch(namespace=namespace, name="seen", resource_version=version, timeout=20, watcher=stop):
            types.append(event["type"])
            if event["type"] == "DELETED":
                stop.stop()
        assert types == ["ADDED", "DELETED"]

    def test_only_metadata(self, dynamic: DynamicClient) -> None:
        nodes = dynamic.resources.get(api_version="v1", kind="Node")
        accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        one = nodes.get(name=nodes.get().items[0].metadata.name, header_params={"Accept": accept})
        assert one.kind == "PartialObjectMetadata"
        listed = nodes.get(header_params={"Accept": accept.replace("Metadata;", "MetadataList;")})
        assert listed.kind == "PartialObjectMetadataList"


class TestYaml:
    def test_documents_lists_and_folders_are_created(
        self, api: client.ApiClient, namespace: str, tmp_path: Path
    ) -> None:
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
        several = [deployment_manifest("d", 0), service]
        (tmp_path / "several.yaml").write_text(yaml.safe_dump_all(several))
        as_list = {"apiVersion": "v1", "kind": "List", "items": [pod_manifest("p1"), pod_manifest("p2")]}
        (tmp_path / "list.yaml").write_text(yaml.safe_dump(as_list))
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
                "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}  # fmt: skip
        (tmp_path / "role.yaml").write_text(yaml.safe_dump(role))
        utils.create_from_directory(api, str(tmp_path), namespace=namespace)
        core = client.CoreV1Api(api)
        assert {pod.metadata.name for pod in core.list_namespaced_pod(namespace).items} == {"p1", "p2"}
        assert core.read_namespaced_service("s", namespace).spec.ports[0].port == 80
        assert client.RbacAuthorizationV1Api(api).read_namespaced_role("r", namespace).rules[0].verbs == ["get"]
        with pytest.raises(utils.FailToCreateError) as caught:
            utils.create_from_yaml(api, str(tmp_path / "list.yaml"), namespace=namespace)
        assert [one.status for one in caught.value.api_exceptions] == [409, 409]
        utils.create_from_yaml(api, yaml_objects=several, namespace=namespace, apply=True)


class TestLeaderElection:
    def test_one_of_two_leads_and_the_other_follows_it(self, hollow: Any, namespace: str) -> None:
        config.load_kube_config(str(hollow.kubeconfig))
        leads = threading.Event()
        stopped = threading.Event()

        def lead() -> None:
            leads.set()
            stopped.wait(30)

        election = electionconfig.Config(
            LeaseLock("lock", namespace, "candidate-1"),
            lease_duration=4,
            renew_deadline=3,
            retry_period=1,
            onstarted_leading=lead,
            onstopped_leading=stopped.set,
        )
        threading.Thread(target=leaderelection.LeaderElection(election).run, daemon=True).start()
        assert leads.wait(20)
        lease = client.CoordinationV1Api().read_namespaced_lease("lock", namespace)
        assert lease.spec.holder_identity == "candidate-1"
        stopped.set()


class TestInformer:
    """`kubernetes.informer`, which newer versions of the client have."""

    def test_a_cache_follows_and_is_filled_again(self, api: client.ApiClient, namespace: str) -> None:
        informer = pytest.importorskip("kubernetes.informer", reason="this version of the client has no informers")
        core = client.CoreV1Api(api)
        told: queue.Queue[tuple[str, str]] = queue.Queue()
        shared = informer.SharedInformer(
            list_func=core.list_namespaced_config_map, namespace=namespace, label_selector="kept", resync_period=1
        )
        for event in (informer.ADDED, informer.MODIFIED, informer.DELETED):
            shared.add_event_handler(event, lambda obj, event=event: told.put((event, obj.data["a"])))

        def wait_for(event: str, data: str) -> None:
            while told.get(timeout=20) != (event, data):
                pass  # a resync tells of what has not changed, too

        core.create_namespaced_config_map(namespace, {"metadata": {"name": "before"}, "data": {"a": "unseen"}})
        shared.start()
        core.create_namespaced_config_map(
            namespace, {"metadata": {"name": "c", "labels": {"kept": ""}}, "data": {"a": "1"}}
        )
        wait_for(informer.ADDED, "1")
        wait_for(informer.MODIFIED, "1")
        core.patch_namespaced_config_map("c", namespace, {"data": {"a": "2"}})
        wait_for(informer.MODIFIED, "2")
        assert [one.metadata.name for one in shared.cache.list()] == ["c"]
        core.delete_namespaced_config_map("c", namespace)
        wait_for(informer.DELETED, "2")
        assert shared.cache.list() == []
        shared.stop()


class TestAsynchronous:
    """`kubernetes.aio`, which newer versions of the client have."""

    async def test_watch_apply_and_dynamic_client(self, hollow: OrchestratorProcess, namespace: str) -> None:
        aio = pytest.importorskip("kubernetes.aio", reason="this version of the client has no coroutines")
        from kubernetes.aio import dynamic

        configuration = aio.client.Configuration()
        await aio.config.load_kube_config(str(hollow.kubeconfig), client_configuration=configuration)
        async with aio.client.ApiClient(configuration) as api:
            core = aio.client.CoreV1Api(api)
            applied = await core.patch_namespaced_config_map(
                "c",
                namespace,
                {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}},
                field_manager="test",
                _content_type="application/apply-patch+yaml",
            )
            assert applied.metadata.managed_fields[0].manager == "test"
            async with aio.watch.Watch() as follower:
                async for event in follower.stream(
                    core.list_namespaced_config_map,
                    namespace,
                    field_selector="metadata.name=c",
                    timeout_seconds=20,
                ):
                    assert (event["type"], event["object"].data) == ("ADDED", {"a": "1"})
                    break
            maps = await (await dynamic.DynamicClient(api)).resources.get(api_version="v1", kind="ConfigMap")
            assert (await maps.get(name="c", namespace=namespace)).data.a == "1"
