"""Which images go when the disk fills up."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from orchestrator.kubelet.eviction.plan import Signal
from orchestrator.kubelet.hollow import HollowRuntime
from orchestrator.kubelet.images.garbage_collection import (
    COLLECT_SECONDS,
    ImageCollector,
    ImageGcPolicy,
    Pulled,
    bytes_to_free,
    plan_image_removals,
)
from orchestrator.kubelet.runtime import Image, RuntimeFailure
from orchestrator.testing import ManualClock
from tests.unit.kubelet.pods import NOW

POLICY = ImageGcPolicy(high=85, low=80)
FULL = Signal(available=100, capacity=1000)


def image(name: str, size: int = 60, *more_tags: str) -> Image:
    return Image(name, (name, *more_tags), (), size)


def pulled(**ages_minutes: float) -> dict[str, Pulled]:
    return {name: Pulled([name], NOW - timedelta(minutes=age)) for name, age in ages_minutes.items()}


def test_how_much_has_to_go() -> None:
    assert bytes_to_free(Signal(151, 1000), POLICY) == 0
    assert bytes_to_free(Signal(150, 1000), POLICY) == 50
    assert bytes_to_free(FULL, POLICY) == 100
    assert bytes_to_free(Signal(0, 0), POLICY) == 0


def test_the_longest_unused_go_first_until_it_is_enough() -> None:
    images = [image("a"), image("b"), image("c")]
    known = pulled(a=10, b=30, c=20)
    assert [i.id for i in plan_image_removals(100, images, known, (), NOW)] == ["b", "c"]
    assert [i.id for i in plan_image_removals(None, images, known, (), NOW)] == ["b", "c", "a"]


def test_what_never_goes() -> None:
    images = [image("used"), image("young"), image("foreign"), image("renamed", 60, "mine:1"), image("old")]
    known = pulled(used=60, young=1, renamed=60, old=60)
    assert [i.id for i in plan_image_removals(None, images, known, {"used"}, NOW)] == ["old"]


class Engine(HollowRuntime):
    """A hollow runtime with images on a disk."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.stock = {name: image(name) for name in ("a", "b", "busy")}

    async def list_images(self) -> list[Image]:
        return [*self.stock.values()]

    async def remove_image(self, image_id: str) -> None:
        if image_id == "busy":
            raise RuntimeFailure("image busy is in use by container 1")
        del self.stock[image_id]


async def test_a_collector_remembers_over_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    engine = Engine(clock)

    def collector() -> ImageCollector:
        return ImageCollector(runtime=engine, clock=clock, policy=POLICY, file=tmp_path / "images.json", node_name="n")

    first = collector()
    for name in ("a", "busy"):
        first.note_pulled(name, engine.stock[name])
    await clock.run(600)
    again = collector()
    complaint = await again.collect(FULL)
    assert set(engine.stock) == {"b", "busy"}  # b was there before
    assert complaint.endswith("Attempted to free 100 bytes, but only found 60 bytes eligible to free.")
    assert await again.collect(FULL) == ""  # not yet
    await clock.run(COLLECT_SECONDS)
    assert await again.collect(Signal(900, 1000)) == ""


async def test_a_memory_that_is_damaged_protects_everything(tmp_path: Path) -> None:
    clock = ManualClock()
    engine = Engine(clock)
    file = tmp_path / "images.json"
    file.write_text("{")
    one = ImageCollector(runtime=engine, clock=clock, policy=POLICY, file=file, node_name="n")
    await one.remove_unused()
    assert len(engine.stock) == 3
