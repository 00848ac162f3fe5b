"""ReplicaSets: keep N pods of one template. Mirrors replicaset-controller."""

from __future__ import annotations

from typing import ClassVar

from orchestrator.api.objects import Object
from orchestrator.api.resources import REPLICA_SETS
from orchestrator.api.selectors import LabelSelector, from_label_selector
from orchestrator.controllers.replicas import ReplicaController


class ReplicaSetController(ReplicaController):
    """See `orchestrator.controllers.replicas`."""

    name: ClassVar[str] = "replicaset"
    resource = REPLICA_SETS
    reports_terminating = True

    def selector_of(self, obj: Object) -> LabelSelector:
        return from_label_selector(obj["spec"].get("selector"))
