"""Schedules, which submit runs of workflows by the clock."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Response
from pydantic import Field

from console.auth import Operator, Viewer, checked_scope, chosen_organisation
from console.errors import InvalidRequest
from console.parts import Parts
from console.run_ids import CHARS_MAX, CHARS_SHOWN
from console.submissions import WorkflowWanted, begin_below, checked
from console.token_store import Token
from console.wire import CURSOR_CHARS_MAX, PAGE_DEFAULT, PAGE_MAX, SCOPE_CHARS_MAX, Asked, Shown
from orchestrator.running import schedule_acts
from orchestrator.running.database import Database
from orchestrator.running.journal import Act, Doing
from orchestrator.running.schedule_acts import (
    PauseSchedule,
    PutSchedule,
    RemoveSchedule,
    ResumeSchedule,
    Schedule,
)

ScheduleName = Annotated[str, Path(alias="name", max_length=CHARS_MAX)]
Text = Annotated[str, Field(max_length=CHARS_MAX)]


class ScheduleWanted(WorkflowWanted):
    """What a schedule of this name is to submit, and when: five fields of cron, in a time zone."""

    name: Text
    cron: Text
    zone: Text = "UTC"


class ScheduleAsked(Asked):
    """Which organisation's, where several have a schedule of one name."""

    organisation: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""


class SchedulesAsked(ScheduleAsked):
    """A page of schedules."""

    after: Annotated[str, Field(max_length=CURSOR_CHARS_MAX)] = ""
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT


class ScheduleShown(Shown):
    """`input`: null where it is long; `next_ms`: null while it is paused; `last_run`: null before
    the first; `error`: why the last time came to nothing."""

    name: str
    organisation: str
    scope: str
    workflow: str
    cron: str
    zone: str
    input: Any
    folder: str
    is_paused: bool
    next_ms: int | None
    last_run: str | None
    error: str
    by: str
    created_ms: int


class SchedulePut(ScheduleShown):
    """`is_new` is false where it has replaced one."""

    is_new: bool


class Schedules(Shown):
    """A page, by organisation and name; `next` is null on the last one."""

    schedules: list[ScheduleShown]
    next: str | None


def add_routes(app: FastAPI, parts: Parts) -> None:
    """/v1/schedules and below."""

    @app.post("/v1/schedules", tags=["schedules"], status_code=201)
    async def put_schedule(
        wanted: ScheduleWanted, caller: Operator, response: Response
    ) -> SchedulePut:
        """Submits a workflow again and again. One of this name is replaced, and stays paused where
        it was. An organisation that is new is created."""
        act = await asyncio.to_thread(_put, parts, caller, wanted)
        await begin_below(parts, wanted.scope)
        is_new, made = await parts.runs.write(Doing(_new_or_not(act)))
        if not is_new:
            response.status_code = 200
        return SchedulePut(**_shown(made).model_dump(), is_new=is_new)

    @app.get("/v1/schedules", tags=["schedules"])
    async def list_schedules(
        asked: Annotated[SchedulesAsked, Query()], caller: Viewer
    ) -> Schedules:
        """A page of schedules."""
        of, more = chosen_organisation(caller, asked.organisation), asked.limit + 1
        after = _after(asked.after)
        found = await parts.runs.read(
            lambda database: schedule_acts.page(database, of, after, more)
        )
        page = found[: asked.limit]
        last = f"{page[-1].organisation}/{page[-1].name}" if len(found) > asked.limit else None
        return Schedules(schedules=[_shown(each) for each in page], next=last)

    @app.get("/v1/schedules/{name}", tags=["schedules"])
    async def show_schedule(
        name: ScheduleName, asked: Annotated[ScheduleAsked, Query()], caller: Viewer
    ) -> ScheduleShown:
        """One schedule."""
        of = chosen_organisation(caller, asked.organisation)
        return _shown(await parts.runs.read(lambda database: _one(database, of, name)))

    @app.post("/v1/schedules/{name}/pause", tags=["schedules"])
    async def pause_schedule(
        name: ScheduleName, asked: Annotated[ScheduleAsked, Query()], caller: Operator
    ) -> ScheduleShown:
        """Nothing is submitted until it is resumed."""
        return _shown(await _decided(parts, caller, asked, name, PauseSchedule))

    @app.post("/v1/schedules/{name}/resume", tags=["schedules"])
    async def resume_schedule(
        name: ScheduleName, asked: Annotated[ScheduleAsked, Query()], caller: Operator
    ) -> ScheduleShown:
        """It goes on with the next time that comes."""
        return _shown(await _decided(parts, caller, asked, name, ResumeSchedule))

    @app.delete("/v1/schedules/{name}", tags=["schedules"])
    async def remove_schedule(
        name: ScheduleName, asked: Annotated[ScheduleAsked, Query()], caller: Operator
    ) -> ScheduleShown:
        """It is gone; what it has submitted goes on."""
        return _shown(await _decided(parts, caller, asked, name, RemoveSchedule))


def _put(parts: Parts, caller: Token, wanted: ScheduleWanted) -> PutSchedule:
    organisation = checked_scope(caller, wanted.scope)
    found = checked(parts, caller, wanted)
    act = PutSchedule(
        organisation=organisation,
        name=wanted.name,
        scope=wanted.scope,
        bundle=found.bundle,
        cron=wanted.cron,
        by=caller.name,
        zone=wanted.zone,
        given=found.given,
        folder=found.folder,
    )
    act.next_ms(parts.session.clock.now_ms())  # before anything is created
    return act


def _after(text: str) -> tuple[str, str]:
    if not text:
        return "", ""
    organisation, _, name = text.partition("/")
    if "\0" in organisation or not schedule_acts.NAME.fullmatch(name):
        raise InvalidRequest("after is `next` of a page, as it was given", param="after")
    return organisation, name


def _new_or_not(act: PutSchedule) -> Callable[[Database, int], tuple[bool, Schedule]]:
    def put(database: Database, now_ms: int) -> tuple[bool, Schedule]:
        is_there = schedule_acts.organisations_with(database, act.organisation, act.name)
        return not is_there, act(database, now_ms)

    return put


async def _decided(
    parts: Parts,
    caller: Token,
    asked: ScheduleAsked,
    name: str,
    deciding: Callable[[str, str], Act[Schedule] | Callable[[Database, int], Schedule]],
) -> Schedule:
    of = chosen_organisation(caller, asked.organisation)

    def decide(database: Database, now_ms: int) -> Schedule:
        return deciding(_organisation(database, of, name), name)(database, now_ms)

    return await parts.runs.write(Doing(decide))


def _one(database: Database, organisation: str, name: str) -> Schedule:
    return schedule_acts.schedule(database, _organisation(database, organisation, name), name)


def _organisation(database: Database, organisation: str, name: str) -> str:
    """Whose schedule this is. Raises NoSuchSchedule, InvalidRequest."""
    found = schedule_acts.organisations_with(database, organisation, name)
    if not found:
        raise schedule_acts.NoSuchSchedule(name[:CHARS_SHOWN])
    if len(found) > 1:
        raise InvalidRequest(
            f"several organisations have a schedule {name}: name one", param="organisation"
        )
    return found[0]


def _shown(found: Schedule) -> ScheduleShown:
    return ScheduleShown(
        name=found.name,
        organisation=found.organisation,
        scope=found.scope,
        workflow=found.workflow,
        cron=found.cron,
        zone=found.zone,
        input=found.given,
        folder=found.folder,
        is_paused=found.is_paused,
        next_ms=None if found.is_paused else found.next_ms,
        last_run=found.last_run or None,
        error=found.error,
        by=found.by,
        created_ms=found.created_ms,
    )
