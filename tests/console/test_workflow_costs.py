"""What a workflow's runs have cost is told from the records: of runs that are done, all that was
charged below them, and nothing of anybody else's."""

import json
import time
from typing import Any

from orchestrator.places import new_run_id
from tests.console.desk import Console
from tests.console.test_run_history import charge
from tests.recorder.rig import until

DAY_MS = 86_400_000
NOTHING = {"p50_nusd": None, "p50_usd": None, "p95_nusd": None, "p95_usd": None}


def run_at(days_ago: int = 0) -> str:
    """The id of a run that began then."""
    return new_run_id(time.time_ns() // 1_000_000 - days_ago * DAY_MS)


async def tell(console: Console, scope: str, run: str, kind: str, **detail: Any) -> None:
    """An event of a run of the workflow `report`."""
    event = {
        "workflow": "report", "run_id": run, "scope": f"{scope}/report/{run}",
        "detail": json.dumps(detail),
    }  # fmt: skip
    organisation = scope.split("/", 1)[0]
    await console.parts.administration.append(
        organisation, new_run_id(0)[-20:].rjust(32, "0"), kind, json.dumps(event).encode()
    )


class Charges:
    """Of an organisation of a test's own: each 100 nano-dollars more than the last."""

    def __init__(self, console: Console, scope: str) -> None:
        self._console = console
        self._scope = scope
        self._number = 0

    async def put(self, run: str, *places: str) -> None:
        """One at each place below a run."""
        for place in places:
            self._number += 1
            below = f"{self._scope}/report/{run}/{place}"
            await charge(self._console, run, below, self._number, workflow="report")


async def test_runs_that_are_done_tell_what_the_next_one_costs(recorded: Console) -> None:
    """Their entries, attempts and what ran inside; a step that was skipped cost nothing. Failed
    ones, those at work, forks, and what began too long ago are left out."""
    caller = await recorded.caller()
    scope = f"{caller.organisation}/lab"
    charges = Charges(recorded, scope)
    done, cheap, failed, at_work, fork, old = [run_at(days) for days in (1, 1, 1, 1, 1, 91)]
    inside = run_at()
    await charges.put(done, "a", "a/0/key-1", f"b/{inside}/x")  # 100, 200, 300
    await charges.put(cheap, "a")  # 400
    for run in (failed, at_work, fork, old):
        await charges.put(run, "a")
    await tell(recorded, scope, fork, "run_submitted", forked_from=done)
    for run in (done, cheap, fork, old):
        await tell(recorded, scope, run, "run_completed", status="done")
    await tell(recorded, scope, failed, "run_completed", status="failed")
    path = f"/v1/workflows/report/costs?organisation={caller.organisation}"

    async def is_told() -> bool:
        return bool((await recorded.done("GET", path))["runs"] == 2)

    await until(is_told)
    found = await recorded.done("GET", path)
    steps = {each.pop("step"): each for each in found.pop("steps")}
    assert found == {
        "workflow": "report", "organisation": caller.organisation, "days": 90, "runs": 2,
        "p50_nusd": 600, "p50_usd": "0.0000006", "p95_nusd": 600, "p95_usd": "0.0000006",
    }  # fmt: skip
    assert steps.keys() == {"a", "b"}
    assert (steps["a"]["p50_nusd"], steps["a"]["p95_nusd"]) == (400, 400)
    assert (steps["b"]["p50_nusd"], steps["b"]["p95_nusd"]) == (300, 300)
    foreign = await recorded.token("viewer", "globex")
    unseen = await recorded.done("GET", "/v1/workflows/report/costs", token=foreign)
    assert (unseen["runs"], unseen["steps"], unseen["p50_nusd"]) == (0, [], None)
    await recorded.refused(403, "organisation_not_allowed", "GET", path, token=foreign)


async def test_half_and_nineteen_of_twenty(recorded: Console) -> None:
    """Of twenty runs that cost one to nineteen hundreds, and nothing, exactly."""
    caller = await recorded.caller()
    scope = f"{caller.organisation}/lab"
    charges = Charges(recorded, scope)
    runs = [run_at() for _ in range(20)]
    for run in runs[1:]:
        await charges.put(run, "a")
    for run in runs:
        await tell(recorded, scope, run, "run_completed", status="done")
    path = f"/v1/workflows/report/costs?organisation={caller.organisation}&days=1"

    async def is_told() -> bool:
        return bool((await recorded.done("GET", path))["runs"] == 20)

    await until(is_told)
    found = await recorded.done("GET", path)
    assert (found["p50_nusd"], found["p95_nusd"]) == (1_000, 1_900)
    (step,) = found["steps"]
    assert (step["p50_nusd"], step["p95_nusd"]) == (1_000, 1_900)


async def test_what_nobody_knows_is_null(recorded: Console) -> None:
    """A workflow without runs; a name or a span that is none is refused."""
    found = await recorded.done("GET", "/v1/workflows/unheard-of/costs")
    assert (found["runs"], found["steps"]) == (0, [])
    assert {name: found[name] for name in NOTHING} == NOTHING
    for wrong in ("Report/costs", "report/costs?days=91", "report/costs?days=0"):
        await recorded.refused(400, "invalid_request_error", "GET", f"/v1/workflows/{wrong}")
