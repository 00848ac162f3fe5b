"""Which admission plugins are asked about which resources."""

from __future__ import annotations

from typing import get_args

from orchestrator.aiokit.clock import SystemClock
from orchestrator.apiserver.admission.plugin import Attributes, Operation
from orchestrator.apiserver.build import build_api_server
from orchestrator.apiserver.indexes import INDEXED_FIELDS
from orchestrator.apiserver.user import User
from orchestrator.store import open_store


async def test_a_plugin_handles_no_resource_but_those_it_names() -> None:
    store = await open_store(None, clock=SystemClock(), indexed_fields=INDEXED_FIELDS)
    built = await build_api_server(
        store=store, clock=SystemClock(), service_cidr="10.96.0.0/16", component_users=("somebody",)
    )
    server = built.server
    plugins = server.admission.plugins
    assert any(plugin.resources is not None for plugin in plugins)
    for kind in server.registry:
        for operation in get_args(Operation):
            for subresource in ("", *(one.name for one in kind.subresources), "status"):
                attributes = Attributes(
                    operation=operation,
                    kind=kind,
                    namespace="default",
                    name="x",
                    subresource=subresource,
                    obj={"metadata": {"name": "x"}, "spec": {"nodeName": "node-1"}},
                    old={"metadata": {"name": "x"}, "spec": {"nodeName": "node-1"}},
                    user=User("system:node:node-1", groups=("system:nodes",)),
                    dry_run=False,
                )
                for plugin in plugins:
                    if plugin.resources is not None and plugin.handles(attributes):
                        assert kind.resource.group_resource in plugin.resources, (plugin.name, kind)
    await store.close()
