"""The component: follows NetworkPolicies, pods and namespaces, and keeps the nftables table equal to them.

Changes that arrive together become one transaction. The table exists only while there is a policy.
"""

from __future__ import annotations

import asyncio

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object, key_of, labels_of, name_of
from orchestrator.api.resources import NAMESPACES, NETWORK_POLICIES, PODS
from orchestrator.client.informer import Informers
from orchestrator.logs import get_logger
from orchestrator.proxy.nftables import Nft, NftError
from orchestrator.proxy.policy.model import PolicyModel, removal, skeleton
from orchestrator.proxy.policy.plan import plan_policy, pod_facts, policy_key
from orchestrator.proxy.table import KernelTable


class PolicyEnforcer:
    """Drops what policies do not allow."""

    def __init__(
        self,
        *,
        informers: Informers,
        table: str,
        dns_address: str,
        pod_range: str,
        clock: Clock,
        nft: Nft | None = None,
    ) -> None:
        self.model = PolicyModel()
        self._name = table
        self._dns_address = dns_address
        self._pod_range = pod_range
        self._table = KernelTable(table, clock=clock, on_damage=self._on_damage, nft=nft)
        self._wake = asyncio.Event()
        self._must_replace = True
        self._is_written = False
        self._log = get_logger("network-policy", table=table)
        self._informers = [informers.informer(resource) for resource in (NAMESPACES, PODS, NETWORK_POLICIES)]
        namespaces, pods, policies = self._informers
        namespaces.add_handler(self._on_namespace)
        pods.add_handler(self._on_pod)
        policies.add_handler(self._on_policy)

    async def run(self) -> None:
        """Work until cancelled; the table stays, so that nothing is open while this process restarts."""
        try:
            for informer in self._informers:
                await informer.wait_synced()
            self._table.open()
            self._must_replace = True
            self._wake.set()
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._sync()
        finally:
            self._table.close()

    def _on_namespace(self, old: Object | None, new: Object | None) -> None:
        subject = new if new is not None else old
        assert subject is not None
        self.model.set_namespace(name_of(subject), labels_of(new) if new is not None else None)
        self._wake_if_needed()

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        subject = new if new is not None else old
        assert subject is not None
        self.model.set_pod(key_of(subject), pod_facts(new))
        self._wake_if_needed()

    def _on_policy(self, old: Object | None, new: Object | None) -> None:
        subject = new if new is not None else old
        assert subject is not None
        self.model.set_policy(policy_key(subject), plan_policy(new) if new is not None else None)
        self._wake.set()

    def _on_damage(self) -> None:
        self._log.warning("table.damaged", consequence="written anew")
        self._must_replace = True
        self._wake.set()

    def _wake_if_needed(self) -> None:
        if self.model:
            self._wake.set()

    async def _sync(self) -> None:
        changes = self.model.take_changes()
        replaces, self._must_replace = self._must_replace, False
        if not self.model:
            text = removal(self._name) if self._is_written or replaces else ""
            self._is_written = False
        elif replaces or not self._is_written:
            text = skeleton(self._name, dns_address=self._dns_address, pods=self._pod_range)
            text += self.model.everything().text(self._name)
            self._is_written = True
        else:
            text = changes.text(self._name)
        if not text:
            return
        try:
            await self._table.apply(text)
        except NftError as error:
            # The model is ahead of the kernel now: only the whole table brings them together again.
            self._must_replace = True
            self._wake.set()
            if replaces:
                raise
            self._log.warning("transaction.refused", error=str(error), consequence="written anew")
