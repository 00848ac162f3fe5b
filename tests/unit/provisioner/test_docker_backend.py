"""Volumes of Docker's volume drivers: what a class says, and what claims get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.api.docker_volumes import DRIVER, docker_volume_of
from orchestrator.api.objects import Object
from orchestrator.provisioner.docker_backend import DockerVolumeBackend, plan_options, refusal

NODE = {"metadata": {"name": "node-1", "labels": {"kubernetes.io/hostname": "host-1"}}}


def claim(**spec: Any) -> Object:
    return {
        "metadata": {"name": "data", "namespace": "shop", "uid": "u1"},
        "spec": {"accessModes": ["ReadWriteOnce"], **spec},
    }


class Engines:
    """Keeps what it was asked for."""

    prefix = "orc_1_"

    def __init__(self, *, shared: bool = True) -> None:
        self.are_shared = shared
        self.volumes: dict[str, tuple[str, str, dict[str, str]]] = {}

    async def create(self, node: str, name: str, *, driver: str, options: Mapping[str, str]) -> None:
        self.volumes[name] = (node, driver, {**options})

    async def remove(self, name: str) -> None:
        self.volumes.pop(name, None)


def test_options_are_the_parameters_with_names_filled_in() -> None:
    nfs = {"type": "nfs", "o": "addr=nas,rw", "device": ":/export/${pvc.namespace}/${pvc.name}-${pv.name}"}
    assert plan_options(claim(), nfs) == (
        "local", {"type": "nfs", "o": "addr=nas,rw", "device": ":/export/shop/data-pvc-u1"},
    )  # fmt: skip
    assert plan_options(claim(), {"driver": "rexray/ebs", "size": "10"}) == ("rexray/ebs", {"size": "10"})
    assert plan_options(claim(), {}) == ("local", {})


@pytest.mark.parametrize(
    ("spec", "class_fields", "why"),
    [
        ({}, {"parameters": {"o": "size=${pvc.name}"}}, ""),
        ({}, {"parameters": {"o": "${pvc.nam}"}}, "unknown placeholder in parameters: ${pvc.nam}"),
        ({}, {"mountOptions": ["ro"]}, "mountOptions"),
        ({"dataSource": {"kind": "PersistentVolumeClaim", "name": "s"}}, {}, "data sources"),
        ({"volumeMode": "Block"}, {}, "volumeMode Block"),
        ({"selector": {"matchLabels": {"a": "b"}}}, {}, "Selector"),
    ],
)
def test_what_a_volume_of_the_engine_cannot_be(spec: Any, class_fields: Any, why: str) -> None:
    found = refusal(claim(**spec), class_fields)
    assert why in found
    assert bool(why) is bool(found)


async def test_a_volume_is_made_on_the_engine_of_its_node_and_removed_by_its_name() -> None:
    engines = Engines()
    backend = DockerVolumeBackend(engines)
    made = await backend.make(claim(), {"parameters": {"type": "tmpfs"}}, NODE, source=None)
    assert engines.volumes == {"orc_1_pvc-u1": ("node-1", "local", {"type": "tmpfs"})}
    assert made == {"csi": {"driver": DRIVER, "volumeHandle": "orc_1_pvc-u1", "volumeAttributes": {"driver": "local"}}}
    assert docker_volume_of(made) == "orc_1_pvc-u1"
    await backend.remove({"spec": made})
    assert not engines.volumes


@pytest.mark.parametrize(("modes", "stays"), [(["ReadWriteOnce"], True), (["ReadWriteMany"], False)])
async def test_where_engines_differ_a_volume_of_one_node_stays_there(modes: list[str], stays: bool) -> None:
    made = await DockerVolumeBackend(Engines(shared=False)).make(claim(accessModes=modes), {}, NODE, source=None)
    assert ("nodeAffinity" in made) is stays
