"""StatefulSets: pods with a name, an order and claims of their own. Mirrors statefulset-controller.

`identity` says what a pod and its claims are called and whose they are, `plan` decides which pods to
create and delete, `controller` applies it. The first two are pure.
"""

from orchestrator.controllers.statefulset.controller import StatefulSetController

__all__ = ["StatefulSetController"]
