"""HorizontalPodAutoscalers: size follows load. Mirrors horizontal-pod-autoscaler-controller.

`measures` computes a size from metrics and pods, `behavior` slows changes down, `controller` reads
metrics and writes the scale. The first two are pure.
"""

from orchestrator.controllers.horizontalpodautoscaler.controller import HorizontalPodAutoscalerController

__all__ = ["HorizontalPodAutoscalerController"]
