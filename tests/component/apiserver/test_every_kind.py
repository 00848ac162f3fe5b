"""Every stored built-in kind has all verbs that it is said to have, and a watch sees what each of them did.

The sequence is that of the conformance specs "should support creating ... API operations".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.api import errors
from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.kinds.descriptor import ALL_VERBS, Kind
from orchestrator.api.objects import Object, copy_object, name_of, namespace_of, uid_of
from orchestrator.api.resources import SERVICE_ACCOUNTS
from orchestrator.client.client import Client
from orchestrator.client.transport import WatchEvent
from orchestrator.testing import eventually, running_cluster
from tests.signing_requests import signing_request

SELECTOR = "test=every-kind"
KINDS = {(kind.resource.api_version, kind.resource.kind): kind for kind in builtin_kinds() if "delete" in kind.verbs}
MANIFESTS: dict[tuple[str, str], dict[str, Any]] = {
    (manifest["apiVersion"], manifest["kind"]): manifest
    for manifest in yaml.safe_load_all((Path(__file__).parent / "every_kind.yaml").read_text())
    if manifest
}
METADATA_THROUGH_STATUS = ("Ingress", "HorizontalPodAutoscaler", "CronJob", "Job", "CertificateSigningRequest", "Pod")
"""Kinds whose conformance specs annotate an object through its status."""


def test_every_kind_has_a_manifest() -> None:
    assert KINDS.keys() == MANIFESTS.keys()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A cluster with all controllers, without nodes: what holds finalizers lets go of them."""
    async with running_cluster(nodes=0, scheduler=False) as cluster:
        await eventually(cluster.client(), SERVICE_ACCOUNTS, bool, namespace="default")
        yield cluster.client()


def objects_of(kind: Kind) -> list[Object]:
    """Three objects of a kind, without status."""
    manifest = copy_object(MANIFESTS[kind.resource.api_version, kind.resource.kind])
    manifest.pop("status", None)
    names = manifest.pop("names", ["every-kind-1", "every-kind-2", "every-kind-3"])
    if kind.resource.kind == "CertificateSigningRequest":
        manifest["spec"]["request"] = signing_request("test")["spec"]["request"]
    objects = []
    for name in names:
        obj = copy_object(manifest)
        obj["metadata"] = {"name": name, "labels": {"test": "every-kind"}}
        if kind.resource.namespaced:
            obj["metadata"]["namespace"] = "default"
        if kind.resource.kind == "APIService":
            obj["spec"] |= {"version": "v1", "group": name.removeprefix("v1.")}
        if kind.resource.kind == "CustomResourceDefinition":
            plural = name.partition(".")[0]
            obj["spec"]["names"] = {"plural": plural, "kind": plural.capitalize()}
        objects.append(obj)
    return objects


async def events_of(client: Client, kind: Kind, since: str) -> AsyncGenerator[WatchEvent, None]:
    """What a watch of the objects of this test reports."""
    namespace = "default" if kind.resource.namespaced else ""
    watch = await client.watch(kind.resource, namespace, resource_version=since, label_selector=SELECTOR)
    try:
        while batch := await watch.next_batch():
            for event in batch:
                if event.type != "BOOKMARK":
                    yield event
    finally:
        watch.close()


async def seen(
    events: AsyncIterator[WatchEvent], event_type: str, matches: Callable[[Object], bool] = lambda obj: True
) -> Object:
    """Read on until there is such an event; controllers may have written in between."""
    async for event in events:
        if event.type == event_type and matches(event.object):
            return event.object
    raise AssertionError(f"the watch ended without {event_type}")


def annotated(key: str) -> Callable[[Object], bool]:
    return lambda obj: key in (obj["metadata"].get("annotations") or {})


async def replaced(client: Client, kind: Kind, obj: Object, change: Callable[[Object], None], **options: Any) -> Object:
    """Get, change, put; again when a controller was faster."""
    while True:
        fresh = copy_object(await client.get(kind.resource, name_of(obj), namespace_of(obj)))
        change(fresh)
        try:
            return await client.update(kind.resource, fresh, **options)
        except errors.Conflict:
            continue


@pytest.mark.parametrize(
    "kind", KINDS.values(), ids=lambda kind: f"{kind.resource.group_resource}-{kind.resource.version}"
)
async def test_all_verbs(client: Client, kind: Kind) -> None:
    resource = kind.resource
    first, *others = objects_of(kind)
    namespace, name = namespace_of(first), name_of(first)
    before = await client.list(resource, namespace)
    async with aclosing(events_of(client, kind, before["metadata"]["resourceVersion"])) as events:
        created = await client.create(resource, first)
        assert uid_of(await client.get(resource, name, namespace)) == uid_of(created)
        listed = await client.list(resource, namespace, label_selector=SELECTOR)
        assert [name_of(one) for one in listed["items"]] == [name]
        if resource.namespaced:
            everywhere = await client.list(resource, label_selector=SELECTOR)
            assert [name_of(one) for one in everywhere["items"]] == [name]
        await seen(events, "ADDED")

        patched = await client.patch(resource, name, {"metadata": {"annotations": {"patched": "true"}}}, namespace)
        assert annotated("patched")(patched)
        await seen(events, "MODIFIED", annotated("patched"))

        await replaced(client, kind, first, lambda obj: obj["metadata"]["annotations"].update(updated="true"))
        await seen(events, "MODIFIED", lambda obj: annotated("patched")(obj) and annotated("updated")(obj))

        if kind.has_status:
            await check_status(client, kind, first)

        assert "deletecollection" not in kind.verbs or set(kind.verbs) == set(ALL_VERBS)
        await client.delete(resource, name, namespace)
        await seen(events, "DELETED")
        with pytest.raises(errors.NotFound):
            await client.get(resource, name, namespace)

        for obj in others:
            await client.create(resource, obj)
        if "deletecollection" in kind.verbs:
            await client.delete_collection(resource, namespace, label_selector=SELECTOR)
        else:
            for obj in others:
                await client.delete(resource, name_of(obj), namespace)
        gone = {name_of(await seen(events, "DELETED")) for _ in others}
        assert gone == {name_of(obj) for obj in others}
        assert not (await client.list(resource, namespace, label_selector=SELECTOR))["items"]


async def check_status(client: Client, kind: Kind, obj: Object) -> None:
    """Get, patch and put through `/status`."""
    resource, name, namespace = kind.resource, name_of(obj), namespace_of(obj)
    status = MANIFESTS[resource.api_version, resource.kind]["status"]
    through = await client.get(resource, name, namespace, subresource="status")
    assert name_of(through) == name
    patch = {"metadata": {"annotations": {"through-status": "true"}}, "status": status}
    patched = await client.patch(resource, name, patch, namespace, subresource="status")
    if resource.kind in METADATA_THROUGH_STATUS:
        assert annotated("through-status")(patched)
    for key, value in status.items():
        assert patched["status"][key] == value

    def set_status(fresh: Object) -> None:
        fresh["status"] = {**(fresh.get("status") or {}), **status}

    updated = await replaced(client, kind, obj, set_status, subresource="status")
    for key, value in status.items():
        assert updated["status"][key] == value
