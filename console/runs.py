"""Runs of workflows: submitted, listed, shown, compared. What is decided about them is in
`console.run_decisions`, what their steps have said in `console.run_outputs`, what is told of them
in `console.run_history`."""

import asyncio
import re
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import FastAPI, Header, Query, Response
from pydantic import Field

from console import run_shown
from console.auth import Operator, Viewer, checked_scope, chosen_organisation
from console.errors import InvalidRequest
from console.parts import Parts
from console.run_ids import CHARS_MAX, RUN_NAME, RunId, run_id
from console.submissions import WorkflowWanted, begin_below, checked
from console.token_store import Token
from console.wire import (
    PAGE_DEFAULT,
    PAGE_MAX,
    SCOPE_CHARS_MAX,
    Asked,
    Shown,
    milliseconds,
)
from orchestrator.progress import RunStatus
from orchestrator.running import comparing, showing
from orchestrator.running.deciding import NoSuchRun
from orchestrator.running.submitting import Submission, Submit

AHEAD_MS_MAX = 10 * 366 * 86_400_000
RunName = Annotated[str, Field(pattern=RUN_NAME)]
Text = Annotated[str, Field(max_length=CHARS_MAX)]


class RunWanted(WorkflowWanted):
    """A run to be submitted. `name`: under which the same submission is one run; `start_in` (30m)
    or `start_at` (2026-12-01T08:00:00Z): not before."""

    name: RunName | None = None
    start_in: str | None = None
    start_at: str | None = None


class RunsAsked(Asked):
    """A page of runs: at a scope and below it, of a workflow, of a status; those inside of a run,
    else those that are inside of none."""

    scope: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""
    organisation: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""
    workflow: Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,48}$")] = ""
    status: RunStatus | None = None
    inside: Text = ""
    after: Text = ""
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT


class PairAsked(Asked):
    """Two runs."""

    left: Text
    right: Text


class RunMade(Shown):
    """`is_new` is false where it was submitted under its name before."""

    id: str
    scope: str
    workflow: str
    version: int
    status: str
    is_new: bool


def add_routes(app: FastAPI, parts: Parts) -> None:
    """/v1/runs, and what is shown of one."""

    @app.post("/v1/runs", tags=["runs"], status_code=201)
    async def submit_run(
        wanted: RunWanted,
        caller: Operator,
        response: Response,
        idempotency_key: Annotated[str, Header(max_length=CHARS_MAX)] = "",
    ) -> RunMade:
        """Submits a run of a workflow; with a name (or `Idempotency-Key`) once. An organisation
        that is new is created."""
        made = await _submitted(parts, caller, wanted, _named(wanted, idempotency_key))
        if not made.is_new:
            response.status_code = 200
        return made

    @app.get("/v1/runs", tags=["runs"])
    async def list_runs(asked: Annotated[RunsAsked, Query()], caller: Viewer) -> Response:
        """A page of runs, the newest first."""
        wanted = showing.Wanted(
            organisation=chosen_organisation(caller, asked.organisation, asked.scope),
            scope=asked.scope,
            workflow=asked.workflow,
            status=asked.status or "",
            inside=run_id(asked.inside) if asked.inside else "",
            after=_after(asked.after),
        )
        more = asked.limit + 1
        found = await parts.runs.read(lambda database: showing.page(database, wanted, more))
        page = found[: asked.limit]
        last = page[-1].id if len(found) > asked.limit else None
        return run_shown.answer({"runs": [run_shown.line(each) for each in page], "next": last})

    @app.get("/v1/runs/compare", tags=["runs"])
    async def compare_runs(asked: Annotated[PairAsked, Query()], caller: Viewer) -> Response:
        """Two runs step by step: status, duration, tokens, cost, and whether they said the same."""
        of, left, right = caller.organisation, run_id(asked.left), run_id(asked.right)
        if left == right:
            raise InvalidRequest("a run is compared with another one", param="right")
        found = await parts.runs.read(lambda database: comparing.compare(database, of, left, right))
        costs = await run_shown.costs_of(parts, of, found.left.line, found.right.line)
        return run_shown.answer(run_shown.compared(found, costs))

    @app.get("/v1/runs/{id}", tags=["runs"])
    async def show_run(run: RunId, caller: Viewer) -> Response:
        """A run with its steps. Long outputs are shown by `has_output`."""
        of, id_ = caller.organisation, run_id(run)
        found = await parts.runs.read(lambda database: showing.whole(database, of, id_))
        limits = await run_shown.limits_of(parts, found)
        costs = await run_shown.costs_of(parts, of, found.line)
        return run_shown.answer(run_shown.whole(found, limits, costs))


async def _submitted(parts: Parts, caller: Token, wanted: RunWanted, named: str) -> RunMade:
    checked_scope(caller, wanted.scope)
    submission = await asyncio.to_thread(_submission, parts, caller, wanted, named)
    await begin_below(parts, wanted.scope)
    submitted = await parts.runs.write(Submit(submission))
    found = await parts.runs.read(partial(showing.line, organisation="", run=submitted.run))
    return RunMade(
        id=found.id,
        scope=found.scope,
        workflow=found.workflow,
        version=found.version,
        status=found.status,
        is_new=submitted.is_new,
    )


def _submission(parts: Parts, caller: Token, wanted: RunWanted, named: str) -> Submission:
    """Raises DefinitionInvalid, ConsoleError."""
    found = checked(parts, caller, wanted)
    start_ms, start_in_ms = _start(wanted, parts.session.clock.now_ms())
    return Submission(
        organisation=wanted.scope.split("/", 1)[0],
        scope=wanted.scope,
        bundle=found.bundle,
        given=found.given,
        by=caller.name,
        folder=found.folder,
        named=named,
        start_ms=start_ms,
        start_in_ms=start_in_ms,
    )


def _after(text: str) -> str:
    try:
        return run_id(text) if text else ""
    except NoSuchRun:
        raise InvalidRequest("after is `next` of a page, as it was given", param="after") from None


def _named(wanted: RunWanted, header: str) -> str:
    if header and not re.fullmatch(RUN_NAME, header):
        raise InvalidRequest(
            "Idempotency-Key has 1 to 128 letters, digits and . _ : @ + = ~ -",
            param="Idempotency-Key",
        )
    if wanted.name and header and wanted.name != header:
        raise InvalidRequest("name and Idempotency-Key say different things", param="name")
    return wanted.name or header


def _start(wanted: RunWanted, now_ms: int) -> tuple[int, int]:
    """Not before which time, and so long from now; 0 where that is not said."""
    if wanted.start_in is not None and wanted.start_at is not None:
        raise InvalidRequest("say start_in or start_at, not both", param="start_at")
    start_ms = 0 if wanted.start_at is None else _moment_ms(wanted.start_at)
    in_ms = 0 if wanted.start_in is None else milliseconds(wanted.start_in, "start_in") or 0
    if max(start_ms - now_ms, in_ms) > AHEAD_MS_MAX:
        raise InvalidRequest("a run starts within ten years", param="start_in")
    return start_ms, in_ms


def _moment_ms(text: str) -> int:
    try:  # a moment without a zone cannot be taken from one that has it
        since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
        return max(0, int(since.total_seconds() * 1000))
    except (ValueError, TypeError, OverflowError):
        raise InvalidRequest(
            "start_at is a time with its zone, as in 2026-12-01T08:00:00Z", param="start_at"
        ) from None
