"""The component: keeps the zone equal to the API's Services, and tells the API where DNS is.

Mirrors CoreDNS with its kubernetes plug-in, and the Service `kube-dns` that kubeadm makes for it.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.endpoint_slices import SERVICE_INDEX, service_keys, slice_of_own_listeners
from orchestrator.api.objects import Object, key_of, name_of, namespace_of
from orchestrator.api.resources import CONFIG_MAPS, ENDPOINT_SLICES, NAMESPACES, SERVICES
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.component import places as named_places
from orchestrator.component.places import Places, until_lost
from orchestrator.dns.forwarding import parse_forwarding
from orchestrator.dns.plan import is_headless, plan_records
from orchestrator.dns.server import PORT, DnsServer, Ports
from orchestrator.dns.upstream import Upstream
from orchestrator.dns.zone import Zone
from orchestrator.logs import get_logger

NAMESPACE, NAME = "kube-system", "kube-dns"


class ClusterDns:
    """Answers for the names of the cluster on the DNS Service's address."""

    def __init__(
        self,
        *,
        client: Client,
        informers: Informers,
        clock: Clock,
        domain: str,
        address: str,
        reverse: Sequence[IPv4Network] = (),
        places: Places | None = None,
    ) -> None:
        """`address` is the cluster IP that pods ask; `reverse` the ranges whose reverse names are the cluster's.

        `places` have the address when this machine has not.
        """
        self._places = places
        self.zone = Zone(domain=domain, address=address, reverse=reverse)
        self._client = client
        self._address = address
        self._upstream = Upstream(clock=clock, own_addresses=(address,))
        self._log = get_logger("dns")
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINT_SLICES)
        self._namespaces = informers.informer(NAMESPACES)
        self._config = informers.informer(CONFIG_MAPS, field_selector=f"metadata.name={NAME}")
        self._config.add_handler(self._on_config)
        self._slices.add_index(SERVICE_INDEX, service_keys)
        self._services.add_handler(self._on_service)
        self._slices.add_handler(self._on_slice)
        self._namespaces.add_handler(self._on_namespace)

    async def run(self) -> None:
        """Serve until cancelled; OSError when the address cannot be listened on."""
        for informer in (self._services, self._slices, self._namespaces, self._config):
            await informer.wait_synced()
        server = DnsServer(zone=self.zone, upstream=self._upstream, address=self._address)
        if self._places is None:
            await self._serve(server, server.open)
            return
        kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM)
        made = [await self._places.make_socket(named_places.SERVICES, kind) for kind in kinds]
        await until_lost(self._places, self._serve(server, lambda: server.open_on(*made)))

    async def _serve(self, server: DnsServer, listen: Callable[[], Ports]) -> None:
        try:
            ports = listen()
            if ports != Ports(PORT, PORT):
                self._log.warning("port.taken", address=self._address, udp=ports.udp, tcp=ports.tcp)
            await publish(self._client, self._address, ports)
            await server.run()
        finally:
            server.close()

    # Changes are cheap, and go into the zone at once.

    def _on_service(self, old: Object | None, new: Object | None) -> None:
        subject = new if new is not None else old
        assert subject is not None
        self._update(key_of(subject))

    def _on_slice(self, old: Object | None, new: Object | None) -> None:
        for key in {key for one in (old, new) if one is not None for key in service_keys(one)}:
            service = self._services.get(key)
            if service is not None and is_headless(service):
                self._update(key)

    def _on_namespace(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.zone.namespaces.add(name_of(new))
        elif old is not None:
            self.zone.namespaces.discard(name_of(old))

    def _on_config(self, old: Object | None, new: Object | None) -> None:
        if namespace_of(new or old or {}) != NAMESPACE:
            return
        try:
            self._upstream.configure(parse_forwarding(new))
        except ValueError as error:
            self._log.warning("config.wrong", config_map=f"{NAMESPACE}/{NAME}", error=str(error))

    def _update(self, key: str) -> None:
        slices = self._slices.by_index(SERVICE_INDEX, key)
        self.zone.update(key, plan_records(self._services.get(key), slices, domain=self.zone.domain))


async def publish(client: Client, address: str, ports: Ports) -> None:
    """Make the Service `kube-dns` and say where it leads; ApiError.

    The Service has no selector: its endpoint is the server in this process, on the cluster IP itself.
    """
    with contextlib.suppress(errors.AlreadyExists):  # also one that somebody has changed stays as it is
        await client.create(SERVICES, _service(address))
    listening = (("dns", ports.udp, "UDP"), ("dns-tcp", ports.tcp, "TCP"))
    wanted = slice_of_own_listeners(NAMESPACE, NAME, address, listening, {"k8s-app": NAME})
    try:
        await client.create(ENDPOINT_SLICES, wanted)
    except errors.AlreadyExists:
        current = await client.get(ENDPOINT_SLICES, NAME, NAMESPACE)
        metadata = {**wanted["metadata"], "resourceVersion": current["metadata"]["resourceVersion"]}
        await client.update(ENDPOINT_SLICES, {**wanted, "metadata": metadata})


def _service(address: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {
                "k8s-app": NAME,
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "ports": [
                {"name": "dns", "port": PORT, "protocol": "UDP", "targetPort": PORT},
                {"name": "dns-tcp", "port": PORT, "protocol": "TCP", "targetPort": PORT},
            ],
        },
    }
