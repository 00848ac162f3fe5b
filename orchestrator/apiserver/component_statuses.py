"""ComponentStatus: how the scheduler, the controllers and the store are, asked at the moment of the request.

Owns the objects' form; stores nothing. Mirrors kube-apiserver's registry of component statuses, which asks the
health ports of kube-scheduler, kube-controller-manager and etcd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.resources import COMPONENT_STATUSES
from orchestrator.apiserver.request import ApiRequest

Problem = Callable[[], str]
"""What is wrong now; empty when the component is healthy."""


class ComponentStatuses:
    """Answers for the resource `componentstatuses`; the names are those of Kubernetes."""

    def __init__(self, components: Mapping[str, Problem]) -> None:
        self._components = dict(sorted(components.items()))

    async def __call__(self, request: ApiRequest) -> list[Object]:
        """The component that is asked for, or all of them."""
        if not request.name:
            return [component_status(name, problem()) for name, problem in self._components.items()]
        problem = self._components.get(request.name)
        if problem is None:
            raise errors.not_found("", COMPONENT_STATUSES.plural, request.name)
        return [component_status(request.name, problem())]


def component_status(name: str, problem: str) -> Object:
    """One ComponentStatus."""
    condition = {"type": "Healthy", "status": "False" if problem else "True", "message": problem or "ok"}
    return {
        "kind": "ComponentStatus",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "conditions": [condition],
    }
