"""The component: follows Services, EndpointSlices, Nodes and ServiceCIDRs, and keeps the nftables table equal to them.

Changes that arrive together become one transaction; what arrives while one runs goes into the next. The whole
table is written at the start, after a failure and after somebody else took something out of it. Mirrors
kube-proxy's Proxier and its bounded-frequency runner. One proxy serves all nodes, which share the kernel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from orchestrator.aiokit.clock import Clock
from orchestrator.api.endpoint_slices import SERVICE_INDEX, service_keys
from orchestrator.api.objects import Object, key_of, name_of
from orchestrator.api.resources import ENDPOINT_SLICES, NODES, SERVICE_CIDRS, SERVICES
from orchestrator.client.informer import Informers
from orchestrator.logs import get_logger
from orchestrator.proxy.conntrack import forget_flows
from orchestrator.proxy.encoding import encode, has_own_chains, take_new_picks
from orchestrator.proxy.health import ServiceHealth, plan_health
from orchestrator.proxy.listener import Asked, NodeListener, Response
from orchestrator.proxy.nftables import Nft, NftError
from orchestrator.proxy.pages import ProxyPages, plan_kubelet_listeners, plan_listeners
from orchestrator.proxy.plan import ServiceRules, plan_ranges, plan_service
from orchestrator.proxy.ruleset import Changes, Layout, Ruleset, StaleFlow
from orchestrator.proxy.table import KernelTable
from orchestrator.proxy.topology import NodeFacts, Target, is_leaving, node_facts

VOLATILE_SETS = "affinity_"
PAGES_KEY = "pages"
"""Where the rules of the proxy's own pages stand among those of Services, whose keys have a slash."""
PLANNED_AT_ONCE = 200
"""Services that are planned before others on the loop get their turn."""


class ServiceProxy:
    """Leads Service addresses to endpoints."""

    def __init__(
        self,
        *,
        informers: Informers,
        layout: Layout,
        clock: Clock,
        set_ranges: Callable[[Sequence[str]], Awaitable[None]] | None = None,
        nft: Nft | None = None,
    ) -> None:
        """`set_ranges` leads ranges of cluster IPs to where the rules see their packets."""
        self.layout = layout
        self._set_ranges = set_ranges
        self._clock = clock
        self._table = KernelTable(
            layout.table, clock=clock, on_damage=self._on_damage, volatile_prefix=VOLATILE_SETS, nft=nft
        )
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINT_SLICES)
        self._nodes = informers.informer(NODES)
        self._cidrs = informers.informer(SERVICE_CIDRS)
        self._ruleset = Ruleset(layout)
        self._health = ServiceHealth()
        self._pages = ProxyPages(clock)
        self._listener = NodeListener(layout.local_address, self._answer)
        self._listener_target: Target | None = None
        self._node_facts: dict[str, NodeFacts] = {}
        self._leaving: set[str] = set()
        self._dirty: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._must_replace = True
        self._ranges_changed = False
        self._log = get_logger("kube-proxy", table=layout.table)
        self._slices.add_index(SERVICE_INDEX, service_keys)
        self._services.add_handler(self._on_service)
        self._slices.add_handler(self._on_slice)
        self._nodes.add_handler(self._on_node)
        self._cidrs.add_handler(self._on_cidr)

    async def run(self) -> None:
        """Work until cancelled; the table stays, so that connections survive a restart of this process."""
        try:
            for informer in (self._services, self._slices, self._nodes, self._cidrs):
                await informer.wait_synced()
            if self.layout.local_address:
                self._listener_target = await self._listener.open()
                self._mark(PAGES_KEY)
            self._table.open()
            self._replace_all()
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._sync()
        finally:
            self._table.close()
            self._listener.close()

    # What changed.

    def _on_service(self, old: Object | None, new: Object | None) -> None:
        subject = new if new is not None else old
        assert subject is not None
        self._mark(key_of(subject))

    def _on_slice(self, old: Object | None, new: Object | None) -> None:
        for one in (old, new):
            if one is not None:
                for key in service_keys(one):
                    self._mark(key)

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        before = node_facts(old) if old is not None else None
        after = node_facts(new) if new is not None else None
        if new is not None and is_leaving(new):
            self._leaving.add(name_of(new))
        else:
            self._leaving.discard(name_of(new if new is not None else old or {}))
        if before == after:
            return
        subject = new if new is not None else old
        assert subject is not None
        if after is None:
            self._node_facts.pop(name_of(subject), None)
        else:
            self._node_facts[after.name] = after
        self._mark_all()

    def _on_cidr(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None:
            self._ranges_changed = True
            self._wake.set()

    def _on_damage(self) -> None:
        self._log.warning("table.damaged", consequence="written anew")
        self._replace_all()

    def _mark(self, key: str) -> None:
        self._dirty[key] = None
        self._pages.queued()
        self._wake.set()

    def _mark_all(self) -> None:
        for key in [*self._ruleset.keys()]:
            self._mark(key)
        for service in self._services.list():
            self._mark(key_of(service))

    def _replace_all(self) -> None:
        self._must_replace = True
        self._wake.set()

    # Bringing it to the kernel.

    async def _sync(self) -> None:
        started = self._clock.monotonic()
        was_empty = not len(self._ruleset)
        await self._follow_ranges()
        changes = await self._plan()
        fits = self._ruleset.count(changes)
        replaces, self._must_replace = self._must_replace or not fits, False
        try:
            if replaces and (not was_empty or self._table.exists()):
                await self._table.apply(self._ruleset.text())  # at once, while connections come
            else:
                if replaces:
                    await self._table.apply(self._ruleset.empty_table())
                await self._write(changes)
        except NftError as error:
            # The model is ahead of the kernel now: only the whole table brings them together again.
            self._replace_all()
            if replaces:
                raise
            self._log.warning("transaction.refused", error=str(error), consequence="written anew")
        else:
            if not self._dirty:
                self._pages.synced(self._clock.monotonic() - started)
        await self._forget(changes.stale)

    async def _follow_ranges(self) -> None:
        """A change of the ranges, which is rare, writes the whole table."""
        if not self._ranges_changed:
            return
        self._ranges_changed = False
        ranges = plan_ranges(self._cidrs.list(), self.layout.services)
        if ranges == self._ruleset.ranges:
            return
        if self._set_ranges is not None:
            try:
                await self._set_ranges(ranges)
            except BaseException:
                self._ranges_changed = True  # for who starts this component again
                raise
        self._ruleset.ranges = ranges
        self._must_replace = True

    async def _write(self, changes: Changes) -> None:
        if has_own_chains(changes):
            if picks := take_new_picks(self.layout.table, changes):
                await self._table.write(picks)
            await self._table.apply(changes.text(self.layout.table))
        elif changes:
            await self._table.write(encode(self.layout.table, changes))

    async def _plan(self) -> Changes:
        changes = Changes()
        nodes = sorted(self._node_facts.values(), key=lambda node: node.name)
        planned = 0
        while self._dirty:
            key = next(iter(self._dirty))
            del self._dirty[key]
            if key == PAGES_KEY:
                self._ruleset.update(key, self._plan_pages(nodes), changes)
                continue
            service, slices = self._services.get(key), self._slices.by_index(SERVICE_INDEX, key)
            target = self._listener_target
            health = plan_health(service, slices, nodes) if target is not None else {}
            rules = plan_service(service, slices, nodes)
            if rules is not None and target is not None:
                rules = rules.leading(health, target)
            self._ruleset.update(key, rules, changes)
            self._health.update(key, health)
            planned += 1
            if planned % PLANNED_AT_ONCE == 0:
                await self._clock.sleep(0)
        return changes

    def _plan_pages(self, nodes: Sequence[NodeFacts]) -> ServiceRules | None:
        if self._listener_target is None or not self.layout.machine_address:
            return None
        ips, machine = [node.ip for node in nodes], self.layout.machine_address
        rules = ServiceRules().leading(plan_listeners(ips, machine), self._listener_target)
        if self.layout.node_port is not None:
            rules = rules.leading(plan_kubelet_listeners(ips, machine), self.layout.node_port)
        return rules

    def _answer(self, asked: Asked) -> Response | None:
        health = self._health.find(asked.listener)
        if health is not None:
            return health.response()
        nodes = {node.ip: node.name for node in self._node_facts.values()}
        return self._pages.answer(asked, nodes, self._leaving)

    async def _forget(self, stale: Sequence[StaleFlow]) -> None:
        if not stale:
            return
        try:
            count = await asyncio.to_thread(forget_flows, stale)
        except OSError as error:
            # A conversation that is not forgotten ends by its own time-out; the rules are right already.
            self._log.warning("conntrack.failed", error=str(error))
        else:
            self._log.debug("conntrack.forgotten", count=count)
