"""Every built-in kind, in the order in which discovery lists them.

Groups come in the order of kube-apiserver's APIService priorities, kinds by their plural names.
"""

from __future__ import annotations

from orchestrator.api.kinds.apps.deployment import DEPLOYMENT
from orchestrator.api.kinds.apps.replica_set import REPLICA_SET, REPLICATION_CONTROLLER
from orchestrator.api.kinds.coordination import LEASE
from orchestrator.api.kinds.core.configuration import CONFIG_MAP, SECRET
from orchestrator.api.kinds.core.endpoints import ENDPOINTS_KIND
from orchestrator.api.kinds.core.event import CORE_EVENT, EVENT
from orchestrator.api.kinds.core.identity import BINDING, SERVICE_ACCOUNT
from orchestrator.api.kinds.core.namespace import NAMESPACE
from orchestrator.api.kinds.core.node import NODE
from orchestrator.api.kinds.core.pod import POD
from orchestrator.api.kinds.core.pod_template import POD_TEMPLATE
from orchestrator.api.kinds.core.service import SERVICE
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.kinds.discovery import ENDPOINT_SLICE


def builtin_kinds() -> list[Kind]:
    """The descriptors of all kinds that are served without a CustomResourceDefinition."""
    return [
        BINDING,
        CONFIG_MAP,
        ENDPOINTS_KIND,
        CORE_EVENT,
        NAMESPACE,
        NODE,
        POD,
        POD_TEMPLATE,
        REPLICATION_CONTROLLER,
        SECRET,
        SERVICE_ACCOUNT,
        SERVICE,
        DEPLOYMENT,
        REPLICA_SET,
        EVENT,
        LEASE,
        ENDPOINT_SLICE,
    ]
