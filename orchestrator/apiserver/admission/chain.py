"""The plugins that are on by default, in kube-apiserver's order."""

from __future__ import annotations

from orchestrator.apiserver.admission.certificates import (
    CertificateApproval,
    CertificateRequester,
    CertificateSigning,
    CertificateSubjectRestriction,
)
from orchestrator.apiserver.admission.limit_ranger import LimitRanger
from orchestrator.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from orchestrator.apiserver.admission.node_restriction import NodeRestriction
from orchestrator.apiserver.admission.plugin import AdmissionPlugin
from orchestrator.apiserver.admission.pod_defaults import DefaultTolerationSeconds, Priority, RuntimeClass
from orchestrator.apiserver.admission.rbac_escalation import RbacEscalation
from orchestrator.apiserver.admission.resource_quota import ResourceQuota
from orchestrator.apiserver.admission.service_account import ServiceAccount
from orchestrator.apiserver.admission.storage_protection import (
    DefaultIngressClass,
    DefaultStorageClass,
    StorageObjectInUseProtection,
)
from orchestrator.apiserver.rbac.policy import Policy
from orchestrator.apiserver.server import ApiServer


def default_plugins(server: ApiServer, policy: Policy) -> list[AdmissionPlugin]:
    """Fresh plugins for one API server."""
    return [
        NamespaceLifecycle(server),
        LimitRanger(server.store),
        ServiceAccount(server),
        NodeRestriction(server),
        Priority(server),
        DefaultTolerationSeconds(),
        DefaultStorageClass(server),
        StorageObjectInUseProtection(),
        RuntimeClass(server),
        CertificateRequester(),
        CertificateApproval(server.authorizer),
        CertificateSigning(server.authorizer),
        CertificateSubjectRestriction(),
        DefaultIngressClass(server),
        RbacEscalation(policy, server.authorizer),
        ResourceQuota(server.store),
    ]
