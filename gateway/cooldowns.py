"""Deployments that rest, because they failed or their provider has asked for a pause.

Each worker decides by what it sees, and tells the others through one sorted set of the ledger's
Redis, which it also reads, once a second and beside all requests: no request waits for it, and
where it does not answer each worker goes on with what it knows. A worker that dies takes along the
failures that it was still counting, and nothing else.
"""

import asyncio
import contextlib
import logging
from collections import deque

from budgets.replies import texts
from budgets.session import Clock
from budgets.transport import LedgerTransport, LedgerUnavailable
from gateway.routes import Route
from gateway.routing import Rest
from gateway.routing_rules import FailureKind, RoutingRules

KEY = "comptroller:cooldowns"
SHARE_EVERY_MS = 1_000
REST_MS_MAX = 3_600_000
"""Of what a provider asks for, and of what another worker's clock makes of it."""
FAILURES_WITHIN_MS = 60_000
_AT_ONCE = frozenset(("rate_limited", "account"))
_COUNTED = frozenset(("not_reached", "failed", "unknown"))
_ASKED, _FAILED = "asked ", "failed "
_log = logging.getLogger("comptroller.routing")


class Cooldowns:
    """Of one worker. Times are those of its clock, in milliseconds since 1970."""

    def __init__(self, rules: RoutingRules, clock: Clock, transport: LedgerTransport) -> None:
        self._rules = rules
        self._clock = clock
        self._transport = transport
        self._rests: dict[str, Rest] = {}
        self._failures: dict[str, deque[int]] = {}
        self._untold: dict[str, int] = {}
        self._told = asyncio.Event()

    def follow(self, rules: RoutingRules) -> None:
        """Other rules from now on: who rests goes on doing so, and failures stay counted."""
        self._rules = rules
        more = rules.allowed_fails + 1
        self._failures = {name: deque(each, more) for name, each in self._failures.items()}

    def rest_of(self, route: Route) -> Rest | None:
        """Until when this deployment is left alone; None where it is not."""
        rest = self._rests.get(route.deployment)
        if rest is None or rest.until_ms > self._clock.now_ms():
            return rest
        self._rests.pop(route.deployment, None)
        return None

    def failed(self, route: Route, kind: FailureKind, asked_wait_ms: int) -> None:
        """An attempt has failed there. `asked_wait_ms` as its provider has asked, 0 for nothing."""
        rules = self._rules
        if not rules.cooldown_ms or not self._is_enough(route.deployment, kind):
            return
        pause_ms = min(asked_wait_ms, REST_MS_MAX) or rules.cooldown_ms
        if self.rest_of(route) is None:  # else it is one of many that were under way
            _log.warning("%s rests for %d ms: %s", route.deployment, pause_ms, kind)
        rest = Rest(self._clock.now_ms() + pause_ms, kind == "rate_limited")
        self._rest(route.deployment, rest)
        self._untold[(_ASKED if rest.asked else _FAILED) + route.deployment] = rest.until_ms
        self._told.set()

    def _is_enough(self, deployment: str, kind: FailureKind) -> bool:
        if kind in _AT_ONCE or kind not in _COUNTED:
            return kind in _AT_ONCE
        more = self._rules.allowed_fails + 1
        failures = self._failures.setdefault(deployment, deque(maxlen=more))
        failures.append(self._clock.now_ms())
        return len(failures) == more and failures[-1] - failures[0] < FAILURES_WITHIN_MS

    def _rest(self, deployment: str, rest: Rest) -> None:
        known = self._rests.get(deployment)
        if known is None or known.until_ms < rest.until_ms:
            self._rests[deployment] = rest

    async def run(self) -> None:
        """Tells the other workers and hears from them, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), SHARE_EVERY_MS / 1000)
            self._told.clear()
            try:
                await self.share()
            except LedgerUnavailable as error:
                _log.debug("who rests is not shared: %s", error)

    async def share(self) -> None:
        """One exchange. Raises LedgerUnavailable."""
        now_ms = self._clock.now_ms()
        untold, self._untold = self._untold, {}
        if untold:
            try:
                await self._tell(untold, now_ms)
            except LedgerUnavailable:
                self._untold = {**untold, **self._untold}
                raise
        found = await self._transport.command(
            "ZRANGEBYSCORE", KEY, str(now_ms), "+inf", "WITHSCORES"
        )
        assert isinstance(found, list)
        for member, until_ms in _pairs(found):
            cause, _, deployment = member.partition(" ")
            rest = Rest(min(until_ms, now_ms + REST_MS_MAX), cause == _ASKED.strip())
            self._rest(deployment, rest)

    async def _tell(self, untold: dict[str, int], now_ms: int) -> None:
        scored = [text for each, at_ms in untold.items() for text in (str(at_ms), each)]
        await self._transport.command("ZADD", KEY, "GT", *scored)
        past = await self._transport.command("ZRANGEBYSCORE", KEY, "-inf", f"({now_ms}")
        if isinstance(past, list) and past:
            await self._transport.command("ZREM", KEY, *texts(past))


def _pairs(found: list[object]) -> list[tuple[str, int]]:
    """(member, score): flat in RESP2, nested in RESP3 and in redis-py."""
    flat: list[object] = []
    for each in found:
        flat += each if isinstance(each, list | tuple) else (each,)
    texts = [each.decode() if isinstance(each, bytes) else str(each) for each in flat]
    return [(texts[at], int(float(texts[at + 1]))) for at in range(0, len(texts), 2)]
