"""ReplicationControllers: ReplicaSets of the first hour. Mirrors replicationcontroller-controller."""

from __future__ import annotations

from typing import ClassVar

from orchestrator.api.objects import Object
from orchestrator.api.resources import REPLICATION_CONTROLLERS
from orchestrator.api.selectors import LabelSelector, from_labels
from orchestrator.controllers.replicas import ReplicaController


class ReplicationControllerController(ReplicaController):
    """See `orchestrator.controllers.replicas`; the selector is a plain map of labels."""

    name: ClassVar[str] = "replicationcontroller"
    resource = REPLICATION_CONTROLLERS

    def selector_of(self, obj: Object) -> LabelSelector:
        selector = obj["spec"].get("selector")
        return from_labels(selector) if selector else LabelSelector(nothing=True)
