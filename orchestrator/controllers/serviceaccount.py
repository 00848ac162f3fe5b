"""What every namespace has from its first moment: a `default` ServiceAccount and the root CA.

Mirrors serviceaccount-controller and root-ca-certificate-publisher-controller.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

from orchestrator.api import errors
from orchestrator.api.objects import Object, copy_object, is_terminating, name_of, namespace_of
from orchestrator.api.resources import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.controllers.replicas import is_namespace_terminating

DEFAULT = "default"
ROOT_CA = "kube-root-ca.crt"

_ROOT_CA_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
    "Kubernetes clusters."
)


class ServiceAccountController(Controller):
    """Creates `default` in each active namespace, again when somebody deletes it."""

    name: ClassVar[str] = "serviceaccount"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        """Namespaces by name; deleted `default` accounts lead to their namespace."""
        self._namespaces = self.informer(NAMESPACES)
        self._accounts = self.informer(SERVICE_ACCOUNTS)
        self._namespaces.add_handler(self._on_namespace)
        self._accounts.add_handler(self._on_account)

    def _on_namespace(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.queue.add(name_of(new))

    def _on_account(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None and name_of(old) == DEFAULT:
            self.queue.add(namespace_of(old))

    async def reconcile(self, key: str) -> float | None:
        """Create the account if it is missing."""
        namespace = self._namespaces.get(key)
        if namespace is None or is_terminating(namespace) or self._accounts.get(f"{key}/{DEFAULT}") is not None:
            return None
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEFAULT, "namespace": key}}
        try:
            await self.client.create(SERVICE_ACCOUNTS, account)
        except errors.AlreadyExists:
            return None
        except errors.Forbidden as error:
            if not is_namespace_terminating(error):
                raise
        return None


def plan_root_ca(present: Object | None, namespace: str, ca_pem: str) -> Object | None:
    """The ConfigMap as it should be; None when it is."""
    data = {"ca.crt": ca_pem}
    annotations = {"kubernetes.io/description": _ROOT_CA_DESCRIPTION}
    if present is None:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": ROOT_CA, "namespace": namespace, "annotations": annotations},
            "data": data,
        }
    has = present["metadata"].get("annotations") or {}
    if present.get("data") == data and annotations.items() <= has.items():
        return None
    wanted = copy_object(present)
    wanted["data"] = data
    wanted["metadata"]["annotations"] = {**has, **annotations}
    return wanted


class RootCAPublisher(Controller):
    """Keeps the ConfigMap `kube-root-ca.crt` in each active namespace as it should be."""

    name: ClassVar[str] = "root-ca-cert-publisher"
    workers: ClassVar[int] = 1

    def __init__(self, *, ca_pem: str, **dependencies: Unpack[Dependencies]) -> None:
        self._ca_pem = ca_pem
        super().__init__(**dependencies)

    def setup(self) -> None:
        """Namespaces by name; changes of such ConfigMaps lead to their namespace."""
        self._namespaces = self.informer(NAMESPACES)
        self._maps = self.informer(CONFIG_MAPS)
        self._namespaces.add_handler(self._on_namespace)
        self._maps.add_handler(self._on_map)

    def _on_namespace(self, old: Object | None, new: Object | None) -> None:
        if new is not None and (old is None or is_terminating(old) != is_terminating(new)):
            self.queue.add(name_of(new))

    def _on_map(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        if obj is not None and name_of(obj) == ROOT_CA:
            self.queue.add(namespace_of(obj))

    async def reconcile(self, key: str) -> float | None:
        """Create or correct the ConfigMap."""
        namespace = self._namespaces.get(key)
        if namespace is None or is_terminating(namespace):
            return None
        present = self._maps.get(f"{key}/{ROOT_CA}")
        wanted = plan_root_ca(present, key, self._ca_pem)
        if wanted is None:
            return None
        try:
            if present is None:
                await self.client.create(CONFIG_MAPS, wanted)
            else:
                await self.client.update(CONFIG_MAPS, wanted)
        except errors.AlreadyExists:
            return None
        except errors.Forbidden as error:
            if not is_namespace_terminating(error):
                raise
        return None
