"""Candidates on a running API server, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from typing import Any

from orchestrator.api import errors
from orchestrator.api.resources import LEASES
from orchestrator.client.client import Client
from orchestrator.client.transport import Request
from orchestrator.component.leader_election import LeaderElector
from orchestrator.testing import ManualClock, running_cluster


class Line:
    """A transport that can be cut."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.is_cut = inner, False

    async def send(self, request: Request) -> Any:
        if self.is_cut:
            raise errors.ServiceUnavailable("cut")
        return await self.inner.send(request)

    async def open_watch(self, request: Request) -> Any:
        return await self.inner.open_watch(request)

    async def close(self) -> None:
        return


async def test_one_leads_at_a_time_and_the_next_takes_over() -> None:
    clock = ManualClock()
    async with running_cluster(nodes=0, controllers=(), scheduler=False, clock=clock) as cluster:
        leading: list[str] = []
        most = 0

        def candidate(name: str) -> tuple[Line, asyncio.Task[None]]:
            line = Line(cluster.client().transport)

            async def lead() -> None:
                nonlocal most
                leading.append(name)
                most = max(most, len(leading))
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    leading.remove(name)

            elector = LeaderElector(client=Client(line), clock=clock, name="boss", identity=name)
            return line, asyncio.create_task(elector.run(lead), name=name)

        line_a, a = candidate("a")
        await clock.run(1)
        _, b = candidate("b")
        await clock.run(60)
        assert leading == ["a"]
        line_a.is_cut = True  # it cannot renew, stops in time, and only then the other begins
        await clock.run(11)
        assert leading == []
        assert a.done()
        await clock.run(10)
        assert leading == ["b"]
        lease = await cluster.client().get(LEASES, "boss", "kube-system")
        assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("b", 1)
        _, c = candidate("c")
        b.cancel()  # it gives the Lease up, so nobody waits for its end
        await clock.run(3)
        assert leading == ["c"]
        assert most == 1
        c.cancel()
        await asyncio.gather(a, b, c, return_exceptions=True)
