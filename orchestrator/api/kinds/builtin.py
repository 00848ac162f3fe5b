"""Every built-in kind, in the order in which discovery lists them.

Groups come in the order of kube-apiserver's APIService priorities, kinds by their plural names.
"""

from __future__ import annotations

from orchestrator.api.kinds.admissionregistration.policies import (
    MUTATING_ADMISSION_POLICY,
    MUTATING_ADMISSION_POLICY_BINDING,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
)
from orchestrator.api.kinds.admissionregistration.webhook_configurations import (
    MUTATING_WEBHOOK_CONFIGURATION,
    VALIDATING_WEBHOOK_CONFIGURATION,
)
from orchestrator.api.kinds.apiextensions.custom_resource_definition import CUSTOM_RESOURCE_DEFINITION
from orchestrator.api.kinds.apps.daemon_set import DAEMON_SET
from orchestrator.api.kinds.apps.deployment import DEPLOYMENT
from orchestrator.api.kinds.apps.replica_set import REPLICA_SET, REPLICATION_CONTROLLER
from orchestrator.api.kinds.apps.stateful_set import CONTROLLER_REVISION, STATEFUL_SET
from orchestrator.api.kinds.autoscaling import HORIZONTAL_POD_AUTOSCALER, HORIZONTAL_POD_AUTOSCALER_V1
from orchestrator.api.kinds.batch.cron_job import CRON_JOB
from orchestrator.api.kinds.batch.job import JOB
from orchestrator.api.kinds.certificates import CERTIFICATE_SIGNING_REQUEST
from orchestrator.api.kinds.coordination import LEASE
from orchestrator.api.kinds.core.component_status import COMPONENT_STATUS
from orchestrator.api.kinds.core.configuration import CONFIG_MAP, SECRET
from orchestrator.api.kinds.core.endpoints import ENDPOINTS_KIND
from orchestrator.api.kinds.core.event import CORE_EVENT, EVENT
from orchestrator.api.kinds.core.identity import BINDING, SERVICE_ACCOUNT
from orchestrator.api.kinds.core.limits import LIMIT_RANGE, RESOURCE_QUOTA
from orchestrator.api.kinds.core.namespace import NAMESPACE
from orchestrator.api.kinds.core.node import NODE
from orchestrator.api.kinds.core.persistent_volume import PERSISTENT_VOLUME
from orchestrator.api.kinds.core.persistent_volume_claim import PERSISTENT_VOLUME_CLAIM
from orchestrator.api.kinds.core.pod import POD
from orchestrator.api.kinds.core.pod_template import POD_TEMPLATE
from orchestrator.api.kinds.core.service import SERVICE
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.discovery import ENDPOINT_SLICE
from orchestrator.api.kinds.extensions import API_SERVICE
from orchestrator.api.kinds.flowcontrol import FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION
from orchestrator.api.kinds.networking import INGRESS, INGRESS_CLASS, IP_ADDRESS, NETWORK_POLICY, SERVICE_CIDR
from orchestrator.api.kinds.policy import POD_DISRUPTION_BUDGET
from orchestrator.api.kinds.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from orchestrator.api.kinds.resource.claims import DEVICE_CLASS, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE
from orchestrator.api.kinds.resource.slices import RESOURCE_SLICE
from orchestrator.api.kinds.reviews import (
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
    TOKEN_REVIEW,
)
from orchestrator.api.kinds.scheduling import PRIORITY_CLASS, RUNTIME_CLASS
from orchestrator.api.kinds.storage import (
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    STORAGE_CLASS,
    VOLUME_ATTACHMENT,
    VOLUME_ATTRIBUTES_CLASS,
)


def builtin_kinds() -> list[Kind]:
    """The descriptors of all kinds that are served without a CustomResourceDefinition."""
    return [
        BINDING,
        COMPONENT_STATUS,
        CONFIG_MAP,
        ENDPOINTS_KIND,
        CORE_EVENT,
        LIMIT_RANGE,
        NAMESPACE,
        NODE,
        PERSISTENT_VOLUME_CLAIM,
        PERSISTENT_VOLUME,
        POD,
        POD_TEMPLATE,
        REPLICATION_CONTROLLER,
        RESOURCE_QUOTA,
        SECRET,
        SERVICE_ACCOUNT,
        SERVICE,
        API_SERVICE,
        CONTROLLER_REVISION,
        DAEMON_SET,
        DEPLOYMENT,
        REPLICA_SET,
        STATEFUL_SET,
        EVENT,
        SELF_SUBJECT_REVIEW,
        TOKEN_REVIEW,
        LOCAL_SUBJECT_ACCESS_REVIEW,
        SELF_SUBJECT_ACCESS_REVIEW,
        SELF_SUBJECT_RULES_REVIEW,
        SUBJECT_ACCESS_REVIEW,
        HORIZONTAL_POD_AUTOSCALER,
        HORIZONTAL_POD_AUTOSCALER_V1,
        CRON_JOB,
        JOB,
        CERTIFICATE_SIGNING_REQUEST,
        INGRESS_CLASS,
        INGRESS,
        IP_ADDRESS,
        NETWORK_POLICY,
        SERVICE_CIDR,
        POD_DISRUPTION_BUDGET,
        CLUSTER_ROLE_BINDING,
        CLUSTER_ROLE,
        ROLE_BINDING,
        ROLE,
        CSI_DRIVER,
        CSI_NODE,
        CSI_STORAGE_CAPACITY,
        STORAGE_CLASS,
        VOLUME_ATTACHMENT,
        VOLUME_ATTRIBUTES_CLASS,
        MUTATING_ADMISSION_POLICY,
        MUTATING_ADMISSION_POLICY_BINDING,
        MUTATING_WEBHOOK_CONFIGURATION,
        VALIDATING_ADMISSION_POLICY,
        VALIDATING_ADMISSION_POLICY_BINDING,
        VALIDATING_WEBHOOK_CONFIGURATION,
        CUSTOM_RESOURCE_DEFINITION,
        PRIORITY_CLASS,
        LEASE,
        RUNTIME_CLASS,
        ENDPOINT_SLICE,
        FLOW_SCHEMA,
        PRIORITY_LEVEL_CONFIGURATION,
        DEVICE_CLASS,
        RESOURCE_CLAIM,
        RESOURCE_CLAIM_TEMPLATE,
        RESOURCE_SLICE,
    ]
