"""The static pods of one node, whatever source they come from: which there are, and whose mirror is due.

Owns what the sources said last. Adds records of pods, and never starts anything: that is the kubelet's, as are the
ends of pods whose manifest is gone. Mirrors the part of static pods in pkg/kubelet's `pod_workers.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping

from orchestrator.api.objects import Object, key_of
from orchestrator.client.informer import Informer
from orchestrator.kubelet.pod import is_mirror
from orchestrator.kubelet.record import PodRecord
from orchestrator.kubelet.static_pods.mirrors import Mirrors

MIRROR_KEY = "mirror/"
"""Starts the keys of work that are about a mirror without a static pod."""


class StaticPods:
    """Use `changed` with what a source has, `mirror_changed` with what the API shows."""

    def __init__(
        self,
        *,
        records: MutableMapping[str, PodRecord],
        shown: Informer,
        mirrors: Mirrors,
        look_at: Callable[[str], None],
        gone: Callable[[str, Object], None],
    ) -> None:
        """`records` are those of all pods of the node, by uid; `shown` is what the API has of them.

        `look_at` has the kubelet work on a key; `gone` is told of a pod whose manifest is.
        """
        self._records = records
        self._shown = shown
        self._mirrors = mirrors
        self._look_at = look_at
        self._gone = gone
        self._by_source: dict[str, Mapping[str, Object]] = {}

    def changed(self, source: str, pods: Mapping[str, Object]) -> None:
        """The static pods of this kind of source are now these, by uid."""
        for uid in self._by_source.get(source, ()):
            record = self._records.get(uid)
            if record is not None and uid not in pods and not record.removed:
                self._gone(uid, record.pod)
        self._by_source[source] = dict(pods)
        for uid, pod in pods.items():
            self._add(uid, pod)
        for mirror in self._shown.list():
            if is_mirror(mirror):
                self.mirror_changed(key_of(mirror))

    def ended(self, pod: Object) -> None:
        """Nothing is left of a static pod: one of the same name may have waited for that."""
        for pods in self._by_source.values():
            for uid, waiting in pods.items():
                self._add(uid, waiting)
        self.mirror_changed(key_of(pod))

    def mirror_changed(self, key: str) -> None:
        """Look after a mirror: under the static pod that it shows, or by its own key when there is none."""
        for uid, record in self._records.items():
            if record.is_static and key_of(record.pod) == key:
                # The mirror of one whose manifest is gone shows it until it has ended.
                if not record.removed and not self._mirrors.is_settled(record):
                    self._look_at(uid)
                return
        self._look_at(f"{MIRROR_KEY}{key}")

    def _add(self, uid: str, pod: Object) -> None:
        """Take a static pod on; one whose predecessor of the same name still ends waits for that."""
        if uid in self._records:
            return
        key = key_of(pod)
        if any(record.is_static and key_of(record.pod) == key for record in self._records.values()):
            return
        self._records[uid] = PodRecord(pod, is_static=True)
        self._look_at(uid)
