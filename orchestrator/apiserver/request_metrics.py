"""Counts of requests under kube-apiserver's names, for `/metrics`.

Recording is a few dictionary operations; Prometheus' own types are made only when somebody reads them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from orchestrator.apiserver.flowcontrol import FlowControl

BUCKETS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip
MUTATING = frozenset(("create", "update", "patch", "delete", "deletecollection"))
SERIES_MAX = 10_000
"""Combinations of labels that are told apart; beyond, requests are counted without what they are about."""
_VERBS = {
    "get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH",
    "delete": "DELETE", "deletecollection": "DELETECOLLECTION",
}  # fmt: skip


class RequestLabels(NamedTuple):
    """What a request was about, in the labels of kube-apiserver's metrics."""

    verb: str = ""
    dry_run: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    scope: str = ""


def metric_verb(verb: str, *, is_apply: bool = False, is_stream: bool = False) -> str:
    """`GET`, `LIST`, `APPLY`, `CONNECT`...; `OTHER` for what is none."""
    if is_apply:
        return "APPLY"
    return "CONNECT" if is_stream else _VERBS.get(verb, "OTHER")


def scope_of(verb: str, namespace: str, name: str) -> str:
    """`resource`, `namespace` or `cluster`."""
    if name or verb == "create":
        return "resource"
    return "namespace" if namespace else "cluster"


class _Duration:
    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0


class RequestMetrics(Collector):
    """Requests by what they were about and how they ended; requests in flight."""

    def __init__(self, flow_control: FlowControl) -> None:
        self._flows = flow_control
        self._totals: dict[tuple[RequestLabels, int], int] = {}
        self._durations: dict[RequestLabels, _Duration] = {}
        self.inflight = {"mutating": 0, "readOnly": 0}
        self._long_running: dict[RequestLabels, int] = {}

    def finished(self, labels: RequestLabels, code: int, seconds: float) -> None:
        """Count a request that was answered."""
        if (labels, code) not in self._totals and len(self._totals) >= SERIES_MAX:
            labels = RequestLabels(labels.verb)
        key = (labels, code)
        self._totals[key] = self._totals.get(key, 0) + 1
        duration = self._durations.get(labels)
        if duration is None:
            duration = self._durations[labels] = _Duration()
        duration.counts[bisect_left(BUCKETS, seconds)] += 1
        duration.sum += seconds

    def long_running(self, labels: RequestLabels, change: int) -> None:
        """A watch or stream was opened (1) or ended (-1)."""
        count = self._long_running.get(labels, 0) + change
        if count > 0:
            self._long_running[labels] = count
        else:
            self._long_running.pop(labels, None)

    def collect(self) -> Iterator[Metric]:
        """Everything, for one scrape."""
        names = [*RequestLabels._fields, "component"]
        total = CounterMetricFamily(
            "apiserver_request",
            "Requests by verb, dry run, group, version, resource, subresource, scope, component and code.",
            labels=[*names, "code"],
        )
        for (labels, code), count in self._totals.items():
            total.add_metric([*labels, "apiserver", str(code)], count)
        yield total
        durations = HistogramMetricFamily(
            "apiserver_request_duration_seconds", "How long requests took until they were answered.", labels=names
        )
        for labels, duration in self._durations.items():
            seen, buckets = 0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), duration.counts, strict=True):
                seen += count
                buckets.append((bound, float(seen)))
            durations.add_metric([*labels, "apiserver"], buckets, duration.sum)
        yield durations
        inflight = GaugeMetricFamily(
            "apiserver_current_inflight_requests", "Requests that are worked on now.", labels=["request_kind"]
        )
        for kind, count in self.inflight.items():
            inflight.add_metric([kind], count)
        yield inflight
        running = GaugeMetricFamily("apiserver_longrunning_requests", "Open watches and streams.", labels=names)
        for labels, count in self._long_running.items():
            running.add_metric([*labels, "apiserver"], count)
        yield running
        yield from self._flow_control_metrics()

    def _flow_control_metrics(self) -> Iterator[Metric]:
        seats = GaugeMetricFamily(
            "apiserver_flowcontrol_nominal_limit_seats",
            "Seats that a priority level's shares come to.",
            labels=["priority_level"],
        )
        for name, level in self._flows.levels().items():
            seats.add_metric([name], level.limits.seats)
        label = ["priority_level", "flow_schema"]
        executing = GaugeMetricFamily(
            "apiserver_flowcontrol_current_executing_requests", "Requests that have a seat.", labels=label
        )
        queued = GaugeMetricFamily(
            "apiserver_flowcontrol_current_inqueue_requests", "Requests that wait for a seat.", labels=label
        )
        dispatched = CounterMetricFamily(
            "apiserver_flowcontrol_dispatched_requests", "Requests that got a seat.", labels=label
        )
        rejected = CounterMetricFamily(
            "apiserver_flowcontrol_rejected_requests", "Requests that were answered 429.", labels=[*label, "reason"]
        )
        for schema, name, counts in self._flows.counts():
            executing.add_metric([name, schema], counts.executing)
            queued.add_metric([name, schema], counts.waiting)
            dispatched.add_metric([name, schema], counts.dispatched)
            for reason, count in counts.rejected.items():
                rejected.add_metric([name, schema, reason], count)
        yield from (seats, executing, queued, dispatched, rejected)
