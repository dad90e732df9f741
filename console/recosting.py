"""One page of a recost: read what was charged, price it again, book the differences.

What the records say is only gone by once they have all that the ledger had booked before they were
asked, and a difference is booked in that epoch of the ledger only. So a correction whose answer was
lost, or whose ledger was, is found in the records by the next try, and none is booked twice.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec

from budgets.counters import limit_of
from budgets.policy import Policy
from budgets.transport import LedgerUnavailable
from console.charges import Charged, Correction, NotPriced, Tariff
from console.event_log import Place
from console.parts import Parts
from console.records import RecordsBehind

RECOST_AT_ONCE_MAX: Final = 500
ORGANISATIONS_AT_ONCE_MAX: Final = 100
"""Organisations without anything to price that one page goes past."""
BOOK_S_MAX: Final = 600
"""How old a reading may be that is booked by: tombstones of what others have booked meanwhile live
two hours (DONE_TTL_S of budgets/lua)."""
NEGATIVE: Final = "a counter would fall below zero"
FORGOTTEN: Final = "an allotment that it was charged to is forgotten"
_WHY: Final = {"NEGATIVE": NEGATIVE, "UNKNOWN": FORGOTTEN}


@dataclass(frozen=True, slots=True)
class Span:
    """Which requests: of a time (ms since 1970, the end not included), of a model ("": of all), by
    its name in model_list or at its provider."""

    since_ms: int
    until_ms: int
    model: str


@dataclass(slots=True)
class Group:
    """Requests of one day (UTC) and model whose charge differs."""

    day: str
    model: str
    price_version: str
    requests: int = 0
    charged_nusd: int = 0
    owed_nusd: int = 0


@dataclass(slots=True)
class Page:
    """What one page came to. `unpriced`: (model, why) -> requests; `refused`: corrections that the
    ledger did not take, (request id, why)."""

    organisation: str
    examined: int = 0
    booked: int = 0
    already: int = 0
    groups: dict[tuple[str, str, str], Group] = field(default_factory=dict)
    unpriced: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: list[tuple[str, str]] = field(default_factory=list)
    next: Place | None = None


class Recosting:
    """Goes through the records, page by page."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tariff: Tariff = parts.tariff

    async def page(
        self, organisations: list[str], at: Place, span: Span, user: str, limit: int, by: str = ""
    ) -> Page:
        """The next requests beyond a place of the first of these (sorted) organisations that has
        any; with `by`, a token's name, their differences are booked. Raises RecordsBehind,
        LedgerUnavailable and what `Records.rows` does: then it can be asked again, from the same
        place."""
        ahead = [each for each in organisations if each >= at.organisation]
        for organisation in ahead[:ORGANISATIONS_AT_ONCE_MAX]:
            begun = at if at.organisation == organisation else Place(organisation)
            page = await self._of(organisation, begun, span, user, limit, by)
            if page.examined:
                following = ahead[ahead.index(organisation) + 1 :]
                page.next = page.next or (Place(following[0]) if following else None)
                return page
        rest = ahead[ORGANISATIONS_AT_ONCE_MAX:]
        return Page("", next=Place(rest[0]) if rest else None)

    async def _of(
        self, organisation: str, at: Place, span: Span, user: str, limit: int, by: str
    ) -> Page:
        epoch, read_s = await self._caught_up(organisation, user), time.monotonic()
        requests = await self._requests(organisation, at, span, user, limit)
        page = Page(organisation, len(requests))
        due = await asyncio.to_thread(lambda: list(self._due(requests, page)))
        for each in due:
            _add(page.groups, each)
        if by:
            await self._book(page, due, epoch, read_s, by)
        if len(requests) == limit:
            page.next = Place(organisation, requests[-1].epoch, requests[-1].seq)
        return page

    async def _requests(
        self, organisation: str, at: Place, span: Span, user: str, limit: int
    ) -> list[Charged]:
        parameters: dict[str, str | int] = {
            "org": organisation,
            "since_ms": span.since_ms,
            "until_ms": span.until_ms,
            "model": span.model,
            "at_epoch": at.epoch,
            "at_seq": at.seq,
            "limit": limit,
        }
        rows = await self._parts.records.rows("recost_page", parameters, user)
        return [msgspec.convert(row, Charged) for row in rows]

    def _due(self, requests: Iterable[Charged], page: Page) -> Iterator[Correction]:
        """Those whose charge differs. In a thread: prices are in files."""
        for request in requests:
            try:
                correction = Correction(request, self._tariff.owed(request))
            except NotPriced as error:
                page.unpriced[request.model_requested, str(error)] += 1
                continue
            if correction.difference_nusd:
                yield correction

    async def _caught_up(self, organisation: str, user: str) -> int:
        """The ledger's epoch, once the records have all that it has booked by now."""
        options = self._parts.options
        head = await self._parts.overview.head(organisation)
        if head[0] < 0:
            raise LedgerUnavailable(f"the ledger of {organisation} is recovering")
        deadline = time.monotonic() + options.recost_wait_ms_max / 1000
        while True:
            rows = await self._parts.records.rows("last_event", {"org": organisation}, user)
            last = max(((row["epoch"], row["seq"]) for row in rows), default=(head[0], 0))
            if last >= head:
                return head[0]
            if time.monotonic() > deadline:
                raise RecordsBehind(f"the records of {organisation} have not all up to {head}")
            await asyncio.sleep(options.recost_poll_ms / 1000)  # nothing tells when they do

    async def _book(
        self, page: Page, due: list[Correction], epoch: int, read_s: float, by: str
    ) -> None:
        administration = self._parts.administration
        policies = await self._parts.session.policies(page.organisation) if due else {}
        policies = _touched(policies, due)
        for each in due:
            if time.monotonic() - read_s > BOOK_S_MAX:
                raise RecordsBehind("booking took so long that the records have to be read again")
            answer = await administration.adjust(
                *(page.organisation, each.id, each.deltas, each.event(by)),
                policies=policies,
                epoch=epoch,
            )
            if answer in _WHY:
                page.refused.append((each.request.request_id, _WHY[answer]))
            elif answer == "ALREADY":
                page.already += 1
            else:
                page.booked += 1


def _touched(policies: dict[str, Policy], due: Iterable[Correction]) -> dict[str, Policy]:
    """Those whose limits are corrected: an organisation can have a hundred thousand others."""
    limits = {limit_of(name) for each in due for name, _, _ in each.deltas}
    return {
        scope: policy
        for scope, policy in policies.items()
        if any(limit.id in limits for limit in (*policy.limits, *policy.per_child))
    }


def _add(groups: dict[tuple[str, str, str], Group], due: Correction) -> None:
    request, owed = due.request, due.owed
    day = f"{datetime.fromtimestamp(request.time_ms / 1000, UTC):%Y-%m-%d}"
    key = (day, request.model_requested, owed.price_version)
    group = groups.setdefault(key, Group(*key))
    group.requests += 1
    group.charged_nusd += request.charged_nusd
    group.owed_nusd += owed.cost_nusd
