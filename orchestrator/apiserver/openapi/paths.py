"""The paths that a kind serves, and those of the documents of discovery."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from orchestrator.api import schema
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object
from orchestrator.apiserver.discovery import subresources_of
from orchestrator.apiserver.openapi.definitions import META, VERSION_INFO, definition_name
from orchestrator.apiserver.openapi.operations import Operation, Path
from orchestrator.apiserver.openapi.parameters import (
    CONNECT_PARAMETERS,
    DELETE,
    DELETE_COLLECTION,
    LIST,
    LOG_PARAMETERS,
    NAMESPACE,
    PATH,
    QUERY,
    WRITE,
    Parameter,
)
from orchestrator.apiserver.patching import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH

_JSON = "application/json"
_YAML = "application/yaml"
_PROTOBUF = "application/vnd.kubernetes.protobuf"
_BUILTIN_TYPES = (_JSON, _YAML, _PROTOBUF)
_CUSTOM_TYPES = (_JSON, _YAML)
_STREAM_TYPES = {_JSON: f"{_JSON};stream=watch", _PROTOBUF: f"{_PROTOBUF};stream=watch"}


def group_in_identifiers(group: str) -> str:
    """`RbacAuthorization` for rbac.authorization.k8s.io, `StableExampleCom` for a custom group, `Core` for none."""
    if not group:
        return "Core"
    parts = re.split(r"[.\-]", group.removesuffix(".k8s.io"))
    return "".join(part[:1].upper() + part[1:] for part in parts)


class _PathsOfKind:
    """Describes what one kind serves."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.resource = kind.resource
        resource = kind.resource
        self.gvk = (resource.group, resource.version, resource.kind)
        self.definition = definition_name(kind)
        self.is_custom = kind.schema is not None
        self.media_types = _CUSTOM_TYPES if self.is_custom else _BUILTIN_TYPES
        group = group_in_identifiers(resource.group)
        self.group_version = group + resource.version[:1].upper() + resource.version[1:]
        self.tag = f"{group[:1].lower()}{group[1:]}_{resource.version}"
        self.scope = "Namespaced" if resource.namespaced else ""

    def paths(self) -> Iterator[Path]:
        resource, verbs = self.resource, self.kind.verbs
        namespaces = (NAMESPACE,) if resource.namespaced else ()
        name = (self._name_parameter(), *namespaces)
        collection = resource.path("{namespace}")
        operations: list[Operation] = []
        if "list" in verbs:
            operations.append(self._list())
        if "create" in verbs:
            operations.append(self._write("post", "create", "", self.definition, self.gvk))
        if "deletecollection" in verbs:
            operations.append(self._delete_collection())
        if operations:
            yield Path(collection, (*namespaces, QUERY["pretty"]), tuple(operations))
        operations = [
            self._of_verb(verb, "", self.definition, self.gvk)
            for verb in ("get", "update", "patch", "delete")
            if verb in verbs
        ]
        if operations:
            yield Path(resource.path("{namespace}", "{name}"), (*name, QUERY["pretty"]), tuple(operations))
        if resource.namespaced and "list" in verbs:
            yield Path(resource.path(), self._list_parameters(), (self._list(all_namespaces=True),))
        if "watch" in verbs and not self.is_custom:
            yield from self._watches(namespaces, name)
        for subresource in subresources_of(self.kind):
            yield from self._subresource(subresource, name)

    def _name_parameter(self) -> Parameter:
        return Parameter("name", "string", f"The name of the {self.resource.kind}.", "path")

    def _list_parameters(self) -> tuple[Parameter, ...]:
        return (*(QUERY[name] for name in LIST), QUERY["pretty"])

    def _with_streams(self) -> tuple[str, ...]:
        return (*self.media_types, *(_STREAM_TYPES[kind] for kind in self.media_types if kind in _STREAM_TYPES))

    def _operation(
        self,
        *,
        method: str,
        action: str,
        identifier: str,
        description: str,
        responses: tuple[tuple[str, str, str], ...],
        gvk: tuple[str, str, str] | None = None,
        query: Sequence[Parameter] = (),
        body: str = "",
        consumes: tuple[str, ...] | None = None,
        produces: tuple[str, ...] | None = None,
    ) -> Operation:
        default_consumes = _CUSTOM_TYPES if self.is_custom else ("*/*",)
        return Operation(
            method=method,
            action=action,
            operation_id=identifier,
            description=description,
            gvk=gvk or self.gvk,
            tag=self.tag,
            query=tuple(query),
            body=body,
            consumes=consumes or default_consumes,
            produces=produces or self.media_types,
            responses=responses,
        )

    def _list(self, *, all_namespaces: bool = False) -> Operation:
        scope = "" if all_namespaces else self.scope
        suffix = "ForAllNamespaces" if all_namespaces else ""
        return self._operation(
            method="get",
            action="list",
            identifier=f"list{self.group_version}{scope}{self.resource.kind}{suffix}",
            description=f"list or watch objects of kind {self.resource.kind}",
            query=() if all_namespaces else [QUERY[name] for name in LIST],
            produces=self._with_streams(),
            responses=(("200", "OK", f"{self.definition}List"),),
        )

    def _delete_collection(self) -> Operation:
        return self._operation(
            method="delete",
            action="deletecollection",
            identifier=f"delete{self.group_version}Collection{self.scope}{self.resource.kind}",
            description=f"delete collection of {self.resource.kind}",
            query=[QUERY[name] for name in DELETE_COLLECTION],
            body=f"{META}DeleteOptions",
            responses=(("200", "OK", f"{META}Status"),),
        )

    def _watches(self, namespaces: tuple[Parameter, ...], name: tuple[Parameter, ...]) -> Iterator[Path]:
        resource = self.resource
        base = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
        scoped = f"{base}/watch/namespaces/{{namespace}}" if resource.namespaced else f"{base}/watch"
        list_parameters = self._list_parameters()

        def watch(action: str, identifier: str, subject: str) -> Operation:
            return self._operation(
                method="get",
                action=action,
                identifier=identifier,
                description=f"watch {subject} of kind {resource.kind}; deprecated: list with the parameter watch",
                produces=self._with_streams(),
                responses=(("200", "OK", f"{META}WatchEvent"),),
            )

        stem = f"watch{self.group_version}{self.scope}{resource.kind}"
        yield Path(
            f"{scoped}/{resource.plural}",
            (*namespaces, *list_parameters),
            (watch("watchlist", f"{stem}List", "individual changes to a list"),),
        )
        if resource.namespaced:
            identifier = f"watch{self.group_version}{resource.kind}ListForAllNamespaces"
            yield Path(
                f"{base}/watch/{resource.plural}",
                list_parameters,
                (watch("watchlist", identifier, "individual changes to a list"),),
            )
        if "get" in self.kind.verbs:
            yield Path(
                f"{scoped}/{resource.plural}/{{name}}",
                (*name, *list_parameters),
                (watch("watch", stem, "changes to an object"),),
            )

    def _of_verb(self, verb: str, suffix: str, definition: str, gvk: tuple[str, str, str]) -> Operation:
        kind = self.resource.kind
        subject = f"{suffix.lower()} of the specified {kind}" if suffix else f"the specified {kind}"
        stem = f"{self.group_version}{self.scope}{kind}{suffix}"
        if verb == "get":
            return self._operation(
                method="get",
                action="get",
                identifier=f"read{stem}",
                description=f"read {subject}",
                gvk=gvk,
                query=[QUERY["resourceVersion"]] if self.is_custom else (),
                responses=(("200", "OK", definition),),
            )
        if verb == "update":
            return self._write("put", "replace", suffix, definition, gvk)
        if verb == "create":
            return self._write("post", "create", suffix, definition, gvk)
        if verb == "patch":
            types = (JSON_PATCH, MERGE_PATCH, *(() if self.is_custom else (STRATEGIC_MERGE_PATCH,)), APPLY_PATCH)
            return self._operation(
                method="patch",
                action="patch",
                identifier=f"patch{stem}",
                description=f"partially update {subject}",
                gvk=gvk,
                query=[QUERY[name] for name in (*WRITE, "force")],
                body=f"{META}Patch",
                consumes=types,
                responses=(("200", "OK", definition), ("201", "Created", definition)),
            )
        returned = definition if self.kind.delete_returns_object else f"{META}Status"
        return self._operation(
            method="delete",
            action="delete",
            identifier=f"delete{stem}",
            description=f"delete {subject}",
            gvk=gvk,
            query=[QUERY[name] for name in DELETE],
            body=f"{META}DeleteOptions",
            responses=(("200", "OK", returned), ("202", "Accepted", returned)),
        )

    def _write(self, method: str, word: str, suffix: str, definition: str, gvk: tuple[str, str, str]) -> Operation:
        kind = self.resource.kind
        if method == "post":
            subject = f"{suffix.lower()} of a {kind}" if suffix else f"a {kind}"
        else:
            subject = f"{suffix.lower()} of the specified {kind}" if suffix else f"the specified {kind}"
        responses = [("200", "OK", definition), ("201", "Created", definition)]
        if method == "post":
            responses.append(("202", "Accepted", definition))
        return self._operation(
            method=method,
            action=method,
            identifier=f"{word}{self.group_version}{self.scope}{kind}{suffix}",
            description=f"{word} {subject}",
            gvk=gvk,
            query=[QUERY[name] for name in WRITE],
            body=definition,
            responses=tuple(responses),
        )

    def _subresource(self, subresource: Object, name: tuple[Parameter, ...]) -> Iterator[Path]:
        resource = self.resource
        sub_name, kind_name = str(subresource["name"]), str(subresource["kind"])
        has_own_version = bool(subresource["version"])
        gvk = (
            str(subresource["group"]) if has_own_version else resource.group,
            str(subresource["version"]) or resource.version,
            kind_name,
        )
        suffix = sub_name[:1].upper() + sub_name[1:]
        path = resource.path("{namespace}", "{name}", sub_name)
        if kind_name in CONNECT_PARAMETERS:
            yield from self._connect(sub_name, kind_name, gvk, path, name)
            return
        if sub_name == "log":
            operation = self._operation(
                method="get",
                action="get",
                identifier=f"read{self.group_version}{self.scope}{resource.kind}Log",
                description=f"read log of the specified {resource.kind}",
                produces=("text/plain", *self.media_types),
                responses=(("200", "OK", "string"),),
            )
            yield Path(path, (*name, QUERY["pretty"], *LOG_PARAMETERS), (operation,))
            return
        if gvk == self.gvk:
            definition = self.definition
        elif schema.has_kind(*gvk):
            definition = schema.for_kind(*gvk).definition
        else:
            return
        operations = tuple(
            self._of_verb(verb, suffix, definition, gvk)
            for verb in ("get", "update", "create", "patch", "delete")
            if verb in subresource["verbs"]
        )
        yield Path(path, (*name, QUERY["pretty"]), operations)

    def _connect(
        self, sub_name: str, kind_name: str, gvk: tuple[str, str, str], path: str, name: tuple[Parameter, ...]
    ) -> Iterator[Path]:
        methods: tuple[str, ...] = ("get", "post")
        if sub_name == "proxy":
            methods = ("delete", "get", "head", "options", "patch", "post", "put")
        suffix = sub_name[:1].upper() + sub_name[1:]

        def connect(method: str, ending: str) -> Operation:
            word = method[:1].upper() + method[1:]
            return self._operation(
                method=method,
                action="connect",
                identifier=f"connect{self.group_version}{word}{self.scope}{self.resource.kind}{suffix}{ending}",
                description=f"connect {method.upper()} requests to {sub_name} of {self.resource.kind}",
                gvk=gvk,
                consumes=("*/*",),
                produces=("*/*",),
                responses=(("200", "OK", "string"),),
            )

        query = CONNECT_PARAMETERS[kind_name]
        yield Path(path, (*name, *query), tuple(connect(method, "") for method in methods))
        if sub_name == "proxy":
            yield Path(
                f"{path}/{{path}}",
                (*name, PATH, *query),
                tuple(connect(method, "WithPath") for method in methods),
            )


def paths_of(kind: Kind) -> tuple[Path, ...]:
    """Every path that a kind serves."""
    return tuple(_PathsOfKind(kind).paths())


def document_path(path: str, definition: str, description: str, tag: str) -> Path:
    """The path of a document that is no resource, such as `/apis/apps/` with its APIGroup."""
    name = definition.rpartition(".")[2].removeprefix("API")
    identifier = "get" + "".join(word[:1].upper() + word[1:] for word in tag.split("_")) + name
    operation = Operation(
        method="get",
        action="",
        operation_id=identifier,
        description=description,
        gvk=("", "", ""),
        tag=tag,
        query=(),
        body="",
        consumes=_BUILTIN_TYPES,
        produces=_BUILTIN_TYPES,
        responses=(("200", "OK", definition),),
    )
    return Path(path, (), (operation,))


def key_of_group(group: str, version: str = "") -> str:
    """The key of a group, or of one of its versions, in `/openapi/v3`: `api/v1`, `apis/apps/v1`, `apis/apps`."""
    base = f"apis/{group}" if group else "api"
    return f"{base}/{version}" if version else base


def group_version_kinds(kinds: Iterable[Kind]) -> dict[str, list[Kind]]:
    """The kinds of each group version, by its key in `/openapi/v3`."""
    found: dict[str, list[Kind]] = {}
    for kind in kinds:
        found.setdefault(key_of_group(kind.resource.group, kind.resource.version), []).append(kind)
    return found


DOCUMENTS: Final = ("api", "apis", "version")
"""Keys that exist whatever is served."""


def discovery_path(key: str) -> Path:
    """What describes `/version/`, `/api/`, `/apis/`, `/apis/<group>/` or `/<group version>/` itself."""
    if key == "version":
        return document_path("/version/", VERSION_INFO, "get the version information for this server", "version")
    parts = key.split("/")
    if parts[0] == "api":
        group, version = "", parts[1] if len(parts) > 1 else ""
    else:
        group, version = parts[1] if len(parts) > 1 else "", parts[2] if len(parts) > 2 else ""
    name = group_in_identifiers(group)
    lower = name[:1].lower() + name[1:]
    if version:
        return document_path(f"/{key}/", META + "APIResourceList", "get available resources", f"{lower}_{version}")
    if key == "api":
        return document_path("/api/", META + "APIVersions", "get available API versions", "core")
    if key == "apis":
        return document_path("/apis/", META + "APIGroupList", "get available API versions", "apis")
    return document_path(f"/{key}/", META + "APIGroup", "get information of a group", lower)
