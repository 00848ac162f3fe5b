"""Discovery: which groups, versions and resources there are, in the classic and the aggregated form.

Pure functions from the registry to documents. Mirrors kube-apiserver's discovery endpoints and
`apidiscovery.k8s.io/v2` (KEP-3352).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object

STATUS_VERBS = ("get", "patch", "update")


def groups_of(kinds: Iterable[Kind]) -> dict[str, list[str]]:
    """Group → its versions, preferred one first; the core group has the empty name."""
    groups: dict[str, list[str]] = {}
    for kind in kinds:
        versions = groups.setdefault(kind.resource.group, [])
        if kind.resource.version not in versions:
            versions.append(kind.resource.version)
    for versions in groups.values():
        versions.sort(key=version_priority)
    return groups


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Sorts GA before beta before alpha, and newer before older (API conventions, version priority)."""
    text = version[1:] if version.startswith("v") else ""
    major, digits = "", 0
    while digits < len(text) and text[digits].isdigit():
        major += text[digits]
        digits += 1
    rest = text[digits:]
    if not major:
        return (3, 0, 0, version)
    if not rest:
        return (0, -int(major), 0, "")
    for rank, stage in ((1, "beta"), (2, "alpha")):
        if rest.startswith(stage) and rest[len(stage) :].isdigit():
            return (rank, -int(major), -int(rest[len(stage) :]), "")
    return (3, 0, 0, version)


def api_versions(server_address: str) -> Object:
    """The document at `/api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    }


def api_group(name: str, versions: list[str]) -> Object:
    """One group, as in `/apis` and at `/apis/<group>`."""
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def api_group_list(groups: Mapping[str, list[str]]) -> Object:
    """The document at `/apis`."""
    listed = [api_group(name, versions) for name, versions in groups.items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def api_resource_list(kinds: Iterable[Kind], group: str, version: str) -> Object:
    """The document at `/api/v1` and `/apis/<group>/<version>`."""
    resources: list[Object] = []
    custom: list[Object] = []
    for kind in kinds:
        if (kind.resource.group, kind.resource.version) == (group, version):
            (resources if kind.schema is None else custom).extend(_classic_resources(kind))
    resources.sort(key=lambda resource: str(resource["name"]))
    # Subresources of custom resources come in the order status, scale.
    custom.sort(key=lambda resource: str(resource["name"]).partition("/")[0])
    resources += custom
    document: Object = {"kind": "APIResourceList"}
    if group:
        document["apiVersion"] = "v1"
    document["groupVersion"] = f"{group}/{version}" if group else version
    document["resources"] = resources
    return document


def storage_version_hash(kind: Kind) -> str:
    """Tells clients when the stored version changed: eight bytes of a hash over group, version and kind."""
    stored = kind.conversion.stored_as if kind.conversion else kind.resource
    text = f"{stored.group}/{stored.version}/{stored.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def subresources_of(kind: Kind) -> list[Object]:
    """name, verbs and response kind of every subresource."""
    resource = kind.resource
    found: list[Object] = []
    if kind.has_status:
        found.append({"name": "status", "kind": resource.kind, "verbs": list(STATUS_VERBS), "group": "", "version": ""})
    if kind.scale is not None:
        found.append(
            {"name": "scale", "kind": "Scale", "verbs": list(STATUS_VERBS), "group": "autoscaling", "version": "v1"}
        )
    found += [
        {
            "name": subresource.name,
            "kind": subresource.kind,
            "verbs": list(subresource.verbs),
            "group": subresource.group,
            "version": subresource.version,
        }
        for subresource in kind.subresources
    ]
    return found


def _classic_resources(kind: Kind) -> list[Object]:
    resource = kind.resource
    entries: list[Object] = []
    if kind.verbs:
        entry: Object = {
            "name": resource.plural,
            "singularName": kind.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(kind.verbs),
        }
        if kind.short_names:
            entry["shortNames"] = list(kind.short_names)
        if kind.categories:
            entry["categories"] = list(kind.categories)
        if "list" in kind.verbs:
            entry["storageVersionHash"] = storage_version_hash(kind)
        entries.append(entry)
    for subresource in subresources_of(kind):
        entry = {
            "name": f"{resource.plural}/{subresource['name']}",
            "singularName": "",
            "namespaced": resource.namespaced,
        }
        if subresource["version"]:
            if subresource["group"]:
                entry["group"] = subresource["group"]
            entry["version"] = subresource["version"]
        entry["kind"] = subresource["kind"]
        entry["verbs"] = subresource["verbs"]
        entries.append(entry)
    return entries


def aggregated(
    kinds: Iterable[Kind],
    *,
    is_core: bool,
    api_version: str,
    groups: Mapping[str, list[str]] | None = None,
    remote: Mapping[tuple[str, str], RemoteVersion] | None = None,
) -> Object:
    """`APIGroupDiscoveryList`: everything that `/api` (core) or `/apis` (the rest) leads to, in one document.

    `groups` says in which order, if not in that of the kinds; `remote` has what other servers serve.
    """
    kinds = list(kinds)
    remote = remote or {}
    items = []
    for group, versions in (groups_of(kinds) if groups is None else groups).items():
        if bool(group) == is_core:
            continue
        listed = []
        for version in versions:
            elsewhere = remote.get((group, version))
            if elsewhere is not None:
                entries = _aggregated_remote(group, version, elsewhere.resources)
                freshness = "Current" if elsewhere.is_available else "Stale"
                listed.append({"version": version, "resources": entries, "freshness": freshness})
                continue
            members = [k for k in kinds if (k.resource.group, k.resource.version) == (group, version)]
            resources = sorted((_aggregated_resource(kind) for kind in members), key=lambda r: str(r["resource"]))
            listed.append({"version": version, "resources": resources, "freshness": "Current"})
        items.append({"metadata": {"name": group, "creationTimestamp": None}, "versions": listed})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{api_version}",
        "metadata": {},
        "items": items,
    }


class RemoteVersion(NamedTuple):
    """What another server said it serves in one group version."""

    resources: Sequence[Object]
    """Entries of its APIResourceList."""
    is_available: bool


def _aggregated_remote(group: str, version: str, resources: Sequence[Object]) -> list[Object]:
    """Entries of an APIResourceList in the aggregated form, subresources below their resources."""
    entries: dict[str, Object] = {}
    for resource in sorted(resources, key=lambda one: str(one.get("name"))):
        name, _, subresource = str(resource.get("name") or "").partition("/")
        response_kind = {
            "group": resource.get("group") or group,
            "version": resource.get("version") or version,
            "kind": resource.get("kind") or "",
        }
        verbs = list(resource.get("verbs") or ())
        if subresource:
            parent = entries.setdefault(name, {"resource": name})
            parent.setdefault("subresources", []).append(
                {"subresource": subresource, "responseKind": response_kind, "verbs": verbs}
            )
            continue
        entry: Object = {
            "resource": name,
            "responseKind": response_kind,
            "scope": "Namespaced" if resource.get("namespaced") else "Cluster",
            "singularResource": resource.get("singularName") or "",
            "verbs": verbs,
        }
        for field in ("shortNames", "categories"):
            if resource.get(field):
                entry[field] = resource[field]
        entries[name] = entry
    return list(entries.values())


def _aggregated_resource(kind: Kind) -> Object:
    resource = kind.resource
    entry: Object = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    subresources = [_aggregated_subresource(kind, subresource) for subresource in subresources_of(kind)]
    if subresources:
        entry["subresources"] = sorted(subresources, key=lambda s: str(s["subresource"]))
    return entry


def _aggregated_subresource(kind: Kind, subresource: dict[str, Any]) -> Object:
    has_own_version = bool(subresource["version"])
    return {
        "subresource": subresource["name"],
        "responseKind": {
            "group": subresource["group"] if has_own_version else kind.resource.group,
            "version": subresource["version"] or kind.resource.version,
            "kind": subresource["kind"],
        },
        "verbs": subresource["verbs"],
    }
