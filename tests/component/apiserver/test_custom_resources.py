"""Custom resources on a running cluster: served at once, defaulted, converted, watched, removed."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.resources import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, SERVICE_ACCOUNTS, Resource
from orchestrator.apiserver import pki
from orchestrator.client.client import Client
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import running_cluster

GADGETS = Resource("g.example.com", "v1", "gadgets", "Gadget")
GADGETS_V2 = Resource("g.example.com", "v2", "gadgets", "Gadget")
NAME = "gadgets.g.example.com"

SPEC: Object = {
    "type": "object",
    "properties": {
        "color": {
            "type": "string",
            "enum": ["red", "green"],
            "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "color is immutable"}],
        },
        "size": {"type": "integer", "minimum": 0, "default": 1},
        "replicas": {"type": "integer"},
    },
}


def schema(spec: Object = SPEC) -> Object:
    return {
        "type": "object",
        "properties": {
            "spec": spec,
            "status": {
                "type": "object",
                "properties": {"phase": {"type": "string"}, "replicas": {"type": "integer"}},
            },
        },
    }


def version(name: str = "v1", *, storage: bool = True, spec: Object = SPEC, **more: Any) -> Object:
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": schema(spec)},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        **more,
    }


def definition(*versions: Object, kind: str = "Gadget", plural: str = "gadgets", **spec: Any) -> Object:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.g.example.com"},
        "spec": {
            "group": "g.example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, "shortNames": ["gd"] if plural == "gadgets" else []},
            "versions": list(versions) or [version()],
            **spec,
        },
    }


def gadget(name: str, resource: Resource = GADGETS, **spec: Any) -> Object:
    return {
        "apiVersion": resource.api_version,
        "kind": "Gadget",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def conditions(obj: Object) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in obj["status"]["conditions"] or ()}


@asynccontextmanager
async def cluster_without_nodes(data_dir: Path | None = None) -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=0, controllers=(), scheduler=False, data_dir=data_dir) as cluster:
        client = cluster.client()
        with contextlib.suppress(errors.AlreadyExists):
            await client.create(NAMESPACES, {"metadata": {"name": "default"}})
        try:
            account: Object = {"metadata": {"name": "default", "namespace": "default"}}
            await client.create(SERVICE_ACCOUNTS, account)
        except errors.AlreadyExists:
            pass
        yield cluster


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with cluster_without_nodes() as cluster:
        yield cluster.client()


async def until(client: Client, resource: Resource, name: str, is_there: Callable[[Object | None], bool]) -> None:
    """Wait, by watch, until an object (None when gone) is as wanted."""
    async with asyncio.timeout(10):
        listed = await client.list(resource)
        found = next((item for item in listed["items"] if item["metadata"]["name"] == name), None)
        watch = await client.watch(resource, resource_version=listed["metadata"]["resourceVersion"])
        try:
            while not is_there(found):
                for event in await watch.next_batch():
                    if event.object["metadata"].get("name") == name:
                        found = None if event.type == "DELETED" else event.object
        finally:
            watch.close()


# --- definitions ---


async def test_a_definition_is_served_and_established_when_its_creation_is_answered(client: Client) -> None:
    created = await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    assert created["spec"]["names"]["listKind"] == "GadgetList"
    stored = await client.create(GADGETS, gadget("a", color="red"))
    assert stored["spec"] == {"color": "red", "size": 1}
    current = await client.get(CUSTOM_RESOURCE_DEFINITIONS, NAME)
    assert conditions(current)["Established"] == ("True", "InitialNamesAccepted")
    assert current["status"]["acceptedNames"]["singular"] == "gadget"
    assert current["status"]["storedVersions"] == ["v1"]


async def test_names_that_are_taken_are_not_accepted_until_they_are_free(client: Client) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    second = definition(kind="Gadget", plural="others")
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, second)
    current = await client.get(CUSTOM_RESOURCE_DEFINITIONS, "others.g.example.com")
    assert conditions(current)["NamesAccepted"][0] == "False"
    assert conditions(current)["Established"] == ("False", "NotAccepted")
    with pytest.raises(errors.NotFound):
        await client.list(Resource("g.example.com", "v1", "others", "Gadget"))
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, NAME)
    await until(
        client,
        CUSTOM_RESOURCE_DEFINITIONS,
        "others.g.example.com",
        lambda obj: obj is not None and conditions(obj).get("Established") == ("True", "InitialNamesAccepted"),
    )
    assert (await client.list(Resource("g.example.com", "v1", "others", "Gadget")))["items"] == []


async def test_definitions_and_objects_survive_a_restart(tmp_path: Path) -> None:
    async with cluster_without_nodes(tmp_path) as cluster:
        await cluster.client().create(CUSTOM_RESOURCE_DEFINITIONS, definition())
        await cluster.client().create(GADGETS, gadget("a", color="red"))
    async with cluster_without_nodes(tmp_path) as cluster:
        assert (await cluster.client().get(GADGETS, "a", "default"))["spec"]["color"] == "red"
        with pytest.raises(errors.Invalid):
            await cluster.client().create(GADGETS, gadget("b", color="blue"))


async def test_a_deleted_definition_takes_its_instances_with_it(client: Client) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    await client.create(GADGETS, gadget("a", color="red"))
    held = gadget("held", color="red")
    held["metadata"]["finalizers"] = ["example.com/wait"]
    await client.create(GADGETS, held)
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, NAME)
    current = await client.get(CUSTOM_RESOURCE_DEFINITIONS, NAME)
    assert conditions(current)["Terminating"] == ("True", "InstanceDeletionInProgress")
    assert current["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert [item["metadata"]["name"] for item in (await client.list(GADGETS))["items"]] == ["held"]
    await client.patch(GADGETS, "held", {"metadata": {"finalizers": None}}, "default")
    await until(client, CUSTOM_RESOURCE_DEFINITIONS, NAME, lambda obj: obj is None)
    with pytest.raises(errors.NotFound):
        await client.list(GADGETS)
    again = await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    assert (await client.list(GADGETS))["items"] == []
    assert again["metadata"]["uid"] != current["metadata"]["uid"]


async def test_scope_and_kind_cannot_change_any_more(client: Client) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    with pytest.raises(errors.Invalid) as raised:
        await client.patch(CUSTOM_RESOURCE_DEFINITIONS, NAME, {"spec": {"scope": "Cluster"}})
    assert [cause.field for cause in raised.value.causes] == ["spec.scope"]


# --- objects ---


async def test_what_a_new_schema_says_holds_for_objects_that_are_read(client: Client) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    await client.create(GADGETS, gadget("a", color="red"))
    spec = copy.deepcopy(SPEC)
    spec["properties"]["shape"] = {"type": "string", "default": "round"}
    del spec["properties"]["size"]
    await client.patch(CUSTOM_RESOURCE_DEFINITIONS, NAME, {"spec": {"versions": [version(spec=spec)]}})
    assert (await client.get(GADGETS, "a", "default"))["spec"] == {"color": "red", "shape": "round"}
    assert (await client.list(GADGETS))["items"][0]["spec"] == {"color": "red", "shape": "round"}


async def test_an_update_is_not_refused_for_what_it_did_not_change(client: Client) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    await client.create(GADGETS, gadget("a", color="red"))
    spec = copy.deepcopy(SPEC)
    spec["properties"]["color"]["enum"] = ["green"]
    await client.patch(CUSTOM_RESOURCE_DEFINITIONS, NAME, {"spec": {"versions": [version(spec=spec)]}})
    changed = await client.patch(GADGETS, "a", {"spec": {"size": 3}}, "default")
    assert changed["spec"] == {"color": "red", "size": 3}
    with pytest.raises(errors.Invalid):
        await client.create(GADGETS, gadget("b", color="red"))


async def test_status_and_spec_are_written_separately(client: Client) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    created = await client.create(GADGETS, {**gadget("a", color="red"), "status": {"phase": "early"}})
    assert "status" not in created
    changed = copy.deepcopy(created)
    changed["spec"]["size"] = 9
    changed["status"] = {"phase": "Ready"}
    updated = await client.update_status(GADGETS, changed)
    assert (updated["spec"]["size"], updated["status"]["phase"]) == (1, "Ready")
    assert updated["metadata"]["generation"] == 1


async def test_a_status_without_a_subresource_is_part_of_the_object(client: Client) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(version(subresources={})))
    created = await client.create(GADGETS, {**gadget("a", color="red"), "status": {"phase": "early"}})
    assert created["status"] == {"phase": "early"}
    changed = await client.patch(GADGETS, "a", {"status": {"phase": "late"}}, "default")
    assert changed["metadata"]["generation"] == 2
    labelled = await client.patch(GADGETS, "a", {"metadata": {"labels": {"a": "b"}}}, "default")
    assert labelled["metadata"]["generation"] == 2


async def test_scale(client: Client) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    await client.create(GADGETS, gadget("a", color="red", replicas=2))
    scale = await client.get(GADGETS, "a", "default", subresource="scale")
    assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 2})
    await client.patch(GADGETS, "a", {"spec": {"replicas": 5}}, "default", subresource="scale")
    assert (await client.get(GADGETS, "a", "default"))["spec"]["replicas"] == 5


async def test_selectable_fields_select(client: Client) -> None:
    selectable = version(selectableFields=[{"jsonPath": ".spec.color"}])
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(selectable))
    for name, color in (("a", "red"), ("b", "green")):
        await client.create(GADGETS, gadget(name, color=color))
    listed = await client.list(GADGETS, field_selector="spec.color=green")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["b"]
    with pytest.raises(errors.BadRequest):
        await client.list(GADGETS, field_selector="spec.size=1")


# --- versions ---


async def test_versions_without_a_webhook_differ_in_their_name_and_schema(client: Client) -> None:
    wider = copy.deepcopy(SPEC)
    wider["properties"]["extra"] = {"type": "string", "default": "x"}
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(version(), version("v2", storage=False, spec=wider)))
    await client.create(GADGETS_V2, gadget("a", GADGETS_V2, color="red"))
    old, new = await client.get(GADGETS, "a", "default"), await client.get(GADGETS_V2, "a", "default")
    assert (old["apiVersion"], new["apiVersion"]) == ("g.example.com/v1", "g.example.com/v2")
    assert "extra" not in old["spec"]
    assert new["spec"]["extra"] == "x"
    assert old["metadata"]["uid"] == new["metadata"]["uid"]


async def test_a_new_storage_version_is_remembered(client: Client) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(version(), version("v2", storage=False)))
    await client.create(GADGETS, gadget("a", color="red"))
    versions = [version(storage=False), version("v2")]
    await client.patch(CUSTOM_RESOURCE_DEFINITIONS, NAME, {"spec": {"versions": versions}})
    assert (await client.get(CUSTOM_RESOURCE_DEFINITIONS, NAME))["status"]["storedVersions"] == ["v1", "v2"]
    assert (await client.get(GADGETS_V2, "a", "default"))["apiVersion"] == "g.example.com/v2"
    with pytest.raises(errors.Invalid, match=r"storedVersions\[0\]"):
        await client.patch(CUSTOM_RESOURCE_DEFINITIONS, NAME, {"spec": {"versions": [version("v2")]}})


class Webhook:
    """A conversion webhook: what v1 calls `color`, v2 calls `colour`."""

    def __init__(self, folder: Path) -> None:
        self._made = pki.prepare(folder, hosts=["127.0.0.1"], clock=SystemClock())
        self._context = pki.server_context(self._made, folder)
        self.calls = 0
        self.answer: Callable[[Object], Object] = self.convert
        self.url = ""

    @property
    def ca_bundle(self) -> str:
        return base64.b64encode(self._made.ca.certificate).decode()

    def convert(self, request: Object) -> Object:
        converted = []
        for obj in request["objects"]:
            result = copy.deepcopy(obj)
            result["apiVersion"] = request["desiredAPIVersion"]
            old, new = ("color", "colour") if request["desiredAPIVersion"].endswith("v2") else ("colour", "color")
            if old in result["spec"]:
                result["spec"][new] = result["spec"].pop(old)
            converted.append(result)
        return {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": converted}

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.calls += 1
        review = json.loads(await request.read())
        body = {**review, "response": self.answer(review["request"])}
        body.pop("request")
        return web.json_response(body)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Webhook]:
        runner = web.ServerRunner(web.Server(self.serve, access_log=None))
        await runner.setup()
        context: ssl.SSLContext = self._context
        context.verify_mode = ssl.CERT_NONE
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}/convert"
        try:
            yield self
        finally:
            await runner.cleanup()


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[Webhook]:
    async with Webhook(tmp_path / "webhook").running() as running:
        yield running


def converted_definition(webhook: Webhook) -> Object:
    renamed = copy.deepcopy(SPEC)
    renamed["properties"]["colour"] = renamed["properties"].pop("color")
    client_config = {"url": webhook.url, "caBundle": webhook.ca_bundle}
    return definition(
        version(),
        version("v2", storage=False, spec=renamed),
        conversion={
            "strategy": "Webhook",
            "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": client_config},
        },
    )


async def test_a_webhook_converts_reads_writes_lists_and_watches(client: Client, webhook: Webhook) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, converted_definition(webhook))
    created = await client.create(GADGETS_V2, gadget("a", GADGETS_V2, colour="red"))
    assert created["spec"] == {"colour": "red", "size": 1}
    assert (await client.get(GADGETS, "a", "default"))["spec"] == {"color": "red", "size": 1}
    assert (await client.list(GADGETS_V2))["items"][0]["spec"]["colour"] == "red"
    watch = await client.watch(GADGETS_V2, resource_version="0")
    try:
        events = await watch.next_batch()
        assert events[0].object["spec"]["colour"] == "red"
        await client.patch(GADGETS_V2, "a", {"spec": {"size": 4}}, "default")
        events = await watch.next_batch()
        assert (events[0].type, events[0].object["spec"]) == ("MODIFIED", {"colour": "red", "size": 4})
    finally:
        watch.close()


async def test_fields_are_selected_as_the_version_has_them_that_is_asked_for(client: Client, webhook: Webhook) -> None:
    made = converted_definition(webhook)
    for served, field in zip(made["spec"]["versions"], ("color", "colour"), strict=True):
        served["selectableFields"] = [{"jsonPath": f".spec.{field}"}]
        spec = served["schema"]["openAPIV3Schema"]["properties"]["spec"]
        spec["properties"][field].pop("x-kubernetes-validations")
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, made)
    watch = await client.watch(GADGETS_V2, field_selector="spec.colour=red", resource_version="0")
    try:
        for name, colour in (("a", "red"), ("b", "green"), ("c", "red")):
            await client.create(GADGETS_V2, gadget(name, GADGETS_V2, colour=colour))
        for resource, field in ((GADGETS_V2, "spec.colour"), (GADGETS, "spec.color")):
            for selector, found in ((f"{field}=red", ["a", "c"]), (f"{field}=red,metadata.name=c", ["c"])):
                listed = await client.list(resource, namespace="default", field_selector=selector)
                assert [item["metadata"]["name"] for item in listed["items"]] == found
        await client.patch(GADGETS_V2, "c", {"spec": {"colour": "green"}}, "default")
        await client.delete(GADGETS_V2, "a", "default")
        seen: list[tuple[str, str, str]] = []
        while len(seen) < 4:
            seen += [
                (event.type, event.object["metadata"]["name"], event.object["spec"]["colour"])
                for event in await watch.next_batch()
            ]
        assert seen == [("ADDED", "a", "red"), ("ADDED", "c", "red"), ("DELETED", "c", "red"), ("DELETED", "a", "red")]
    finally:
        watch.close()


async def test_the_stored_version_needs_no_webhook(client: Client, webhook: Webhook) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, converted_definition(webhook))
    await client.create(GADGETS, gadget("a", color="red"))
    assert webhook.calls == 0


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda request: {"uid": "other"}, "expected response.uid="),
        (
            lambda request: {"uid": request["uid"], "result": {"status": "Failure", "message": "no colours here"}},
            "no colours here",
        ),
        (
            lambda request: {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": []},
            "returned 0 objects, expected 1",
        ),
        (
            lambda request: {
                "uid": request["uid"],
                "result": {"status": "Success"},
                "convertedObjects": request["objects"],
            },
            "invalid apiVersion",
        ),
    ],
)
async def test_a_webhook_that_answers_badly_is_named(
    client: Client, webhook: Webhook, answer: Callable[[Object], Object], text: str
) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, converted_definition(webhook))
    await client.create(GADGETS, gadget("a", color="red"))
    webhook.answer = answer
    with pytest.raises(errors.InternalError, match=r"conversion webhook for g\.example\.com/v1, Kind=Gadget") as raised:
        await client.get(GADGETS_V2, "a", "default")
    assert text in raised.value.message


async def test_instances_go_although_the_webhook_is_gone(client: Client, webhook: Webhook) -> None:
    made = converted_definition(webhook)
    made["spec"]["conversion"]["webhook"]["clientConfig"]["url"] = "https://127.0.0.1:1/convert"
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, made)
    await client.create(GADGETS, gadget("a", color="red"))
    with pytest.raises(errors.InternalError, match="conversion webhook for"):
        await client.get(GADGETS_V2, "a", "default")
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, NAME)
    with pytest.raises(errors.NotFound):
        await client.get(CUSTOM_RESOURCE_DEFINITIONS, NAME)
