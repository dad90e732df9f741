"""POST /v1/prices/recost: what was charged by a price that was wrong, put right."""

from typing import Annotated

from fastapi import FastAPI
from pydantic import Field

from console.auth import Operator, chosen_organisation
from console.errors import InvalidRequest
from console.event_log import Place
from console.parts import Parts
from console.recosting import RECOST_AT_ONCE_MAX, Group, Page, Recosting, Span
from console.wire import CURSOR_CHARS_MAX, SCOPE_CHARS_MAX, Shown, Wanted
from pricing import dollars

MODEL_CHARS_MAX = 256
TIME_MS_MAX = 9_999_999_999_999  # in the year 2286; ClickHouse's own ends in 2299
Moment = Annotated[int, Field(ge=0, le=TIME_MS_MAX)]


class RecostWanted(Wanted):
    """Times are milliseconds since 1970. `book` false only shows; `after` is `next` of the page
    before."""

    since_ms: Moment
    until_ms: Moment = TIME_MS_MAX
    model: Annotated[str, Field(max_length=MODEL_CHARS_MAX)] = ""
    organisation: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""
    book: bool = False
    after: Annotated[str, Field(max_length=CURSOR_CHARS_MAX)] = ""
    limit: Annotated[int, Field(ge=1, le=RECOST_AT_ONCE_MAX)] = RECOST_AT_ONCE_MAX


class Difference(Shown):
    """Requests of a day (UTC) and model that cost something else by the price of today for their
    own time."""

    day: str
    model: str
    price_version: str
    requests: int
    charged_nusd: int
    charged_usd: str
    owed_nusd: int
    owed_usd: str
    difference_nusd: int
    difference_usd: str


class Unpriced(Shown):
    """Requests that are left as they are, and why."""

    model: str
    requests: int
    reason: str


class NotTaken(Shown):
    """A correction that the ledger did not take, and why; nothing of it is booked."""

    request_id: str
    reason: str


class RecostPage(Shown):
    """Of one organisation. `examined` requests were priced again; `booked` corrections are new,
    `already` were booked by somebody else since this page was read."""

    organisation: str
    examined: int
    differences: list[Difference]
    booked: int
    already: int
    refused: list[NotTaken]
    unpriced: list[Unpriced]
    next: str | None


def add_routes(app: FastAPI, parts: Parts) -> None:
    """POST /v1/prices/recost."""
    recosting = Recosting(parts)

    @app.post("/v1/prices/recost", tags=["prices"])
    async def recost(wanted: RecostWanted, caller: Operator) -> RecostPage:
        """Prices a page of settled requests again, and with `book` corrects their charges."""
        if wanted.until_ms <= wanted.since_ms:
            raise InvalidRequest("until_ms is later than since_ms", param="until_ms")
        organisation = chosen_organisation(caller, wanted.organisation)
        at = Place.parse(wanted.after, "after") if wanted.after else Place()
        known = await parts.overview.organisations()
        names = [each for each in known if organisation in ("", each)]
        span = Span(wanted.since_ms, wanted.until_ms, wanted.model)
        by = caller.name if wanted.book else ""
        page = await recosting.page(names, at, span, caller.organisation, wanted.limit, by)
        return _shown(page)


def _shown(page: Page) -> RecostPage:
    return RecostPage(
        organisation=page.organisation,
        examined=page.examined,
        differences=[_difference(each) for _, each in sorted(page.groups.items())],
        booked=page.booked,
        already=page.already,
        refused=[NotTaken(request_id=id_, reason=why) for id_, why in page.refused],
        unpriced=[
            Unpriced(model=model, requests=count, reason=why)
            for (model, why), count in sorted(page.unpriced.items())
        ],
        next=str(page.next) if page.next else None,
    )


def _difference(group: Group) -> Difference:
    difference_nusd = group.owed_nusd - group.charged_nusd
    return Difference(
        day=group.day,
        model=group.model,
        price_version=group.price_version,
        requests=group.requests,
        charged_nusd=group.charged_nusd,
        charged_usd=dollars(group.charged_nusd),
        owed_nusd=group.owed_nusd,
        owed_usd=dollars(group.owed_nusd),
        difference_nusd=difference_nusd,
        difference_usd=dollars(difference_nusd),
    )
