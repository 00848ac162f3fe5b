"""Jobs: run pods to completion. Mirrors job-controller.

`plan` decides everything about one Job from the facts in `state`: `counting` finished pods, the `verdict`, and the
`pods` that come and go. `indexes` are those of Indexed Jobs, `failures` judges failed pods by the policy, and
`controller` applies the plan.
"""

from orchestrator.controllers.job.controller import JobController

__all__ = ["JobController"]
