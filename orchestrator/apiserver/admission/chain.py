"""The plugins that are on by default, in kube-apiserver's order."""

from __future__ import annotations

from orchestrator.apiserver.admission.certificates import (
    CertificateApproval,
    CertificateRequester,
    CertificateSigning,
    CertificateSubjectRestriction,
)
from orchestrator.apiserver.admission.limit_ranger import LimitRanger
from orchestrator.apiserver.admission.mutating_policy import MutatingAdmissionPolicy
from orchestrator.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from orchestrator.apiserver.admission.node_restriction import NodeRestriction
from orchestrator.apiserver.admission.plugin import AdmissionPlugin
from orchestrator.apiserver.admission.pod_defaults import DefaultTolerationSeconds, Priority, RuntimeClass
from orchestrator.apiserver.admission.pod_resize import PodResizeValidator
from orchestrator.apiserver.admission.pod_security import PodSecurity
from orchestrator.apiserver.admission.rbac_escalation import RbacEscalation
from orchestrator.apiserver.admission.resource_quota import ResourceQuota
from orchestrator.apiserver.admission.service_account import ServiceAccount
from orchestrator.apiserver.admission.storage_protection import (
    DefaultIngressClass,
    DefaultStorageClass,
    PersistentVolumeClaimResize,
    StorageObjectInUseProtection,
)
from orchestrator.apiserver.admission.taint_nodes import TaintNodesByCondition
from orchestrator.apiserver.admission.validating_policy import ValidatingAdmissionPolicy
from orchestrator.apiserver.admission.webhooks import MutatingAdmissionWebhook, ValidatingAdmissionWebhook
from orchestrator.apiserver.rbac.policy import Policy
from orchestrator.apiserver.server import ApiServer
from orchestrator.apiserver.webhook_client import WebhookClient


def default_plugins(server: ApiServer, policy: Policy) -> list[AdmissionPlugin]:
    """Fresh plugins for one API server."""
    webhooks = WebhookClient(server)
    server.closers.append(webhooks.close)
    return [
        NamespaceLifecycle(server),
        LimitRanger(server.store),
        ServiceAccount(server, server.store, server.clock),
        NodeRestriction(server),
        TaintNodesByCondition(),
        PodSecurity(server),
        Priority(server.store),
        DefaultTolerationSeconds(),
        DefaultStorageClass(server),
        StorageObjectInUseProtection(),
        PersistentVolumeClaimResize(server),
        RuntimeClass(server),
        CertificateRequester(),
        CertificateApproval(server.authorizer),
        CertificateSigning(server.authorizer),
        CertificateSubjectRestriction(),
        DefaultIngressClass(server),
        PodResizeValidator(server),
        MutatingAdmissionPolicy(server.store, server, server.registry, server.authorizer),
        MutatingAdmissionWebhook(server.store, server, server.registry, server.authorizer, webhooks),
        RbacEscalation(policy, server.authorizer),
        ValidatingAdmissionPolicy(server.store, server, server.registry, server.authorizer),
        ValidatingAdmissionWebhook(server.store, server, server.registry, server.authorizer, webhooks),
        ResourceQuota(server.store),
    ]
