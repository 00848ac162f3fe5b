"""`pods/proxy`, `services/proxy` and `nodes/proxy`: HTTP to what runs in the cluster, through the API server.

Owns where such a request leads. How it gets there is in `reverse_proxy`. Mirrors kube-apiserver's
`ResourceLocation` of pods, services and nodes.
"""

from __future__ import annotations

import ipaddress
import posixpath
import random
import ssl
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from aiohttp import web

from orchestrator.api import errors
from orchestrator.api.endpoint_slices import SERVICE_NAME_LABEL
from orchestrator.api.objects import Object, labels_of
from orchestrator.apiserver.http.connecting import admit_connect
from orchestrator.apiserver.http.plain_text import page_not_found, plain_error
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.reverse_proxy import ReverseProxy
from orchestrator.apiserver.http.routing import Route
from orchestrator.apiserver.http.server import HttpServer
from orchestrator.apiserver.request import ApiRequest
from orchestrator.apiserver.services.resolver import addresses_behind
from orchestrator.component.kubelet_api import KubeletConnector

SCHEMES = ("", "http", "https")


class Target(NamedTuple):
    """What the name in the URL of a proxy says: `name`, `name:port` or `scheme:name:port`."""

    scheme: str
    name: str
    port: str


class Proxies:
    """Serves the proxy subresources; `close` it with the server."""

    def __init__(self, http: HttpServer, kubelets: KubeletConnector) -> None:
        self._api = http.api
        self._kubelets = kubelets
        self._proxy = ReverseProxy(http)
        self._tls: ssl.SSLContext | None = None
        http.streams["pods", "proxy"] = self.pod
        http.streams["services", "proxy"] = self.service
        http.streams["nodes", "proxy"] = self.node

    async def close(self) -> None:
        """Close the connections to backends."""
        await self._proxy.close()

    async def pod(self, request: HttpRequest, api_request: ApiRequest, route: Route) -> web.StreamResponse:
        """To a port of a pod: the one that is named, else the first that its containers declare."""
        await admit_connect(self._api, request, api_request, route)
        target = parse_target(api_request.name, "pod")
        pod = await self._api.read("pods", target.name, api_request.namespace)
        if pod is None:
            raise errors.not_found("", "pods", target.name)
        address = (pod.get("status") or {}).get("podIP") or ""
        return await self._forward(request, target.scheme, address, target.port or first_port(pod), segments=8)

    async def service(self, request: HttpRequest, api_request: ApiRequest, route: Route) -> web.StreamResponse:
        """To a ready endpoint behind a port of a Service, named by its name or number."""
        await admit_connect(self._api, request, api_request, route)
        target = parse_target(api_request.name, "service")
        service = await self._api.read("services", target.name, api_request.namespace)
        if service is None:
            raise errors.not_found("", "services", target.name)
        port = service_port(service, target.port)
        slices = await self._api.read_all("endpointslices.discovery.k8s.io", api_request.namespace)
        own = [one for one in slices if labels_of(one).get(SERVICE_NAME_LABEL) == target.name]
        candidates = addresses_behind(own, {"name": port})
        if not candidates:
            raise errors.ServiceUnavailable(f'no endpoints available for service "{target.name}"')
        chosen = random.choice(candidates)
        return await self._forward(request, target.scheme, chosen.host, str(chosen.port), segments=8)

    async def node(self, request: HttpRequest, api_request: ApiRequest, route: Route) -> web.StreamResponse:
        """To a node's kubelet, or to another port of the node."""
        await admit_connect(self._api, request, api_request, route)
        target = parse_target(api_request.name, "node")
        node = await self._api.read("nodes", target.name)
        if node is None:
            raise errors.not_found("", "nodes", target.name)
        status = node.get("status") or {}
        kubelet_port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
        if not target.port or target.port == str(kubelet_port):
            return await self._kubelet(request, target.name)
        addresses = {one.get("type"): one.get("address") for one in status.get("addresses") or ()}
        address = addresses.get("InternalIP") or ""
        return await self._forward(request, target.scheme, address, target.port, segments=6)

    async def _kubelet(self, request: HttpRequest, node_name: str) -> web.StreamResponse:
        kubelet = self._kubelets.kubelet(node_name)
        if kubelet is None:
            raise errors.ServiceUnavailable(
                f'error trying to reach service: no kubelet of node "{node_name}" is connected'
            )
        if request.method not in ("GET", "HEAD"):
            return plain_error(405, "Method Not Allowed")
        page = await kubelet.page(backend_path(request.path, segments=6) or "/", request.query)
        if page is None:
            return page_not_found()
        content_type, body = page
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _forward(
        self, request: HttpRequest, scheme: str, address: str, port: str, *, segments: int
    ) -> web.StreamResponse:
        check_address(address)
        path = backend_path(request.path, segments=segments)
        if not path and request.method in ("GET", "HEAD") and not request.header("Upgrade"):
            # A page's relative links only work below a path that ends with a slash.
            query = request.raw.raw_path.partition("?")[2]
            return web.Response(status=301, headers={"Location": f"{request.path}/" + (f"?{query}" if query else "")})
        query = request.raw.raw_path.partition("?")[2]
        host = f"{address}:{port}" if port else address
        url = f"{scheme or 'http'}://{host}{path or '/'}" + (f"?{query}" if query else "")
        prefix = "/".join(request.path.split("/")[:segments])
        return await self._proxy.serve(request, url, prefix=prefix, tls=self._trusting() if scheme == "https" else True)

    def _trusting(self) -> ssl.SSLContext:
        """kube-apiserver does not verify what pods serve either: nobody could have issued them a certificate."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE
        return self._tls


def backend_path(path: str, *, segments: int) -> str:
    """What follows the first segments of a quoted path, quoted anew; empty where nothing does, not even a slash.

    As with kube-apiserver a quoted slash is one like any other (clients that quote whole parameters rely on it), and
    empty segments, `.` and `..` are resolved.
    """
    rest = b"/".join(unquote_to_bytes(path).split(b"/")[segments:])
    if not rest:
        return "/" if path.endswith("/") else ""
    resolved = posixpath.normpath(b"/" + rest.strip(b"/"))
    if rest.endswith(b"/") and resolved != b"/":
        resolved += b"/"
    return quote(resolved, safe="$&+,/:;=@")


def parse_target(text: str, kind: str) -> Target:
    """Take the name in a proxy's URL apart; BadRequest when it is none."""
    parts = text.split(":")
    if len(parts) == 1:
        target = Target("", parts[0], "")
    elif len(parts) == 2:
        target = Target("", parts[0], parts[1])
    elif len(parts) == 3:
        target = Target(*parts)
    else:
        target = Target("", "", "")
    if not target.name or target.scheme not in SCHEMES:
        raise errors.BadRequest(f'invalid {kind} request "{text}"')
    return target


def first_port(pod: Object) -> str:
    """The first port that a container of the pod declares; empty when none does."""
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            return str(port["containerPort"])
    return ""


def service_port(service: Object, text: str) -> str:
    """The name of the Service's port that a name or number means; ServiceUnavailable for an unknown number."""
    if not text.isdecimal():
        return text
    for port in service["spec"].get("ports") or ():
        if port.get("port") == int(text):
            return str(port.get("name") or "")
    raise errors.ServiceUnavailable(f'no service port {text} found for service "{service["metadata"]["name"]}"')


def check_address(address: str) -> None:
    """BadRequest for an address that leads back to this machine, or to none (as `IsProxyableIP` has it)."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        raise errors.BadRequest("address not allowed") from None
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        raise errors.BadRequest("address not allowed")
