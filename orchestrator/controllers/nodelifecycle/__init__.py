"""Which nodes are alive: stale Leases make a node Unknown, taints keep pods away. Mirrors node-lifecycle-controller.

`plan` says what a node's status, labels and taints should be, `zones` how many nodes may be given up at once; both
are pure. `controller` follows heart-beats and writes.
"""

from orchestrator.controllers.nodelifecycle.controller import NodeLifecycleController

__all__ = ["NodeLifecycleController"]
