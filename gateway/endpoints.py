"""What a key can ask about itself: its budget, and a quote. Nothing here reserves."""

from typing import Any

import msgspec

from budgets.answers import Ask, Checked, Standing, amount_asked
from budgets.keys import Key
from budgets.plan import ScopePath
from gateway.counting import InputCounting
from gateway.dialects import CHAT, DIALECTS, Dialect
from gateway.dialects.contract import Call
from gateway.errors import InvalidRequest
from gateway.parts import Parts
from gateway.quoting import Quoting
from gateway.refusals import refusal_error
from gateway.request import Headers, Request, respond
from gateway.routes import Route
from gateway.spoken import spoken
from gateway.standing import limit_shown
from gateway.subscopes import counting_at
from pricing import dollars

_JSON: Headers = [(b"content-type", b"application/json")]


async def respond_json(request: Request, document: object) -> None:
    """A document, as JSON."""
    await respond(request.send, 200, _JSON, msgspec.json.encode(document))


async def checked_path(
    parts: Parts, path: ScopePath, model: str | None = None, route: str = ""
) -> Checked:
    """The path's standing; a revoked key or a frozen scope is refused here as anywhere."""
    checked = await parts.ledger.check(path, model, route)
    if checked.refusal is not None:
        raise refusal_error(
            checked.refusal,
            path=path,
            refusal_status=parts.options.refusal_status,
            now_ms=checked.time_ms,
        )
    return checked


class Budget:
    """GET /v1/budget: every scope above the key and what its limits have left."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, request: Request, key: Key, path: ScopePath) -> None:
        """`{scopes: [{scope, state, limits}]}`, organisation first; of the scope that the request
        names, where its key lets it."""
        path = counting_at(request, key, path, None)
        checked = await checked_path(self._parts, path)
        scopes = [
            {
                "scope": scope,
                "state": state,
                "limits": [
                    limit_shown(each) for each in checked.standings if each.bound.scope == scope
                ],
            }
            for scope, state in checked.states
        ]
        await respond_json(request, {"scopes": scopes})


class QuoteEndpoint:
    """POST /v1/quote: what a request would reserve, without sending it. `?endpoint=` says where it
    would be sent; without it, to chat completions."""

    def __init__(self, parts: Parts, counting: InputCounting) -> None:
        self._parts = parts
        self._counting = counting

    async def __call__(self, request: Request, key: Key, path: ScopePath) -> None:
        """`{reserved_usd, reserved_nusd, input_tokens_max, output_tokens_max, fits, scope,
        reason?}`; `scope` is that of the tightest limit. What would not fit by its bytes, or with
        less output, is counted, as it would be on its way. Of several deployments the
        dearest is quoted."""
        parts = self._parts
        dialect = _dialect(request)
        body = await request.body(parts.options.body_bytes_max)
        call = dialect.parse(body, request.headers)
        path = counting_at(request, key, path, call)
        pool = parts.routes.find(key, call.model, dialect.endpoint)
        quoted = [await self._quoted(dialect, call, path, route) for route in pool.deployments]
        await respond_json(request, max(quoted, key=lambda each: each["reserved_nusd"]))

    async def _quoted(
        self, dialect: Dialect, call: Call, path: ScopePath, route: Route
    ) -> dict[str, Any]:
        parts = self._parts
        dialect, call = spoken(dialect, call, route)
        route_scope = route.scope_in(path.organisation)
        checked = await checked_path(parts, path, route.name, route_scope)
        plan = await parts.ledger.plan(path, route.name, route_scope)
        countable = self._counting.knows(call, route)
        quoting = Quoting.by_bytes(call, route, parts.options, countable=countable)
        ask = quoting.ask(plan)
        output, tightest, reason = _granted(ask, checked.standings)
        if reason or (ask.tells_lowered and output < ask.output_wanted):
            quoting = await quoting.counted(dialect, self._counting)
            ask = quoting.ask(plan)
            output, tightest, reason = _granted(ask, checked.standings)
        reserved_nusd, _ = amount_asked(ask, output)
        document: dict[str, Any] = {
            "reserved_usd": dollars(reserved_nusd),
            "reserved_nusd": reserved_nusd,
            "input_tokens_max": ask.tokens_fixed,
            "output_tokens_max": output,
            "fits": not reason,
            "scope": tightest.bound.scope if tightest else path.scope,
        }
        if reason:
            document["reason"] = reason
        if quoting.bound(plan.route) < quoting.input_tokens_max:
            document["bound"] = "calibrated"
        return document


def _dialect(request: Request) -> Dialect:
    """Raises InvalidRequest."""
    wanted = request.parameter("endpoint") or CHAT.endpoint
    dialect = DIALECTS.get(wanted)
    if dialect is None:
        raise InvalidRequest(f"endpoint is one of {', '.join(DIALECTS)}", param="endpoint")
    return dialect


def _granted(ask: Ask, standings: tuple[Standing, ...]) -> tuple[int, Standing | None, str]:
    """What `reserve` would grant if nothing else was in flight beside: (output, tightest, reason
    why not)."""
    output, tightest = ask.output_wanted, None
    worst = ""
    for standing in standings:
        fits = _fitting(ask, standing, standing.free)
        if fits < ask.output_least and not worst:
            tightest = standing
            if _fitting(ask, standing, standing.bound.limit.amount) < ask.output_least:
                worst = "request_too_large"
            elif _fitting(ask, standing, standing.bound.limit.amount - standing.spent) < (
                ask.output_least
            ):
                worst = "exhausted"
            else:
                worst = "held"
        elif fits < output and not worst:
            output, tightest = fits, standing
    return max(output, ask.output_least), tightest, worst


def _fitting(ask: Ask, standing: Standing, room: int) -> int:
    """The largest output that fits into `room` of this limit, -1 for not even the input."""
    match standing.bound.limit.dimension:
        case "usd":
            room, per = (room - ask.usd_fixed_nusd) * 1000, ask.usd_pusd_per_output
        case "tokens":
            room, per = room - ask.tokens_fixed, ask.tokens_per_output
        case _:
            room, per = room - 1, 0
    if room < 0:
        return -1
    return min(ask.output_wanted, room // per) if per else ask.output_wanted
