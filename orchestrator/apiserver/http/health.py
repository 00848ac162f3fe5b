"""`/healthz`, `/livez` and `/readyz`: all checks together, each below its own path, and how often each passed.

The names are those of kube-apiserver, for scripts that ask for `/livez/etcd` or leave out a check by its name.
Mirrors k8s.io/apiserver `server/healthz`; the counts are those of `/metrics/slis` (KEP-3466).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from orchestrator.apiserver.http.plain_text import plain_error, plain_text
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.server import HttpServer
from orchestrator.logs import get_logger

if TYPE_CHECKING:
    from prometheus_client.core import Metric

HEALTHZ, LIVEZ, READYZ = "healthz", "livez", "readyz"
ENDPOINTS = (HEALTHZ, LIVEZ, READYZ)

HealthCheck = Callable[[], Awaitable[str]]
"""Returns an empty string when healthy, else what is wrong."""


class Health:
    """Registers the three endpoints with an HTTP server, and every check with each of them that asks it."""

    def __init__(self, http: HttpServer) -> None:
        self._http = http
        self._checks: dict[str, dict[str, HealthCheck]] = {endpoint: {} for endpoint in ENDPOINTS}
        self._results: dict[tuple[str, str], _Results] = {}
        self._log = get_logger("apiserver/health")
        for endpoint in ENDPOINTS:
            http.paths[f"/{endpoint}"] = partial(self._all, endpoint)
        self.add("ping", _ping)

    def add(self, name: str, check: HealthCheck, *, endpoints: Sequence[str] = ENDPOINTS) -> None:
        """Have these endpoints ask this check, after those that they ask already."""
        for endpoint in endpoints:
            self._checks[endpoint][name] = check
            self._http.paths[f"/{endpoint}/{name}"] = partial(self._one, endpoint, name)

    async def _all(self, endpoint: str, request: HttpRequest) -> web.StreamResponse:
        """Everybody may ask, so that nobody is told why a check fails; the log knows."""
        excluded = {value for name, value in request.query_pairs if name == "exclude"}
        lines, failed = [], False
        for name in self._checks[endpoint]:
            if name in excluded:
                excluded.discard(name)
                lines.append(f"[+]{name} excluded: ok")
            elif problem := await self._ask(endpoint, name):
                failed = True
                self._log.info("check.failed", check=name, endpoint=endpoint, problem=problem)
                lines.append(f"[-]{name} failed: reason withheld")
            else:
                lines.append(f"[+]{name} ok")
        if excluded:
            names = ",".join(f'"{name}"' for name in sorted(excluded))
            lines.append(f"warn: some health checks cannot be excluded: no matches for {names}")
        if failed:
            return plain_error(500, "\n".join([*lines, f"{endpoint} check failed"]))
        if "verbose" not in request.query:
            return plain_text("ok")
        return plain_text("\n".join([*lines, f"{endpoint} check passed"]) + "\n")

    async def _one(self, endpoint: str, name: str, request: HttpRequest) -> web.StreamResponse:
        problem = await self._ask(endpoint, name)
        return plain_error(500, f"internal server error: {problem}") if problem else plain_text("ok")

    async def _ask(self, endpoint: str, name: str) -> str:
        problem = await self._checks[endpoint][name]()
        self._results.setdefault((name, endpoint), _Results()).add(is_healthy=not problem)
        return problem

    def collect(self) -> Iterator[Metric]:
        """How the checks that were asked went, the last time and in all: what `/metrics/slis` shows."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        last = GaugeMetricFamily(
            "kubernetes_healthcheck", "The result of a health check: 1 for passed.", labels=["name", "type"]
        )
        total = CounterMetricFamily(
            "kubernetes_healthchecks", "Health checks by how they went.", labels=["name", "status", "type"]
        )
        for (name, endpoint), results in self._results.items():
            last.add_metric([name, endpoint], float(results.was_healthy))
            for status, count in (("success", results.passed), ("error", results.failed)):
                if count:
                    total.add_metric([name, status, endpoint], count)
        yield from (last, total)


class _Results:
    """How one check went for one endpoint."""

    __slots__ = ("failed", "passed", "was_healthy")

    def __init__(self) -> None:
        self.passed = self.failed = 0
        self.was_healthy = False

    def add(self, *, is_healthy: bool) -> None:
        self.was_healthy = is_healthy
        if is_healthy:
            self.passed += 1
        else:
            self.failed += 1


async def _ping() -> str:
    return ""
