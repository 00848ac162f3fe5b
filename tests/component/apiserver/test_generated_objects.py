"""Objects that are generated after the schema of every built-in kind: each is accepted or refused, nothing breaks.

Whatever is sent here is well-typed most of the time and senseless nearly always, which is where validation and
defaulting meet combinations that nobody thought of. ORCHESTRATOR_GENERATED_EXAMPLES asks for more of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.api import errors
from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object, copy_object, name_of
from orchestrator.api.resources import SERVICE_ACCOUNTS
from orchestrator.api.schema import Schema
from orchestrator.apiserver import conversion
from orchestrator.apiserver.http.encoding import encode_object
from orchestrator.apiserver.http.negotiation import PROTOBUF, TABLE, YAML, Negotiated
from orchestrator.apiserver.incoming import schema_of
from orchestrator.apiserver.request import ApiRequest, ObjectResult
from orchestrator.apiserver.user import MASTERS_GROUP, User
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import running_cluster

EXAMPLES = int(os.environ.get("ORCHESTRATOR_GENERATED_EXAMPLES", "4"))
KINDS = [kind for kind in builtin_kinds() if "create" in kind.verbs]
MANIFESTS = {
    (manifest["apiVersion"], manifest["kind"]): manifest
    for manifest in yaml.safe_load_all((Path(__file__).parent / "every_kind.yaml").read_text())
    if manifest
}
STRINGS = (
    "", "a", "web", "Always", "x" * 70, "10Gi", "1", "-1", "100%", "default", "TCP", "a/b", "*", "http", "0", "é",
    "2020-01-01T00:00:00Z", "10.0.0.1", "10.0.0.0/8", "app=web", "Exists", "In", "None", "1h", "object.x == 1",
    "a.example.com", "\x00", "$(A)", "../x", "/", "YWJj",
)  # fmt: skip
INTEGERS = (0, 1, -1, 2, 80, 65536, 2**31 - 1, 2**31, 2**63 - 1, -(2**63))
OF_ANOTHER_TYPE: tuple[Any, ...] = ({}, [], "", 1, True, ["x"], [1], {"a": 1}, 1.5, [None])
REFUSED_AS_INTERNAL = ("typed patch object", "merge key", "not identical")
"""What kube-apiserver, too, answers with 500: patches that cannot be merged."""


class Generator:
    """Values after schemas, always the same ones for a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def value(self, schema: Schema, depth: int = 0) -> Any:
        """A value for a node; now and then null or one of another type."""
        choose = self._random
        if depth > 1 and choose.random() < 0.03:
            return choose.choice((None, *OF_ANOTHER_TYPE))
        if schema.kind == "object":
            return {name: self.value(child, depth + 1) for name, child in self._some(schema, depth)}
        if schema.kind == "list" and schema.items is not None:
            return [self.value(schema.items, depth + 1) for _ in range(choose.choice((0, 1, 1, 2)))]
        if schema.kind == "map" and schema.values is not None:
            return {
                choose.choice(STRINGS): self.value(schema.values, depth + 1) for _ in range(choose.choice((0, 1, 2)))
            }
        return choose.choice(_scalars(schema))

    def _some(self, schema: Schema, depth: int) -> Iterator[tuple[str, Schema]]:
        for name, child in schema.properties.items():
            wanted = 0.9 if name in schema.required or depth == 0 else 0.35
            if depth < 9 and self._random.random() < wanted:
                yield name, child

    def changed(self, obj: Object) -> Object:
        """A copy with one to three places changed."""
        changed = copy_object(obj)
        places = list(_places(changed))
        for container, key in self._random.sample(places, min(len(places), self._random.choice((1, 1, 2, 3)))):
            how = self._random.random()
            if isinstance(container, list) or how > 0.25:
                container[key] = self._random.choice((*STRINGS, *INTEGERS, None, *OF_ANOTHER_TYPE))
            else:
                container.pop(key, None)
        return changed

    def mixed(self, obj: Object, other: Object) -> Object:
        """A copy with some of the fields of another object of its kind."""
        mixed = copy_object(obj)
        for key in other.keys() - {"apiVersion", "kind", "metadata"}:
            mine, theirs = mixed.get(key), other[key]
            if isinstance(mine, dict) and isinstance(theirs, dict):
                names = sorted(theirs)
                mine |= {name: theirs[name] for name in self._random.sample(names, min(3, len(names)))}
            else:
                mixed[key] = theirs
        return mixed


def _scalars(schema: Schema) -> tuple[Any, ...]:
    return {
        "integer": INTEGERS,
        "number": (0, 1.5, -1, 1e300),
        "boolean": (True, False),
        "quantity": ("1", "10Gi", "100m", "-1", "1e3", "0", "x", 5, "1Ei"),
        "time": ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00.000000Z", "x", None),
        "int-or-string": (1, "50%", "http", 0, "", -1, "101%"),
        "string": tuple(schema.raw.get("enum") or ()) * 8 + STRINGS,
    }.get(schema.kind, (None, *OF_ANOTHER_TYPE))


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, dict):
        for key, child in node.items():
            yield node, key
            yield from _places(child)
    elif isinstance(node, list):
        for position, child in enumerate(node):
            yield node, position
            yield from _places(child)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=0, controllers=(), scheduler=False) as running:
        await running.client().create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
        yield running


class Sender:
    """Sends dry runs for one kind, and notes what broke."""

    def __init__(self, cluster: Cluster, kind: Kind) -> None:
        self._api = cluster.api
        self.kind = kind
        self.namespace = "default" if kind.resource.namespaced else ""
        self.broken: list[str] = []

    async def send(self, verb: str, body: Any, name: str = "", subresource: str = "", **options: Any) -> None:
        query = {"dryRun": "All", "fieldValidation": "Ignore", **options.pop("query", {})}
        request = ApiRequest(
            verb,
            self.kind,
            User("tester", groups=(MASTERS_GROUP,)),
            self.namespace,
            name,
            subresource,
            query=query,
            body=body,
            **options,
        )
        try:
            result = await self._api.handle(request)
            assert isinstance(result, ObjectResult)
            await self._show(result)
        except errors.ApiError as error:
            if error.code >= 500 and not any(text in error.message for text in REFUSED_AS_INTERNAL):
                self.broken.append(f"{verb} {subresource} {error.code} {error.message}: {body}")
        except Exception as error:
            self.broken.append(f"{verb} {subresource} {error!r}: {body}")

    async def _show(self, result: ObjectResult) -> None:
        """In every form that a client may ask for: what was accepted must never break those who read it."""
        for negotiated in (Negotiated(), Negotiated(PROTOBUF), Negotiated(YAML), Negotiated(shape=TABLE)):
            encode_object(result, self.kind, negotiated, now=datetime.now(UTC), include="Object")
        for find in self.kind.selectable_fields.values():
            find(result.obj)
        stored = await conversion.to_stored(self.kind, result.obj)
        for sibling in self._api.registry.siblings(self.kind):
            await conversion.from_stored(sibling, stored)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.resource.plural}.{kind.resource.version}")
async def test_nothing_breaks(cluster: Cluster, kind: Kind) -> None:
    generator, sender = Generator(seed=1), Sender(cluster, kind)
    stored = await _stored(cluster, kind)
    for _ in range(EXAMPLES):
        generated = generator.value(schema_of(kind))
        generated |= {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind}
        metadata = {"name": "generated", **({"namespace": sender.namespace} if sender.namespace else {})}
        await sender.send("create", {**generated, "metadata": metadata})
        if stored is None:
            continue
        name, rest = name_of(stored), {key: value for key, value in generated.items() if key != "metadata"}
        await sender.send("create", generator.mixed(_fresh(stored), generated))
        await sender.send("update", generator.changed(stored), name)
        await sender.send("update", generator.mixed(stored, generated), name)
        await sender.send("patch", rest, name, content_type="application/merge-patch+json")
        await sender.send("patch", rest, name, content_type="application/strategic-merge-patch+json")
        applied, query = {**rest, "metadata": {"name": name}}, {"fieldManager": "tester", "force": "true"}
        await sender.send("patch", applied, name, content_type="application/apply-patch+yaml", query=query)
        if kind.has_status:
            await sender.send("update", {**stored, "status": generated.get("status")}, name, "status")
    assert sender.broken == []


async def _stored(cluster: Cluster, kind: Kind) -> Object | None:
    """A valid object of this kind, as the server completes it; None for kinds without a manifest that suits."""
    manifest = MANIFESTS.get((kind.resource.api_version, kind.resource.kind))
    if manifest is None or "names" in manifest or kind.resource.kind == "CertificateSigningRequest":
        return None
    obj = {key: value for key, value in manifest.items() if key != "status"}
    obj["metadata"] = {"name": f"stored-{kind.resource.version}"}
    if kind.resource.namespaced:
        obj["metadata"]["namespace"] = "default"
    return await cluster.client().create(kind.resource, obj)


def _fresh(stored: Object) -> Object:
    fresh = copy_object(stored)
    fresh["metadata"] = {key: stored["metadata"][key] for key in ("namespace",) if key in stored["metadata"]}
    return {**fresh, "metadata": {**fresh["metadata"], "name": "generated"}}
