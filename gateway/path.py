"""The path of one request, top to bottom.

parse -> route -> quote -> reserve (refused or lowered: count the input, reserve again) -> forward
with the granted cap -> stream back -> settle. The caller is authenticated before, in `gateway.app`;
the reservation is booked in `gateway.ending`, whatever happens here.
"""

import asyncio

from budgets.answers import Mark, Refusal, Repeat, Reservation
from budgets.keys import Key
from budgets.plan import ScopePath
from gateway.asking import Asking
from gateway.counting import InputCounting
from gateway.dialects.contract import Call, Dialect
from gateway.ending import STOPPING, Ending
from gateway.errors import BudgetExceeded, GatewayError, LedgerGone, RateLimited
from gateway.events import RequestEvent, RequestRecord
from gateway.idempotency import Replays, mark_of
from gateway.parts import Parts
from gateway.quoting import Quoting
from gateway.refusals import refusal_error
from gateway.relay import relay_answer, relay_failure, relay_stream, upstream_failure
from gateway.request import Request
from gateway.routes import Route
from gateway.subscopes import counting_at
from gateway.upstream import HeaderBlock, UpstreamError, UpstreamRequest


class RequestPath:
    """Serves the metered calls of one surface."""

    def __init__(
        self,
        parts: Parts,
        replays: Replays,
        counting: InputCounting,
        dialect: Dialect,
    ) -> None:
        self._parts = parts
        self._replays = replays
        self._counting = counting
        self._dialect = dialect
        self._endpoint = dialect.endpoint

    async def __call__(self, request: Request, key: Key, path: ScopePath) -> None:
        """One request, from its body to its last byte. Raises GatewayError before the first."""
        parts, dialect, options = self._parts, self._dialect, self._parts.options
        body = await request.body(options.body_bytes_max)
        call = dialect.parse(body, request.headers)
        path = counting_at(request, key, path, call)
        mark = mark_of(request, key, f"{self._endpoint} {path.scope}", body)
        route = parts.routes.find(key, call.model, self._endpoint)
        encoded = dialect.encode(call, route.model)
        reservation = await self._reserve(request, key, path, call, route, encoded, mark)
        if isinstance(reservation, Repeat):
            await self._replays.replay(request, reservation)
            return
        recording = None if mark is None else self._replays.recording(request)
        async with Ending(parts, reservation, route, key, dialect, call, self._endpoint) as ending:
            ending.watch(request)
            try:
                response = await ending.send(self._forwarded(call, route, encoded, reservation))
                if response.status != 200:
                    await relay_failure(request, ending, response)
                elif call.stream:
                    await relay_stream(request, ending, response, dialect, call, options)
                else:
                    await relay_answer(request, ending, response, dialect, options)
            except asyncio.CancelledError:  # by the server, which stops
                ending.error = STOPPING
                ending.cut(STOPPING)
                raise
            except UpstreamError as error:
                failure = upstream_failure(error, ending.cut_reason)
                if not request.started:
                    raise failure from error
                await ending.book()
                last = dialect.error_event(failure)
                await request.send({"type": "http.response.body", "body": last})
        if recording is not None and ending.cost is not None:
            self._replays.keep(reservation.id, recording)

    def _forwarded(
        self, call: Call, route: Route, encoded: bytes, reservation: Reservation
    ) -> UpstreamRequest:
        """What the provider gets: the request as priced, with the cap that was granted."""
        body = self._dialect.with_cap(encoded, route.cap_field, reservation.output_tokens)
        timeouts = route.stream_timeouts if call.stream else route.timeouts
        headers = HeaderBlock(route.headers + call.headers)
        return UpstreamRequest(route.origin, "POST", route.target, headers, body, timeouts)

    async def _reserve(
        self,
        request: Request,
        key: Key,
        path: ScopePath,
        call: Call,
        route: Route,
        encoded: bytes,
        mark: Mark | None,
    ) -> Reservation | Repeat:
        """The grant, or the request that has its mark already, or the error that the caller reads.
        What does not fit by its bytes is counted; what others hold is waited for a little."""
        parts = self._parts
        if parts.endings.full:
            raise LedgerGone("too many settlements wait for the ledger: is Redis running?")
        if parts.learning.owes:
            await parts.learning.catch_up(path.organisation)
        id_ = parts.ledger.new_id()
        dialect, counting = self._dialect, self._counting
        countable = counting.knows(call, route)
        quoting = Quoting.by_bytes(call, route, parts.options, countable=countable)
        event = self._event(id_, key, path, quoting, encoded)
        asking = Asking(parts, path, quoting, RequestRecord(event, encoded), id_, mark)
        answer = await asking.ask(dialect, counting)
        if isinstance(answer, Refusal) and answer.code == "HELD":
            held_at_ms = parts.clock.now_ms()

            async def ask_again() -> Reservation | Refusal:
                waited_ms = parts.clock.now_ms() - held_at_ms
                return await asking.ask_after(waited_ms, dialect, counting)

            answer = await parts.lines.wait(answer, ask_again, request)
        if isinstance(answer, Refusal) and not isinstance(answer, Repeat):
            raise self._refused(answer, path, event)
        return answer

    def _refused(self, refusal: Refusal, path: ScopePath, event: RequestEvent) -> GatewayError:
        """What the caller reads. A budget's refusal becomes an event; a revoked key's call or a
        ledger that cannot decide does not."""
        parts = self._parts
        error = refusal_error(
            refusal,
            path=path,
            refusal_status=parts.options.refusal_status,
            now_ms=parts.ledger.time_ms(path.organisation),
        )
        if isinstance(error, (BudgetExceeded, RateLimited)):
            parts.refusals.note(event, path, refusal, error)
        return error

    def _event(
        self, id_: str, key: Key, path: ScopePath, quoting: Quoting, encoded: bytes
    ) -> RequestEvent:
        call, route = quoting.call, quoting.route
        return RequestEvent(
            request_id=id_,
            scope=path.scope,
            key_id=key.id,
            agent=key.agent,
            endpoint=self._endpoint,
            provider=route.provider,
            model_requested=route.name,
            model=route.model,
            streamed=call.stream,
            input_tokens_max=quoting.input_tokens_max,
            output_cap_asked=call.output_cap or 0,
            price_version=quoting.price.version,
            request_bytes=len(encoded),
            payload_state="full",
        )
