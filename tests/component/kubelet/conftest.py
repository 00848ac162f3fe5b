"""A hollow node for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.component.kubelet.hollow_node import Node, hollow_node
from tests.component.kubelet.scripted import ScriptedActions, ScriptedHooks


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with hollow_node(tmp_path) as running:
        yield running


@pytest.fixture
async def scripted(tmp_path: Path) -> AsyncIterator[tuple[Node, ScriptedActions]]:
    actions = ScriptedActions()
    async with hollow_node(tmp_path, actions=actions, hooks=partial(ScriptedHooks, actions)) as running:
        yield running, actions
