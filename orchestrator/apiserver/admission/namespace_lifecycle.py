"""NamespaceLifecycle: nothing is created in a namespace that is missing or going away; three are immortal."""

from __future__ import annotations

from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.objects import is_terminating
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes, Reader

IMMORTAL = frozenset(("default", "kube-system", "kube-public"))


class NamespaceLifecycle(AdmissionPlugin):
    """Runs first, because no other plugin has anything to say about a namespace that is not there."""

    name = "NamespaceLifecycle"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, attributes: Attributes) -> bool:
        if attributes.operation == "DELETE":
            return attributes.group_resource == "namespaces" and not attributes.subresource
        return attributes.operation == "CREATE" and attributes.kind.resource.namespaced

    async def admit(self, attributes: Attributes) -> None:
        """Refuse objects for a namespace that cannot take them."""
        namespace = await self._reader.read("namespaces", attributes.namespace)
        if namespace is None:
            raise errors.not_found("", "namespaces", attributes.namespace)
        if is_terminating(namespace) and attributes.group_resource != "localsubjectaccessreviews":
            error = errors.forbidden(
                attributes.kind.resource.group,
                attributes.kind.resource.plural,
                attributes.name,
                f"unable to create new content in namespace {attributes.namespace} because it is being terminated",
            )
            error.causes = (
                Cause(
                    "NamespaceTerminating",
                    f"namespace {attributes.namespace} is being terminated",
                    "metadata.namespace",
                ),
            )
            raise error

    async def validate(self, attributes: Attributes) -> None:
        """Refuse to delete what the cluster itself lives in."""
        if attributes.operation == "DELETE" and attributes.name in IMMORTAL:
            raise errors.forbidden("", "namespaces", attributes.name, "this namespace may not be deleted")
