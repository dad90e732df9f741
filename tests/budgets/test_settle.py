"""How reservations end: the truth, whatever it is, once; or nothing at all."""

import asyncio

import pytest

from budgets.answers import Ask, Reservation, Truth
from budgets.plan import ScopePath
from tests.budgets.conftest import START_MS, MakeDesk
from tests.budgets.harness import Desk, TimedDesk, dollars, granted, recorded, refused

LIMITS = [{"usd": "0.000001000"}, {"tokens": 1000}, {"requests": 10}, {"concurrency": 3}]
ASK = Ask(100, 1000, 50, 1, 200, 200)  # 300 nano-dollars, 250 tokens


def org_path(desk: Desk) -> ScopePath:
    """The path that these tests ask for."""
    return ScopePath(desk.organisation)


async def reserved(desk: Desk) -> Reservation:
    """One grant of ASK under LIMITS."""
    await desk.set_budget(desk.organisation, LIMITS)
    return granted(await desk.ask(ASK))


async def standing(desk: Desk) -> dict[str, tuple[int, int]]:
    """(spent, reserved) by dimension of the organisation's own limits."""
    checked = await desk.ledger.check(org_path(desk))
    return {each.bound.limit.dimension: (each.spent, each.reserved) for each in checked.standings}


@pytest.mark.parametrize(
    ("truth", "usd", "tokens", "requests"),
    [
        (Truth(120, 70), 120, 70, 1),
        (Truth(300, 250), 300, 250, 1),
        (Truth(0, 0), 0, 0, 1),  # the provider's own 4xx: costs nothing, the request counts
        (Truth(5000, 9000), 5000, 9000, 1),  # overrun: never clamped
        (Truth(None, None), 300, 250, 1),
        (Truth(None, 70), 300, 70, 1),
        (Truth(120, None), 120, 250, 1),
        (Truth(120, 70, None), 120, 70, 1),
        (Truth(120, 70, 0), 120, 70, 0),
        (Truth(120, 70, 3), 120, 70, 3),
    ],
)
async def test_the_truth_takes_the_place_of_the_reservation(
    desk: Desk, truth: Truth, usd: int, tokens: int, requests: int
) -> None:
    """Reserved goes down by the grant and spent up by the truth, above and below; a dimension
    without truth is charged as reserved; concurrency always returns."""
    reservation = await reserved(desk)
    assert await standing(desk) == {
        "usd": (0, 300),
        "tokens": (0, 250),
        "requests": (0, 1),
        "concurrency": (0, 1),
    }
    answer = await desk.ledger.settle(desk.organisation, reservation.id, truth, b"", b"")
    assert answer == "SETTLED"
    assert await standing(desk) == {
        "usd": (usd, 0),
        "tokens": (tokens, 0),
        "requests": (requests, 0),
        "concurrency": (0, 0),
    }


async def test_after_an_overrun_the_scope_refuses_by_arithmetic(desk: Desk) -> None:
    """What exceeded the limit is booked, and nothing is granted until there is room again."""
    reservation = await reserved(desk)
    await desk.ledger.settle(desk.organisation, reservation.id, Truth(1500, 10), b"", b"")
    answer = refused(await desk.ask(dollars(0)), "EXHAUSTED")
    assert (answer.spent, answer.reserved, answer.fits_output) == (1500, 0, 0)


async def test_a_release_charges_nothing(desk: Desk) -> None:
    """What never reached a provider costs neither money nor tokens nor a request."""
    reservation = await reserved(desk)
    assert await desk.ledger.release(desk.organisation, reservation.id, b"") == "RELEASED"
    assert await desk.counters() == {}
    assert await desk.lease_ids() == set()


@pytest.mark.parametrize("first", ["settle", "release"])
async def test_a_reservation_ends_once(desk: Desk, first: str) -> None:
    """Whatever ends it first, each later ending answers ALREADY and changes nothing."""
    org, reservation = desk.organisation, await reserved(desk)
    if first == "settle":
        await desk.ledger.settle(org, reservation.id, Truth(120, 70), b"", b"")
    else:
        await desk.ledger.release(org, reservation.id, b"")
    before = await desk.everything()
    assert await desk.ledger.settle(org, reservation.id, Truth(9, 9), b"", b"b") == "ALREADY"
    assert await desk.ledger.release(org, reservation.id, b"") == "ALREADY"
    assert await desk.everything() == before


async def test_twenty_endings_at_once_book_one(desk: Desk, make_desk: MakeDesk) -> None:
    """Concurrent endings of one reservation from two workers: one books, the others find out."""
    org, reservation = desk.organisation, await reserved(desk)
    other = await make_desk()
    answers = await asyncio.gather(
        *(
            (desk, other)[n % 2].ledger.settle(org, reservation.id, Truth(100 + n, 0), b"", b"")
            for n in range(20)
        )
    )
    assert sorted(answers) == ["ALREADY"] * 19 + ["SETTLED"]
    usd, _ = (await standing(desk))["usd"]
    assert usd == 100 + answers.index("SETTLED")


async def test_an_unknown_id_settles_nothing(desk: Desk) -> None:
    """UNKNOWN is not SETTLED: there is no reservation to charge."""
    await reserved(desk)
    before = await desk.everything()
    id_ = desk.session.new_id()
    assert await desk.ledger.settle(desk.organisation, id_, Truth(5, 5), b"", b"") == "UNKNOWN"
    assert await desk.everything() == before


async def test_the_truth_is_booked_in_the_window_of_the_reservation(timed: TimedDesk) -> None:
    """A request that ends in the next minute is charged to the minute in which it was let in."""
    org = timed.organisation
    await timed.set_budget(org, [{"usd": "0.000000100", "window": "minute"}])
    reservation = granted(await timed.ask(dollars(100)))
    await timed.set_time(START_MS + 50_000)
    granted(await timed.ask(dollars(60)))
    await timed.ledger.settle(org, reservation.id, Truth(90, 0), b"", b"")
    start_s = START_MS // 1000 - 10
    assert await timed.counters() == {
        f"c:1.0:{start_s}": (90, 0, 0),
        f"c:1.0:{start_s + 60}": (0, 60, 0),
    }
    granted(await timed.ask(dollars(40)))


@pytest.mark.parametrize("action", ["freeze", "close", "fence"])
async def test_resolving_never_asks_for_the_state_of_a_scope(desk: Desk, action: str) -> None:
    """What runs when its scope is frozen, closed or fenced is still charged, or given back."""
    org, first = desk.organisation, await reserved(desk)
    second = granted(await desk.ask(ASK))
    await desk.administration.set_state(org, action, action, b"", attempt=5)
    assert await desk.ledger.settle(org, first.id, Truth(120, 70), b"", b"") == "SETTLED"
    assert await desk.ledger.release(org, second.id, b"") == "RELEASED"
    assert [spent for spent, *_ in (await desk.counters()).values()] == [120, 70, 1]


async def test_the_limits_of_the_reservation_are_charged_whatever_the_policy_is_now(
    desk: Desk,
) -> None:
    """A limit that was removed gives back what it held; one that came later is not charged for
    what was let in before it."""
    org, reservation = desk.organisation, await reserved(desk)
    await desk.set_budget(org, [{"usd": "1", "window": "day"}])
    await desk.ledger.settle(org, reservation.id, Truth(120, 70), b"", b"")
    assert sorted((await desk.counters()).values()) == [(1, 0, 0), (70, 0, 0), (120, 0, 0)]
    assert (await standing(desk))["usd"] == (0, 0)


async def test_a_reservation_under_no_limit_is_still_one(desk: Desk) -> None:
    """Without limits nothing is counted, but the reservation is recorded and ends once."""
    reservation = granted(await desk.ask(ASK))
    org = desk.organisation
    assert await desk.lease_ids() == {reservation.id}
    assert await desk.ledger.settle(org, reservation.id, Truth(1, 1), b"", b"") == "SETTLED"
    assert await desk.ledger.settle(org, reservation.id, Truth(1, 1), b"", b"") == "ALREADY"
    assert [entry.kind for entry in await desk.outbox()] == ["llm_request", "llm_response"]


async def test_every_step_is_an_event_with_its_facts(desk: Desk) -> None:
    """Request and ending are events in sequence, under the request's id, with the caller's bytes,
    the granted output and every counter touched; payloads are beside them under the same seq."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "0.000001000"}])
    asked = dollars(100, 2000, 10)
    path = org_path(desk)
    id_ = desk.session.new_id()
    record = recorded(b"\xff event", b"\x00 body")
    await desk.ledger.reserve(path, "m", lambda _: asked, record, id_)
    await desk.ledger.settle(org, id_, Truth(700, 0), b"ended \xfe", b"\x01 answer")
    _, request, response = await desk.outbox()
    assert (request.seq, request.kind, request.id, request.output) == (2, "llm_request", id_, 900)
    assert (request.event, request.counters) == (b"\xff event", ("c:1.0:0", 1, 1000))
    assert (response.seq, response.kind, response.id) == (3, "llm_response", id_)
    assert (response.event, response.counters) == (b"ended \xfe", ("c:1.0:0", 1, 1000, 700))
    bodies = await desk.transport.command("XRANGE", desk.key("bodies"), "-", "+")
    assert bodies == [[b"1-2", [b"body", b"\x00 body"]], [b"1-3", [b"body", b"\x01 answer"]]]
    assert (await desk.head()).bodies_bytes == len(b"\x00 body\x01 answer")
