"""What people decide about runs: cancel, pause, resume, retry, fork, approve."""

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, Response
from pydantic import Field

from budgets.policy import Limit
from console import definitions, run_shown
from console.auth import Operator
from console.errors import InvalidRequest, ProgramsNotAllowed
from console.parts import Parts
from console.policies import policy_from
from console.run_ids import CHARS_MAX, RUN_NAME, RunId, run_id, step_id
from console.token_store import Token
from console.wire import Shown, Wanted
from orchestrator.places import PLAIN, TaskId
from orchestrator.running import showing
from orchestrator.running.database import Database, sql
from orchestrator.running.deciding import (
    Approve,
    Cancel,
    Pause,
    RaiseBudget,
    Resume,
    RetryFailed,
)
from orchestrator.running.forking import Fork
from orchestrator.running.journal import Act, Doing

COMMENT_CHARS_MAX = 4_096
StepText = Annotated[str, Field(min_length=1, max_length=CHARS_MAX)]


class ForkWanted(Wanted):
    """From which step on a run is done anew, with `input` in place of some of its own. `name`:
    under which the same fork is one run."""

    step: StepText
    input: dict[str, Any] = Field(default_factory=dict)
    name: Annotated[str, Field(pattern=RUN_NAME)] | None = None


class ApprovalWanted(Wanted):
    """A decision: about a `step` that asks (and which `entry` of a foreach), or, without one, about
    a run that asks for more budget: `limits` that are raised, or `approved` false."""

    step: StepText | None = None
    entry: Annotated[int, Field(ge=0, le=10**6)] | None = None
    approved: bool = True
    comment: Annotated[str, Field(max_length=COMMENT_CHARS_MAX)] = ""
    limits: list[Any] | None = None


class RunForked(Shown):
    """The new run."""

    id: str
    version: int
    forked_from: str
    is_new: bool


def add_routes(app: FastAPI, parts: Parts) -> None:
    """/v1/runs/{id}/ and what is decided."""

    @app.post("/v1/runs/{id}/cancel", tags=["runs"])
    async def cancel_run(run: RunId, caller: Operator) -> Response:
        """Ends a run and all inside it, for good; its keys are dead at their next call."""
        return await _decided(parts, caller, run, Cancel(*_who(caller, run)))

    @app.post("/v1/runs/{id}/pause", tags=["runs"])
    async def pause_run(run: RunId, caller: Operator) -> Response:
        """Begins nothing new of a run; what is at work ends, and keeps its result."""
        return await _decided(parts, caller, run, Pause(*_who(caller, run)))

    @app.post("/v1/runs/{id}/resume", tags=["runs"])
    async def resume_run(run: RunId, caller: Operator) -> Response:
        """Lets a paused run go on."""
        return await _decided(parts, caller, run, Resume(*_who(caller, run)))

    @app.post("/v1/runs/{id}/retry", tags=["runs"])
    async def retry_run(run: RunId, caller: Operator) -> Response:
        """Tries again what has failed; what is done stays."""
        return await _decided(parts, caller, run, RetryFailed(*_who(caller, run)))

    @app.post("/v1/runs/{id}/approve", tags=["runs"])
    async def approve_run(run: RunId, wanted: ApprovalWanted, caller: Operator) -> Response:
        """Answers a step that asks, or gives more to a run that asks for budget. With `approved`
        false it is a no: the step says so, or the run is halted."""
        return await _decided(parts, caller, run, _approval(caller, run, wanted))

    @app.post("/v1/runs/{id}/fork", tags=["runs"], status_code=201)
    async def fork_run(
        run: RunId, wanted: ForkWanted, caller: Operator, response: Response
    ) -> RunForked:
        """Begins a new run where another one has been: results above a step are taken over, it and
        what follows is done anew."""
        id_ = run_id(run)
        given = await asyncio.to_thread(definitions.plain, wanted.input)
        act = Fork(
            *_who(caller, id_),
            step=step_id(id_, wanted.step),
            given=given,
            named=wanted.name or "",
        )

        def fork(database: Database, now_ms: int) -> RunForked:
            _check_programs(database, caller, id_)
            made = act(database, now_ms)
            return RunForked(id=made.run, version=made.version, forked_from=id_, is_new=made.is_new)

        forked = await parts.runs.write(Doing(fork))
        if not forked.is_new:
            response.status_code = 200
        return forked


def _who(caller: Token, run: str) -> tuple[str, str, str]:
    return caller.organisation, run_id(run), caller.name


async def _decided(parts: Parts, caller: Token, run: str, act: Act[Any]) -> Response:
    """The run as it is after a decision."""
    of, id_ = caller.organisation, run_id(run)

    def decide(database: Database, now_ms: int) -> showing.RunLine:
        act(database, now_ms)
        return showing.line(database, of, id_)

    return run_shown.answer(run_shown.line(await parts.runs.write(Doing(decide))))


def _approval(caller: Token, run: str, wanted: ApprovalWanted) -> Approve | RaiseBudget:
    who = _who(caller, run)
    if wanted.step is None:
        if wanted.entry is not None:
            raise InvalidRequest("entry is one of a step: name the step, too", param="entry")
        return RaiseBudget(*who, limits=_limits(wanted), comment=wanted.comment)
    if wanted.limits is not None:
        raise InvalidRequest(
            "limits are of a run that asks for more: leave them or step out", param="limits"
        )
    entry = PLAIN if wanted.entry is None else wanted.entry
    task = TaskId(step_id(run_id(run), wanted.step), entry)
    return Approve(*who, task=task, approved=wanted.approved, comment=wanted.comment)


def _limits(wanted: ApprovalWanted) -> tuple[Limit, ...]:
    """Empty for a no."""
    if not wanted.approved:
        if wanted.limits:
            raise InvalidRequest("a no gives no limits: leave them out", param="limits")
        return ()
    if not wanted.limits:
        raise InvalidRequest(
            'name the step that asks, or the limits that are raised, as in [{"usd": "5.00"}]',
            param="step",
        )
    return policy_from({"limits": wanted.limits}).limits


def _check_programs(database: Database, caller: Token, run: str) -> None:
    """What runs programs on the server gets no other input from who could not have submitted it.
    Raises NoSuchRun, ProgramsNotAllowed."""
    showing.line(database, caller.organisation, run)
    ((*_, folder),) = database.rows(sql("to_fork"), (run,))
    if folder and caller.organisation:
        raise ProgramsNotAllowed(
            f"run {run} may run programs on this server: token {caller.name} is for the "
            f"organisation {caller.organisation} only; fork it with one for all organisations"
        )
