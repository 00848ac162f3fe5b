"""The fields by which the store's watch dispatch is indexed: those that kubelets and controllers select on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.api.objects import Object


def _node_of_pod(pod: Object) -> str:
    return (pod.get("spec") or {}).get("nodeName") or ""


def _involved_uid(event: Object) -> str:
    return (event.get("involvedObject") or {}).get("uid") or ""


INDEXED_FIELDS: Mapping[str, Mapping[str, Callable[[Object], str]]] = {
    "pods": {"spec.nodeName": _node_of_pod},
    "events": {"involvedObject.uid": _involved_uid},
}
"""group-resource → field → reader"""
