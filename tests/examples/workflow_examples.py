"""The workflows of examples/workflows, run by a real executor at a real gateway: each in a copy of
its folder, with the environment there that its user would install.
"""

import contextlib
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from budgets.embedded import EmbeddedServer
from gateway.options import GatewayOptions
from orchestrator.bundle import read_bundle
from orchestrator.inputs import filled
from orchestrator.running.submitting import Submission
from tests.gateway.stack import running_stack
from tests.orchestrator.running.databases import sqlite_at
from tests.orchestrator.running.workshop import Workshop, workshop

FOLDER = Path(__file__).parent.parent.parent / "examples" / "workflows"
PATIENCE_S = 150
REFUSALS_FLUSH_MS = 20


@dataclass(frozen=True, slots=True)
class Example:
    """`calls`: of models, by the step; `output`: of its run, with the inputs that it has itself."""

    name: str
    calls: Mapping[str, int]
    output: Any

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return FOLDER / self.name

    @property
    def requirements(self) -> Path | None:
        """requirements.txt or package.json; None where it needs nothing."""
        files = (self.folder / each for each in ("requirements.txt", "package.json"))
        return next((each for each in files if each.exists()), None)

    def definition(self) -> dict[str, Any]:
        """As it is written."""
        found: dict[str, Any] = yaml.safe_load((self.folder / "workflow.yaml").read_text())
        return found


def _clerk(name: str, tool_says: str = "17 boxes of tea") -> Example:
    answer = f"Using the tool's result ({tool_says}), the demo model is done."
    return Example(name, {"count": 2}, {"item": "tea", "answer": answer})


def _about(topic: str) -> str:
    return (
        f"This is the demo model. You asked about: A paragraph on {topic}. It answers the same way "
        "every time, it costs what its price says, and it stops at the cap that your budget "
        "allows. Point this key at a real model when you are ready."
    )


CURL = Example(
    "curl",
    {"write[0]": 1, "write[1]": 1, "title": 1},
    {
        "paragraphs": [_about("coral reefs"), _about("tides")],
        "title": "This is the demo model. You asked about: A title: This is",
    },
)
OPENAI_AGENTS = _clerk("openai-agents")
EXAMPLES = (
    CURL,
    OPENAI_AGENTS,
    _clerk("agentkit", '{"data":"17 boxes of tea"}'),
    *map(_clerk, ("autogen", "crewai", "langgraph", "mastra", "pydantic-ai")),
)


@contextlib.asynccontextmanager
async def shop_of(
    example: Example, valkey: EmbeddedServer, folder: Path, environment: Path | None
) -> AsyncIterator[Workshop]:
    """An executor that runs it in a copy of its folder. `environment`: what is installed there."""
    work = folder / example.name
    shutil.copytree(example.folder, work, ignore=shutil.ignore_patterns(".venv", "node_modules"))
    if environment is not None:
        modules = environment / "node_modules"
        if modules.exists():
            (work / "node_modules").symlink_to(modules)
        else:
            (work / ".venv").symlink_to(environment)
    options = GatewayOptions(wait_ms=50)
    async with (
        running_stack(
            valkey.socket_path, options=options, refusals_flush_ms=REFUSALS_FLUSH_MS
        ) as stack,
        workshop(stack, sqlite_at(folder), work) as shop,
    ):
        yield shop


async def submitted(shop: Workshop, document: dict[str, Any], **given: Any) -> str:
    """The id of its run, in a project of the organisation."""
    bundle = read_bundle({"workflow": document, "files": {}})
    return await shop.submitted(
        Submission(
            organisation=shop.stack.organisation,
            scope=shop.stack.scope("research"),
            bundle=bundle,
            given=filled(bundle.workflow, given),
            by="tester",
            folder=str(shop.folder),
        )
    )


async def runs_to_its_end(shop: Workshop, example: Example, document: dict[str, Any]) -> None:
    """The run is done and says what it should; each call is in the log with its run and step; and
    each attempt had a key of its own, which asked for nothing else."""
    run = await submitted(shop, document)
    assert await shop.ended(run) == "done", await shop.error(run)
    output = await shop.output(run)
    assert output == example.output, output
    told = await shop.told(run)
    requests = [event for kind, event in told if kind == "llm_request"]
    assert Counter(each["step_id"] for each in requests) == example.calls
    assert {(each["run_id"], each["attempt"]) for each in requests} == {(run, 1)}
    used = {(each["step_id"], each["key_id"]) for each in requests}
    assert len({key for _, key in used}) == len(used) == len(example.calls)
    assert used == {
        (event["step_id"], event["key_id"]) for kind, event in told if kind == "key_minted"
    }
    charged = sum(int(event["charged_nusd"]) for kind, event in told if kind == "llm_response")
    assert charged > 0


async def is_stopped_by_its_step(
    shop: Workshop, example: Example, document: dict[str, Any]
) -> None:
    """With one request less than its first step needs it is stopped after those that it has, and
    the run says by whose budget. Each attempt had a key of its own, also those that failed."""
    of_step = document["steps"][0]
    named = [count for label, count in example.calls.items() if label.startswith(of_step["id"])]
    calls = sum(named) - 1
    of_step["budget"] = [{"requests": calls}]
    run = await submitted(shop, document)
    assert await shop.ended(run) == "failed"
    scope = f"{shop.stack.scope('research')}/{document['name']}/{run}/{of_step['id']}"
    error = await shop.error(run)
    assert f"budget of {scope} " in error, error
    told = await shop.told(run)
    kinds = [kind for kind, _ in told]
    assert kinds.count("llm_response") == calls
    assert "budget_exceeded" in kinds
    minted = [event["key_id"] for kind, event in told if kind == "key_minted"]
    assert len({*minted}) == len(minted) == kinds.count("step_started")
