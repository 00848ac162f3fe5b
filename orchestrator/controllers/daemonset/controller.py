"""The DaemonSet controller's shell: claim pods, place them, roll them, write the status."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.api import errors
from orchestrator.api.objects import Object, controller_of, is_terminating, key_of, labels_of, name_of
from orchestrator.api.resources import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS
from orchestrator.api.selectors import LabelSelector, from_label_selector
from orchestrator.component.controller import Controller
from orchestrator.controllers.conditions import with_status
from orchestrator.controllers.daemonset.placement import Fit, new_pod, plan_fit, what_matters_of
from orchestrator.controllers.daemonset.plan import (
    BURST,
    DaemonPlan,
    is_rolling_update,
    plan_again,
    plan_placement,
    plan_status,
    plan_update,
)
from orchestrator.controllers.expectations import RECHECK_SECONDS, Expectations
from orchestrator.controllers.history import REVISION_LABEL
from orchestrator.controllers.ownership import (
    CONTROLLER_INDEX,
    claim,
    controlled_or_orphaned,
    index_by_controller,
    owner_in_cache,
)
from orchestrator.controllers.replicas import PodControl, all_of, is_namespace_terminating, slow_start
from orchestrator.controllers.revisions import RevisionKeeper
from orchestrator.controllers.selecting import add_selector_index, selecting

FAILED_BACKOFF_SECONDS = 1.0
FAILED_BACKOFF_SECONDS_MAX = 900.0


class _Fits:
    """Which nodes one DaemonSet fits, kept until the template or a node changes."""

    __slots__ = ("by_node", "template")

    def __init__(self, template: Object) -> None:
        self.template = template
        self.by_node: dict[str, Fit] = {}


class DaemonSetController(Controller):
    """Keeps one pod on every node that fits."""

    name: ClassVar[str] = "daemonset"

    def setup(self) -> None:
        """DaemonSets by key; pods and revisions by controller; nodes by what decides whether pods fit."""
        self._sets = self.informer(DAEMON_SETS)
        self._pods = self.informer(PODS)
        self._nodes = self.informer(NODES)
        self._revisions = self.informer(CONTROLLER_REVISIONS)
        self._pods.add_index(CONTROLLER_INDEX, index_by_controller)
        self._revisions.add_index(CONTROLLER_INDEX, index_by_controller)
        add_selector_index(self._sets, _selector)
        self._expectations = Expectations()
        self._control = PodControl(self, self._pods, self._expectations)
        self._keeper = RevisionKeeper(self, self._revisions, self._expectations, hash_label=REVISION_LABEL)
        self._fits: dict[str, _Fits] = {}
        self._backoff = ItemBackoff(base_seconds=FAILED_BACKOFF_SECONDS, max_seconds=FAILED_BACKOFF_SECONDS_MAX)
        self._retry_at: dict[str, dict[str, float]] = {}
        self._sets.add_handler(self.enqueue_object)
        self._pods.add_handler(self._on_pod)
        self._nodes.add_handler(self._on_node)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        for pod in (old, new):
            owner = owner_in_cache(pod, self._sets)
            if owner is not None:
                self.queue.add(key_of(owner))
        if new is not None and controller_of(new) is None and not is_terminating(new):
            if old is not None and controller_of(old) is None and labels_of(old) == labels_of(new):
                return
            for one in selecting(self._sets, new, _selector):
                self.queue.add(key_of(one))

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and what_matters_of(old) == what_matters_of(new):
            return
        node = new if new is not None else old
        assert node is not None
        for one in self._sets.list():
            key = key_of(one)
            known = self._fits.get(key)
            before = known.by_node.pop(name_of(node), None) if known is not None else None
            after = plan_fit(one, node) if new is not None else None
            if before != after or before is None:
                self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        """One look at one DaemonSet."""
        one = self._sets.get(key)
        if one is None:
            self._expectations.forget(key)
            self._fits.pop(key, None)
            self._retry_at.pop(key, None)
            return None
        selector = _selector(one)
        if selector.is_everything:
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self.recorder.event(one, "Warning", "SelectingAll", message)
            return None
        if is_terminating(one):
            return None
        is_current = self._expectations.is_fulfilled(key)
        if not is_current:
            return RECHECK_SECONDS
        revisions = await self._keeper.adopt(DAEMON_SETS, one, selector)
        collisions = (one.get("status") or {}).get("collisionCount")
        update, collisions = await self._keeper.current(one, revisions, collisions)
        revision_hash = labels_of(update).get(REVISION_LABEL, "")
        candidates = controlled_or_orphaned(self._pods, one)
        pods = await claim(self.client, DAEMON_SETS, one, selector, PODS, candidates)
        fits = self._fits_of(one)
        now = self.clock.now()
        waiting = self._in_backoff(key)
        plan = plan_placement(one, fits, pods, revision_hash, now, in_backoff=waiting)
        if not plan.create and not plan.delete and is_rolling_update(one):
            plan = plan_update(one, fits, pods, revision_hash, now)
        status = plan_status(one, fits, pods, revision_hash, collisions, now)
        if status != (one.get("status") or {}):
            updated = await self.client.update_status(DAEMON_SETS, with_status(one, status))
            self._expectations.wrote(key, self._sets, updated)
        await self._apply(one, plan, revision_hash)
        await self._keeper.truncate(one, revisions, pods, (name_of(update),))
        waits = [wait for wait in (plan_again(one, pods, now), *waiting.values()) if wait]
        return min(waits, default=None)

    def _fits_of(self, one: Object) -> dict[str, Fit]:
        known = self._fits.get(key_of(one))
        if known is None or known.template != one["spec"]["template"]:
            known = self._fits[key_of(one)] = _Fits(one["spec"]["template"])
        by_node = known.by_node
        for node in self._nodes.list():
            if name_of(node) not in by_node:
                by_node[name_of(node)] = plan_fit(one, node)
        return by_node

    def _in_backoff(self, key: str) -> dict[str, float]:
        """Nodes where a failed pod has to lie for a while, with the seconds that are left."""
        now = self.clock.monotonic()
        retries = self._retry_at.get(key, {})
        for node in [node for node, due in retries.items() if due + FAILED_BACKOFF_SECONDS_MAX < now]:
            del retries[node]  # it ran well for long: forgotten
            self._backoff.forget((key, node))
        return {node: due - now for node, due in retries.items() if due > now}

    async def _apply(self, one: Object, plan: DaemonPlan, revision_hash: str) -> None:
        for event in plan.events:
            self.recorder.event(one, *event)
        for node in plan.failed:
            delay = self._backoff.next_delay((key_of(one), node))
            self._retry_at.setdefault(key_of(one), {})[node] = self.clock.monotonic() + delay
        failures: list[errors.ApiError] = []
        if plan.create:
            nodes = iter(plan.create[:BURST])
            _, failure = await slow_start(
                len(plan.create[:BURST]),
                lambda: self._control.create(one, new_pod(one, next(nodes), revision_hash)),
            )
            if failure is not None and not is_namespace_terminating(failure):
                failures.append(failure)
        deletions = [partial(self._control.delete, one, pod) for pod in plan.delete[:BURST]]
        failures += [result for result in await all_of(deletions) if isinstance(result, errors.ApiError)]
        if failures:
            raise failures[0]
        if len(plan.create) > BURST or len(plan.delete) > BURST:
            self.queue.add(key_of(one))


def _selector(one: Object) -> LabelSelector:
    return from_label_selector(one["spec"].get("selector"))
