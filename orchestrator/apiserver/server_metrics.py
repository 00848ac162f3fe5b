"""What every scrape of kube-apiserver tells beside its requests: the build, and how many objects there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.store import Store

_BUILD_LABELS = {
    "major": "major",
    "minor": "minor",
    "git_version": "gitVersion",
    "git_commit": "gitCommit",
    "git_tree_state": "gitTreeState",
    "build_date": "buildDate",
    "go_version": "goVersion",
    "compiler": "compiler",
    "platform": "platform",
}
"""Label → its field of the document at `/version`."""


class ServerMetrics(Collector):
    """Reads the store when somebody asks."""

    def __init__(self, store: Store, version: Mapping[str, str]) -> None:
        self._store = store
        self._build = {label: version[name] for label, name in _BUILD_LABELS.items()}

    def collect(self) -> Iterator[Metric]:
        """Everything, for one scrape."""
        build = GaugeMetricFamily("kubernetes_build_info", "Always 1; the labels are the build.", labels=[*self._build])
        build.add_metric([*self._build.values()], 1)
        yield build
        # The second is what the first is called since v1.34; both are shown for some releases.
        stored = GaugeMetricFamily("apiserver_storage_objects", "Objects by resource.", labels=["resource"])
        objects = GaugeMetricFamily("apiserver_resource_objects", "Objects by resource.", labels=["group", "resource"])
        for name, count in self._store.stats().objects.items():
            resource, _, group = name.partition(".")
            stored.add_metric([name], count)
            objects.add_metric([group, resource], count)
        yield from (stored, objects)
