"""GET /v1/events: the log in pages, and as it grows."""

from difflib import get_close_matches
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Query, Response
from pydantic import Field

from clickhouse.events import EVENT_TYPES
from console.auth import Viewer, chosen_organisation
from console.errors import InvalidRequest
from console.event_log import Filter, Place, read_events
from console.event_stream import EventStream
from console.following import Following
from console.parts import Parts
from console.token_store import Token
from console.wire import CURSOR_CHARS_MAX, PAGE_DEFAULT, PAGE_MAX, SCOPE_CHARS_MAX, Asked, Shown

NAME_CHARS_MAX = 256
Name = Annotated[str, Field(max_length=NAME_CHARS_MAX)]


class EventsWanted(Asked):
    """Which events: those of a scope and below it, of a run, of a key (its id), of a type."""

    scope: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""
    organisation: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""
    run: Name = ""
    key: Name = ""
    type: Name = ""

    def filter(self, caller: Token) -> Filter:
        """Raises InvalidRequest, OtherOrganisation."""
        organisation = chosen_organisation(caller, self.organisation, self.scope)
        if self.type and self.type not in EVENT_TYPES:
            close = get_close_matches(self.type, EVENT_TYPES, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(EVENT_TYPES)}"
            raise InvalidRequest(f"there are no events of this type; {hint}", param="type")
        return Filter(organisation, self.scope, self.run, self.key, self.type)


class EventsAsked(EventsWanted):
    """A page of them. `order` asc is that of the log; desc begins with the newest."""

    after: Annotated[str, Field(max_length=CURSOR_CHARS_MAX)] = ""
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT
    order: Literal["asc", "desc"] = "asc"


class StreamAsked(EventsWanted):
    """From a place on; without one, what is recorded from now on."""

    after: Annotated[str, Field(max_length=64 * CURSOR_CHARS_MAX)] = ""


class Events(Shown):
    """A page; `next` is null on the last one as yet. Each event has an `id` that `after` takes."""

    events: list[dict[str, Any]]
    next: str | None


def add_routes(app: FastAPI, parts: Parts) -> None:
    """GET /v1/events, GET /v1/events/stream."""

    @app.get("/v1/events", tags=["events"])
    async def list_events(asked: Annotated[EventsAsked, Query()], caller: Viewer) -> Events:
        """A page of events."""
        wanted = asked.filter(caller)
        at = Place.parse(asked.after, "after") if asked.after else Place()
        found = await read_events(
            parts,
            caller.organisation,
            wanted,
            at,
            asked.limit + 1,
            newest_first=asked.order == "desc",
        )
        page = found[: asked.limit]
        return Events(events=page, next=page[-1]["id"] if len(found) > asked.limit else None)

    @app.get(
        "/v1/events/stream",
        tags=["events"],
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def stream_events(
        asked: Annotated[StreamAsked, Query()],
        caller: Viewer,
        last_event_id: Annotated[str, Header(max_length=64 * CURSOR_CHARS_MAX)] = "",
    ) -> EventStream:
        """Events as they are recorded, as server-sent events. A client that comes back with
        Last-Event-ID misses none and gets none twice."""
        following = Following(parts, caller, asked.filter(caller))
        await following.begin(last_event_id or asked.after, "after")
        return EventStream(parts, caller, following)
