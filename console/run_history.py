"""What happened in a run, as the log of events tells it: in pages, and live."""

import json
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Query, Response
from pydantic import Field

from console.auth import Viewer, chosen_organisation
from console.event_log import Filter, Place, read_events
from console.event_stream import EventStream
from console.parts import Parts
from console.run_following import RunFollowing
from console.run_ids import RunId, run_id
from console.token_store import Token
from console.wire import CURSOR_CHARS_MAX, PAGE_DEFAULT, PAGE_MAX, SCOPE_CHARS_MAX, Asked, Shown
from pricing import dollars


class OfRun(Asked):
    """Whose run it is, where the caller sees several organisations: then it is found faster."""

    organisation: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""

    def filter(self, caller: Token, run: str) -> Filter:
        """Raises InvalidRequest, OtherOrganisation, NoSuchRun."""
        return Filter(chosen_organisation(caller, self.organisation), run=run_id(run))


class HistoryAsked(OfRun):
    """A page of it. `order` asc is that in which it happened."""

    after: Annotated[str, Field(max_length=CURSOR_CHARS_MAX)] = ""
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT
    order: Literal["asc", "desc"] = "asc"


class RunStreamAsked(OfRun):
    """From a place on; without one, what is recorded from now on, and what was said that is still
    kept."""

    after: Annotated[str, Field(max_length=64 * CURSOR_CHARS_MAX)] = ""


class Happened(Shown):
    """One event. `step` as in search[3]; `triggered_by` is the `event_id` of the event that it
    follows from; `detail` is what it says beside its columns."""

    id: str
    event_id: str
    time_ms: int
    type: str
    step: str
    attempt: int
    scope: str
    agent: str
    by: str
    model: str
    charged_nusd: int
    charged_usd: str
    error: str
    triggered_by: str
    detail: dict[str, Any]


class History(Shown):
    """A page; `next` is null on the last one as yet."""

    events: list[Happened]
    next: str | None


def add_routes(app: FastAPI, parts: Parts) -> None:
    """/v1/runs/{id}/history and /v1/runs/{id}/stream."""

    @app.get("/v1/runs/{id}/history", tags=["runs"])
    async def show_history(
        run: RunId, asked: Annotated[HistoryAsked, Query()], caller: Viewer
    ) -> History:
        """What happened in a run, from events alone: who submitted it, each attempt, each call and
        its cost, decisions, its end. A run that is long over is still told."""
        wanted = asked.filter(caller, run)
        at = Place.parse(asked.after, "after") if asked.after else Place()
        is_desc, more = asked.order == "desc", asked.limit + 1
        found = await read_events(
            parts, caller.organisation, wanted, at, more, newest_first=is_desc
        )
        page = found[: asked.limit]
        last = page[-1]["id"] if len(found) > asked.limit else None
        return History(events=[_happened(each) for each in page], next=last)

    @app.get(
        "/v1/runs/{id}/stream",
        tags=["runs"],
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def stream_run(
        run: RunId,
        asked: Annotated[RunStreamAsked, Query()],
        caller: Viewer,
        last_event_id: Annotated[str, Header(max_length=64 * CURSOR_CHARS_MAX)] = "",
    ) -> EventStream:
        """A run's events as they are recorded, as server-sent events: see /v1/events/stream. Those
        named `text` and `log` are what its steps say while they work; the last one is named `end`,
        and has the run's status."""
        following = RunFollowing(parts, caller, asked.filter(caller, run))
        await following.begin(last_event_id or asked.after, "after")
        return EventStream(parts, caller, following)


def _happened(event: dict[str, Any]) -> Happened:
    charged = int(event["charged_nusd"])
    return Happened(
        id=event["id"],
        event_id=event["request_id"],
        time_ms=event["time_ms"],
        type=event["event_type"],
        step=event["step_id"],
        attempt=event["attempt"],
        scope=event["scope"],
        agent=event["agent"],
        by=event["by"],
        model=event["model"],
        charged_nusd=charged,
        charged_usd=dollars(charged),
        error=event["error"],
        triggered_by=event["triggered_by"],
        detail=_detail(event["detail"]),
    )


def _detail(text: str) -> dict[str, Any]:
    """Of a call what its writer says beside the columns; of any other event all that was written,
    and what there is to say beside the columns is inside of that."""
    said = _mapping(text)
    inside = said.get("detail", "")
    return _mapping(inside) if isinstance(inside, str) and "scope" in said else said


def _mapping(text: str) -> dict[str, Any]:
    try:
        said = json.loads(text) if text else {}
    except (ValueError, RecursionError):  # it was cut
        said = text
    return said if isinstance(said, dict) else {"text": text}
