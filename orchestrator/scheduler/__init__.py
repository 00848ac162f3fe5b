"""The scheduler: picks a node for every pending pod; mirrors kube-scheduler."""

from orchestrator.scheduler.scheduler import Scheduler

__all__ = ["Scheduler"]
