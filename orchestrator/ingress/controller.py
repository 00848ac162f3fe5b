"""The component: serves Ingresses of its class, and writes into their status where.

It listens only while there is an Ingress to serve. To be found on port 80 and 443 of every node it makes itself a
Service with the nodes' addresses as external IPs: the Service proxy leads them here, wherever those addresses live,
and ports that pods took themselves stay theirs. Mirrors the ingress controllers that kubernetes.io lists.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

from orchestrator.api import errors
from orchestrator.api.endpoint_slices import SERVICE_INDEX, service_keys, slice_of_own_listeners
from orchestrator.api.objects import Object, is_terminating, key_of, name_of, namespace_of
from orchestrator.api.resources import (
    ENDPOINT_SLICES,
    INGRESS_CLASSES,
    INGRESSES,
    NODES,
    SECRETS,
    SERVICES,
    Resource,
)
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.ingress.certificates import Certificates
from orchestrator.ingress.plan import Routes, addresses, endpoint_port, is_ours, plan_routes, plan_secrets
from orchestrator.ingress.server import Address, IngressServer

CLASS_NAME = "orchestrator"
CONTROLLER = "orchestrator.local/ingress-controller"
DEFAULT_CLASS_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
NAMESPACE, NAME = "kube-system", "ingress-controller"
LISTENERS = "listeners"
"""The key of the controller's own Service; Ingresses have keys with a slash."""
NODES_WORD = "nodes"
ADDRESSES_SHOWN_MAX = 16
HTTP, HTTPS = 80, 443
STATUS_SECONDS = 10.0
"""How long a status that somebody else wrote stands before it is put right. Two that answer each other's writes at
once would never end, and whoever else wrote it would meet a conflict at every step."""


class IngressController(Controller):
    """Keys are Ingresses, and `LISTENERS`."""

    name: ClassVar[str] = "ingress"
    workers: ClassVar[int] = 1

    def __init__(self, *, local_address: str, listen: Sequence[str], **dependencies: Unpack[Dependencies]) -> None:
        """`local_address` is one of this machine's that rules lead to; `listen` are addresses, and `nodes`."""
        self._local_address = local_address
        self._on_nodes = NODES_WORD in listen
        self._own_addresses = [address for address in listen if address != NODES_WORD]
        self._server = IngressServer(self._find)
        self._certificates = Certificates(secrets=self._server_names, find_secret=lambda key: self._secrets.get(key))
        self._ports: tuple[int, int] | None = None
        self._routes: Routes | None = None
        self._secret_names: dict[str, str] | None = None
        super().__init__(**dependencies)

    def setup(self) -> None:
        self._ingresses = self.informer(INGRESSES)
        self._classes = self.informer(INGRESS_CLASSES)
        self._nodes = self.informer(NODES)
        self._services = self.informer(SERVICES)
        self._slices = self.informer(ENDPOINT_SLICES)
        self._secrets = self._informers.informer(SECRETS, field_selector="type=kubernetes.io/tls")
        self._watched.append(self._secrets)
        self._slices.add_index(SERVICE_INDEX, service_keys)
        self._ingresses.add_handler(self._on_ingress)
        self._classes.add_handler(self._on_class)
        self._nodes.add_handler(self._on_node)
        self._services.add_handler(self._on_service)

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            await self._make_class()
            self.queue.add(LISTENERS)
            await super().run()
        finally:
            await self._server.close()
            self._ports = None

    async def _make_class(self) -> None:
        with contextlib.suppress(errors.AlreadyExists):
            await self.client.create(
                INGRESS_CLASSES,
                {
                    "apiVersion": "networking.k8s.io/v1",
                    "kind": "IngressClass",
                    "metadata": {"name": CLASS_NAME, "annotations": {DEFAULT_CLASS_ANNOTATION: "true"}},
                    "spec": {"controller": CONTROLLER},
                },
            )

    # What changed.

    def _on_ingress(self, old: Object | None, new: Object | None) -> None:
        spec_before, spec_after = ((one or {}).get("spec") for one in (old, new))
        if old is None or new is None or spec_before != spec_after or _metadata(old) != _metadata(new):
            self._routes = self._secret_names = None
        if old is not None and new is not None and old.get("status") != new.get("status"):
            self.queue.add_after(key_of(new), STATUS_SECONDS)
        else:
            self.enqueue_object(old, new)
        if self._ports is None:
            self.queue.add(LISTENERS)

    def _on_class(self, old: Object | None, new: Object | None) -> None:
        self._routes = self._secret_names = None
        for ingress in self._ingresses.list():
            self.queue.add(key_of(ingress))

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if self._on_nodes and _internal_ip(old) != _internal_ip(new):
            self.queue.add(LISTENERS)
            for ingress in self._ingresses.list():
                self.queue.add(key_of(ingress))

    def _on_service(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None and (namespace_of(old), name_of(old)) == (NAMESPACE, NAME):
            self.queue.add(LISTENERS)

    # What follows.

    async def reconcile(self, key: str) -> float | None:
        if key == LISTENERS:
            if self._ours():
                await self._listen()
            return None
        ingress = self._ingresses.get(key)
        if ingress is None or is_terminating(ingress) or not is_ours(ingress, self._class_names()):
            return None
        shown = [{"ip": address} for address in self._addresses()]
        status = ingress.get("status") or {}
        if ((status.get("loadBalancer") or {}).get("ingress") or []) != shown:
            balancer = {"ingress": shown} if shown else {}
            await self.client.update_status(INGRESSES, {**ingress, "status": {**status, "loadBalancer": balancer}})
        return None

    async def _listen(self) -> None:
        if self._ports is None:
            tls = self._certificates.context()
            http = await self._server.listen(self._local_address)
            self._ports = (http, await self._server.listen(self._local_address, tls=tls))
            for address in self._own_addresses:
                for port, context in ((HTTP, None), (HTTPS, tls)):
                    try:
                        await self._server.listen(address, port=port, tls=context)
                    except OSError as error:
                        self.log.warning("listen.failed", address=address, port=port, error=str(error))
        if self._on_nodes:
            await self._publish(self._ports)

    async def _publish(self, ports: tuple[int, int]) -> None:
        """Keep the Service that leads the nodes' ports here."""
        node_ips = self._node_ips()
        if not node_ips:
            return
        await self._write(SERVICES, _service(node_ips))
        listening = (("http", ports[0], "TCP"), ("https", ports[1], "TCP"))
        await self._write(ENDPOINT_SLICES, slice_of_own_listeners(NAMESPACE, NAME, self._local_address, listening))

    async def _write(self, resource: Resource, wanted: Object) -> None:
        try:
            current = await self.client.get(resource, NAME, NAMESPACE)
        except errors.NotFound:
            await self.client.create(resource, wanted)
            return
        changed = {**current, **{key: value for key, value in wanted.items() if key != "metadata"}}
        if "spec" in wanted:
            changed["spec"] = {**current["spec"], **wanted["spec"]}
        if changed != current:
            await self.client.update(resource, changed)

    def _class_names(self) -> list[str]:
        return [name_of(one) for one in self._classes.list() if (one.get("spec") or {}).get("controller") == CONTROLLER]

    def _ours(self) -> list[Object]:
        classes = self._class_names()
        return [one for one in self._ingresses.list() if is_ours(one, classes)]

    def _node_ips(self) -> list[str]:
        return sorted(filter(None, map(_internal_ip, self._nodes.list())), key=lambda ip: [*map(int, ip.split("."))])

    def _addresses(self) -> list[str]:
        nodes = self._node_ips() if self._on_nodes else []
        return [*nodes, *self._own_addresses][:ADDRESSES_SHOWN_MAX]

    # Asked by the server.

    def _find(self, host: str, path: str) -> list[Address] | None:
        if self._routes is None:
            self._routes = plan_routes(self._ours())
        backend = self._routes.find(host, path)
        if backend is None:
            return None
        service = self._services.get(backend.service)
        port = endpoint_port(service, backend.port) if service is not None else None
        if port is None:
            return []
        return addresses(self._slices.by_index(SERVICE_INDEX, backend.service), port[0])

    def _server_names(self) -> dict[str, str]:
        if self._secret_names is None:
            self._secret_names = plan_secrets(self._ours())
        return self._secret_names


def _metadata(ingress: Object) -> Any:
    return ingress["metadata"].get("annotations")


def _internal_ip(node: Object | None) -> str:
    listed = ((node or {}).get("status") or {}).get("addresses") or ()
    return next((one["address"] for one in listed if one["type"] == "InternalIP" and ":" not in one["address"]), "")


def _service(node_ips: Sequence[str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/name": NAME}},
        "spec": {
            "type": "ClusterIP",
            "externalIPs": [*node_ips],
            "ports": [
                {"name": "http", "port": HTTP, "protocol": "TCP", "targetPort": HTTP},
                {"name": "https", "port": HTTPS, "protocol": "TCP", "targetPort": HTTPS},
            ],
        },
    }
