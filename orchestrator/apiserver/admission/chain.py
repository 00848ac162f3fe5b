"""The plugins that are on by default, in kube-apiserver's order."""

from __future__ import annotations

from orchestrator.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Reader


def default_plugins(reader: Reader) -> list[AdmissionPlugin]:
    """Fresh plugins for one API server."""
    return [NamespaceLifecycle(reader)]
