"""The workflows in examples/ can run as they are: all are checked here, and those that need nothing
but what is installed are run. The others need environments of their own:
tests/clients/test_workflow_examples.py.
"""

import sys
from pathlib import Path

import pytest

from budgets.embedded import EmbeddedServer
from comptroller.workflow_files import read_workflow
from pricing import DEMO_PRICES
from tests.clients import catalogue
from tests.examples.workflow_examples import (
    CURL,
    EXAMPLES,
    FOLDER,
    OPENAI_AGENTS,
    Example,
    is_stopped_by_its_step,
    runs_to_its_end,
    shop_of,
)

ALL = [pytest.param(each, id=each.name) for each in EXAMPLES]
HERE = [pytest.param(each, id=each.name) for each in (CURL, OPENAI_AGENTS)]


def _environment(example: Example) -> Path | None:
    """This one: OpenAI's agents library is among what the tests need."""
    return Path(sys.prefix) if example.requirements else None


@pytest.mark.parametrize("example", ALL)
def test_every_example_can_run(example: Example) -> None:
    """`comptroller run check` has no word against it, and each of its steps has a budget."""
    found = read_workflow(example.folder / "workflow.yaml", DEMO_PRICES)
    assert found.workflow.name == example.name
    for step in found.workflow.steps:
        assert step.budget, step.id


def test_every_example_is_known() -> None:
    """A folder that nobody runs is no example; and the list beside them names each."""
    assert {each.parent.name for each in FOLDER.glob("*/workflow.yaml")} == {
        each.name for each in EXAMPLES
    }
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    for each in EXAMPLES:
        assert f"]({each.name}/workflow.yaml)" in listed, each.name


@pytest.mark.parametrize("example", ALL)
def test_an_example_needs_what_was_measured(example: Example) -> None:
    """Its framework is pinned as docs/clients.md has it, whole: one environment is both's."""
    if example.requirements is None:
        return
    measured = catalogue.FOLDER / example.name / example.requirements.name
    assert example.requirements.read_text() == measured.read_text()


@pytest.mark.parametrize("example", HERE)
async def test_an_example_runs(example: Example, valkey: EmbeddedServer, tmp_path: Path) -> None:
    async with shop_of(example, valkey, tmp_path, _environment(example)) as shop:
        await runs_to_its_end(shop, example, example.definition())


async def test_an_example_stops_where_its_step_s_budget_ends(
    valkey: EmbeddedServer, tmp_path: Path
) -> None:
    async with shop_of(CURL, valkey, tmp_path, None) as shop:
        await is_stopped_by_its_step(shop, CURL, CURL.definition())
