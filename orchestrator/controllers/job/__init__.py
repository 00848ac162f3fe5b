"""Jobs: run pods to completion. Mirrors job-controller.

`indexes` are the completion indexes of Indexed Jobs, `failures` judges failed pods (backoff limits,
pod failure policy), `plan` decides everything about one Job, `controller` applies it.
"""

from orchestrator.controllers.job.controller import JobController

__all__ = ["JobController"]
