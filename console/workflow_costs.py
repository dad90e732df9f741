"""What runs of a workflow have cost, as the records know: what the next one may be expected to."""

from typing import Annotated, Any

from fastapi import FastAPI, Path, Query
from pydantic import Field

from console.auth import Viewer, chosen_organisation
from console.parts import Parts
from console.wire import SCOPE_CHARS_MAX, Asked, Shown
from pricing import dollars

DAYS_MAX = 90
DAY_MS = 86_400_000
RUNS_MAX = 1_000
WorkflowName = Annotated[str, Path(alias="name", pattern=r"^[a-z0-9_-]{1,48}$")]


class CostsAsked(Asked):
    """Of which organisation, and of how many days until now."""

    organisation: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""
    days: Annotated[int, Field(ge=1, le=DAYS_MAX)] = DAYS_MAX


class Quantiles(Shown):
    """Half of the runs have cost at most `p50`, and 19 of 20 at most `p95`; null without runs."""

    p50_nusd: int | None
    p50_usd: str | None
    p95_nusd: int | None
    p95_usd: str | None


class StepCosts(Quantiles):
    """Of one step with all its entries and attempts; nothing in runs where it was skipped."""

    step: str


class WorkflowCosts(Quantiles):
    """Of `runs` that were done, the newest. What ran inside of them is theirs."""

    workflow: str
    organisation: str
    days: int
    runs: int
    steps: list[StepCosts]


def add_routes(app: FastAPI, parts: Parts) -> None:
    """/v1/workflows/{name}/costs."""

    @app.get("/v1/workflows/{name}/costs", tags=["runs"])
    async def show_costs(
        name: WorkflowName, asked: Annotated[CostsAsked, Query()], caller: Viewer
    ) -> WorkflowCosts:
        """What runs of a workflow have cost, and each of its steps. Forks are left out: what they
        have taken over costs nothing."""
        organisation = chosen_organisation(caller, asked.organisation)
        now_ms = parts.session.clock.now_ms()
        parameters: dict[str, str | int] = {
            "org": organisation,
            "workflow": name,
            "since_ms": now_ms - asked.days * DAY_MS,
            "runs_max": RUNS_MAX,
        }
        rows = await parts.records.rows("workflow_costs", parameters, caller.organisation)
        whole = next((row for row in rows if not row["step"]), None)
        return WorkflowCosts(
            workflow=name,
            organisation=organisation,
            days=asked.days,
            runs=whole["runs"] if whole else 0,
            steps=[StepCosts(step=row["step"], **_costs(row)) for row in rows if row["step"]],
            **_costs(whole),
        )


def _costs(row: dict[str, Any] | None) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, place in (("p50", 0), ("p95", 1)):
        nusd = int(row["quantiles"][place]) if row and row["runs"] else None
        shown |= {f"{name}_nusd": nusd, f"{name}_usd": None if nusd is None else dollars(nusd)}
    return shown
