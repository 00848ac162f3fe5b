"""Warns of objects that this cluster stores and nobody acts on: what is accepted must not look as if it worked."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes


class WithoutEffect(AdmissionPlugin):
    """Warnings by group-resource."""

    name = "WithoutEffect"
    changes_objects = False

    def __init__(self, warnings: Mapping[str, str]) -> None:
        self.resources = frozenset(warnings)
        self._warnings = warnings

    def handles(self, attributes: Attributes) -> bool:
        is_written = attributes.operation in ("CREATE", "UPDATE") and not attributes.subresource
        return is_written and attributes.group_resource in self._warnings

    async def validate(self, attributes: Attributes) -> None:
        attributes.warnings.append(self._warnings[attributes.group_resource])
