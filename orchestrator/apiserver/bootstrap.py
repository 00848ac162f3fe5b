"""What a fresh cluster contains before anybody asked for anything.

Mirrors kube-apiserver's post-start hooks: the system namespaces and the Service `kubernetes`.
Idempotent: what exists is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.api import errors
from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.api.resources import ENDPOINT_SLICES, ENDPOINTS, NAMESPACES, SERVICES, Resource
from orchestrator.client.client import Client

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def system_objects(*, service_ip: str) -> list[tuple[Resource, Object]]:
    """The objects of a fresh cluster, in the order in which they are made."""
    objects: list[tuple[Resource, Object]] = [
        (NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for name in SYSTEM_NAMESPACES
    ]
    objects.append((SERVICES, _kubernetes_service(service_ip)))
    return objects


async def bootstrap(client: Client, objects: Sequence[tuple[Resource, Object]]) -> None:
    """Create what is missing."""
    for resource, obj in objects:
        try:
            await client.create(resource, obj)
        except errors.AlreadyExists:
            continue


async def publish_endpoints(client: Client, host: str, port: int) -> None:
    """Say where the Service `kubernetes` leads: Endpoints and EndpointSlice, as kube-apiserver keeps them."""
    for resource, obj in ((ENDPOINTS, _endpoints(host, port)), (ENDPOINT_SLICES, _endpoint_slice(host, port))):
        try:
            await client.create(resource, obj)
        except errors.AlreadyExists:
            current = await client.get(resource, name_of(obj), namespace_of(obj))
            metadata = {**obj["metadata"], "resourceVersion": current["metadata"]["resourceVersion"]}
            await client.update(resource, {**obj, "metadata": metadata})


def _kubernetes_service(service_ip: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": service_ip,
            "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    }


def _endpoints(host: str, port: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": host}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    }


def _endpoint_slice(host: str, port: int) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
