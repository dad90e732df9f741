"""What was charged for a request, what it should have been, and the correction between: pure.

A correction is a compare-and-set: its id follows from the request and the last event that charged
for it. So it is booked once, whoever books it and however often; two prices are never both booked
on top of the same charge; and a price that comes back later is a new correction.
"""

from dataclasses import dataclass, fields
from hashlib import sha256
from operator import attrgetter
from typing import Protocol

import msgspec

from clickhouse.events import CounterChange, WrittenEvent
from gateway.facts_record import facts_of
from pricing import Facts, Meters

_counts = attrgetter(*(each.name for each in fields(Meters)))
RECOST = "recost"
"""`usage_source` of such a correction: what the provider said is in the event that it corrects."""
USD = 1
_encode = msgspec.json.Encoder().encode


class NotPriced(Exception):
    """There is no price for a request, or its record does not say enough; the message says what to
    do."""


class Charged(msgspec.Struct, frozen=True):
    """A request whose provider said what it used: a row of clickhouse/queries/recost_page.sql.

    `epoch`, `seq`, `time_ms`: of the event that says so; `last_epoch`, `last_seq`: of the last that
    charged; `charged_nusd`: by all of them; `price_version`: by which. `asked_ms`, `asked`: when it
    was reserved and in which counters, 0 and empty where that is not in the records any more;
    `ended`: counters of its ending. `reported_nusd`: what its provider says that it bills."""

    epoch: int
    seq: int
    time_ms: int
    request_id: str
    scope: str
    workflow: str
    workflow_version: int
    run_id: str
    step_id: str
    attempt: int
    agent: str
    key_id: str
    endpoint: str
    provider: str
    model_requested: str
    model: str
    model_served: str
    text_input: int
    cached_input: int
    cache_write_5m: int
    cache_write_1h: int
    audio_input: int
    image_input: int
    text_output: int
    reasoning_output: int
    audio_output: int
    tool_calls: int
    duration_ms: int
    charged_nusd: int
    last_epoch: int
    last_seq: int
    price_version: str
    asked_ms: int
    asked: tuple[CounterChange, ...] = ()
    ended: tuple[CounterChange, ...] = ()
    video_input: int = 0
    image_output: int = 0
    search_calls: int = 0
    audio_ms: int = 0
    pages: int = 0
    characters: int = 0
    service_tier: str = ""
    reported_nusd: int | None = None
    detail: str = ""

    @property
    def meters(self) -> Meters:
        """What it used, as far as its event has columns for it."""
        return Meters(*_counts(self))

    @property
    def is_told_whole(self) -> bool:
        """Whether its event has all that its price depends on. A gateway that writes these columns
        names the tier of every answer whose provider said what it used (`default` where the answer
        names none: gateway.facts_record); of one from before, the column is empty."""
        return bool(self.service_tier)

    @property
    def facts(self) -> Facts:
        """What its price depends on beside the meters, at its own time. Raises FactsLeftOut."""
        if not self.is_told_whole:
            return Facts(at_ms=self.ended_ms)
        return facts_of(self.detail, self.service_tier, self.ended_ms)

    @property
    def ended_ms(self) -> int:
        """When its answer was whole. Truth can come late, so its own event tells only where nobody
        knows when it was asked."""
        return (
            min(self.time_ms, self.asked_ms + self.duration_ms) if self.asked_ms else self.time_ms
        )

    @property
    def is_corrected(self) -> bool:
        """Whether something was charged for it after its provider had said what it used."""
        return (self.last_epoch, self.last_seq) != (self.epoch, self.seq)

    @property
    def usd_counters(self) -> list[str]:
        """The counters of dollars that it reserved of. What an allotment has passed on stands in
        its ending, too, with nothing held: that follows by itself."""
        touched = self.asked or tuple(each for each in self.ended if each[2] > 0 or each[3] == 0)
        return [field for field, dimension, _, _ in touched if dimension == USD]


@dataclass(frozen=True, slots=True)
class Owed:
    """What a request costs by the price of today for its own time: nano-dollars."""

    cost_nusd: int
    price_version: str


class Tariff(Protocol):
    """The prices of this installation. May read files."""

    def owed(self, used: Charged) -> Owed:
        """What a request should have cost. Raises NotPriced."""
        ...


class NoTariff:
    """An installation without prices."""

    def owed(self, used: Charged) -> Owed:
        """Raises NotPriced."""
        raise NotPriced(f"this admin API was started without prices: none for {used.model}")


@dataclass(frozen=True, slots=True)
class Correction:
    """The difference between what was charged for a request and what it costs."""

    request: Charged
    owed: Owed

    @property
    def difference_nusd(self) -> int:
        """Positive where too little was charged."""
        return self.owed.cost_nusd - self.request.charged_nusd

    @property
    def id(self) -> str:
        """Its id at the ledger: 12 hex digits of the event's time, 20 of what it follows from."""
        request = self.request
        follows = f"{request.request_id} {request.last_epoch}-{request.last_seq}"
        return f"{request.time_ms:012x}{sha256(follows.encode()).hexdigest()[:20]}"

    @property
    def deltas(self) -> list[tuple[str, int, int]]:
        """As `Administration.adjust` takes them."""
        return [(field, USD, self.difference_nusd) for field in self.request.usd_counters]

    def event(self, by: str) -> bytes:
        """Of type `correction`. It stands in the groups of the request, so that sums by model,
        agent and key follow, and has no meters: they were counted."""
        request, owed = self.request, self.owed
        detail = {
            "reason": RECOST,
            "price_version_before": request.price_version,
            "price_version": owed.price_version,
            "charged_before_nusd": request.charged_nusd,
            "owed_nusd": owed.cost_nusd,
        }
        written = WrittenEvent(
            request_id=request.request_id,
            scope=request.scope,
            workflow=request.workflow,
            workflow_version=request.workflow_version,
            run_id=request.run_id,
            step_id=request.step_id,
            attempt=request.attempt,
            agent=request.agent,
            key_id=request.key_id,
            by=by,
            endpoint=request.endpoint,
            provider=request.provider,
            model_requested=request.model_requested,
            model=request.model,
            model_served=request.model_served,
            charged_nusd=self.difference_nusd,
            price_version=owed.price_version,
            usage_source=RECOST,
            detail=_encode(detail).decode(),
        )
        said = msgspec.to_builtins(written)
        return _encode({name: value for name, value in said.items() if value})
