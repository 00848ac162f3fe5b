"""OpenAPI: every path and every type that this server has, as `/openapi/v3` and `/openapi/v2` publish them.

Pure functions from kinds to documents. Owns the way back from the definitions that
`orchestrator.api.schema` reads (made for validators: nullable types, no formats for Quantity and
IntOrString, enums for apiVersion and kind) to the published form, the description of each
operation, and the definitions of custom resources. Never does I/O and keeps nothing but converted
definitions, which are constant. Mirrors k8s.io/kube-openapi's builders (KEP-2896 for v3) and
apiextensions-apiserver's `pkg/controller/openapi/builder`.

Simplified: the v3 documents carry no `default` that only says the zero value of a Go field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, Literal

import orjson
from msgspec import Struct

from orchestrator.api import schema
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object
from orchestrator.apiserver.discovery import subresources_of
from orchestrator.apiserver.patching import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH

Version = Literal["v2", "v3"]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_VERSION_INFO = "io.k8s.apimachinery.pkg.version.Info"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_SOURCE_PREFIX = "#/$defs/"
_PREFIX: Final[dict[Version, str]] = {"v2": "#/definitions/", "v3": "#/components/schemas/"}

_JSON = "application/json"
_YAML = "application/yaml"
_PROTOBUF = "application/vnd.kubernetes.protobuf"
_BUILTIN_TYPES = (_JSON, _YAML, _PROTOBUF)
_CUSTOM_TYPES = (_JSON, _YAML)
_STREAM_TYPES = {_JSON: f"{_JSON};stream=watch", _PROTOBUF: f"{_PROTOBUF};stream=watch"}
_A_LIST: Final = "io.k8s.api.core.v1.PodList"


def _described(field: str, definition: str = "io.k8s.api.core.v1.Pod") -> Object:
    """The description of a field that all kinds have, in the published words."""
    return {"description": schema.definitions()[definition]["properties"][field]["description"]}


def _type_meta() -> Object:
    return {field: {"type": "string", **_described(field)} for field in ("apiVersion", "kind")}


# Types.


def published(name: str, version: Version) -> Object:
    """One built-in definition in its published form; a fresh value."""
    node = schema.definitions()[name]
    if name == _QUANTITY:
        text = "A number with an optional suffix: 100m, 1.5Gi, 2e3. It keeps its format and its precision."
        if version == "v3":
            return {"description": text, "oneOf": [{"type": "string"}, {"type": "number"}]}
        return {"description": text, "type": "string"}
    if name == _INT_OR_STRING:
        text = "An int32 or a string; in JSON and YAML either may stand."
        if version == "v3":
            return {"description": text, "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
        return {"description": text, "format": "int-or-string", "type": "string"}
    converted = _published_node(node, version)
    if "x-kubernetes-group-version-kind" in node:
        for field in ("apiVersion", "kind"):
            if field in converted.get("properties", {}):
                converted["properties"][field].pop("enum", None)
    return converted


def _published_node(node: Mapping[str, Any], version: Version) -> Object:
    result: Object = {}
    for key, value in node.items():
        if key == "$ref":
            continue
        if key == "type" and isinstance(value, list):
            result[key] = next(item for item in value if item != "null")
        elif key == "properties":
            result[key] = {name: _published_node(child, version) for name, child in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, Mapping):
            result[key] = _published_node(value, version)
        elif key in ("oneOf", "anyOf", "allOf"):
            result[key] = [_published_node(child, version) for child in value]
        elif value is not None:
            result[key] = value
    target = node.get("$ref")
    if target is not None:
        return _with_reference(result, _PREFIX[version] + target.removeprefix(_SOURCE_PREFIX), version)
    return result


def _with_reference(siblings: Object, target: str, version: Version) -> Object:
    # In OpenAPI 3.0 whatever stands beside a $ref is ignored; an allOf of one keeps the description.
    if version == "v3" and siblings:
        return {"allOf": [{"$ref": target}], **siblings}
    return {"$ref": target, **siblings}


def references_in(node: Any) -> set[str]:
    """The names of all definitions that a published node refers to."""
    found: set[str] = set()
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, Mapping):
            target = current.get("$ref")
            if isinstance(target, str):
                found.add(target.rpartition("/")[2])
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)
    return found


class Definition(Struct, frozen=True):
    """A type in published form."""

    value: Object
    encoded: bytes
    references: frozenset[str]

    @classmethod
    def of(cls, value: Object) -> Definition:
        """Encode once, and look up once what it refers to."""
        return cls(value, orjson.dumps(value, option=orjson.OPT_SORT_KEYS), frozenset(references_in(value)))


@cache  # bounded by the number of published definitions
def builtin_definition(name: str, version: Version) -> Definition:
    """A built-in type, converted and encoded once; KeyError when there is none."""
    return Definition.of(published(name, version))


def custom_definition_name(kind: Kind) -> str:
    """`com.example.stable.v1.CronTab`: a custom resource's type, named as Kubernetes names it."""
    resource = kind.resource
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


def definition_name(kind: Kind) -> str:
    """The name of a kind's type."""
    return custom_definition_name(kind) if kind.schema is not None else kind.definition


def custom_definitions(kind: Kind, version: Version) -> dict[str, Definition]:
    """The types of a custom resource and of its list."""
    assert kind.schema is not None
    resource = kind.resource
    name = custom_definition_name(kind)
    item = {
        **_custom_item(kind.schema.raw, version),
        "x-kubernetes-group-version-kind": [
            {"group": resource.group, "kind": resource.kind, "version": resource.version}
        ],
    }
    listed: Object = {
        "description": f"{resource.kind}List is a list of {resource.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            **_type_meta(),
            "items": {
                "description": _described("items", _A_LIST)["description"].replace("pods", resource.plural),
                "type": "array",
                "items": {"$ref": _PREFIX[version] + name},
            },
            "metadata": _with_reference(_described("metadata", _A_LIST), f"{_PREFIX[version]}{_META}ListMeta", version),
        },
        "x-kubernetes-group-version-kind": [
            {"group": resource.group, "kind": f"{resource.kind}List", "version": resource.version}
        ],
    }
    return {name: Definition.of(item), f"{name}List": Definition.of(listed)}


def _custom_item(raw: Mapping[str, Any], version: Version) -> Object:
    """The type of a custom resource itself."""
    if version == "v2" and raw.get("x-kubernetes-preserve-unknown-fields"):
        # Clients that know some of the properties would take all others for mistakes.
        return {"type": "object"}
    item = _custom_node(raw, version)
    metadata = _with_reference(_described("metadata"), f"{_PREFIX[version]}{_META}ObjectMeta", version)
    properties = {**item.get("properties", {}), **_type_meta(), "metadata": metadata}
    return {**item, "type": "object", "properties": properties}


_V2_DROPPED = ("oneOf", "anyOf", "not", "nullable", "default", "x-kubernetes-validations", "example")


def _custom_node(node: Mapping[str, Any], version: Version) -> Object:
    """A structural schema; for v2 without what Swagger 2.0 cannot say, so that old clients accept more, never less."""
    result: Object = {}
    for key, value in node.items():
        if version == "v2" and key in _V2_DROPPED:
            continue
        if key == "properties":
            result[key] = {name: _custom_node(child, version) for name, child in value.items()}
        elif key in ("items", "additionalProperties", "not") and isinstance(value, Mapping):
            result[key] = _custom_node(value, version)
        elif key in ("oneOf", "anyOf", "allOf"):
            result[key] = [_custom_node(child, version) for child in value]
        else:
            result[key] = value
    if version == "v2":
        if node.get("nullable") or node.get("x-kubernetes-int-or-string"):
            for key in ("type", "format", "items", "properties", "additionalProperties", "required"):
                result.pop(key, None)
        if node.get("x-kubernetes-preserve-unknown-fields"):
            for key in ("items", "properties", "additionalProperties", "required"):
                result.pop(key, None)
    if node.get("x-kubernetes-embedded-resource"):
        metadata: Object = {"$ref": f"{_PREFIX[version]}{_META}ObjectMeta"}
        result["properties"] = {**result.get("properties", {}), **_type_meta(), "metadata": metadata}
    return result


# Operations.


class Parameter(Struct, frozen=True):
    """A query or path parameter."""

    name: str
    type: Literal["string", "boolean", "integer"]
    description: str
    location: Literal["query", "path"] = "query"

    def render(self, version: Version) -> Object:
        """As it stands in a document."""
        rendered: Object = {"name": self.name, "in": self.location, "description": self.description}
        if self.location == "path":
            rendered["required"] = True
        typed: Object = {"type": self.type, "uniqueItems": True}
        if version == "v3":
            return {**rendered, "schema": typed}
        return {**rendered, **typed}


def _parameters(*entries: tuple[str, Literal["string", "boolean", "integer"], str]) -> dict[str, Parameter]:
    return {name: Parameter(name, kind, text) for name, kind, text in entries}


_QUERY: Final = _parameters(
    ("pretty", "string", "If 'true', then the output is pretty printed."),
    ("dryRun", "string", "All: run every stage of the request, but store nothing."),
    ("fieldManager", "string", "The name of the actor or entity that makes these changes; at most 128 characters."),
    ("fieldValidation", "string", "What unknown or duplicate fields lead to: Ignore, Warn (the default) or Strict."),
    ("force", "boolean", "Take over fields that others own; only for apply patches."),
    ("allowWatchBookmarks", "boolean", "Ask for BOOKMARK events, which tell how far the watch has come."),
    ("continue", "string", "The token of an earlier answer: return the next chunk of that list."),
    ("fieldSelector", "string", "Restrict the objects returned by their fields."),
    ("labelSelector", "string", "Restrict the objects returned by their labels."),
    ("limit", "integer", "The largest number of objects in one answer."),
    ("resourceVersion", "string", "Which resource versions the request may be served from."),
    ("resourceVersionMatch", "string", "How resourceVersion is applied to a list: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Begin a watch with synthetic events for what exists, and then a bookmark."),
    ("timeoutSeconds", "integer", "How long a list or watch may take."),
    ("watch", "boolean", "Stream changes to the objects instead of listing them."),
    ("gracePeriodSeconds", "integer", "Seconds before the object is removed; 0 removes it at once."),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean", "Delete an object even if it cannot be read."),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy. Whether dependents are orphaned."),
    ("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
)  # fmt: skip
_LIST = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
    "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_DELETE = (
    "dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents",
    "propagationPolicy",
)  # fmt: skip
_DELETE_COLLECTION = (
    *_DELETE, "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch",
    "sendInitialEvents", "timeoutSeconds",
)  # fmt: skip

_STREAM_PARAMETERS = _parameters(
    ("stdin", "boolean", "Redirect the standard input stream."),
    ("stdout", "boolean", "Redirect the standard output stream."),
    ("stderr", "boolean", "Redirect the standard error stream."),
    ("tty", "boolean", "Allocate a terminal."),
    ("container", "string", "The container; may be left out when the pod has one only."),
)
_CONNECT_PARAMETERS: Final[dict[str, tuple[Parameter, ...]]] = {
    "PodAttachOptions": tuple(_STREAM_PARAMETERS.values()),
    "PodExecOptions": (
        *_STREAM_PARAMETERS.values(),
        Parameter("command", "string", "The command to run, one parameter for each word."),
    ),
    "PodPortForwardOptions": (Parameter("ports", "integer", "The ports to forward."),),
    "PodProxyOptions": (Parameter("path", "string", "The path to ask the pod for."),),
    "ServiceProxyOptions": (Parameter("path", "string", "The path to ask the service for."),),
    "NodeProxyOptions": (Parameter("path", "string", "The path to ask the kubelet for."),),
}
_LOG_PARAMETERS = tuple(
    _parameters(
        ("container", "string", "The container; may be left out when the pod has one only."),
        ("follow", "boolean", "Stay connected and stream what is written."),
        ("insecureSkipTLSVerifyBackend", "boolean", "Do not check the serving certificate of the kubelet."),
        ("limitBytes", "integer", "The largest number of bytes to return."),
        ("previous", "boolean", "The log of the container that ended before this one."),
        ("sinceSeconds", "integer", "Only lines that are newer than so many seconds."),
        ("stream", "string", "Which stream to return: All, Stdout or Stderr."),
        ("tailLines", "integer", "So many lines from the end of the log."),
        ("timestamps", "boolean", "Begin every line with the time at which it was written."),
    ).values()
)
_NAMESPACE = Parameter("namespace", "string", "The namespace: object name and auth scope.", "path")
_PATH = Parameter("path", "string", "The path that is asked for.", "path")


class Operation(Struct, frozen=True):
    """One method of one path."""

    method: str
    action: str
    """`x-kubernetes-action`: get, list, post, put, patch, delete, deletecollection, watch, watchlist, connect."""
    operation_id: str
    description: str
    gvk: tuple[str, str, str]
    tag: str
    query: tuple[Parameter, ...]
    body: str
    """The definition of the request's body; empty for none."""
    consumes: tuple[str, ...]
    produces: tuple[str, ...]
    responses: tuple[tuple[str, str, str], ...]
    """(code, description, definition); the definition `string` is a text."""

    def render(self, version: Version) -> Object:
        """As it stands in a document."""
        group, kind_version, kind = self.gvk
        rendered: Object = {
            "description": self.description,
            "operationId": self.operation_id,
            "tags": [self.tag],
            "responses": {},
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": kind_version},
        }
        parameters = [parameter.render(version) for parameter in self.query]
        if version == "v2":
            rendered |= {"consumes": list(self.consumes), "produces": list(self.produces), "schemes": ["https"]}
            if self.body:
                body = {"in": "body", "name": "body", "schema": {"$ref": _PREFIX["v2"] + self.body}}
                parameters.insert(0, body if self.method == "delete" else {**body, "required": True})
        elif self.body:
            target = {"schema": {"$ref": _PREFIX["v3"] + self.body}}
            rendered["requestBody"] = {"content": dict.fromkeys(self.consumes, target)}
            if self.method != "delete":
                rendered["requestBody"]["required"] = True
        if parameters:
            rendered["parameters"] = parameters
        for code, description, definition in self.responses:
            rendered["responses"][code] = self._response(description, definition, version)
        rendered["responses"]["401"] = {"description": "Unauthorized"}
        return rendered

    def _response(self, description: str, definition: str, version: Version) -> Object:
        value = {"type": "string"} if definition == "string" else {"$ref": _PREFIX[version] + definition}
        if version == "v2":
            return {"description": description, "schema": value}
        return {"description": description, "content": {kind: {"schema": value} for kind in self.produces}}


class Path(Struct, frozen=True):
    """One path with the parameters that all its operations share."""

    path: str
    parameters: tuple[Parameter, ...]
    operations: tuple[Operation, ...]

    def render(self, version: Version) -> Object:
        """As it stands in a document."""
        item: Object = {operation.method: operation.render(version) for operation in self.operations}
        if self.parameters:
            item["parameters"] = [parameter.render(version) for parameter in self.parameters]
        return item


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
        namespaces = (_NAMESPACE,) if resource.namespaced else ()
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
            yield Path(collection, (*namespaces, _QUERY["pretty"]), tuple(operations))
        operations = [
            self._of_verb(verb, "", self.definition, self.gvk)
            for verb in ("get", "update", "patch", "delete")
            if verb in verbs
        ]
        if operations:
            yield Path(resource.path("{namespace}", "{name}"), (*name, _QUERY["pretty"]), tuple(operations))
        if resource.namespaced and "list" in verbs:
            yield Path(resource.path(), self._list_parameters(), (self._list(all_namespaces=True),))
        if "watch" in verbs and not self.is_custom:
            yield from self._watches(namespaces, name)
        for subresource in subresources_of(self.kind):
            yield from self._subresource(subresource, name)

    def _name_parameter(self) -> Parameter:
        return Parameter("name", "string", f"The name of the {self.resource.kind}.", "path")

    def _list_parameters(self) -> tuple[Parameter, ...]:
        return (*(_QUERY[name] for name in _LIST), _QUERY["pretty"])

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
            query=() if all_namespaces else [_QUERY[name] for name in _LIST],
            produces=self._with_streams(),
            responses=(("200", "OK", f"{self.definition}List"),),
        )

    def _delete_collection(self) -> Operation:
        return self._operation(
            method="delete",
            action="deletecollection",
            identifier=f"delete{self.group_version}Collection{self.scope}{self.resource.kind}",
            description=f"delete collection of {self.resource.kind}",
            query=[_QUERY[name] for name in _DELETE_COLLECTION],
            body=f"{_META}DeleteOptions",
            responses=(("200", "OK", f"{_META}Status"),),
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
                responses=(("200", "OK", f"{_META}WatchEvent"),),
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
                query=[_QUERY["resourceVersion"]] if self.is_custom else (),
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
                query=[_QUERY[name] for name in (*_WRITE, "force")],
                body=f"{_META}Patch",
                consumes=types,
                responses=(("200", "OK", definition), ("201", "Created", definition)),
            )
        returned = definition if self.kind.delete_returns_object else f"{_META}Status"
        return self._operation(
            method="delete",
            action="delete",
            identifier=f"delete{stem}",
            description=f"delete {subject}",
            gvk=gvk,
            query=[_QUERY[name] for name in _DELETE],
            body=f"{_META}DeleteOptions",
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
            query=[_QUERY[name] for name in _WRITE],
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
        if kind_name in _CONNECT_PARAMETERS:
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
            yield Path(path, (*name, _QUERY["pretty"], *_LOG_PARAMETERS), (operation,))
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
        yield Path(path, (*name, _QUERY["pretty"]), operations)

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

        query = _CONNECT_PARAMETERS[kind_name]
        yield Path(path, (*name, *query), tuple(connect(method, "") for method in methods))
        if sub_name == "proxy":
            yield Path(
                f"{path}/{{path}}",
                (*name, _PATH, *query),
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


# Documents.


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
        return document_path("/version/", _VERSION_INFO, "get the version information for this server", "version")
    parts = key.split("/")
    if parts[0] == "api":
        group, version = "", parts[1] if len(parts) > 1 else ""
    else:
        group, version = parts[1] if len(parts) > 1 else "", parts[2] if len(parts) > 2 else ""
    name = group_in_identifiers(group)
    lower = name[:1].lower() + name[1:]
    if version:
        return document_path(f"/{key}/", _META + "APIResourceList", "get available resources", f"{lower}_{version}")
    if key == "api":
        return document_path("/api/", _META + "APIVersions", "get available API versions", "core")
    if key == "apis":
        return document_path("/apis/", _META + "APIGroupList", "get available API versions", "apis")
    return document_path(f"/{key}/", _META + "APIGroup", "get information of a group", lower)


_SECURITY: Final[Object] = {
    "BearerToken": {
        "description": "Bearer Token authentication",
        "in": "header",
        "name": "authorization",
        "type": "apiKey",
    }
}


def closure(roots: Iterable[str], custom: Mapping[str, Definition], version: Version) -> dict[str, Definition]:
    """Every definition that the roots need, themselves included, sorted by name."""
    found: dict[str, Definition] = {}
    pending = set(roots)
    while pending:
        name = pending.pop()
        definition = custom.get(name) or builtin_definition(name, version)
        found[name] = definition
        pending |= definition.references - found.keys()
    return dict(sorted(found.items()))


def v3_document(paths: Sequence[Path], kinds: Sequence[Kind], product_version: str) -> bytes:
    """One document of `/openapi/v3/<key>`: these paths and the types that they need, as JSON."""
    rendered = {path.path: path.render("v3") for path in paths}
    custom: dict[str, Definition] = {}
    for kind in kinds:
        if kind.schema is not None:
            custom |= custom_definitions(kind, "v3")
    definitions = closure(references_in(rendered), custom, "v3")
    document = {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": product_version},
        "paths": _without_gvk_of_documents(rendered),
        "components": {
            "schemas": {name: orjson.Fragment(definition.encoded) for name, definition in definitions.items()},
            "securitySchemes": _SECURITY,
        },
        "security": [{"BearerToken": []}],
    }
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def v2_document(kinds: Sequence[Kind], product_version: str) -> Object:
    """The document of `/openapi/v2`: all paths and types, as a value."""
    paths: list[Path] = [discovery_path(key) for key in DOCUMENTS]
    custom: dict[str, Definition] = {}
    for key in group_version_kinds(kinds):
        paths.append(discovery_path(key))
        group_key = key.rpartition("/")[0]
        if group_key not in ("api", "apis"):
            paths.append(discovery_path(group_key))
    for kind in kinds:
        paths += paths_of(kind)
        if kind.schema is not None:
            custom |= custom_definitions(kind, "v2")
    rendered = {path.path: path.render("v2") for path in sorted(paths, key=lambda path: path.path)}
    definitions = closure(references_in(rendered), custom, "v2")
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": product_version},
        "paths": _without_gvk_of_documents(rendered),
        "definitions": {name: definition.value for name, definition in definitions.items()},
        "securityDefinitions": _SECURITY,
        "security": [{"BearerToken": []}],
    }


def _without_gvk_of_documents(rendered: dict[str, Object]) -> dict[str, Object]:
    for item in rendered.values():
        for operation in item.values():
            if isinstance(operation, dict) and operation.get("x-kubernetes-action") == "":
                del operation["x-kubernetes-action"], operation["x-kubernetes-group-version-kind"]
    return rendered
