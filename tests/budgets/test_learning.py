"""What is learned of routes at a real ledger: every worker obeys it at its next reserve, a factor
never falls, a new route is on probation until its bound has held."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from budgets.answers import Ask, Refusal, Reservation, Truth
from budgets.learned import HELD_TIMES, Billed, Learned, route_scope
from budgets.learning import Learning, Lesson
from budgets.ledger import Ledger
from budgets.overview import Overview
from budgets.plan import Plan, ScopePath
from budgets.policy import Policy
from budgets.transport import LedgerUnavailable
from gateway.route_events import RouteEvents
from tests.budgets.conftest import MakeDesk
from tests.budgets.harness import Desk, granted, recorded, refused

CONCURRENCY = 2
INPUT, OUTPUT = 100, 50  # the bound of every request here


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker: what it knows of the route, and its requests."""

    desk: Desk
    learning: Learning
    ledger: Ledger

    @property
    def route(self) -> str:
        """The scope of the only route."""
        return route_scope(self.desk.organisation, "p:m~1")

    async def reserve(self, ask_for: Callable[[Plan], Ask] | None = None) -> Reservation | Refusal:
        """One request."""
        return await self.ledger.reserve(
            ScopePath(f"{self.desk.organisation}/a"),
            "m",
            ask_for or asked,
            recorded(),
            self.desk.session.new_id(),
            None,
            self.route,
        )

    async def end(self, reservation: Reservation, billed: Billed | None) -> Lesson | None:
        """As an ending does it: learned first, booked then."""
        lesson = self.learning.lesson(reservation, reservation.output_tokens, billed)
        if lesson is not None:
            await self.learning.learn(lesson)
        truth = Truth(None, None) if billed is None else Truth(billed.nusd, 0)
        await self.ledger.settle(self.desk.organisation, reservation.id, truth, b"", b"")
        return lesson

    async def served(self, billed: Billed | None) -> Reservation:
        """A request from its grant to its booking."""
        reservation = granted(await self.reserve())
        await self.end(reservation, billed)
        return reservation

    async def policy(self) -> Policy:
        """Of the route, as the ledger has it."""
        return (await self.desk.session.load([self.route], create=False))[self.route].policy

    async def events(self) -> list[dict[str, object]]:
        """What became known."""
        outbox = await self.desk.outbox()
        changed = (json.loads(each.event) for each in outbox if each.kind == "budget_changed")
        return [each for each in changed if each["scope"] == self.route]


def asked(plan: Plan) -> Ask:
    """One nano-dollar a token; factors are in the numbers."""
    assert plan.route is not None
    learned = plan.route.learned
    fixed = INPUT * learned.input_thousandths // 1000
    return Ask(fixed, learned.output_thousandths, fixed, 1, OUTPUT, OUTPUT, plan.route)


def owes(worker: Worker) -> bool:
    """Whether it has seen what the ledger does not know."""
    return worker.learning.owes


HELD = Billed(INPUT, OUTPUT, INPUT + OUTPUT)


def times(factor: int) -> Billed:
    """A bill of so many times the bound."""
    return Billed(INPUT * factor, OUTPUT * factor, (INPUT + OUTPUT) * factor)


async def hired(make_desk: MakeDesk, concurrency: int = CONCURRENCY) -> Worker:
    """A worker with caches of its own."""
    desk = await make_desk()
    learning = Learning(desk.session, desk.administration, RouteEvents("test"), concurrency)
    return Worker(desk, learning, Ledger(desk.session, load=learning.load))


async def test_a_new_route_runs_a_few_at_a_time(make_desk: MakeDesk) -> None:
    """Over all workers together; a place is free when a request ends, and probation begins once."""
    first, second = await hired(make_desk), await hired(make_desk)
    opened = await asyncio.gather(first.reserve(), second.reserve())
    refusal = refused(await first.reserve(), "HELD")
    assert refusal.scope == first.route
    refused(await second.reserve(), "HELD")
    await first.end(granted(opened[0]), None)
    granted(await second.reserve())
    assert [each["action"] for each in await first.events()] == ["probation_began"]


async def test_probation_ends_after_its_bound_has_held(make_desk: MakeDesk) -> None:
    """HELD_TIMES in one worker, for all workers; an answer that does not say what it used is booked
    whole, and counts as one that held. The event names the last of them."""
    first, second = await hired(make_desk), await hired(make_desk)
    for billed in (HELD, None, HELD)[: HELD_TIMES - 1]:
        await first.served(billed)
        assert (await first.policy()).limits
    last = await first.served(HELD)
    assert (await first.policy()).limits == ()
    assert (await first.events())[-1]["request_id"] == last.id
    for _ in range(3 * CONCURRENCY):
        granted(await second.reserve())


async def test_a_raise_counts_at_the_next_reserve_of_every_worker(make_desk: MakeDesk) -> None:
    """Before the request that has shown it is booked: whoever takes its place reserves the more."""
    first, second = await hired(make_desk), await hired(make_desk)
    await second.served(HELD)
    reservation = granted(await first.reserve())
    lesson = first.learning.lesson(reservation, OUTPUT, times(11))
    assert lesson is not None
    await first.learning.learn(lesson)
    assert granted(await second.reserve()).reserved_nusd == 11 * (INPUT + OUTPUT)
    (_, raised) = await first.events()
    assert raised["request_id"] == reservation.id
    assert raised["route"] == "p:m~1"
    assert (raised["input_thousandths_before"], raised["input_thousandths"]) == (1000, 11_000)


async def test_a_raise_begins_probation_again(make_desk: MakeDesk) -> None:
    """Also for a route that was trusted, and requests that held before the raise do not count."""
    worker = await hired(make_desk)
    for _ in range(HELD_TIMES):
        await worker.served(HELD)
    await worker.served(times(3))
    assert (await worker.policy()).limits[0].amount == CONCURRENCY
    for _ in range(HELD_TIMES - 1):
        await worker.served(HELD)
    assert (await worker.policy()).limits
    await worker.served(times(3))
    assert (await worker.policy()) == Policy(learned=Learned(3000, 3000))


async def test_what_held_before_a_raise_counts_no_more(make_desk: MakeDesk) -> None:
    """Neither in a worker that has not seen the raise, nor where the word that a bound holds comes
    to the ledger after it."""
    first, second = await hired(make_desk), await hired(make_desk)
    for _ in range(HELD_TIMES - 1):
        await second.served(HELD)
    late = second.learning.lesson(granted(await second.reserve()), OUTPUT, HELD)
    assert late is not None
    assert late.holds
    await first.served(times(3))
    await second.learning.learn(late)
    on_probation = await first.policy()
    assert on_probation.limits
    assert on_probation.learned == Learned(3000, 3000)
    third = await hired(make_desk)
    for _ in range(HELD_TIMES - 1):
        await third.served(HELD)
    await first.served(times(7))
    await third.served(HELD)
    assert (await first.policy()).limits


async def test_a_factor_never_falls(make_desk: MakeDesk) -> None:
    """By requests that are billed less, by lessons that come late, by the end of probation."""
    worker = await hired(make_desk)
    old = granted(await worker.reserve())
    await worker.served(times(7))
    for billed in (times(1), times(2), Billed(0, 0, 0), None, HELD):
        await worker.served(billed)
    await worker.end(old, times(2))
    assert (await worker.policy()).learned == Learned(7000, 7000)
    assert sum(each["action"] == "factor_raised" for each in await worker.events()) == 1


async def test_workers_that_raise_at_once_leave_the_highest(make_desk: MakeDesk) -> None:
    """Compared and set: none overwrites another, input and output apart."""
    workers = [await hired(make_desk, concurrency=0) for _ in range(4)]
    bills = [Billed(INPUT * 3, 1, 1), Billed(INPUT * 9, 1, 1), Billed(1, OUTPUT * 5, 1), times(2)]
    opened = [granted(await each.reserve()) for each in workers]
    await asyncio.gather(
        *(
            worker.end(reservation, bill)
            for worker, reservation, bill in zip(workers, opened, bills, strict=True)
        )
    )
    assert (await workers[0].policy()).learned == Learned(9000, 5000)


async def test_a_route_beyond_all_bounds_is_stopped(
    make_desk: MakeDesk, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is reserved for it any more, requests in flight that hold do not change that, and the
    log says what to do."""
    worker = await hired(make_desk, concurrency=0)
    others = [granted(await worker.reserve()) for _ in range(HELD_TIMES)]
    with caplog.at_level(logging.ERROR):
        await worker.served(times(1001))
    assert refused(await worker.reserve(), "TOO_LARGE").scope == worker.route
    for each in others:
        await worker.end(each, HELD)
    refused(await worker.reserve(), "TOO_LARGE")
    assert "the route is stopped" in caplog.text
    assert "token_count_framing" in caplog.text


async def test_without_probation_a_route_is_learned_of_all_the_same(make_desk: MakeDesk) -> None:
    """Any number at once, and the factor as ever."""
    worker = await hired(make_desk, concurrency=0)
    opened = [granted(await worker.reserve()) for _ in range(10)]
    await worker.end(opened[0], times(4))
    assert (await worker.policy()) == Policy(learned=Learned(4000, 4000))
    assert granted(await worker.reserve()).reserved_nusd == 4 * (INPUT + OUTPUT)


async def test_what_the_ledger_could_not_learn_it_learns_before_anything_else(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is booked all the same; the worker owes the lesson, the higher one of two, until
    the ledger has it."""
    worker = await hired(make_desk)
    opened = [granted(await worker.reserve()) for _ in range(2)]
    administration = worker.desk.administration

    async def away(*_: object, **__: object) -> Policy:
        raise LedgerUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(type(administration), "change_policy", away)
        for reservation, factor in zip(opened, (11, 5), strict=True):
            await worker.end(reservation, times(factor))
        assert owes(worker)
        with pytest.raises(LedgerUnavailable):
            await worker.learning.catch_up(worker.desk.organisation)
    assert await worker.desk.lease_ids() == set()
    assert owes(worker)
    await worker.learning.catch_up("another")
    assert owes(worker)
    await worker.learning.catch_up(worker.desk.organisation)
    assert not owes(worker)
    assert (await worker.policy()).learned == Learned(11_000, 11_000)


async def test_a_cancelled_lesson_is_owed(make_desk: MakeDesk) -> None:
    """A worker that stops is cancelled anywhere: what was seen is not lost by that."""
    worker = await hired(make_desk)
    reservation = granted(await worker.reserve())
    lesson = worker.learning.lesson(reservation, OUTPUT, times(2))
    assert lesson is not None
    task = asyncio.get_running_loop().create_task(worker.learning.learn(lesson))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert owes(worker)


async def test_a_routes_scope_is_no_budget(make_desk: MakeDesk) -> None:
    """It is in no list of budgets, and no template of the organisation's binds it."""
    worker = await hired(make_desk)
    organisation = worker.desk.organisation
    await worker.desk.set_budget(organisation, {"limits": [], "per_child": [{"requests": 1}]})
    await worker.served(HELD)
    refusal = refused(await worker.reserve(), "EXHAUSTED")
    assert refusal.scope == f"{organisation}/a"
    assert await Overview(worker.desk.session).budgets(organisation, limit=10) == [organisation]
    counters = await worker.desk.counters()
    assert not any("~route" in field for field in counters)
