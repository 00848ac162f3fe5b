"""DaemonSets: one pod on every node that fits. Mirrors daemonset-controller.

`placement` says which nodes fit and how a pod is tied to its node, `plan` decides what to create and
delete, `controller` applies it. The first two are pure.
"""

from orchestrator.controllers.daemonset.controller import DaemonSetController

__all__ = ["DaemonSetController"]
