"""The snippets of docs/recipes.md, with the packages that they name, against a gateway: an answer
is handed on, and what is refused for good is asked once and never again. `make clients`.

The servers of these orchestrators are not there. Temporal's, Hatchet's and Inngest's own tools for
tests run the activity, an implementation of Amazon's language the state machine, LangGraph its
graph.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from budgets.embedded import EmbeddedServer
from gateway.app import Gateway
from tests.clients import recipe_drivers as drivers
from tests.clients.catalogue import FOLDER
from tests.clients.door import Door
from tests.clients.environments import CannotBeInstalled, environment_of
from tests.clients.recipe_drivers import Driver
from tests.gateway.stack import Stack, running_stack

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1500)]

TEXT = (FOLDER.parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
RUN_S_MAX = 120
ENOUGH = [{"usd": "0.50"}]
NOTHING_LEFT = [{"usd": "0.000001"}]
CONVEX_S = 'import { internalAction } from "./_generated/server";'
OURS = 'import { internalActionGeneric as internalAction } from "convex/server";'
"""What Convex generates in a project, without the project's types."""


class Recipe(NamedTuple):
    """`title`: of its section; `failed`: what its orchestrator is given at a hard stop, and does
    not try again."""

    title: str
    driver: Driver
    failed: str


RECIPES = (
    Recipe("Temporal", drivers.TEMPORAL, "budget_exceeded"),
    Recipe("Hatchet", drivers.HATCHET, "NonRetryableException"),
    Recipe("LangGraph", drivers.LANGGRAPH, "budget_exceeded"),
    Recipe("Inngest", drivers.INNGEST, "NonRetriableError"),
    Recipe("Step Functions", drivers.STEP_FUNCTIONS, "HardStop"),
    Recipe("Convex", drivers.CONVEX, "NonRetryableError"),
)
ALL = [pytest.param(each, id=each.title) for each in RECIPES]
LANGGRAPH = RECIPES[2]


def _blocks(title: str, language: str) -> str:
    """All that stands in one section in this language."""
    section = TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL))


def _program(recipe: Recipe) -> str:
    """What asks whether a failure is final, and the snippet, between what makes them run."""
    driver = recipe.driver
    definition = _blocks(recipe.title, "json")
    parts = [
        driver.before,
        _blocks("What a hard stop looks like", driver.language),
        _blocks(recipe.title, driver.language).replace(CONVEX_S, OURS),
        f"const definition = {definition}" if definition else "",
        driver.after,
    ]
    return "\n".join(parts)


@asynccontextmanager
async def _gateway(valkey: EmbeddedServer) -> AsyncIterator[tuple[Stack, Door]]:
    doors: list[Door] = []

    def opened(gateway: Gateway) -> Door:
        doors.append(Door(gateway))
        return doors[0]

    async with running_stack(valkey.socket_path, door=opened) as stack:
        yield stack, doors[0]


async def _environment(recipe: Recipe) -> Path:
    name = "requirements.txt" if recipe.driver.language == "python" else "package.json"
    try:
        return await environment_of(FOLDER / "recipes" / name)
    except CannotBeInstalled as why:
        pytest.skip(f"{recipe.title} cannot be installed here: {why}")


async def _ran(recipe: Recipe, stack: Stack, folder: Path, *flags: str) -> dict[str, Any]:
    """What came of it, with the key of a project whose requests name their runs."""
    environment = await _environment(recipe)
    if recipe.driver.language == "python":
        (folder / "recipe.py").write_text(_program(recipe))
        command = [str(environment / "bin" / "python"), "recipe.py", *flags]
    else:
        (folder / "recipe.mjs").write_text(_program(recipe))
        if not (folder / "node_modules").exists():
            (folder / "node_modules").symlink_to(environment / "node_modules")
        command = ["node", "recipe.mjs", *flags]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANGSMITH_TRACING": "false",
            "MODEL": "demo/small",
            "OPENAI_BASE_URL": stack.base_url,
            "OPENAI_API_KEY": await stack.key(subscopes=("any",)),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), RUN_S_MAX)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == 0, (out + err).decode(errors="replace")
    said: dict[str, Any] = json.loads(out.decode().strip().rpartition("\n")[2])
    return said


@pytest.mark.parametrize("recipe", ALL)
async def test_an_answer_is_handed_on_and_counts_in_its_run(
    recipe: Recipe, valkey: EmbeddedServer, tmp_path: Path
) -> None:
    """At a child of the project's scope that nobody has made, below it the activity."""
    async with _gateway(valkey) as (stack, _):
        await stack.set_budget("research", {"limits": [], "per_child": ENOUGH})
        ran = await _ran(recipe, stack, tmp_path)
        assert "This is the demo model. You asked about: reefs." in ran["said"], ran
        (request,) = [json.loads(entry.event) for entry in await stack.ledger.requests()]
        assert re.fullmatch(rf"{stack.scope('research')}/[^/]+/write", request["scope"])


@pytest.mark.parametrize("recipe", ALL)
async def test_a_hard_stop_is_final(recipe: Recipe, valkey: EmbeddedServer, tmp_path: Path) -> None:
    """One request, and a failure of the kind that its orchestrator does not try again."""
    async with _gateway(valkey) as (stack, door):
        await stack.set_budget("research", {"limits": [], "per_child": NOTHING_LEFT})
        ran = await _ran(recipe, stack, tmp_path)
        assert ran.get("failed") == recipe.failed, ran
        assert [each.status for each in door.calls] == [402]


async def test_without_it_langgraph_tries_a_refusal_three_times(
    valkey: EmbeddedServer, tmp_path: Path
) -> None:
    async with _gateway(valkey) as (stack, door):
        await stack.set_budget("research", {"limits": [], "per_child": NOTHING_LEFT})
        await _ran(LANGGRAPH, stack, tmp_path, "--default")
        assert [each.status for each in door.calls] == [402] * 3
