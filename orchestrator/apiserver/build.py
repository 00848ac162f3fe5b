"""Puts an API server together: kinds, authorizers, admission, subresources, allocators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct

from orchestrator.aiokit.clock import Clock
from orchestrator.api.kinds.builtin import builtin_kinds
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.resources import IP_ADDRESSES
from orchestrator.apiserver import subresources
from orchestrator.apiserver.admission.chain import default_plugins
from orchestrator.apiserver.admission.plugin import AdmissionChain
from orchestrator.apiserver.admission.without_effect import WithoutEffect
from orchestrator.apiserver.authorizer import (
    AuthorizerChain,
    ComponentAuthorizer,
    MastersAuthorizer,
)
from orchestrator.apiserver.bootstrap import ensure_cluster_defaults
from orchestrator.apiserver.customresources import CustomResources, register_custom_resources
from orchestrator.apiserver.indexes import INDEXED_FIELDS
from orchestrator.apiserver.node.authorizer import NodeAuthorizer
from orchestrator.apiserver.node.graph import NodeGraph
from orchestrator.apiserver.rbac.authorizer import RbacAuthorizer
from orchestrator.apiserver.rbac.policy import Policy
from orchestrator.apiserver.rbac.reconciliation import ensure_default_policy
from orchestrator.apiserver.reviews import Reviews
from orchestrator.apiserver.server import ApiServer
from orchestrator.apiserver.services.allocation import ServiceAllocator
from orchestrator.store import Store


class BuiltApiServer(Struct, frozen=True):
    """An API server, and those parts of it that the cluster gives tasks or asks."""

    server: ApiServer
    service_allocator: ServiceAllocator
    reviews: Reviews
    custom_resources: CustomResources


async def build_api_server(
    *,
    store: Store,
    clock: Clock,
    service_cidr: str,
    component_users: Sequence[str],
    without_effect: Mapping[str, str] = MappingProxyType({}),
) -> BuiltApiServer:
    """An API server on this store, ready to serve; `component_users` are let in by name.

    `without_effect` are warnings, by group-resource, of what is stored and nobody acts on.
    """
    await ensure_default_policy(store, clock)
    await ensure_cluster_defaults(store, clock, service_cidr=service_cidr)
    policy = Policy()
    policy.follow(store)
    server = ApiServer(
        registry=Registry(builtin_kinds()),
        store=store,
        clock=clock,
        authorizer=AuthorizerChain(
            (
                MastersAuthorizer(),
                ComponentAuthorizer(component_users),
                NodeAuthorizer(NodeGraph(store)),
                RbacAuthorizer(policy),
            )
        ),
        indexed_fields=INDEXED_FIELDS,
    )
    server.admission = AdmissionChain((*default_plugins(server, policy), WithoutEffect(without_effect)))
    allocator = ServiceAllocator(server, service_cidr)
    server.write_hooks["services"] = [allocator.on_write]
    server.write_hooks[IP_ADDRESSES.group_resource] = [allocator.addresses.on_write]
    server.commit_hooks["services"] = [allocator.addresses.release]
    await allocator.follow()
    subresources.register(server)
    reviews = Reviews(policy)
    reviews.register(server)
    custom_resources = register_custom_resources(server)
    custom_resources.follow()
    return BuiltApiServer(server, allocator, reviews, custom_resources)
