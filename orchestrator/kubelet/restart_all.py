"""The action RestartAllContainers of restart rules (KEP-5532): one container's exit starts a new *round* of all.

Pure functions. The containers of a round carry its number as a label, so that the round of a pod is known from what
the runtime holds alone, whoever looks: it is the highest number, or the next one once a container of the highest
round has ended with a code that asks for it. Containers of earlier rounds count for nothing but history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.kubelet.pod import app_containers_of, init_containers_of, matching_rule
from orchestrator.kubelet.runtime import Container, ContainerPhase

ACTION = "RestartAllContainers"
CONDITION = "AllContainersRestarting"
ROUND_LABEL = "io.kubernetes.container.restartRound"


class Round(Struct, frozen=True):
    """Where a pod is in its restarts."""

    number: int = 0
    trigger: Container | None = None
    """Whose exit began this round, while no container of the round exists."""

    def is_over_for(self, container: Container) -> bool:
        """Whether a container belongs to an earlier round."""
        return round_of(container) < self.number

    @property
    def message(self) -> str:
        """Why the round began."""
        if self.trigger is None:
            return ""
        return f"Container {self.trigger.name} exited with code {self.trigger.exit_code}, triggering pod restart"


def could_restart_all(pod: Object) -> bool:
    """Whether any container of the pod has such a rule."""
    return any(
        rule.get("action") == ACTION
        for container in (*init_containers_of(pod), *app_containers_of(pod))
        for rule in container.get("restartPolicyRules") or ()
    )


def round_of(container: Container) -> int:
    """The round that a container was started in."""
    text = container.labels.get(ROUND_LABEL, "0")
    return int(text) if text.isdigit() else 0


def plan_round(pod: Object, containers: Iterable[Container], newest: Mapping[str, Container]) -> Round:
    """The round that a pod is in; `newest` has the newest container of each name."""
    if not could_restart_all(pod):
        return Round()
    top = max((round_of(container) for container in containers), default=0)
    for container in (*init_containers_of(pod), *app_containers_of(pod)):
        found = newest.get(container["name"])
        if found is None or found.phase is not ContainerPhase.EXITED or round_of(found) != top:
            continue
        rule = matching_rule(container, found.exit_code)
        if rule is not None and rule.get("action") == ACTION:
            return Round(top + 1, found)
    return Round(top)
