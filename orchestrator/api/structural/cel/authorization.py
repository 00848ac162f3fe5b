"""The variable `authorizer`: expressions ask what a user may do (k8s.io/apiserver/pkg/cel/library/authz.go).

A check is built step by step (`authorizer.group('').resource('pods').namespace('a').check('list')`); its values are
maps, as those of all of Kubernetes' own types are here. Who answers is set for the time of an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from msgspec import Struct


class Question(Struct, frozen=True):
    """What an expression wants to know."""

    verb: str
    service_account: tuple[str, str] | None = None
    """Namespace and name, where it is not about the user of the request."""
    path: str = ""
    """For what is no resource; the fields below are then empty."""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""


class Answer(Struct, frozen=True):
    """Whether it is allowed, and the reason that the authorizer gave."""

    allowed: bool
    reason: str = ""


Ask = Callable[[Question], Answer]
_ASK: ContextVar[Ask] = ContextVar("cel-authorizer")


@contextmanager
def answering(ask: Ask) -> Iterator[None]:
    """Have `ask` answer the expressions that this task evaluates meanwhile."""
    token = _ASK.set(ask)
    try:
        yield
    finally:
        _ASK.reset(token)


def ask(parts: dict[str, Any], verb: str) -> Answer:
    """Put a check, as its steps have built it, to who answers; ValueError where nobody does."""
    try:
        answer = _ASK.get()
    except LookupError:
        raise ValueError("there is no authorizer here") from None
    text = {key: str(parts.get(key) or "") for key in Question.__struct_fields__}
    account = (text["service_account"].partition("/")[0], text["service_account"].partition("/")[2])
    fields = {key: value for key, value in text.items() if key not in ("verb", "service_account")}
    return answer(Question(verb, account if parts.get("service_account") else None, **fields))
