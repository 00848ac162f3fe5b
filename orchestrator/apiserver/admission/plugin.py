"""The seam between the request pipeline and admission plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct, field

from orchestrator.aiokit.recent import RecentMap
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object
from orchestrator.apiserver.user import User

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


class Attributes(Struct):
    """One write on its way to the store."""

    operation: Operation
    kind: Kind
    namespace: str
    name: str
    subresource: str
    obj: Object
    """The new object, a fresh copy that mutating plugins change in place; empty for DELETE."""
    old: Object | None
    """The stored object, for UPDATE and DELETE; read-only."""
    user: User
    dry_run: bool
    warnings: list[str] = field(default_factory=list)
    """What the client will be warned of; plugins add to it."""
    reinvoke: bool = False
    """Set by a plugin that changed the object after others had seen it: all mutating ones run once more."""
    is_reinvocation: bool = False
    seen_by_webhooks: dict[str, Object] = field(default_factory=dict)
    """What each mutating webhook left the object like, to find out who must see it again."""
    requested: Kind | None = None
    """What the client asked for, where `kind` is an equivalent of it that a rule names."""
    group_resource: str = ""
    """That of the kind: every plugin asks for it."""

    def __post_init__(self) -> None:
        self.group_resource = self.kind.resource.group_resource


class AdmissionPlugin:
    """Base of all plugins; `name` as in kube-apiserver's `--enable-admission-plugins`."""

    name = ""
    resources: frozenset[str] | None = None
    """The group-resources that it can have anything to say about; None: any."""
    changes_objects = True
    """Whether `admit` may change the object, rather than only look at it."""

    def handles(self, attributes: Attributes) -> bool:
        """Whether this plugin has anything to say; cheap, called for every write."""
        raise NotImplementedError

    async def admit(self, attributes: Attributes) -> None:
        """Change `attributes.obj`, or raise ApiError."""

    async def validate(self, attributes: Attributes) -> None:
        """Raise ApiError (usually Forbidden) when the write must not happen."""


class Reader(Protocol):
    """What plugins may read of the cluster: current objects, straight from the store."""

    async def read(self, group_resource: str, name: str, namespace: str = "") -> Object | None: ...

    async def read_all(self, group_resource: str, namespace: str = "") -> list[Object]: ...


class AdmissionChain:
    """All plugins, in kube-apiserver's order."""

    def __init__(self, plugins: Sequence[AdmissionPlugin]) -> None:
        self.plugins = tuple(plugins)
        self._concerned: RecentMap[str, _Concerned] = RecentMap(1024)

    def _about(self, group_resource: str) -> _Concerned:
        """The plugins that may have to be asked about a resource."""
        found = self._concerned.get(group_resource)
        if found is None:
            able = [one for one in self.plugins if one.resources is None or group_resource in one.resources]
            found = _Concerned(
                admitting=[one for one in able if type(one).admit is not AdmissionPlugin.admit],
                validating=[one for one in able if type(one).validate is not AdmissionPlugin.validate],
            )
            self._concerned.put(group_resource, found)
        return found

    async def admit(self, attributes: Attributes) -> None:
        plugins = self._about(attributes.group_resource).admitting
        for plugin in plugins:
            if plugin.handles(attributes):
                await plugin.admit(attributes)
        if attributes.reinvoke:
            attributes.is_reinvocation = True
            for plugin in plugins:
                if plugin.handles(attributes):
                    await plugin.admit(attributes)

    async def check(self, attributes: Attributes) -> bool:
        """Ask about an object that cannot be changed any more; False, and nobody was asked, if one might change it."""
        plugins = [one for one in self._about(attributes.group_resource).admitting if one.handles(attributes)]
        for plugin in plugins:
            if plugin.changes_objects:
                return False
        for plugin in plugins:
            await plugin.admit(attributes)
        await self.validate(attributes)
        return True

    async def validate(self, attributes: Attributes) -> None:
        for plugin in self._about(attributes.group_resource).validating:
            if plugin.handles(attributes):
                await plugin.validate(attributes)


class _Concerned(NamedTuple):
    """Of all plugins those that a write of one resource can concern."""

    admitting: list[AdmissionPlugin]
    validating: list[AdmissionPlugin]
