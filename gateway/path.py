"""The path of one request, top to bottom.

parse -> route -> attempt, until one of them is the answer or nothing more may be tried. An attempt:
quote -> reserve (`gateway.reserving`) -> forward with the granted cap -> stream back -> settle. The
caller is authenticated before, in `gateway.app`; the reservation of each attempt is booked in
`gateway.ending`, whatever happens here; which deployment is next is decided in `gateway.routing`.
"""

import asyncio
import contextlib

from budgets.answers import Repeat, Reservation
from budgets.keys import Key
from budgets.plan import ScopePath
from gateway.asked import Asked
from gateway.counting import InputCounting
from gateway.dialects.contract import Dialect
from gateway.ending import FIRST, STOPPING, Attempt, Ending
from gateway.errors import InvalidRequest
from gateway.failures import Failed, broken_off
from gateway.idempotency import Replays, mark_of
from gateway.parts import Parts
from gateway.refusing import all_rest
from gateway.relay import read_failure, relay_answer, relay_stream, upstream_failure
from gateway.request import ClientGone, Request
from gateway.reserving import Reserving
from gateway.routes import Pool, Route
from gateway.routing import Tries
from gateway.spoken import Spoken, spoken
from gateway.subscopes import counting_at
from gateway.upstream import HeaderBlock, UpstreamError, UpstreamRequest

LOOK_TURNS_MAX = 16
"""Of the loop before another attempt, to see whether the caller has gone: nobody has watched a call
that is not streamed, and behind a long body its server has left the connection unread. Turns, and
no time: a busy machine spends that elsewhere."""


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
        self._reserve = Reserving(parts, counting)
        self._dialect = dialect
        self._endpoint = dialect.endpoint

    async def __call__(self, request: Request, key: Key, path: ScopePath) -> None:
        """One request, from its body to its last byte. Raises GatewayError before the first."""
        parts, dialect = self._parts, self._dialect
        body = await request.body(parts.options.body_bytes_max)
        call = dialect.parse(body, request.headers)
        path = counting_at(request, key, path, call)
        mark = mark_of(request, key, f"{self._endpoint} {path.scope}", body)
        routes, options = parts.routes, parts.options
        pool = routes.find(key, call.model, self._endpoint)
        recording = None if mark is None else self._replays.recording(request)
        began_ms = parts.clock.now_ms()
        asked = Asked(request, key, path, call, mark, recording, routes, options, pool, began_ms)
        route: Route | None = pool.deployments[0]
        if pool.chooses:
            asked.tries = self._tries(asked)
            route = asked.tries.first()
            if route is None:
                raise all_rest(pool, asked.tries.pause_ms(began_ms))
        while route is not None:
            failed = await self._attempt(asked, route)
            if failed is None:
                return
            route = await self._next(asked, route, failed)
        assert asked.failed is not None
        if asked.failed.exhausted is not None:
            parts.hard_stops.note(asked.failed.exhausted)
        await asked.failed.tell(request, asked.attempts)

    def _tries(self, asked: Asked) -> Tries:
        parts, key = self._parts, asked.key

        def others(names: tuple[str, ...]) -> list[Pool]:
            return asked.routes.others(key, names, self._endpoint)

        is_named = asked.mark is not None
        rest_of, chance = parts.cooldowns.rest_of, parts.chance
        return Tries(asked.pool, others, rest_of, chance, is_named=is_named)

    async def _next(self, asked: Asked, route: Route, failed: Failed) -> Route | None:
        """What is tried after this failure, when its time has come. A caller who has gone is not
        tried for."""
        parts = self._parts
        asked.has_failed(route, failed)
        if asked.routes.chooses:
            parts.cooldowns.failed(route, failed.kind, failed.asked_wait_ms)
        if asked.tries is None:
            asked.tries = self._tries(asked)
            asked.tries.first()
        left_ms = asked.deadline_ms - parts.clock.now_ms()
        step = asked.tries.after(route, failed.kind, failed.asked_wait_ms, left_ms)
        if step is None:
            return None
        gone = asked.request.watched()
        if step.wait_ms:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(step.wait_ms / 1000):
                    await asyncio.shield(gone)
        for _ in range(LOOK_TURNS_MAX):
            if gone.done():
                raise ClientGone
            await asyncio.sleep(0)
        return step.route

    async def _attempt(self, asked: Asked, route: Route) -> Failed | None:
        """One request to one provider, from its reservation. None: the caller has its answer."""
        asked.begins(route)
        try:
            sent = spoken(self._dialect, asked.call, route)
        except InvalidRequest as error:
            return Failed("route_refused", error=error)
        encoded = sent.dialect.encode(sent.call, route.model)
        reservation = await self._reserve(asked, route, sent, encoded)
        if isinstance(reservation, Failed):
            return reservation
        if isinstance(reservation, Repeat):
            if asked.first_id:  # it may be our own, whose end the ledger has not taken yet
                return Failed("repeated")
            await self._replays.replay(asked.request, reservation)
            return None
        return await self._serve(asked, route, sent, encoded, reservation)

    async def _serve(
        self, asked: Asked, route: Route, sent: Spoken, encoded: bytes, reservation: Reservation
    ) -> Failed | None:
        """The same from its grant, with an ending of its own."""
        parts, request, options = self._parts, asked.request, asked.options
        dialect, call = sent
        attempt = FIRST if asked.attempts == 1 else Attempt(asked.attempts, asked.first_id)
        asked.first_id = asked.first_id or reservation.id
        failed: Failed | None = None
        async with Ending(parts, reservation, route, asked.key, dialect, call, attempt) as ending:
            ending.watch(request)
            try:
                body = dialect.with_cap(encoded, route.cap_field, reservation.output_tokens)
                response = await ending.send(self._forwarded(asked, route, call.headers, body))
                if response.status != 200:
                    now_ms = parts.clock.now_ms()
                    failed = await read_failure(ending, response, dialect, now_ms)
                elif call.stream:
                    failed = await relay_stream(request, ending, response, dialect, call, options)
                else:
                    failed = await relay_answer(request, ending, response, dialect, options)
            except asyncio.CancelledError:  # by the server, which stops
                ending.error = STOPPING
                ending.cut(STOPPING)
                raise
            except UpstreamError as error:
                failure = upstream_failure(error, ending.cut_reason)
                if not request.started:
                    ending.error = type(failure).__name__
                    return broken_off(error, failure, ending.cut_reason)
                await ending.book()
                last = dialect.error_event(failure)
                await request.send({"type": "http.response.body", "body": last})
        if failed is None and asked.recording is not None and ending.cost is not None:
            self._replays.keep(reservation.id, asked.recording)
        return failed

    def _forwarded(
        self, asked: Asked, route: Route, beside: HeaderBlock, body: bytes
    ) -> UpstreamRequest:
        """What the provider gets: the request as priced, with the cap that was granted."""
        timeouts = asked.timeouts(route, self._parts.clock.now_ms())
        headers = HeaderBlock(route.headers + beside)
        return UpstreamRequest(route.origin, "POST", route.target, headers, body, timeouts)
