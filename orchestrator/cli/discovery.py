"""What the server serves, and which resource a person means: the RESTMapper of the client verbs.

Reads the aggregated discovery documents (two requests), or the classic ones from an older server.
Accepts what kubectl accepts: plural, singular, short name, kind, each with `.group` or
`.version.group`; categories such as `all`; lists with commas; TYPE/NAME.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from orchestrator.api.resources import Resource
from orchestrator.cli.connection import JSON, Connection, Object
from orchestrator.cli.errors import CliError, ServerError

AGGREGATED = f"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,{JSON}"


class ApiResource(Struct, frozen=True):
    """One resource that the server serves."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()

    @property
    def plain(self) -> Resource:
        """What its names and paths follow from."""
        return Resource(self.group, self.version, self.plural, self.kind, self.namespaced)

    @property
    def api_version(self) -> str:
        """`v1` or `apps/v1`."""
        return self.plain.api_version

    @property
    def group_resource(self) -> str:
        """`pods` or `deployments.apps`: as error messages name it."""
        return self.plain.group_resource

    @property
    def prefix(self) -> str:
        """`pod` or `deployment.apps`: as it stands before the slash of TYPE/NAME in output."""
        return f"{self.singular}.{self.group}" if self.group else self.singular

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object, or of its subresource."""
        return self.plain.path(namespace, name, subresource)


class Target(Struct, frozen=True):
    """What a command line names: objects of one resource; no names means all of them."""

    resource: ApiResource
    names: tuple[str, ...] = ()


class Discovery:
    """The resources of one server, the preferred version of each group first."""

    def __init__(self, resources: Iterable[ApiResource]) -> None:
        self.resources = list(resources)

    @classmethod
    async def load(cls, connection: Connection) -> Discovery:
        """Ask the server."""
        core, groups = await asyncio.gather(
            connection.get("/api", accept=AGGREGATED), connection.get("/apis", accept=AGGREGATED)
        )
        resources = []
        for document, is_core in ((core, True), (groups, False)):
            if document.get("kind") == "APIGroupDiscoveryList":
                resources += aggregated_resources(document)
            else:
                resources += await _classic(connection, document, is_core=is_core)
        return cls(resources)

    def find(self, word: str) -> ApiResource:
        """The resource that a word of the command line means; CliError when there is none."""
        wanted = word.lower()
        for candidate in self.resources:
            if wanted in _names(candidate):
                return candidate
        name, _, group = wanted.partition(".")
        for candidate in self.resources:
            if group and name in _names(candidate) and _is_group(candidate, group):
                return candidate
        for candidate in self.resources:  # last, as a group may be abbreviated: ingresses.networking
            if group and name in _names(candidate) and candidate.group.startswith(f"{group}."):
                return candidate
        raise CliError(f'error: the server doesn\'t have a resource type "{word}"')

    def expand(self, words: str) -> list[ApiResource]:
        """The resources of a list such as `pods,svc` or of a category such as `all`."""
        found: dict[ApiResource, None] = {}
        for word in words.split(","):
            members = [each for each in self.resources if word.lower() in each.categories and "list" in each.verbs]
            distinct: dict[tuple[str, str], ApiResource] = {}
            for member in members:  # one version of each
                distinct.setdefault((member.group, member.plural), member)
            for resource in distinct.values() or [self.find(word)]:
                found[resource] = None
        return list(found)

    def of_object(self, obj: Object, source: str) -> ApiResource:
        """The resource of a manifest's apiVersion and kind; CliError worded as kubectl when it is unknown."""
        api_version, kind = obj["apiVersion"], obj["kind"]
        for candidate in self.resources:
            if candidate.api_version == api_version and candidate.kind == kind:
                return candidate
        metadata = obj.get("metadata") or {}
        raise CliError(
            f'error: resource mapping not found for name: "{metadata.get("name", "")}" namespace: '
            f'"{metadata.get("namespace", "")}" from "{source}": no matches for kind "{kind}" in version '
            f'"{api_version}"\nensure CRDs are installed first'
        )

    def targets(self, words: Sequence[str], *, verb: str) -> list[Target]:
        """What `TYPE [NAME...]`, `TYPE/NAME...` or `TYPE,TYPE` names."""
        if not words:
            raise CliError(f"error: You must specify the type of resource to {verb}.")
        if any("/" in word for word in words):
            targets: dict[ApiResource, list[str]] = {}
            for word in words:
                kind, slash, name = word.partition("/")
                if not slash:
                    raise CliError(
                        "error: there is no need to specify a resource type as a separate argument when passing "
                        f"arguments in resource/name form (e.g. 'orchestrator {verb} resource/<resource_name>' instead "
                        f"of 'orchestrator {verb} resource resource/<resource_name>'"
                    )
                if not kind or not name or "/" in name:
                    raise CliError("error: arguments in resource/name form may not have more than one slash")
                for resource in self.expand(kind):
                    targets.setdefault(resource, []).append(name)
            return [Target(resource, tuple(names)) for resource, names in targets.items()]
        return [Target(resource, tuple(words[1:])) for resource in self.expand(words[0])]


def _names(resource: ApiResource) -> tuple[str, ...]:
    return (resource.plural, resource.singular, resource.kind.lower(), *resource.short_names)


def _is_group(resource: ApiResource, text: str) -> bool:
    return text in (resource.group, f"{resource.version}.{resource.group}", f"{resource.version}.")


def aggregated_resources(document: Object) -> list[ApiResource]:
    """The resources of an APIGroupDiscoveryList."""
    return [
        ApiResource(
            group=(group.get("metadata") or {}).get("name") or "",
            version=version["version"],
            kind=resource["responseKind"]["kind"],
            plural=resource["resource"],
            singular=resource.get("singularResource") or resource["responseKind"]["kind"].lower(),
            namespaced=resource.get("scope") == "Namespaced",
            short_names=tuple(resource.get("shortNames") or ()),
            categories=tuple(resource.get("categories") or ()),
            verbs=tuple(resource.get("verbs") or ()),
            subresources=tuple(each["subresource"] for each in resource.get("subresources") or ()),
        )
        for group in document.get("items") or ()
        for version in group.get("versions") or ()
        for resource in version.get("resources") or ()
        if resource.get("responseKind")
    ]


async def _classic(connection: Connection, document: Object, *, is_core: bool) -> list[ApiResource]:
    if is_core:
        versions = [("", version, f"/api/{version}") for version in document["versions"]]
    else:
        versions = [
            (group["name"], version["version"], f"/apis/{version['groupVersion']}")
            for group in document["groups"]
            for version in group["versions"]
        ]
    lists = await asyncio.gather(*(connection.get(path) for _, _, path in versions), return_exceptions=True)
    found: list[ApiResource] = []
    for (group, version, _), listed in zip(versions, lists, strict=True):
        if isinstance(listed, ServerError):
            continue  # an aggregated API that is down must not take the others with it
        if isinstance(listed, BaseException):
            raise listed
        found += classic_resources(group, version, listed["resources"])
    return found


def classic_resources(group: str, version: str, entries: Sequence[dict[str, Any]]) -> list[ApiResource]:
    """The resources of an APIResourceList."""
    return [
        ApiResource(
            group=group,
            version=version,
            kind=entry["kind"],
            plural=entry["name"],
            singular=entry.get("singularName") or entry["kind"].lower(),
            namespaced=bool(entry.get("namespaced")),
            short_names=tuple(entry.get("shortNames") or ()),
            categories=tuple(entry.get("categories") or ()),
            verbs=tuple(entry.get("verbs") or ()),
            subresources=tuple(
                other["name"].partition("/")[2] for other in entries if other["name"].startswith(entry["name"] + "/")
            ),
        )
        for entry in entries
        if "/" not in entry["name"]
    ]
