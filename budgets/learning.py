"""Learning what routes bill: probation for new ones, factors for those whose bound did not hold.

A route that nobody has seen may bill anything, so few of its requests run at once until its bound
has held some times. Whoever sees more billed than was set aside raises the route's factor in the
ledger before that request is booked: its place is not free before every worker knows.
"""

import asyncio
import logging
from typing import Protocol

import msgspec

from budgets.administration import Administration
from budgets.answers import Reservation
from budgets.calibration import (
    CALIBRATED_AFTER,
    NOT_CALIBRATED,
    Calibration,
    share_thousandths,
)
from budgets.learned import (
    HELD_TIMES,
    ONE_THOUSANDTHS,
    Billed,
    Bounded,
    Learned,
    RouteBound,
    is_route_scope,
    route_of,
    seen,
)
from budgets.plan import ScopeRecord
from budgets.policy import Limit, Policy
from budgets.session import Session

LEARN_S_MAX = 2.0
"""How long an ending waits for the ledger to learn of it: then it is booked all the same, and this
worker reserves nothing more of the organisation before the ledger knows."""

_log = logging.getLogger("comptroller.routes")


class Lesson(msgspec.Struct, frozen=True):
    """What one request has shown of a route: that it bills at least so many times its bound, or
    that a bound with these factors has held often enough. `calibration`: what its learned bound is
    to be from now on."""

    scope: str
    learned: Learned
    request_id: str
    holds: bool = False
    calibration: Calibration | None = None


class _Shares(msgspec.Struct, frozen=True):
    """What a worker has seen of a route while its calibration was this one: how many requests; and
    of all that it ever saw, the highest share of its bytes that one was billed."""

    known: Calibration
    times: int = 0
    highest_thousandths: int = 0


class RouteEvents(Protocol):
    """The events that tell of a route, each as JSON."""

    def began(self, scope: str) -> bytes:
        """It was never seen before."""
        ...

    def raised(self, scope: str, was: Learned, now: Learned, request_id: str) -> bytes:
        """It has billed more than was set aside for this request."""
        ...

    def trusted(self, scope: str, request_id: str) -> bytes:
        """Its bound has held often enough, this request's last."""
        ...

    def calibrated(self, scope: str, was: Calibration, now: Calibration, request_id: str) -> bytes:
        """Its bound was learned, or given up because of this request."""
        ...


class Learning:
    """One worker's. `probation_concurrency`: requests at once of a route on probation, 0: no
    probation; `calibrated_after` as the constant."""

    def __init__(
        self,
        session: Session,
        administration: Administration,
        events: RouteEvents,
        probation_concurrency: int,
        calibrated_after: int = CALIBRATED_AFTER,
    ) -> None:
        self._session = session
        self._administration = administration
        self._events = events
        self._concurrency = probation_concurrency
        self._calibrated_after = calibrated_after
        self._held: dict[str, tuple[Learned, int]] = {}
        self._shares: dict[str, _Shares] = {}
        self._untold: dict[str, dict[str, Lesson]] = {}

    async def load(self, scopes: list[str]) -> dict[str, ScopeRecord]:
        """As Session.load; a route that was never seen before begins here."""
        records = await self._session.load(scopes)
        new = [
            scope
            for scope in scopes
            if is_route_scope(scope) and records[scope].policy.learned is None
        ]
        for scope in new:
            await self._begin(scope)
        return {**records, **await self._session.load(new)} if new else records

    def lesson(
        self, reservation: Reservation, output_tokens: int, billed: Billed | None
    ) -> Lesson | None:
        """What the end of a request teaches; None, almost always, where that changes nothing.
        `output_tokens`: what all of its choices were granted together. `billed` None: a whole
        answer that does not say, which is booked as reserved, and so did hold."""
        route = reservation.ask.route
        if route is None:
            return None
        calibration = None
        if billed is not None:
            calibration = self._calibration(route, reservation.ask.input_bytes_max, billed)
            found = seen(_bounded(reservation, output_tokens, billed), billed)
            if found is not route.learned:
                self._held.pop(route.scope, None)
                return Lesson(route.scope, found, reservation.id, calibration=calibration)
        if calibration is not None:
            return Lesson(route.scope, route.learned, reservation.id, calibration=calibration)
        return self._has_held(route, reservation.id) if route.on_probation else None

    def _calibration(self, route: RouteBound, bytes_max: int, billed: Billed) -> Calibration | None:
        """What the learned bound is to be after this bill; None where that changes nothing."""
        if not bytes_max:
            return None
        known = route.calibration
        before = self._shares.get(route.scope, _Shares(known))
        highest = max(before.highest_thousandths, share_thousandths(billed.input_tokens, bytes_max))
        times = before.times + 1 if before.known == known else 1
        self._shares[route.scope] = _Shares(known, times, highest)
        wanted = known
        if known.bound_thousandths:
            wanted = known.with_seen(highest) if highest > known.bound_thousandths else known
        elif times >= self._calibrated_after:
            wanted = known.calibrated(highest)
        return None if wanted == known else wanted

    def _has_held(self, route: RouteBound, request_id: str) -> Lesson | None:
        """What held with other factors than these counts no more."""
        learned, times = self._held.get(route.scope, (route.learned, 0))
        times = times + 1 if learned == route.learned else 1
        self._held[route.scope] = route.learned, times
        if times < HELD_TIMES:
            return None
        return Lesson(route.scope, route.learned, request_id, holds=True)

    async def learn(self, lesson: Lesson) -> None:
        """Makes every worker know, or remembers to: nothing is raised but a cancellation."""
        told = False
        try:
            async with asyncio.timeout(LEARN_S_MAX):
                await self._tell(lesson)
            told = True
        except Exception as error:  # noqa: BLE001  # a settlement hangs on it, whatever it is
            _log.warning("route %s: the ledger did not learn: %r", route_of(lesson.scope), error)
        finally:
            if not told and not lesson.holds:  # what holds shows again with the next request
                self._remember(lesson)

    @property
    def owes(self) -> bool:
        """Whether the ledger does not know all that it has to."""
        return bool(self._untold)

    async def catch_up(self, organisation: str) -> None:
        """Tells the ledger what it has not learned of this organisation's routes. Raises
        LedgerUnavailable."""
        for lesson in list(self._untold.get(organisation, {}).values()):
            await self._tell(lesson)
            untold = self._untold.get(organisation, {})
            if untold.get(lesson.scope) is lesson:
                del untold[lesson.scope]
            if not untold:
                self._untold.pop(organisation, None)

    def _remember(self, lesson: Lesson) -> None:
        untold = self._untold.setdefault(lesson.scope.split("/", 1)[0], {})
        earlier = untold.get(lesson.scope, lesson)
        learned = lesson.learned.or_more(earlier.learned)
        calibration = lesson.calibration or earlier.calibration
        untold[lesson.scope] = msgspec.structs.replace(
            lesson, learned=learned, calibration=calibration
        )

    async def _tell(self, lesson: Lesson) -> None:
        await (self._trust(lesson) if lesson.holds else self._raise(lesson))
        if lesson.calibration is not None:
            await self._calibrate(lesson, lesson.calibration)

    async def _calibrate(self, lesson: Lesson, wanted: Calibration) -> None:
        def calibrated(policy: Policy) -> tuple[Policy, bytes]:
            was = policy.calibration or NOT_CALIBRATED
            now = was.with_seen(wanted.seen_thousandths)
            if wanted.bound_thousandths:
                now = now.calibrated(wanted.seen_thousandths)
            if now == was:  # shown before, by another worker
                return policy, b""
            event = self._events.calibrated(lesson.scope, was, now, lesson.request_id)
            return msgspec.structs.replace(policy, calibration=now), event

        durably = not wanted.bound_thousandths
        await self._administration.change_policy(lesson.scope, calibrated, durably=durably)
        if durably:
            _log.warning(
                "route %s has billed more than its calibrated bound, as request %s has shown: its "
                "bytes are the bound again until a worker has seen %d requests",
                *(route_of(lesson.scope), lesson.request_id, self._calibrated_after),
            )

    async def _begin(self, scope: str) -> None:
        def begun(policy: Policy) -> tuple[Policy, bytes]:
            if policy.learned is not None:  # another worker was faster
                return policy, b""
            return self._on_probation(policy, Learned()), self._events.began(scope)

        await self._administration.change_policy(scope, begun, durably=False)

    async def _trust(self, lesson: Lesson) -> None:
        def trusted(policy: Policy) -> tuple[Policy, bytes]:
            if policy.learned != lesson.learned:  # raised meanwhile: not yet
                return policy, b""
            event = self._events.trusted(lesson.scope, lesson.request_id)
            return msgspec.structs.replace(policy, limits=()), event

        await self._administration.change_policy(lesson.scope, trusted, durably=False)
        self._held.pop(lesson.scope, None)

    async def _raise(self, lesson: Lesson) -> None:
        changes: list[tuple[Learned, Learned]] = []

        def raised(policy: Policy) -> tuple[Policy, bytes]:
            was = policy.learned or Learned()
            now = was.or_more(lesson.learned)
            if now == was:  # shown before by another request, or by this one, unanswered
                return policy, b""
            changes.append((was, now))
            event = self._events.raised(lesson.scope, was, now, lesson.request_id)
            return self._on_probation(policy, now), event

        await self._administration.change_policy(lesson.scope, raised, durably=True)
        for was, now in changes[-1:]:
            _alarm(lesson, was, now)

    def _on_probation(self, policy: Policy, learned: Learned) -> Policy:
        """A limit of none at all stops what cannot be bounded."""
        at_once = 0 if learned.is_beyond else self._concurrency
        limit = Limit("@.0", "concurrency", "total", str(at_once))
        limits = (limit,) if at_once or learned.is_beyond else ()
        return msgspec.structs.replace(policy, limits=limits, learned=learned)


def _bounded(reservation: Reservation, output_tokens: int, billed: Billed) -> Bounded:
    """What was set aside, as far as a factor is concerned: a bill that a learned bound has not held
    for, and the bytes have, is no fault of theirs."""
    ask = reservation.ask
    assert ask.route is not None
    learned = ask.route.learned
    input_tokens, nusd = ask.tokens_fixed, reservation.reserved_nusd
    if ask.input_bytes_max and billed.input_tokens > input_tokens:
        input_tokens = max(
            input_tokens, ask.input_bytes_max * learned.input_thousandths // ONE_THOUSANDTHS
        )
        nusd = max(nusd, billed.nusd)
    return Bounded(learned, input_tokens, output_tokens, nusd)


def _alarm(lesson: Lesson, was: Learned, now: Learned) -> None:
    """What an operator has to read and do."""
    consequence = (
        "that is more than can be reserved for, so the route is stopped"
        if now.is_beyond
        else "every worker reserves as much from now on"
    )
    _log.error(
        "route %s bills more than its bound, as request %s has shown: its input up to %s times "
        "(known before: %s), its output up to %s times (%s); %s. A hidden prompt or another "
        "tokenizer? Say in its model_info what the provider adds (token_count_framing), or see "
        "that it obeys the output cap: a route whose bound was mended starts anew, and so does one "
        "after `comptroller prices learned reset`",
        route_of(lesson.scope),
        lesson.request_id,
        factor_text(now.input_thousandths),
        factor_text(was.input_thousandths),
        factor_text(now.output_thousandths),
        factor_text(was.output_thousandths),
        consequence,
    )


def factor_text(thousandths: int) -> str:
    """A factor as people read it: `11`, `1.5`."""
    whole, rest = divmod(thousandths, 1000)
    return f"{whole}.{rest:03d}".rstrip("0").rstrip(".") if rest else str(whole)
