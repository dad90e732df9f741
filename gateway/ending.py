"""How a request ends: one owner of its reservation, one exit.

`Ending` collects what becomes known while an answer runs. Leaving its `async with` block books
exactly one of: the truth, zero, what was streamed, the whole reservation, or nothing (released). No
other code settles or releases.
"""

import asyncio
import contextlib
from http import HTTPStatus
from types import TracebackType
from typing import Literal, NamedTuple, Self

from budgets.answers import Reservation, Truth
from budgets.keys import Key
from budgets.learned import Billed
from budgets.learning import Lesson
from gateway.dialects.contract import Call, Dialect, Usage
from gateway.events import (
    AnswerRecord,
    ResponseEvent,
    encode,
    meter_fields,
    provider_name,
    worked,
)
from gateway.facts_record import facts_detail, tier_served
from gateway.parts import Parts
from gateway.request import Request
from gateway.route_prices import NOT_PRICED, Charge
from gateway.routes import Route
from gateway.upstream import (
    UpstreamAborted,
    UpstreamError,
    UpstreamNotReached,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamUnknown,
)

Outcome = Literal["unknown", "not_reached", "provider_error"]
# An event of a stream carries a token or more; a few carry none (roles, pings, the end). Beyond
# twice the grant and this many, the provider ignores the cap that it was sent.
EVENTS_PER_TOKEN_MAX = 2
EVENTS_BESIDE_MAX = 256
BEYOND_GRANT = "BEYOND_GRANT"
STOPPING = "STOPPING"
LET_GO_S_MAX = 0.5


class Attempt(NamedTuple):
    """Which one of its call, from 1; the first one's request id, where this is a further one."""

    number: int
    first_id: str


FIRST = Attempt(1, "")


class Ending:
    """The reservation of one request, from its grant to its booking."""

    def __init__(
        self,
        parts: Parts,
        reservation: Reservation,
        route: Route,
        key: Key,
        dialect: Dialect,
        call: Call,
        attempt: Attempt = FIRST,
    ) -> None:
        self.reservation = reservation
        self.outcome: Outcome = "not_reached"
        self.usage = Usage(None)
        self.status = 0
        self.error = ""
        self.cut_reason = ""
        self.delivering = False
        self._undelivered = False
        self.route = route
        self.attempt = attempt
        self._key = key
        self._dialect = dialect
        self._call = call
        self._parts = parts
        # What was streamed bounds what is billed, unless the provider reasons or bills unseen.
        self._streams_all = call.stream and not (route.reasons_unseen or route.bills_after_cancel)
        self._record = AnswerRecord(reservation.payloads, self._streams_all)
        self._events = 0
        self._granted = reservation.output_tokens * call.n
        self._events_max = (
            EVENTS_PER_TOKEN_MAX * self._granted + EVENTS_BESIDE_MAX + call.events_beside
        )
        self._response: UpstreamResponse | None = None
        self._sender: asyncio.Task[object] | None = None
        self._started_ms = parts.clock.now_ms()
        self._first_byte_ms = 0
        self._booked = False
        self._charge: Charge | None = None

    async def __aenter__(self) -> Self:
        self._parts.keeper.hold(self.reservation, self.cut)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and not self.error:
            self.error = type(error).__name__
        if self._response is not None:
            self._response.abort()  # after a whole answer this closes nothing
        await self.book()

    def watch(self, request: Request) -> None:
        """Notices a client that hangs up, where that would change how the request ends."""
        if not self._countable:
            return
        request.watched().add_done_callback(self._client_gone)

    def _client_gone(self, watch: "asyncio.Task[None]") -> None:
        """What can be counted is cancelled. What the provider would bill unseen is not watched:
        it is read to its end, within the route's timeouts, and the truth is booked."""
        if not self._booked and not watch.cancelled():
            self.cut("client gone")

    @property
    def _countable(self) -> bool:
        """Whether what was streamed bounds what is billed when an answer breaks off."""
        return self._streams_all and not self._record.is_cut and not self._undelivered

    async def send(self, upstream_request: UpstreamRequest) -> UpstreamResponse:
        """Forwards the request; from here on the provider may have seen it, unless the upstream
        says that it provably has not."""
        self.outcome = "unknown"
        self._sender = asyncio.current_task()
        try:
            response = await self.route.upstream.send(upstream_request)
        except UpstreamNotReached:
            self.outcome = "not_reached"
            raise
        except asyncio.CancelledError:
            if self._sender is None or not self.cut_reason or self._sender.uncancel():
                raise
            raise UpstreamAborted("cut before the provider answered") from None
        finally:
            self._sender = None
        self._response = response
        self.status = response.status
        # What is no event stream did not come from the provider's model: it bounds nothing.
        self._streams_all = self._streams_all and _is_event_stream(response.headers)
        self._first_byte_ms = self._elapsed_ms()
        if _is_compressed(response.headers):  # what it says is read here, and is not for bombs
            raise UpstreamUnknown("the answer is compressed, unasked", bytes_received=True)
        return response

    @property
    def lowered(self) -> bool:
        """Whether the grant is less than the cap that the client sent."""
        asked = self._call.output_cap
        return asked is not None and self.reservation.output_tokens < asked

    def received(self, piece: bytes) -> None:
        """A piece of the answer, for the record."""
        self._record.add(piece)
        if self._call.stream:
            self._events += piece.count(b"\n\n")
            if self._events > self._events_max:
                self.cut(BEYOND_GRANT)

    def cut(self, reason: str) -> None:
        """Stops the answer: its lease is gone, its path closed, or its client hung up."""
        self.cut_reason = self.cut_reason or reason
        # A client that does not read leaves more in the pipe than was seen here: not countable.
        self._undelivered = self._undelivered or self.delivering
        if self._response is not None:
            self._undelivered |= self._response.abort()
        elif self._sender is not None:
            self._sender.cancel()  # the upstream closes its connection: the provider sees it

    async def let_go(self) -> None:
        """Gives the provider's connection a moment to end its message, so that it can be used
        again. The client has its answer: a server that stops interrupts nothing here."""
        if self._response is not None:
            with contextlib.suppress(UpstreamError, TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(LET_GO_S_MAX):
                    while await self._response.read():
                        pass

    @property
    def charge(self) -> Charge | None:
        """What the answer costs by what it says, once the provider said what it used."""
        usage = self.usage
        if self._charge is None and usage.meters is not None:
            self._charge = self.route.prices.charge(usage.meters, usage.facts)
        return self._charge

    @property
    def cost(self) -> int | None:
        """The true cost in nano-dollars, where the provider said what it used and that has a
        price."""
        charge = self.charge
        return None if charge is None else charge.nusd

    @property
    def tokens_back(self) -> int:
        """Tokens that were reserved and not used, where that is booked."""
        meters = self.usage.meters
        if meters is None or self.cost is None:
            return 0
        return self.reservation.reserved_tokens - meters.total_tokens

    async def book(self) -> None:
        """Ends the reservation; the second call does nothing."""
        if self._booked:
            return
        self._booked = True
        self._parts.keeper.drop(self.reservation)
        source, truth = self._truth()
        event = encode(self._event(source, truth))
        lesson = self._lesson(source, truth)
        try:
            if lesson is not None:  # before its place is free for others
                await self._parts.learning.learn(lesson)
        finally:
            await self._end(source, truth, event)
        self._parts.lines.settled()

    async def _end(self, source: str, truth: Truth, event: bytes) -> None:
        reservation = self.reservation
        if source == "released":
            organisation = reservation.path.organisation
            await self._parts.endings.release(organisation, reservation.id, event, reservation.mark)
        else:
            await self._parts.endings.settle(reservation, truth, event, self._record.body)

    def _lesson(self, source: str, truth: Truth) -> Lesson | None:
        """What this teaches of its route; what broke off before the provider said what it was,
        nothing, unless it ran on beyond its cap."""
        billed = None
        meters = self.usage.meters
        if source == "provider" and meters is not None and truth.usd_nusd is not None:
            billed = Billed(meters.input_tokens, meters.output_tokens, truth.usd_nusd)
        elif self.cut_reason == BEYOND_GRANT:
            billed = Billed(0, self._events - EVENTS_BESIDE_MAX, 0)
        elif not self._is_silent(source):
            return None
        return self._parts.learning.lesson(self.reservation, self._granted, billed)

    def _is_silent(self, source: str) -> bool:
        """Whether a whole answer says nothing of what it used. One that says it, and has no price,
        teaches nothing either."""
        is_whole = self.status == HTTPStatus.OK and not self.cut_reason and not self.error
        return source == "reserved" and is_whole and self.usage.meters is None

    def _truth(self) -> tuple[str, Truth]:
        """What to book, and where that comes from."""
        if self.outcome == "not_reached":
            return "released", Truth(0, 0, 0)
        if self.outcome == "provider_error" or self.usage.is_error:
            return "none", Truth(0, 0)
        meters = self.usage.meters
        if meters is not None:
            cost_nusd = self.cost
            if cost_nusd is None:  # what it costs is as unknown as if nothing had been said
                return "reserved", Truth(None, None)
            return "provider", Truth(cost_nusd, meters.total_tokens)
        if self.cut_reason == BEYOND_GRANT:
            return "counted", self._counted()
        if self._countable and (self.status == HTTPStatus.OK or self.cut_reason):
            return "counted", self._counted()
        return "reserved", Truth(None, None)

    def _counted(self) -> Truth:
        """The input's ceiling and the streamed text's bound, never above the reservation; for a
        stream that ran beyond its grant a token for each event, never below it."""
        reservation, ask = self.reservation, self.reservation.ask
        beyond = self.cut_reason == BEYOND_GRANT
        streamed = self._events
        if not beyond:
            streamed = self._dialect.streamed_tokens_max(self._record.kept)
        output_pusd = streamed * ask.usd_pusd_per_output // self._call.n
        nusd = ask.usd_fixed_nusd - (-output_pusd // 1000)
        bounded = max if beyond else min
        times = ask.tokens_per_output // self._call.n  # what was learned of the route
        return Truth(
            bounded(nusd, reservation.reserved_nusd),
            bounded(ask.tokens_fixed + streamed * times, reservation.reserved_tokens),
        )

    def _event(self, source: str, truth: Truth) -> ResponseEvent:
        reservation, record = self.reservation, self._record
        charged = reservation.reserved_nusd if truth.usd_nusd is None else truth.usd_nusd
        state, sha256 = record.state()
        usage, charge = self.usage, self.charge
        served, finish, tier = usage.model_served, usage.finish_reason, tier_served(usage)
        if not record.hands_over:
            served, finish, tier = map(provider_name, (served, finish, tier))
        event = ResponseEvent(
            request_id=reservation.id,
            scope=reservation.path.scope,
            key_id=self._key.id,
            agent=self._key.agent,
            endpoint=self._dialect.endpoint,
            provider=self.route.provider,
            model_requested=self.route.name,
            model=self.route.model,
            streamed=self._call.stream,
            status=self.status,
            usage_source=source,
            reserved_nusd=reservation.reserved_nusd,
            charged_nusd=charged,
            price_version=charge.price_version if charge else self.route.price.version,
            model_served=served,
            finish_reason=finish,
            overrun=charged > reservation.reserved_nusd,
            error=self.error or self.cut_reason or self._unpriced,
            first_byte_ms=self._first_byte_ms,
            duration_ms=self._elapsed_ms(),
            response_bytes=record.received_bytes,
            payload_state=state,
            body_sha256=sha256,
            correlation_id=self.attempt.first_id,
            service_tier=tier,
            reported_nusd=charge.reported_nusd if charge else None,
            computed_nusd=charge.computed_nusd if charge else None,
            detail=facts_detail(usage.facts, bool if record.hands_over else provider_name),
            **meter_fields(usage.meters),  # type: ignore[arg-type]  # of meters alone
        )
        return worked(event, self._key.work)

    @property
    def _unpriced(self) -> str:
        """The error of an answer that has no price; why repeats what the provider wrote."""
        charge = self.charge
        if charge is None or charge.nusd is not None:
            return ""
        return f"{NOT_PRICED}: {charge.why}" if self._record.hands_over else NOT_PRICED

    def _elapsed_ms(self) -> int:
        return self._parts.clock.now_ms() - self._started_ms


def _is_compressed(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether something between us and the provider has packed the answer, which was asked for as
    it is (`accept-encoding: identity`)."""
    return dict(headers).get(b"content-encoding", b"identity").lower() != b"identity"


def _is_event_stream(headers: list[tuple[bytes, bytes]]) -> bool:
    return dict(headers).get(b"content-type", b"").lower().startswith(b"text/event-stream")
