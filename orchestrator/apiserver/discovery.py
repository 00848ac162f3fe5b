"""Discovery: which groups, versions and resources there are, in the classic and the aggregated form.

Pure functions from the registry to documents. Mirrors kube-apiserver's discovery endpoints and
`apidiscovery.k8s.io/v2` (KEP-3352).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

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


def api_group_list(kinds: Iterable[Kind]) -> Object:
    """The document at `/apis`."""
    groups = [api_group(name, versions) for name, versions in groups_of(kinds).items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


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


def aggregated(kinds: Iterable[Kind], *, is_core: bool, api_version: str) -> Object:
    """`APIGroupDiscoveryList`: everything that `/api` (core) or `/apis` (the rest) leads to, in one document."""
    kinds = list(kinds)
    groups = []
    for group, versions in groups_of(kinds).items():
        if bool(group) == is_core:
            continue
        listed = []
        for version in versions:
            members = [k for k in kinds if (k.resource.group, k.resource.version) == (group, version)]
            resources = sorted((_aggregated_resource(kind) for kind in members), key=lambda r: str(r["resource"]))
            listed.append({"version": version, "resources": resources, "freshness": "Current"})
        groups.append({"metadata": {"name": group, "creationTimestamp": None}, "versions": listed})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{api_version}",
        "metadata": {},
        "items": groups,
    }


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
