"""What a fresh cluster contains before anybody asked for anything.

Mirrors kube-apiserver's post-start hooks: the system namespaces, the Service `kubernetes`, the priority classes of
the system, the range of the Services, and the defaults of priority and fairness. Idempotent: what exists is left
alone, except for the specs of priority and fairness, which are kept as they should be unless their annotation
says otherwise.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Sequence

from orchestrator.aiokit.clock import Clock, format_time
from orchestrator.api import errors
from orchestrator.api.endpoint_slices import SERVICE_NAME_LABEL
from orchestrator.api.kinds.flowcontrol_defaults import AUTOUPDATE, default_flow_control
from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.api.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    NAMESPACES,
    PRIORITY_CLASSES,
    SERVICE_CIDRS,
    SERVICES,
    Resource,
)
from orchestrator.apiserver.admission.pod_defaults import SYSTEM_PRIORITY_CLASSES
from orchestrator.client.client import Client
from orchestrator.store import Key, KeyExists, KeyNotFound, RevisionConflict, Store

_CRITICAL = {
    "system-cluster-critical": "run in the cluster, but can be moved to another node if necessary.",
    "system-node-critical": "not be moved from their current node.",
}
SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def system_objects(*, service_ip: str) -> list[tuple[Resource, Object]]:
    """The objects of a fresh cluster, in the order in which they are made."""
    objects: list[tuple[Resource, Object]] = [
        (NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for name in SYSTEM_NAMESPACES
    ]
    objects.append((SERVICES, _kubernetes_service(service_ip)))
    return objects


def cluster_defaults(*, service_cidr: str) -> Iterator[tuple[Resource, Object]]:
    """What is there before the first request, as it is stored."""
    for name, value in SYSTEM_PRIORITY_CLASSES.items():
        yield PRIORITY_CLASSES, _priority_class(name, value)
    yield SERVICE_CIDRS, _service_range(service_cidr)
    yield from default_flow_control()


async def ensure_cluster_defaults(store: Store, clock: Clock, *, service_cidr: str) -> None:
    """Create what is missing; on a fresh cluster all of it is one commit."""
    defaults = cluster_defaults(service_cidr=service_cidr)
    await asyncio.gather(*[ensure_default(store, clock, resource.group_resource, obj) for resource, obj in defaults])


async def ensure_default(store: Store, clock: Clock, resource: str, wanted: Object) -> None:
    """Create one of the defaults if it is missing, or bring its spec back where that is wanted."""
    key, now = Key(resource, "", name_of(wanted)), format_time(clock.now())
    while True:
        record = await store.get(key)
        try:
            if record is None:
                await store.create(key, _stamped(wanted, now))
            elif AUTOUPDATE in (wanted["metadata"].get("annotations") or {}):
                metadata = record.obj["metadata"]
                kept = (metadata.get("annotations") or {}).get(AUTOUPDATE) == "false"
                if not kept and record.obj.get("spec") != wanted["spec"]:
                    metadata = {**metadata, "generation": metadata.get("generation", 0) + 1}
                    changed = {**record.obj, "metadata": metadata, "spec": wanted["spec"]}
                    await store.update(key, changed, expected_revision=record.revision)
            return
        except (KeyExists, KeyNotFound, RevisionConflict):
            continue  # another API server on the same store was faster: look again


def _stamped(obj: Object, now: str) -> Object:
    """The object as it is stored: with a uid and the moment of its creation, also in its conditions."""
    stamped = {**obj, "metadata": {**obj["metadata"], "uid": str(uuid.uuid4()), "creationTimestamp": now}}
    conditions = (obj.get("status") or {}).get("conditions")
    if conditions:
        stamped["status"] = {"conditions": [{**condition, "lastTransitionTime": now} for condition in conditions]}
    return stamped


def _priority_class(name: str, value: int) -> Object:
    return {
        "kind": "PriorityClass",
        "apiVersion": "scheduling.k8s.io/v1",
        "metadata": {"name": name, "generation": 1},
        "value": value,
        "description": f"Used for system critical pods that must {_CRITICAL[name]}",
        "preemptionPolicy": "PreemptLowerPriority",
    }


def _service_range(cidr: str) -> Object:
    return {
        "kind": "ServiceCIDR",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
        "spec": {"cidrs": [cidr]},
        "status": {
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready"}
            ]
        },
    }


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


async def publish_authentication(client: Client, *, client_ca: str, front_proxy_ca: str, front_proxy_user: str) -> None:
    """Say how extension API servers know users: by a client certificate, or from the front proxy's headers.

    Source: "Configure the Aggregation Layer" in the Kubernetes documentation.
    """
    data = {
        "client-ca-file": client_ca,
        "requestheader-allowed-names": f'["{front_proxy_user}"]',
        "requestheader-client-ca-file": front_proxy_ca,
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-username-headers": '["X-Remote-User"]',
    }
    metadata = {"name": "extension-apiserver-authentication", "namespace": "kube-system"}
    obj: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    try:
        await client.create(CONFIG_MAPS, obj)
    except errors.AlreadyExists:
        current = await client.get(CONFIG_MAPS, metadata["name"], metadata["namespace"])
        if current.get("data") != data:
            await client.update(CONFIG_MAPS, {**current, "data": data})


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
            "labels": {SERVICE_NAME_LABEL: "kubernetes"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
