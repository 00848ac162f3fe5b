"""Renewals: updates by which somebody says that it is still there, and nothing else; pure.

Every node renews its Lease every ten seconds, every elected leader every two: nothing is written so often, and nothing
changes so little. Such an update moves one time of an object that is valid already, by the manager that owns this time
already, so there is nothing to decode, to default or to own anew. Anything else about it makes it an update like any
other. Mirrors nothing in kube-apiserver: what is stored, answered and watched is the same either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api.contents import content_of
from orchestrator.api.decode import is_canonical_micro_time
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.managed_fields import ManagerId
from orchestrator.api.managed_fields.entries import Entry, id_of, in_order
from orchestrator.api.objects import Object


def plan_renewal(kind: Kind, body: Any, stored: Object, manager: ManagerId, time: str) -> Object | None:
    """The next state of an object, with parts of the stored one, if `body` only renews it; None if it does more.

    `body` is only read. `time` is what managedFields say about when it was.
    """
    assert kind.renewed is not None
    part, name = kind.renewed
    if type(body) is not dict or not _is_same_but(body, stored, ("metadata", part)):
        return None
    metadata, given, before = stored["metadata"], body.get(part), stored.get(part)
    if type(given) is not dict or type(before) is not dict or not _is_same_but(body["metadata"], metadata, ()):
        return None
    moment = given.get(name)
    if not is_canonical_micro_time(moment) or moment == before.get(name) or not _is_same_but(given, before, (name,)):
        return None
    entries = _renewed_entries(metadata.get("managedFields") or (), manager, f"f:{part}", f"f:{name}", time)
    if entries is None:
        return None
    return {**stored, "metadata": {**metadata, "managedFields": entries}, part: {**before, name: moment}}


def _is_same_but(given: Any, stored: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    """Whether two objects have the same fields, and the same values but for these; true and 1 are not the same."""
    if given is stored:
        return True
    if type(given) is not dict or given.keys() != stored.keys():
        return False
    for name, value in given.items():
        before = stored[name]
        if value is before or name in names:
            continue
        if type(value) is str:
            if value != before:
                return False
        elif content_of(value) != content_of(before):
            return False
    return True


def _renewed_entries(
    entries: list[Entry] | tuple[()], manager: ManagerId, part: str, name: str, time: str
) -> list[Entry] | None:
    """The entries when the only owner of the field has written it again; None when this is another manager."""
    renewed: list[Entry] = []
    is_mine = False
    for entry in entries:
        if name not in entry["fieldsV1"].get(part, ()):
            renewed.append(entry)
        elif is_mine or id_of(entry) != manager:
            return None
        else:
            is_mine = True
            renewed.append({**entry, "time": time})
    if not is_mine:
        return None
    return in_order(renewed) if len(renewed) > 1 else renewed
