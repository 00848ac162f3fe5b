"""Evict pods from nodes with NoExecute taints that they do not tolerate (any longer).

Mirrors taint-eviction-controller. `tolerationSeconds` count from the taint's `timeAdded`, or from
when it was first seen, so a restart of the controller does not start the time anew where it is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from orchestrator.api import errors
from orchestrator.api.node_selection import tolerates_taint
from orchestrator.api.objects import Object, is_terminating, key_of, name_of, namespace_of, uid_of
from orchestrator.api.resources import NODES, PODS
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.component.controller import Controller
from orchestrator.controllers.pods import NODE_INDEX, disruption_target, index_by_node, is_finished, node_of, time_of

Taint = Mapping[str, Any]


def no_execute_taints(node: Object | None) -> list[dict[str, Any]]:
    """The taints of a node that evict."""
    taints = ((node or {}).get("spec") or {}).get("taints") or ()
    return [taint for taint in taints if taint.get("effect") == "NoExecute"]


def plan_eviction(pod: Object, taints: Sequence[tuple[Taint, datetime]]) -> datetime | None:
    """When the pod must go, given taints and since when they are there; None: it may stay.

    Of several tolerations the shortest time counts.
    """
    due: datetime | None = None
    tolerations = (pod.get("spec") or {}).get("tolerations") or ()
    for taint, since in taints:
        matching = [toleration for toleration in tolerations if tolerates_taint(toleration, taint)]
        if not matching:
            return since
        for toleration in matching:
            seconds = toleration.get("tolerationSeconds")
            if seconds is None:
                continue
            end = since + timedelta(seconds=max(0, seconds))
            due = end if due is None else min(due, end)
    return due


class TaintEvictionController(Controller):
    """Keys are pods; a pod that may stay for a while comes back when its time is over."""

    name: ClassVar[str] = "taint-eviction"

    def setup(self) -> None:
        """Nodes lead to their pods when NoExecute taints change; pods come when they are bound."""
        self._nodes = self.informer(NODES)
        self._pods = self.informer(PODS)
        self._pods.add_index(NODE_INDEX, index_by_node)
        self._since: dict[str, dict[tuple[str, str], datetime]] = {}
        self._planned: set[str] = set()
        self._nodes.add_handler(self._on_node)
        self._pods.add_handler(self._on_pod)

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._since.pop(name_of(old), None)
            return
        before, after = no_execute_taints(old), no_execute_taints(new)
        name = name_of(new)
        if after:
            known, now = self._since.get(name, {}), self.clock.now()
            self._since[name] = {
                _identity(taint): time_of(taint.get("timeAdded")) or known.get(_identity(taint)) or now
                for taint in after
            }
        else:
            self._since.pop(name, None)
        if before != after:
            for pod in self._pods.by_index(NODE_INDEX, name):
                self.queue.add(key_of(pod))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._planned.discard(key_of(old))
            return
        if node_of(new) not in self._since and key_of(new) not in self._planned:
            return
        if (
            old is None
            or node_of(old) != node_of(new)
            or (old.get("spec") or {}).get("tolerations") != (new.get("spec") or {}).get("tolerations")
        ):
            self.queue.add(key_of(new))

    async def reconcile(self, key: str) -> float | None:
        """Delete the pod, or say when to look again."""
        pod = self._pods.get(key)
        if pod is None or is_terminating(pod) or is_finished(pod):
            self._planned.discard(key)
            return None
        node = self._nodes.get(node_of(pod))
        since = self._since.get(node_of(pod), {})
        now = self.clock.now()
        taints = [(taint, since.get(_identity(taint), now)) for taint in no_execute_taints(node)]
        due = plan_eviction(pod, taints)
        if due is None:
            if key in self._planned:
                self._planned.discard(key)
                self.recorder.event(pod, "Normal", "TaintManagerEviction", f"Cancelling deletion of Pod {key}")
            return None
        if due > now:
            self._planned.add(key)
            return (due - now).total_seconds()
        self.recorder.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {key}")
        why = "Taint manager: deleting due to NoExecute taint"
        condition = disruption_target(pod, "DeletionByTaintManager", why, now)
        patch = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [condition]}}
        name, namespace = name_of(pod), namespace_of(pod)
        try:
            await self.client.patch(
                PODS, name, patch, namespace, subresource="status", content_type=STRATEGIC_MERGE_PATCH
            )
            await self.client.delete(PODS, name, namespace, uid=uid_of(pod))
        except errors.NotFound:
            pass  # somebody was faster
        self._planned.discard(key)
        return None


def _identity(taint: Taint) -> tuple[str, str]:
    return (taint.get("key") or "", taint.get("value") or "")
