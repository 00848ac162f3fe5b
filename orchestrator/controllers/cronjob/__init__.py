"""CronJobs: a Job at each time of a schedule. Mirrors cronjob-controller.

`schedule` computes times, `plan` decides which Job starts now and which old ones go, `controller`
applies it. The first two are pure.
"""

from orchestrator.controllers.cronjob.controller import CronJobController

__all__ = ["CronJobController"]
