"""Which pods each Service selects, followed change by change.

A pod finds its Services through their selector index, so the cost of a pod event is never the size of the namespace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.api.objects import Object, is_terminating, key_of, labels_of, namespace_of
from orchestrator.api.selectors import NOTHING, LabelSelector, from_labels
from orchestrator.client.informer import Informer
from orchestrator.controllers.pods import is_finished, is_ready, node_of
from orchestrator.controllers.selecting import add_selector_index, selecting


def selector_of(service: Object) -> dict[str, str]:
    """`spec.selector` of a Service whose endpoints are ours; empty for ExternalName and for those without."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return {}
    return spec.get("selector") or {}


def pod_ips(pod: Object) -> list[str]:
    """All addresses of a pod, the primary one first."""
    status = pod.get("status") or {}
    several = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")]
    return several or ([status["podIP"]] if status.get("podIP") else [])


def _label_selector(service: Object) -> LabelSelector:
    selector = selector_of(service)
    return from_labels(selector) if selector else NOTHING


def _as_endpoint(pod: Object) -> tuple[Any, ...]:
    """What of a pod can show in its endpoints."""
    spec = pod.get("spec") or {}
    return (
        pod_ips(pod),
        is_ready(pod),
        is_terminating(pod),
        is_finished(pod),
        node_of(pod),
        spec.get("hostname"),
        spec.get("subdomain"),
        labels_of(pod),
    )


class ServicePods:
    """Members of every Service; tells by `on_change(service key)` when something may have changed."""

    def __init__(self, services: Informer, pods: Informer, on_change: Callable[[str], None]) -> None:
        self._services = services
        self._pods = pods
        self._on_change = on_change
        self._members: dict[str, set[str]] = {}
        add_selector_index(services, _label_selector)
        services.add_handler(self._on_service)
        pods.add_handler(self._on_pod)

    def pods_of(self, service: Object) -> list[Object]:
        """The pods that a Service selects, by name."""
        keys = sorted(self._members.get(key_of(service), ()))
        return [pod for key in keys if (pod := self._pods.get(key)) is not None]

    def services_of(self, pod: Object) -> set[str]:
        """The keys of the Services that select this pod."""
        return {key_of(service) for service in selecting(self._services, pod, _label_selector)}

    def _on_service(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._members.pop(key_of(old), None)
            self._on_change(key_of(old))
            return
        selector = _label_selector(new)
        if old is None or _label_selector(old) != selector:
            if selector.is_nothing:
                self._members.pop(key_of(new), None)
            else:
                pods = self._pods.list(namespace_of(new))
                self._members[key_of(new)] = {key_of(pod) for pod in pods if selector.matches(labels_of(pod))}
        self._on_change(key_of(new))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and _as_endpoint(old) == _as_endpoint(new):
            return
        before = self.services_of(old) if old is not None else set()
        after = self.services_of(new) if new is not None else set()
        subject = new if new is not None else old
        assert subject is not None
        pod_key = key_of(subject)
        for service in before - after:
            self._members.get(service, set()).discard(pod_key)
        for service in after:
            self._members.setdefault(service, set()).add(pod_key)
        for service in before | after:
            self._on_change(service)
