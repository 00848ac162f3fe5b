"""What pods read beside themselves: ConfigMaps, Secrets, Services and what else they wait for, shared by all kubelets.

Owns which pod refers to which object, so that a change costs only the pods that refer to it. Never
decides what a change means. Mirrors the kubelet's configmap and secret watch managers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.api import errors
from orchestrator.api.objects import Object, key_of
from orchestrator.api.resources import CONFIG_MAPS, NODES, SECRETS, SERVICES, Resource
from orchestrator.client.client import Client
from orchestrator.client.informer import Handler, Informer, Informers

Notify = Callable[[str], None]
"""Called with the uid of the pod whose reference changed."""

Reference = tuple[Resource, str]
"""A resource and `namespace/name`."""


class Sources:
    """Shared informers of what pods refer to, with an index from object to pods."""

    def __init__(self, *, informers: Informers) -> None:
        self._services: Informer = informers.informer(SERVICES)
        self._nodes: Informer = informers.informer(NODES)
        self._subscribers: dict[Reference, dict[tuple[Notify, str], None]] = {}
        self._references: dict[tuple[Notify, str], frozenset[Reference]] = {}
        self._informers = informers
        self._followed: set[Resource] = set()
        for resource in (CONFIG_MAPS, SECRETS):
            self._follow(resource)

    async def wait_synced(self) -> None:
        """Wait until services are known; a pod's environment must not miss the first ones."""
        await self._services.wait_synced()

    def node(self, name: str) -> Object | None:
        """A Node as it is now."""
        return self._nodes.get(name)

    def services(self, namespace: str) -> list[Object]:
        """The services whose variables a pod of this namespace may see."""
        services = self._services.list(namespace)
        master = self._services.get("default/kubernetes")
        if master is not None and namespace != "default":
            services.append(master)
        return services

    def refer(self, notify: Notify, uid: str, references: Iterable[Reference]) -> None:
        """Tell `notify` from now on when one of these changes; replaces what the pod referred to before."""
        subscriber = (notify, uid)
        wanted = frozenset(references)
        before = self._references.get(subscriber, frozenset())
        for reference in before - wanted:
            subscribers = self._subscribers[reference]
            subscribers.pop(subscriber, None)
            if not subscribers:
                del self._subscribers[reference]
        for reference in wanted - before:
            self._follow(reference[0])
            self._subscribers.setdefault(reference, {})[subscriber] = None
        if wanted:
            self._references[subscriber] = wanted
        else:
            self._references.pop(subscriber, None)

    def _follow(self, resource: Resource) -> None:
        """From now on changes of this resource are told to those that refer to them."""
        if resource not in self._followed:
            self._followed.add(resource)
            self._informers.informer(resource).add_handler(self._handler(resource))

    def drop(self, notify: Notify) -> None:
        """Tell `notify` nothing any more, about any pod."""
        for subscriber in [one for one in self._references if one[0] == notify]:
            self.refer(*subscriber, ())

    def _handler(self, resource: Resource) -> Handler:
        def on_change(old: Object | None, new: Object | None) -> None:
            subject = new if new is not None else old
            assert subject is not None
            for notify, uid in [*self._subscribers.get((resource, key_of(subject)), ())]:
                notify(uid)

        return on_change


async def read_all(
    client: Client, resource: Resource, namespace: str, names: Iterable[str]
) -> dict[str, Object | None]:  # fmt: skip
    """The named objects as they are now, read from the API and not from a cache; None for a missing one."""
    found: dict[str, Object | None] = {}
    for name in sorted(names):
        if not name:
            found[name] = None
            continue
        try:
            found[name] = await client.get(resource, name, namespace)
        except errors.NotFound:
            found[name] = None
    return found
