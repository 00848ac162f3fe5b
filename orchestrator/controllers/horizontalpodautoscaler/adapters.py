"""Reads metrics that adapters serve: `custom.metrics.k8s.io` about objects, `external.metrics.k8s.io` about anything.

Values are thousandths of a unit. Both APIs are served by others, through aggregation
(https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#support-for-metrics-apis).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.quantity import milli_value
from orchestrator.api.resources import Resource
from orchestrator.api.selectors import LabelSelector, from_label_selector
from orchestrator.client.client import Client
from orchestrator.client.transport import Request
from orchestrator.controllers.horizontalpodautoscaler.measures import MetricError, Sample
from orchestrator.controllers.pods import time_of

CUSTOM, EXTERNAL = "custom.metrics.k8s.io", "external.metrics.k8s.io"
CUSTOM_VERSIONS = ("v1beta2", "v1beta1")
EXTERNAL_VERSIONS = ("v1beta1",)
WINDOW_SECONDS = 60
_ABSENT = "the server could not find the requested resource"


class MetricAdapters:
    """Asks the two APIs in the newest version that is there; `resources` names what objects can be described."""

    def __init__(self, client: Client, clock: Clock, resources: Callable[[], Sequence[Resource]]) -> None:
        self._client = client
        self._clock = clock
        self._resources = resources

    async def of_pods(
        self, namespace: str, metric: Mapping[str, Any], selector: LabelSelector
    ) -> Mapping[str, Sample]:  # fmt: skip
        """The value of each selected pod, by its name; MetricError."""
        query = {"labelSelector": str(selector), **_selector_query("metricLabelSelector", metric)}
        try:
            items = await self._custom("pods", namespace, "*", metric["name"], query)
        except MetricError as error:
            raise MetricError(f"unable to get metric {metric['name']}: {error}") from None
        now = self._clock.now()
        return {
            item["describedObject"]["name"]: Sample(
                milli_value(item["value"]),
                time_of(item.get("timestamp")) or now,
                timedelta(seconds=item.get("windowSeconds") or item.get("window") or WINDOW_SECONDS),
            )
            for item in items
        }

    async def of_object(self, namespace: str, metric: Mapping[str, Any], described: Mapping[str, Any]) -> int:
        """The value of one object; MetricError."""
        kind, name = described["kind"], described["name"]
        group = str(described.get("apiVersion") or "").rpartition("/")[0]
        query = _selector_query("metricLabelSelector", metric)
        try:
            if kind == "Namespace" and not group:
                items = await self._custom("metrics", name, metric["name"], "", query)
            else:
                plural = self._plural_of(kind, group)
                items = await self._custom(plural, namespace, name, metric["name"], query)
        except MetricError as error:
            # The order of words is that of Kubernetes.
            where = f"{kind} on {namespace} {name}"
            raise MetricError(f"unable to get metric {metric['name']}: {where}/{error}") from None
        return milli_value(items[0]["value"])

    async def of_anything(self, namespace: str, metric: Mapping[str, Any]) -> int:
        """The sum of an external metric over all that its selector finds; MetricError."""
        name = metric["name"]
        query = _selector_query("labelSelector", metric)
        try:
            items = await self._items(EXTERNAL, EXTERNAL_VERSIONS, "external", name, namespace, "", "", query)
        except MetricError as error:
            where = f"{namespace}/{name}/{format_selector(metric.get('selector'))}"
            raise MetricError(f"unable to get external metric {where}: {error}") from None
        return sum(milli_value(item["value"]) for item in items)

    def _plural_of(self, kind: str, group: str) -> str:
        for resource in self._resources():
            if resource.kind == kind and resource.group == group:
                return resource.group_resource
        raise MetricError(f'no matches for kind "{kind}" in group "{group}"')

    async def _custom(
        self, plural: str, namespace: str, name: str, subresource: str, query: Mapping[str, str]
    ) -> list[Object]:
        return await self._items(CUSTOM, CUSTOM_VERSIONS, "custom", plural, namespace, name, subresource, query)

    async def _items(
        self,
        group: str,
        versions: Sequence[str],
        what: str,
        plural: str,
        namespace: str,
        name: str,
        subresource: str,
        query: Mapping[str, str],
    ) -> list[Object]:
        for version in versions:
            resource = Resource(group, version, plural, "")
            verb = "get" if name else "list"
            try:
                listed = await self._client.transport.send(
                    Request(verb, resource, namespace, name, subresource, query)  # type: ignore[arg-type]
                )
            except errors.NotFound as error:
                if error.message == _ABSENT:
                    continue  # not this version
                raise MetricError(f"unable to fetch metrics from {what} metrics API: {error.message}") from None
            except errors.ApiError as error:
                raise MetricError(f"unable to fetch metrics from {what} metrics API: {error.message}") from None
            items: list[Object] = listed.get("items") or []
            if not items:
                raise MetricError(f"no metrics returned from {what} metrics API")
            return items
        raise MetricError(
            f"unable to fetch metrics from {what} metrics API: no {what} metrics API ({group}) registered"
        )


def _selector_query(parameter: str, metric: Mapping[str, Any]) -> dict[str, str]:
    selector = metric.get("selector")
    text = str(from_label_selector(selector)) if selector is not None else ""
    return {parameter: text} if text else {}


def format_selector(selector: Mapping[str, Any] | None) -> str:
    """A label selector as messages of the autoscaler show it, in Go's notation."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = "".join(
        "LabelSelectorRequirement{"
        f"Key:{one['key']},Operator:{one['operator']},Values:[{' '.join(one.get('values') or ())}],"
        "},"
        for one in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
