"""One method of one path, and one path, as they stand in a document."""

from __future__ import annotations

from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.apiserver.openapi.definitions import REFERENCE_PREFIX, Version
from orchestrator.apiserver.openapi.parameters import Parameter


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
                body = {"in": "body", "name": "body", "schema": {"$ref": REFERENCE_PREFIX["v2"] + self.body}}
                parameters.insert(0, body if self.method == "delete" else {**body, "required": True})
        elif self.body:
            target = {"schema": {"$ref": REFERENCE_PREFIX["v3"] + self.body}}
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
        value = {"type": "string"} if definition == "string" else {"$ref": REFERENCE_PREFIX[version] + definition}
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
