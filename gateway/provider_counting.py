"""Asking a provider how many tokens a request's input is, before it is sent.

It happens only where a budget refuses, or lowers, what the bytes ask for, so it may take a
moment, but never long: whoever cannot be asked at once, or does not answer, is as if there was no
counter. The same question is asked once.
"""

import asyncio
import logging
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import msgspec

from gateway.counters import CountUnusable
from gateway.dialects.contract import Call, Dialect
from gateway.routes import CounterPlace, Route
from gateway.upstream import Timeouts, UpstreamError, UpstreamRequest
from pricing import Texts

ASKING_MAX = 8
"""Questions of a worker at a time; a request that comes on top is not counted."""

ANSWER_S_MAX = 2.0
"""How long one question may take in all."""

PAUSE_S = 30.0
"""So long a counter that has failed is not asked again: else each request would wait for it."""

KEPT_MAX = 1_000
"""Answers that a worker remembers, the last ones that were asked for."""

ANSWER_BYTES_MAX = 16 * 1024
MARGIN_TOKENS = 64
MARGIN_SHARE = 50
"""What is added to a provider's count: it is an estimate (Anthropic, guide "Token counting"). One
fiftieth, and these tokens."""

_TIMEOUTS = Timeouts(connect_ms=1_000, first_byte_ms=2_000, idle_ms=1_000)
_log = logging.getLogger("comptroller.gateway")


class ProviderCounting:
    """One of a worker. `answer_s_max` and `pause_s` as the constants."""

    def __init__(self, answer_s_max: float = ANSWER_S_MAX, pause_s: float = PAUSE_S) -> None:
        self._answer_s_max = answer_s_max
        self._pause_s = pause_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="asking")
        self._kept: OrderedDict[bytes, int] = OrderedDict()
        self._asking = 0
        self._paused_until: dict[str, float] = {}
        self._failing: set[str] = set()

    def asks(self, route: Route) -> bool:
        """Whether the route has a counter that can be asked now."""
        if route.counter is None:
            return False
        paused_until = self._paused_until.get(route.name)
        return paused_until is None or asyncio.get_running_loop().time() >= paused_until

    async def tokens_max(self, dialect: Dialect, call: Call, route: Route) -> int | None:
        """A bound of all input but the pictures, from the provider's count; None where it cannot be
        had. Only without unseen content."""
        place = route.counter
        if place is None or self._asking >= ASKING_MAX or not self.asks(route):
            return None
        self._asking += 1
        try:
            question = await asyncio.get_running_loop().run_in_executor(
                self._thread, _question, place, dialect, call, route.model
            )
            tokens = self._kept.get(question.name)
            if tokens is None:
                tokens = await self._asked(place, route, question.body)
        finally:
            self._asking -= 1
        if tokens is None:
            return None
        self._keep(question.name, tokens)
        return question.beside_tokens + tokens + -(-tokens // MARGIN_SHARE) + MARGIN_TOKENS

    async def _asked(self, place: CounterPlace, route: Route, body: bytes) -> int | None:
        try:
            async with asyncio.timeout(self._answer_s_max):
                tokens = place.counter.tokens(await _answer(place, route, body))
        except (UpstreamError, CountUnusable, TimeoutError) as error:
            self._failed(route, error)
            return None
        self._paused_until.pop(route.name, None)
        if route.name in self._failing:
            self._failing.discard(route.name)
            _log.warning("the input counter of %s answers again", route.name)
        return tokens

    def _failed(self, route: Route, error: Exception) -> None:
        """Told once, until it answers again."""
        self._paused_until[route.name] = asyncio.get_running_loop().time() + self._pause_s
        if route.name in self._failing:
            return
        self._failing.add(route.name)
        reason = str(error) or f"no answer within {self._answer_s_max:g} s"
        _log.warning(
            "the input counter of %s fails (%s): its provider counts none of its requests until it "
            "answers; see input_counter and api_base in its entry of model_list",
            route.name,
            reason,
        )

    def _keep(self, name: bytes, tokens: int) -> None:
        self._kept[name] = tokens
        self._kept.move_to_end(name)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)


class _Question(msgspec.Struct, frozen=True):
    """What is asked, under a `name` that another question does not have, and the tokens to add to
    the count."""

    name: bytes
    body: bytes
    beside_tokens: int


def _question(place: CounterPlace, dialect: Dialect, call: Call, model: str) -> _Question:
    if place.counts_request:
        beside_tokens, body = 0, place.counter.of_request(model, call.fields)
    else:
        texts = Texts()
        beside_tokens = dialect.input_tokens_max(call, texts)
        body = place.counter.of_texts(model, texts.pieces)
    where = f"{place.origin} ".encode() + place.target
    return _Question(sha256(b"%b\n%b" % (where, body)).digest(), body, beside_tokens)


async def _answer(place: CounterPlace, route: Route, body: bytes) -> bytes:
    request = UpstreamRequest(place.origin, "POST", place.target, place.headers, body, _TIMEOUTS)
    response = await route.upstream.send(request)
    try:
        if response.status != 200:
            raise CountUnusable(f"it answers with status {response.status}")
        return await response.read_all(ANSWER_BYTES_MAX)
    finally:
        response.abort()  # nothing where the answer is whole
