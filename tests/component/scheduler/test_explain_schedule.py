"""`explain-schedule` over HTTPS: the table for pending and placed pods."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from orchestrator.api.objects import condition_of, name_of
from orchestrator.api.resources import PODS
from orchestrator.cli.main import run
from orchestrator.testing import eventually, running_cluster
from tests.component.scheduler.objects import add_default_account, add_node, pod


async def test_a_pending_and_a_placed_pod(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    async with running_cluster(nodes=0, https=True, controllers=()) as cluster:
        client = cluster.client()
        await add_default_account(client)
        await add_node(client, "small", cpu="1")
        await add_node(client, "large", cpu="4", labels={"disk": "ssd"})
        await client.create(PODS, pod("placed", nodeSelector={"disk": "ssd"}))
        await client.create(PODS, pod("stuck", cpu="2", nodeSelector={"disk": "nvme"}))
        pods = await eventually(
            client,
            PODS,
            lambda pods: all(p["spec"].get("nodeName") or condition_of(p, "PodScheduled") for p in pods),
        )
        kubeconfig = str(cluster.config.kubeconfig_path)

        async def shown(*arguments: str) -> str:
            code = await asyncio.to_thread(run, ["explain-schedule", *arguments, "--kubeconfig", kubeconfig])
            captured = capsys.readouterr()
            assert code == 0, captured.err
            return captured.out

        text = await shown("placed")
        assert text.startswith("Pod default/placed runs on large; profile default-scheduler.\n")
        assert "NODERESOURCESFIT" in text
        lines = text.splitlines()
        assert next(line for line in lines if line.startswith("large (here)")).split()[2] == "yes"
        assert "  small: the node is labelled disk=ssd, or the pod's nodeSelector asks for something else" in lines

        stuck = next(p for p in pods if name_of(p) == "stuck")
        condition = condition_of(stuck, "PodScheduled")
        assert condition is not None
        text = await shown("stuck")
        assert f"FailedScheduling: {condition['message']}\n" in text
        assert "  small: a larger node: cpu 2 is requested, it has 1 in all" in text.splitlines()

        document = json.loads(await shown("stuck", "-o", "json"))
        assert {node["name"]: node["feasible"] for node in document["nodes"]} == {"small": False, "large": False}
        small = next(node for node in document["nodes"] if node["name"] == "small")
        assert [refusal["plugin"] for refusal in small["refusals"]] == ["NodeAffinity", "NodeResourcesFit"]

        other = tmp_path / "config.yaml"
        other.write_text("scheduler: {profiles: [{schedulerName: mine}]}")
        code = await asyncio.to_thread(
            run, ["explain-schedule", "stuck", "--config", str(other), "--kubeconfig", kubeconfig]
        )
        assert code == 1
        assert 'no profile of the scheduler is called "default-scheduler"' in capsys.readouterr().err
