"""The plugins that are on by default, in kube-apiserver's order."""

from __future__ import annotations

from orchestrator.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Reader
from orchestrator.apiserver.admission.pod_defaults import DefaultTolerationSeconds, Priority, RuntimeClass
from orchestrator.apiserver.admission.service_account import ServiceAccount
from orchestrator.apiserver.admission.storage_protection import (
    DefaultIngressClass,
    DefaultStorageClass,
    StorageObjectInUseProtection,
)


def default_plugins(reader: Reader) -> list[AdmissionPlugin]:
    """Fresh plugins for one API server."""
    return [
        NamespaceLifecycle(reader),
        ServiceAccount(reader),
        Priority(reader),
        DefaultTolerationSeconds(),
        DefaultStorageClass(reader),
        StorageObjectInUseProtection(),
        RuntimeClass(reader),
        DefaultIngressClass(reader),
    ]
