"""Deployments: roll from one ReplicaSet to the next. Mirrors deployment-controller.

`revisions` names templates and numbers them, `rollout` decides sizes, `progress` computes status and
conditions, `controller` applies it all. The first three are pure.
"""

from orchestrator.controllers.deployment.controller import DeploymentController

__all__ = ["DeploymentController"]
