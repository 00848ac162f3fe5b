"""Subresources beyond `status`: what each does, registered with the API server's core."""

from __future__ import annotations

from orchestrator.apiserver.server import ApiServer
from orchestrator.apiserver.subresources import binding, eviction, namespace_finalize, parts, scale


def register(server: ApiServer) -> None:
    """Register the subresources of the built-in kinds."""
    binding.register(server)
    eviction.register(server)
    namespace_finalize.register(server)
    parts.register(server)
    scale.register(server)
