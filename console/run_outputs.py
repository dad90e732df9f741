"""Steps of a run one by one, and outputs, whole."""

from typing import Annotated

from fastapi import FastAPI, Query, Response
from pydantic import Field

from console import run_shown
from console.auth import Viewer
from console.parts import Parts
from console.run_ids import Entry, RunId, StepId, run_id, step_id
from console.token_store import Token
from console.wire import PAGE_DEFAULT, PAGE_MAX, Asked
from orchestrator.running import showing, whole_outputs


class StepAsked(Asked):
    """A page of a step's entries: those beyond `after`."""

    after: Annotated[int, Field(ge=-1, le=10**6)] = -1
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT


def add_routes(app: FastAPI, parts: Parts) -> None:
    """/v1/runs/{id}/output, /v1/runs/{id}/steps/ and below."""

    @app.get("/v1/runs/{id}/output", tags=["runs"])
    async def show_output(run: RunId, caller: Viewer) -> Response:
        """What a run has said at its end, whole."""
        of, id_ = caller.organisation, run_id(run)
        return run_shown.raw(
            await parts.runs.read(lambda database: whole_outputs.of_run(database, of, id_))
        )

    @app.get("/v1/runs/{id}/steps/{step}", tags=["runs"])
    async def show_step(
        run: RunId, step: StepId, asked: Annotated[StepAsked, Query()], caller: Viewer
    ) -> Response:
        """A step with its attempts; of a foreach a page of its entries, too."""
        of, id_, after = caller.organisation, run_id(run), asked.after
        name, more = step_id(id_, step), asked.limit + 1
        shown, found, attempts = await parts.runs.read(
            lambda database: showing.step(database, of, id_, name, after, more)
        )
        entries = found[: asked.limit]
        return run_shown.answer(
            {
                **run_shown.step(shown),
                "page": entries,
                "tried": attempts,
                "next": entries[-1].entry if len(found) > asked.limit else None,
            }
        )

    @app.get("/v1/runs/{id}/steps/{step}/output", tags=["runs"])
    async def show_step_output(run: RunId, step: StepId, caller: Viewer) -> Response:
        """What a step has said, whole; of a foreach the list of its entries' outputs."""
        return await _output(parts, caller, run, step, None)

    @app.get("/v1/runs/{id}/steps/{step}/{entry}/output", tags=["runs"])
    async def show_entry_output(run: RunId, step: StepId, entry: Entry, caller: Viewer) -> Response:
        """What one entry of a foreach has said, whole."""
        return await _output(parts, caller, run, step, entry)


async def _output(parts: Parts, caller: Token, run: str, step: str, entry: int | None) -> Response:
    of, id_ = caller.organisation, run_id(run)
    name = step_id(id_, step)
    return run_shown.raw(
        await parts.runs.read(
            lambda database: whole_outputs.of_step(database, of, id_, name, entry)
        )
    )
