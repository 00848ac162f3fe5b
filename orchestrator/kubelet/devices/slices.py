"""ResourceSlices of a node, which go with the drivers that published them: nobody else could prepare their devices."""

from __future__ import annotations

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.resources import RESOURCE_SLICES
from orchestrator.client.client import Client
from orchestrator.logs import get_logger


async def remove_slices(client: Client, clock: Clock, node_name: str, driver: str = "") -> None:
    """Remove what a driver, or all of them, published for a node; tried until it succeeds."""
    backoff = ItemBackoff(base_seconds=1.0, max_seconds=300.0, items_max=1)
    while not await try_to_remove_slices(client, node_name, driver):
        await clock.sleep(backoff.next_delay(""))


async def try_to_remove_slices(client: Client, node_name: str, driver: str = "") -> bool:
    """The same, once; whether it succeeded."""
    log = get_logger("kubelet/devices", node=node_name)
    selector = f"spec.nodeName={node_name}" + (f",spec.driver={driver}" if driver else "")
    try:
        removed = await client.delete_collection(RESOURCE_SLICES, field_selector=selector)
    except (errors.ApiError, OSError) as error:
        log.info("slices.not_removed", driver=driver, error=str(error))
        return False
    if removed.get("items"):
        log.info("slices.removed", driver=driver)
    return True
