"""The examples of workflows, each with its framework in an environment of its own, through the real
engine and a real gateway: `make clients`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from budgets.embedded import EmbeddedServer
from tests.clients.catalogue import FOLDER
from tests.clients.door import Outside
from tests.clients.environments import CannotBeInstalled, environment_of
from tests.examples.workflow_examples import (
    EXAMPLES,
    PATIENCE_S,
    Example,
    is_stopped_by_its_step,
    runs_to_its_end,
    shop_of,
)
from tests.orchestrator.running import workshop as workshops
from tests.orchestrator.running.workshop import Workshop

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1500)]
ALL = [pytest.param(each, id=each.name) for each in EXAMPLES]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some frameworks take seconds to be imported."""
    monkeypatch.setattr(workshops, "WAIT_S_MAX", PATIENCE_S)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty one, where they may write what they like."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))


@asynccontextmanager
async def _shop(example: Example, valkey: EmbeddedServer, folder: Path) -> AsyncIterator[Workshop]:
    environment = None
    if example.requirements is not None:
        try:
            environment = await environment_of(example.requirements)
        except CannotBeInstalled as why:
            pytest.skip(f"{example.name} cannot be installed here: {why}")
    async with shop_of(example, valkey, folder, environment) as shop:
        yield shop


def _watched(example: Example, outside: Outside) -> dict[str, Any]:
    """Its definition, with the way out shut and seen."""
    document = example.definition()
    for step in document["steps"]:
        step["command"]["env"] = {
            **step["command"].get("env", {}),
            "HTTP_PROXY": outside.url,
            "HTTPS_PROXY": outside.url,
            "NO_PROXY": "127.0.0.1,localhost",
            "NODE_OPTIONS": f"--require={FOLDER / 'outside.cjs'}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
    return document


@pytest.mark.parametrize("example", ALL)
async def test_an_example_runs_and_asks_nobody_else(
    example: Example, valkey: EmbeddedServer, tmp_path: Path
) -> None:
    async with Outside() as outside, _shop(example, valkey, tmp_path) as shop:
        await runs_to_its_end(shop, example, _watched(example, outside))
        assert outside.asked == []


@pytest.mark.parametrize("example", ALL)
async def test_an_example_stops_where_its_step_s_budget_ends(
    example: Example, valkey: EmbeddedServer, tmp_path: Path
) -> None:
    async with _shop(example, valkey, tmp_path) as shop:
        await is_stopped_by_its_step(shop, example, example.definition())
