"""Every built-in kind, in the order in which discovery lists them.

Groups come in the order of kube-apiserver's APIService priorities, kinds by their plural names.
"""

from __future__ import annotations

from orchestrator.api.kinds.apps.daemon_set import DAEMON_SET
from orchestrator.api.kinds.apps.deployment import DEPLOYMENT
from orchestrator.api.kinds.apps.replica_set import REPLICA_SET, REPLICATION_CONTROLLER
from orchestrator.api.kinds.apps.stateful_set import CONTROLLER_REVISION, STATEFUL_SET
from orchestrator.api.kinds.batch.cron_job import CRON_JOB
from orchestrator.api.kinds.batch.job import JOB
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
        CONTROLLER_REVISION,
        DAEMON_SET,
        DEPLOYMENT,
        REPLICA_SET,
        STATEFUL_SET,
        EVENT,
        CRON_JOB,
        JOB,
        LEASE,
        ENDPOINT_SLICE,
    ]
