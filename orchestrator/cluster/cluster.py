"""The composition root: builds a whole cluster from its configuration and owns its lifetime.

Order of a start: store, API server, what a fresh cluster contains, HTTPS, then the components, each
under the supervisor. The end is the reverse; containers keep running unless the cluster is
ephemeral. Nothing here decides anything about objects.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct

from orchestrator import __version__
from orchestrator.aiokit.clock import Clock, SystemClock
from orchestrator.api.resources import COMPONENT_STATUSES, Resource
from orchestrator.apiserver import pki
from orchestrator.apiserver.admission.type_checking import PolicyTypeChecks
from orchestrator.apiserver.authentication.authenticator import Authenticator, StaticTokens
from orchestrator.apiserver.authentication.service_account_tokens import ServiceAccountTokens
from orchestrator.apiserver.bootstrap import (
    bootstrap,
    ensure_default,
    publish_authentication,
    publish_endpoints,
    system_objects,
)
from orchestrator.apiserver.build import BuiltApiServer, build_api_server
from orchestrator.apiserver.component_statuses import ComponentStatuses
from orchestrator.apiserver.flowcontrol.upkeep import FlowControlUpkeep
from orchestrator.apiserver.inprocess import InProcessTransport, component_user
from orchestrator.apiserver.resource_metrics import ResourceMetrics
from orchestrator.apiserver.server import ApiServer
from orchestrator.apiserver.user import MASTERS_GROUP, User
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.cluster.system_components import Dial, SystemComponents, plan_components
from orchestrator.cluster.users import (
    APISERVER,
    CONTROLLER_MANAGER,
    DNS,
    INGRESS,
    KUBELETS,
    NETWORK_POLICY,
    PROVISIONER,
    PROXY,
    SCHEDULER,
    SNAPSHOTS,
    controller_groups,
    controller_user,
    program_of,
)
from orchestrator.component.events import EventRecorder
from orchestrator.component.kubelet_api import KubeletApi
from orchestrator.component.supervisor import Supervisor
from orchestrator.config import Config
from orchestrator.logs import get_logger
from orchestrator.store import Store, open_store

if TYPE_CHECKING:
    from orchestrator.apiserver.http.server import HttpServer
    from orchestrator.cluster.health import ClusterChecks
    from orchestrator.cluster.nodes import Nodes
    from orchestrator.kubelet.nodes import Kubelets


class Parts(Struct, frozen=True):
    """Which parts of a cluster run; a test leaves out what it does not need."""

    https: bool = True
    controllers: bool = True
    scheduler: bool = True
    nodes: bool = True
    network: bool = True
    """Service proxy and DNS; only with real containers."""
    storage: bool = False
    """The default storage class and who makes its volumes."""
    system_pods: bool = False
    """Pods in `kube-system` that show the components of this process."""


class Cluster:
    """A cluster in this process; use it as `async with Cluster(config) as cluster`."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        parts: Parts | None = None,
        detect_mutations: bool = False,
        static_tokens: Mapping[str, User] | None = None,
    ) -> None:
        """`clock` is the machine's by default, and all `parts` run that do by default.

        For tests: `detect_mutations` checks that nobody modifies what informers hold, which costs time; `static_tokens`
        are bearer tokens that are known beforehand, each with the user it stands for.
        """
        self.config = config
        self.clock = SystemClock() if clock is None else clock
        self.parts = Parts() if parts is None else parts
        self.detect_mutations = detect_mutations
        self.static_tokens = static_tokens or {}
        self.supervisor = Supervisor(clock=self.clock)
        self.nodes: Nodes | None = None
        self.kubelets: Kubelets | None = None
        self.https: HttpServer | None = None
        self.port = 0
        self._api_listener: tuple[str, int] | None = None
        self._log = get_logger("cluster")
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()
        """What the end undoes, the last first; one thing that fails keeps none of the others from it."""
        self._informer_sets: list[Informers] = []
        self._is_ending = False
        self._checks: ClusterChecks | None = None
        self._built: BuiltApiServer | None = None
        self._store: Store | None = None
        self._system: SystemComponents | None = None
        self._tls: ssl.SSLContext | None = None
        self._node_port: tuple[str, int] | None = None
        """Where rules lead what is sent to port 10250 of the nodes."""

    @property
    def api(self) -> ApiServer:
        """The API server's core."""
        return self._api_parts.server

    @property
    def _api_parts(self) -> BuiltApiServer:
        assert self._built is not None, "the cluster is not started"
        return self._built

    @property
    def store(self) -> Store:
        """The store; for tests and measurements, components never see it."""
        assert self._store is not None, "the cluster is not started"
        return self._store

    @property
    def url(self) -> str:
        """Where the API is served."""
        host, _ = self.config.listen_address
        shown = "127.0.0.1" if host in ("0.0.0.0", "") else host
        return f"https://{f'[{shown}]' if ':' in shown else shown}:{self.port}"

    @property
    def advertised_host(self) -> str:
        """The address behind the Service `kubernetes`.

        Endpoints may not be loopback addresses. A cluster that listens on the loopback is reached from
        its pods at the machine's own address in the network of the nodes.
        """
        host, _ = self.config.listen_address
        if host in ("", "0.0.0.0", "localhost") or ipaddress.ip_address(host).is_loopback:
            return str(ipaddress.IPv4Network(self.config.node_cidr)[1])
        return host

    def client(self, user: str = "kubernetes-admin", groups: Sequence[str] = (MASTERS_GROUP,)) -> Client:
        """An in-process client under this identity."""
        return Client(InProcessTransport(self.api, component_user(user, groups), user_agent=program_of(user)))

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def wait_ready(self) -> None:
        """Return once every informer has its first list and no component is down: `/readyz` says ok."""
        for informers in self._informer_sets:
            await informers.wait_synced()
        await self.supervisor.wait_healthy()

    async def close(self) -> None:
        """Stop everything, in reverse order; safe to call twice."""
        self._is_ending = True
        try:
            if self._tasks and self.kubelets is not None and self.config.shutdown_seconds[0] > 0:
                await self.kubelets.shut_down()  # while there is still an API to tell
        finally:
            await self._end_tasks()
            await self._stack.aclose()

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            try:
                await task
            except asyncio.CancelledError:
                pass
            except Exception:
                self._log.exception("stop.failed", task=task.get_name())
        self._tasks.clear()

    # Starting.

    async def _start(self) -> None:
        if self.parts.system_pods:
            self._system = SystemComponents(self.supervisor, self.clock)
            self._stack.callback(self._system.close)
        config = self.config
        path = None if config.ephemeral else config.data_dir / "store.db"
        from orchestrator.apiserver.indexes import INDEXED_FIELDS

        self._store = await open_store(path, clock=self.clock, indexed_fields=INDEXED_FIELDS)
        self._stack.push_async_callback(self._store.close)
        if self.parts.nodes:
            await self._prepare_nodes()
            config = self.config
        self._built = await build_api_server(
            store=self._store,
            clock=self.clock,
            service_cidr=config.service_cidr,
            component_users=(KUBELETS, DNS, NETWORK_POLICY, INGRESS, PROVISIONER),
            without_effect=self.nodes.without_effect if self.nodes is not None else {},
        )
        api = self._built.server
        self._stack.push_async_callback(api.close)
        tokens = ServiceAccountTokens(
            api,
            load_key=partial(pki.service_account_key, config.data_dir / "pki", durable=not config.ephemeral),
            issuer=f"https://kubernetes.default.svc.{config.cluster_domain}",
            clock=self.clock,
        )
        tokens.register()
        self._token_for_secret = tokens.for_secret
        self._static_tokens = StaticTokens(self.static_tokens, audience=tokens.issuer)
        self._built.reviews.token_reviewers += [tokens, self._static_tokens]
        service_ip = self._built.service_allocator.api_service_ip
        await bootstrap(self.client(APISERVER, (MASTERS_GROUP,)), system_objects(service_ip=service_ip))
        if self.parts.https:
            await self._start_https(service_ip, tokens)
        ResourceMetrics(api, self)
        api.readers[COMPONENT_STATUSES.group_resource] = ComponentStatuses(
            {
                "controller-manager": lambda: self._failing("controller/"),
                "scheduler": lambda: self._failing("kube-scheduler"),
                "etcd-0": lambda: "",
            }
        )
        if self.nodes is not None:
            await self._build_kubelets(self.nodes)
        if self.parts.https:
            await self._publish_api()
        if self._has_network:
            self._build_network()
        if self.parts.controllers:
            self._build_controllers()
        if self.parts.storage:
            await self._build_storage()
        if self.parts.scheduler:
            self._build_scheduler()
        self.supervisor.add("apiserver/serviceaddresses", self._built.service_allocator.addresses.run)
        self.supervisor.add("apiserver/customresources", self._built.custom_resources.run)
        self.supervisor.add("apiserver/typechecking", PolicyTypeChecks(api).run)
        ensure = partial(ensure_default, self._store, self.clock)
        self.supervisor.add("apiserver/flowcontrol", FlowControlUpkeep(api, ensure).run)
        self._run("supervisor", self.supervisor.run())
        if self._system is not None and self.kubelets is not None:
            self.supervisor.on_change(partial(self._show_changed, self._system, self.kubelets))

    def show_system_pods(self) -> None:
        """Show the components of this process as pods, if that was asked for; call it once they have come up."""
        if self._system is None or self.kubelets is None:
            return
        for component in self._planned_components():
            self._system.started(component)
        self.kubelets.show_built_in()

    def _show_changed(self, system: SystemComponents, kubelets: Kubelets, task: str) -> None:
        component = system.owner(task)
        if component is None:
            return
        if not self.supervisor.states()[task].is_failing:
            system.started(component)
        kubelets.show_built_in(component)

    def _run(self, name: str, coroutine: Any) -> None:
        self._tasks.append(asyncio.create_task(coroutine, name=name))

    async def _start_https(self, service_ip: str, tokens: ServiceAccountTokens) -> None:
        from orchestrator.apiserver.aggregation.api_services import ApiServices
        from orchestrator.apiserver.http.aggregation import Aggregator
        from orchestrator.apiserver.http.documents import KUBERNETES_VERSION, Documents, version_info
        from orchestrator.apiserver.http.openapi_documents import OpenApiDocuments
        from orchestrator.apiserver.http.openid import OpenIdDocuments
        from orchestrator.apiserver.http.server import HttpServer
        from orchestrator.apiserver.http.zpages import ZPages
        from orchestrator.cluster.health import ClusterChecks

        config = self.config
        host, port = config.listen_address
        directory = config.data_dir / "pki"
        certificates = pki.prepare(
            directory,
            hosts=pki.serving_hosts(
                host, service_ip=service_ip, cluster_domain=config.cluster_domain, extra=[self.advertised_host]
            ),
            clock=SystemClock(),  # TLS goes by the machine's time, whatever time it is in the cluster
            durable=not config.ephemeral,
        )
        http = HttpServer(self.api, authenticator=Authenticator((tokens, self._static_tokens)), clock=self.clock)
        documents = Documents(http, project_version=__version__)
        services = ApiServices(self.api, directory)
        services.follow()
        await services.start()
        documents.api_services = services
        self._stack.push_async_callback(Aggregator(http, services).close)
        self.supervisor.add("apiserver/aggregation", services.run)
        await publish_authentication(
            self.client(APISERVER, (MASTERS_GROUP,)),
            client_ca=certificates.ca.certificate.decode(),
            front_proxy_ca=certificates.front_proxy_ca.certificate.decode(),
            front_proxy_user=pki.FRONT_PROXY_USER,
        )
        self._checks = ClusterChecks(
            documents.health,
            store=self.store,
            supervisor=self.supervisor,
            informers=self._informer_sets,
            is_ending=lambda: self._is_ending,
        )
        version = version_info(__version__)
        ZPages(http, version=version, flags=config.shown, paths=documents.paths, clock=self.clock)
        OpenIdDocuments(http, tokens)
        OpenApiDocuments(http, product_version=KUBERNETES_VERSION).api_services = services
        http.load_streams_later("pods", ("log", "exec", "attach", "portforward"), partial(self._load_pod_streams, http))
        for resource in ("pods", "services", "nodes"):
            http.load_streams_later(resource, ("proxy",), partial(self._load_proxies, http))
        self._tls = pki.server_context(certificates, directory)
        self.port = await http.start(host, port, self._tls)
        self._stack.push_async_callback(http.close)
        self.https = http
        pki.write_kubeconfig(
            config.kubeconfig_path,
            server=self.url,
            ca=certificates.ca,
            client=certificates.admin,
            durable=not config.ephemeral,
        )

    def _load_pod_streams(self, http: HttpServer) -> None:
        from orchestrator.apiserver.http.pod_streams import PodStreams

        PodStreams(http, self)

    def _load_proxies(self, http: HttpServer) -> None:
        from orchestrator.apiserver.http.proxies import Proxies

        self._stack.push_async_callback(Proxies(http, self).close)

    async def _publish_api(self) -> None:
        """Say where pods find the API, and listen there too when the main listener is not for them."""
        from orchestrator.cluster.health import PUBLISHED

        assert self.https is not None
        host, port = self.advertised_host, self.port
        if self._has_network and self.config.listen_address[0] not in ("", "0.0.0.0", host):
            port = await self.https.listen_also(host, port)
            self._api_listener = (host, port)
        await publish_endpoints(self.client(APISERVER, (MASTERS_GROUP,)), host, port)
        assert self._checks is not None
        self._checks.done(PUBLISHED)

    @property
    def _has_network(self) -> bool:
        """Whether Services work in packets: hollow pods send none."""
        return self.parts.network and self.nodes is not None and self.nodes.cidrs is not None

    def _build_network(self) -> None:
        from orchestrator.cluster.network import (
            add_dns,
            add_ingress,
            add_network_policies,
            add_service_proxy,
            add_userspace_proxy,
        )
        from orchestrator.kubelet.network.plan import machine_address

        assert self.nodes is not None
        network, docker_network, cidrs = self.nodes.network, self.nodes.docker_network, self.nodes.cidrs
        assert cidrs is not None
        local_address = address = self._api_parts.service_allocator.dns_service_ip
        if docker_network is not None:
            local_address = str(machine_address(cidrs))
            informers = self._informers("kube-proxy", PROXY)
            add_userspace_proxy(self.supervisor, network=docker_network, informers=informers, clock=self.clock)
        elif network is not None:
            add_service_proxy(
                self.supervisor,
                network=network,
                informers=self._informers("kube-proxy", PROXY),
                clock=self.clock,
                dns_address=address,
                api_listener=self._api_listener,
                node_port=self._node_port,
            )
            add_network_policies(
                self.supervisor,
                cluster_id=network.cluster_id,
                cidrs=cidrs,
                informers=self._informers("network-policy", NETWORK_POLICY),
                clock=self.clock,
                dns_address=address,
            )
        if self.config.ingress_addresses:
            add_ingress(
                self.supervisor,
                client=self.client(INGRESS, ()),
                informers=self._informers("ingress", INGRESS),
                recorder=self._recorder("ingress-controller", INGRESS),
                clock=self.clock,
                local_address=local_address,
                listen=self.config.ingress_addresses,
            )
        add_dns(
            self.supervisor,
            cidrs=cidrs,
            client=self.client(DNS, ()),
            informers=self._informers("dns", DNS),
            clock=self.clock,
            domain=self.config.cluster_domain,
            address=address,
            places=docker_network,
        )

    def kubelet(self, node_name: str) -> KubeletApi | None:
        """Find a kubelet, for the API server's streams (`KubeletConnector`)."""
        return self.kubelets.kubelet(node_name) if self.kubelets is not None else None

    def resources(self) -> list[Resource]:
        """Everything that is stored and can be listed and deleted; for the garbage collector and namespaces."""
        return [
            kind.resource
            for kind in self.api.registry
            if "list" in kind.verbs
            and "delete" in kind.verbs
            and (kind.conversion is None or kind.conversion.stored_as == kind.resource)
        ]

    def _failing(self, prefix: str) -> str:
        failing = self.supervisor.failing()
        return "; ".join(f"{name}: {why}" for name, why in failing.items() if name.startswith(prefix))

    def _informers(self, name: str, user: str) -> Informers:
        informers = Informers(self.client(user, ()), clock=self.clock, detect_mutations=self.detect_mutations)
        self._informer_sets.append(informers)
        self.supervisor.add(f"{name}/informers", informers.run)
        return informers

    def _recorder(self, name: str, user: str, actions: Mapping[str, str] | None = None) -> EventRecorder:
        recorder = EventRecorder(self.client(user, ()), component=name, clock=self.clock, actions=actions)
        self.supervisor.add(f"{name}/events", recorder.run)
        return recorder

    def _build_controllers(self) -> None:
        from orchestrator.controllers.registry import build_controllers, event_component, select_controllers

        controllers = build_controllers(
            select_controllers(self.config.controllers),
            client_for=lambda name: self.client(controller_user(name), controller_groups()),
            informers=self._informers("kube-controller-manager", CONTROLLER_MANAGER),
            recorder_for=lambda name: self._recorder(event_component(name), controller_user(name)),
            clock=self.clock,
            resources=self.resources,
            ca_pem=self._pki_pem("ca.crt"),
            ca_key_pem=self._pki_pem("ca.key"),
            pod_cidr=self.config.pod_cidr,
            load_balancer_addresses=self.config.load_balancer_addresses,
            token_for=self._token_for_secret,
        )
        for controller in controllers:
            self.supervisor.add(f"controller/{controller.name}", controller.run)

    def _pki_pem(self, file: str) -> str:
        """One of the cluster's own PEM files; empty where nothing listens and hence none were made."""
        return (self.config.data_dir / "pki" / file).read_text() if self.parts.https else ""

    def _planned_components(self) -> dict[str, dict[str, str]]:
        return plan_components(
            self.config,
            api_address=(self.advertised_host, self.port) if self.parts.https else None,
            controllers=self.parts.controllers,
            scheduler=self.parts.scheduler,
            proxy_mode=self._proxy_mode,
        )

    @property
    def _proxy_mode(self) -> str:
        """How Services are led to their endpoints; empty where they are not."""
        if not self._has_network or self.nodes is None:
            return ""
        return "nftables" if self.nodes.docker_network is None else "userspace"

    async def _build_storage(self) -> None:
        from orchestrator.cluster.storage import PROVISIONER_NAME, add_storage

        users = {PROVISIONER_NAME: PROVISIONER}
        await add_storage(
            self.supervisor,
            config=self.config,
            nodes=self.nodes,
            client=self.client(PROVISIONER, ()),
            snapshot_client=self.client(SNAPSHOTS, controller_groups()),
            informers=self._informers(PROVISIONER_NAME, PROVISIONER),
            recorder_for=lambda name: self._recorder(name, users.get(name, SNAPSHOTS)),
            clock=self.clock,
        )

    def _build_scheduler(self) -> None:
        from orchestrator.scheduler.configuration import parse_configuration
        from orchestrator.scheduler.pod_writer import EVENT_ACTIONS
        from orchestrator.scheduler.scheduler import Scheduler

        scheduler = Scheduler(
            config=parse_configuration(self.config.scheduler),
            client=self.client(SCHEDULER, ()),
            informers=self._informers("kube-scheduler", SCHEDULER),
            recorder=self._recorder("default-scheduler", SCHEDULER, EVENT_ACTIONS),
            clock=self.clock,
        )
        self.supervisor.add("kube-scheduler", scheduler.run)

    async def _prepare_nodes(self) -> None:
        from orchestrator.cluster.nodes import Nodes

        self.nodes = Nodes(self.config, clock=self.clock)
        self._stack.push_async_callback(self.nodes.close)
        await self.nodes.prepare()
        self.config = self.nodes.config
        if self.config.ephemeral:
            self._stack.push_async_callback(self.nodes.remove_containers)

    async def _build_kubelets(self, nodes: Nodes) -> None:
        from orchestrator.kubelet.nodes import Kubelets

        self.kubelets = Kubelets(
            client_for=lambda name: self.client(f"system:node:{name}", ("system:nodes",)),
            informers=self._informers("kubelet", KUBELETS),
            clock=self.clock,
            cluster_domain=self.config.cluster_domain,
            detect_mutations=self.detect_mutations,
        )
        cluster_dns = self._api_parts.service_allocator.dns_service_ip if self._has_network else ""
        system = self._system
        planned = self._planned_components().items() if system is not None else ()
        dial = self._component_dialer(system)
        built_in = [system.built_in(component, args, dial) for component, args in planned] if system is not None else []
        await nodes.populate(self.kubelets, cluster_dns=cluster_dns, built_in=built_in)
        self.supervisor.add("kubelets", self.kubelets.run)
        if cluster_dns and self.parts.https:
            self._open_node_port(nodes, cluster_dns)

    def _open_node_port(self, nodes: Nodes, address: str) -> None:
        from orchestrator.cluster.node_port import NodePorts, listen_for_nodes

        names = {one.ip: one.name for one in nodes.addresses}
        ports = NodePorts(
            self.supervisor,
            kubelets=self,
            nodes=names,
            client_for=lambda name: self.client(f"system:node:{name}", ("system:nodes",)),
            make_tls=partial(
                pki.kubelet_context,
                self.config.data_dir / "pki",
                hosts=[*names, *names.values(), "localhost", "127.0.0.1"],
                clock=SystemClock(),
                durable=not self.config.ephemeral,
            ),
            clock=self.clock,
        )
        if nodes.docker_network is not None:
            ports.serve_each(nodes.docker_network)
            return
        listening = listen_for_nodes(address)
        self._stack.callback(listening.close)
        self._node_port = listening.getsockname()
        ports.serve_all(listening)

    def _component_dialer(self, system: SystemComponents | None) -> Dial | None:
        """Connects to the ports of components; None where nothing has certificates."""
        tls = self._tls
        if system is None or tls is None:
            return None
        from orchestrator.cluster.component_ports import ComponentPorts

        host, _ = self.config.listen_address
        ports = ComponentPorts(
            clients={
                "kube-controller-manager": self.client(CONTROLLER_MANAGER, ()),
                "kube-scheduler": self.client(SCHEDULER, ()),
            },
            is_running=system.is_running,
            make_tls=lambda: tls,
            api_address=("127.0.0.1" if host in ("", "0.0.0.0") else host, self.port),
        )
        self._stack.push_async_callback(ports.close)
        return ports.dial
