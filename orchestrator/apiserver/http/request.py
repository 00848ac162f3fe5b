"""A request as handlers see it: what was asked, by whom, and what is known of it so far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from aiohttp import web

from orchestrator.apiserver.flowcontrol import Ticket
from orchestrator.apiserver.http.routing import Route
from orchestrator.apiserver.request import ApiRequest
from orchestrator.apiserver.request_metrics import RequestLabels
from orchestrator.apiserver.user import User

PathHandler = Callable[["HttpRequest"], Awaitable[web.StreamResponse]]
StreamHandler = Callable[["HttpRequest", ApiRequest, Route], Awaitable[web.StreamResponse]]


class About:
    """What a request is about, as metrics will say: known little by little while it is served."""

    __slots__ = ("audit_id", "labels", "ticket")

    def __init__(self, audit_id: str = "") -> None:
        self.audit_id = audit_id
        self.labels = RequestLabels()
        self.ticket: Ticket | None = None

    def add_headers(self, response: web.StreamResponse) -> None:
        """What kube-apiserver says with every answer: which request it was, how it was classified, not to keep it."""
        if response.prepared:
            return
        headers = response.headers
        headers["Audit-Id"] = self.audit_id
        headers.setdefault("Cache-Control", "no-cache, private")
        if self.ticket is not None:
            headers["X-Kubernetes-Pf-Flowschema-Uid"] = self.ticket.schema_uid
            headers["X-Kubernetes-Pf-Prioritylevel-Uid"] = self.ticket.level_uid


class HttpRequest:
    """One HTTP request, with who sent it."""

    __slots__ = ("about", "path", "query", "query_pairs", "raw", "user")

    def __init__(self, raw: web.BaseRequest, user: User, about: About | None = None) -> None:
        self.about = about or About()
        self.raw = raw
        self.user = user
        path, _, query = raw.raw_path.partition("?")
        self.path = path
        self.query_pairs = parse_qsl(query, keep_blank_values=True) if query else []
        """Every parameter in order; `command` of exec stands several times."""
        self.query: dict[str, str] = {}
        for name, value in self.query_pairs:
            self.query.setdefault(name, value)

    @property
    def method(self) -> str:
        return self.raw.method

    def header(self, name: str) -> str:
        """A header's value, or an empty string."""
        return self.raw.headers.get(name, "")
