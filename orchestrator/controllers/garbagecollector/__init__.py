"""Delete what nobody owns any more. Mirrors garbage-collector-controller.

`graph` knows who owns whom and what a change means for others; `controller` verifies against the
API and deletes.
"""

from orchestrator.controllers.garbagecollector.controller import GarbageCollector

__all__ = ["GarbageCollector"]
