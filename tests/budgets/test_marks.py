"""Requests that their clients have named: one of a name is granted, whatever happens to it."""

import asyncio

import msgspec
import pytest

from budgets.answers import Mark, Refusal, Repeat, Reservation, Truth
from budgets.ledger import LedgerConflict, LedgerOptions
from budgets.plan import ScopePath
from budgets.scripts import Script
from budgets.transport import Argument, Reply
from tests.budgets.conftest import MakeDesk, MakeTimedDesk
from tests.budgets.harness import Desk, dollars, granted, recorded, refused

MARK = Mark("0f" * 32, b"\x00\xff" * 16)
OTHER_BODY = Mark(MARK.name, b"\x01" * 32)
HOUR_S, DAY_S = 3_600, 86_400
LEASE_MS = 60_000


async def ask(
    desk: Desk, mark: Mark | None = MARK, nusd: int = 10, id_: str = ""
) -> Reservation | Refusal:
    """One reserve of this many nano-dollars on the organisation itself."""
    return await desk.ledger.reserve(
        ScopePath(desk.organisation),
        "m",
        lambda _plan: dollars(nusd),
        recorded(b"request"),
        id_ or desk.session.new_id(),
        mark,
    )


async def end(desk: Desk, reservation: Reservation, truth: Truth | None) -> str:
    """Settles by the truth, or releases."""
    org, mark = desk.organisation, reservation.mark
    if truth is None:
        return await desk.ledger.release(org, reservation.id, b"", mark)
    return await desk.ledger.settle(org, reservation.id, truth, b"", b"", mark)


def repeated(answer: Reservation | Refusal) -> Repeat:
    """The answer, which must tell of another request."""
    assert isinstance(answer, Repeat), answer
    assert answer.code == "REPEATED"
    return answer


async def mark_ttl_s(desk: Desk) -> int:
    """How long the mark still lives; -2: there is none."""
    slot = await desk.session.slot(desk.organisation)
    left_s = await desk.transport.command("TTL", slot.mark_key(MARK.name))
    assert isinstance(left_s, int)
    return left_s


async def test_one_of_many_is_granted_on_all_workers(desk: Desk, make_desk: MakeDesk) -> None:
    """Fifty at once on two workers: one grant; the others learn whose it is, and write nothing."""
    other = await make_desk()
    await desk.set_budget(desk.organisation, [{"usd": "0.000001000"}])
    await other.ask(dollars(0))  # caches
    asked = await asyncio.gather(*(ask(each) for each in (desk, other) * 25))
    (grant,) = [each for each in asked if isinstance(each, Reservation)]
    others = [repeated(each) for each in asked if each is not grant]
    assert len(others) == 49
    assert {(each.request_id, each.same, each.state) for each in others} == {
        (grant.id, True, "running")
    }
    assert await desk.totals() == (0, 10)
    before = await desk.everything()
    repeated(await ask(other))
    assert await desk.everything() == before


@pytest.mark.parametrize(
    ("truth", "state", "charged_nusd"),
    [
        (Truth(7, 3), "settled", 7),
        (Truth(70, 3), "settled", 70),  # an overrun
        (Truth(0, 3), "settled", 0),  # a model whose price is 0
        (Truth(None, None), "unknown", 10),
    ],
)
async def test_what_became_of_it_is_known_for_an_hour(
    desk: Desk, make_desk: MakeDesk, truth: Truth, state: str, charged_nusd: int
) -> None:
    """While it runs a mark lives a day; once it has ended, an hour, with what was charged; and
    every worker knows."""
    reservation = granted(await ask(desk))
    assert DAY_S - 60 < await mark_ttl_s(desk) <= DAY_S
    assert await end(desk, reservation, truth) == "SETTLED"
    assert HOUR_S - 60 < await mark_ttl_s(desk) <= HOUR_S
    for each in (desk, await make_desk()):
        answer = repeated(await ask(each))
        assert (answer.request_id, answer.state) == (reservation.id, state)
        assert answer.charged_nusd == charged_nusd


@pytest.mark.parametrize("truth", [None, Truth(0, 0)])
async def test_what_used_nothing_may_be_tried_again(desk: Desk, truth: Truth | None) -> None:
    """Released, or settled at zero because the provider itself refused: the next one is granted."""
    first = granted(await ask(desk))
    await end(desk, first, truth)
    assert await mark_ttl_s(desk) == -2
    assert granted(await ask(desk, OTHER_BODY)).id != first.id


async def test_another_body_is_told_apart(desk: Desk) -> None:
    """The same name for something else, while the first runs and afterwards."""
    reservation = granted(await ask(desk))
    assert not repeated(await ask(desk, OTHER_BODY)).same
    await end(desk, reservation, Truth(7, 3))
    answer = repeated(await ask(desk, OTHER_BODY))
    assert (answer.same, answer.request_id) == (False, reservation.id)


async def test_a_refusal_leaves_no_mark(desk: Desk) -> None:
    """What a limit refused may be tried again under its name when there is room."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "0.000000010"}])
    refused(await ask(desk, nusd=11), "TOO_LARGE")
    holder = granted(await ask(desk, None))
    refused(await ask(desk), "HELD")
    await end(desk, holder, Truth(10, 0))
    refused(await ask(desk), "EXHAUSTED")
    assert await mark_ttl_s(desk) == -2
    await desk.set_budget(org, [{"usd": "0.000000100"}])
    granted(await ask(desk))


async def test_a_repeat_needs_no_room_but_an_open_path(desk: Desk) -> None:
    """It is told of before any limit is looked at: it costs nothing. A frozen or closed path is
    told nothing: whoever may not ask may not ask again."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "0.000000010"}])
    reservation = granted(await ask(desk))
    assert repeated(await ask(desk)).request_id == reservation.id
    await end(desk, reservation, Truth(10, 0))
    assert repeated(await ask(desk)).state == "settled"
    await desk.administration.set_state(org, "freeze", "freeze", b"")
    refused(await ask(desk), "FROZEN")
    await desk.administration.set_state(org, "thaw", "thaw", b"")
    repeated(await ask(desk))


async def test_a_dead_workers_request_is_not_made_again(make_timed_desk: MakeTimedDesk) -> None:
    """Its lease expires and is charged whole: so the mark says, and not that it may be tried
    again. If the truth still comes the mark follows it; what used nothing goes."""
    desk = await make_timed_desk(options=LedgerOptions(lease_ms=LEASE_MS))
    await desk.set_budget(desk.organisation, [{"usd": "0.000001000"}])
    await desk.advance(LEASE_MS)
    unnamed, lost = granted(await ask(desk, None)), granted(await ask(desk))
    await desk.advance(LEASE_MS)
    assert repeated(await ask(desk)).state == "running"  # nobody has swept it
    assert set(await desk.ledger.sweep(desk.organisation)) == {unnamed.id, lost.id}
    answer = repeated(await ask(desk))
    assert (answer.request_id, answer.state, answer.charged_nusd) == (lost.id, "expired", 10)
    assert HOUR_S - 60 < await mark_ttl_s(desk) <= HOUR_S
    assert await end(desk, lost, Truth(4, 1)) == "CORRECTED"
    answer = repeated(await ask(desk))
    assert (answer.state, answer.charged_nusd) == ("settled", 4)
    assert await desk.totals() == (14, 0)


async def test_a_late_release_frees_the_name_of_what_had_expired(
    make_timed_desk: MakeTimedDesk,
) -> None:
    """A worker that was paused knows that no provider was reached: the charge goes, and so does
    the mark."""
    desk = await make_timed_desk(options=LedgerOptions(lease_ms=LEASE_MS))
    await desk.advance(LEASE_MS)
    late = granted(await ask(desk))
    await desk.advance(LEASE_MS)
    await desk.ledger.sweep(desk.organisation)
    assert await end(desk, late, None) == "RELEASED"
    granted(await ask(desk))


@pytest.mark.parametrize("truth", [None, Truth(9, 9), Truth(0, 0)])
async def test_an_ending_touches_no_mark_of_another(desk: Desk, truth: Truth | None) -> None:
    """A name that was freed and taken again is the second request's: a late or repeated ending of
    the first changes nothing in it."""
    first = granted(await ask(desk))
    await end(desk, first, None)
    second = granted(await ask(desk))
    for _ in range(2):
        assert await end(desk, first, truth) == "ALREADY"
        answer = repeated(await ask(desk))
        assert (answer.request_id, answer.state) == (second.id, "running")


@pytest.mark.parametrize("truth", [None, Truth(9, 9), Truth(0, 0)])
async def test_late_truth_touches_no_mark_of_another(
    make_timed_desk: MakeTimedDesk, truth: Truth | None
) -> None:
    """A lost request's mark is gone after an hour, and another has the name by then: the truth
    that comes so late is booked, and not written into that one's mark."""
    desk = await make_timed_desk(options=LedgerOptions(lease_ms=LEASE_MS))
    await desk.advance(LEASE_MS)
    lost = granted(await ask(desk))
    await desk.advance(LEASE_MS)
    await desk.ledger.sweep(desk.organisation)
    slot = await desk.session.slot(desk.organisation)
    await desk.transport.command("DEL", slot.mark_key(MARK.name))  # as the hour's end does
    second = granted(await ask(desk))
    assert await end(desk, lost, truth) in ("CORRECTED", "RELEASED")
    answer = repeated(await ask(desk))
    assert (answer.request_id, answer.state) == (second.id, "running")


async def test_the_same_id_gets_the_same_grant_under_its_mark(desk: Desk) -> None:
    """A call that the transport sends again is the same request, not a repeated one; with another
    body it is a conflict."""
    id_ = desk.session.new_id()
    first = granted(await ask(desk, id_=id_))
    before = await desk.everything()
    again = granted(await ask(desk, id_=id_))
    assert (again.id, again.seq, again.mark) == (id_, first.seq, MARK.name)
    with pytest.raises(LedgerConflict, match="CONFLICT"):
        await ask(desk, OTHER_BODY, id_=id_)
    assert await desk.everything() == before


async def test_a_reserve_that_was_given_up_takes_no_name(desk: Desk) -> None:
    """Released before it arrived: it finds itself resolved, and the next one is granted."""
    id_ = desk.session.new_id()
    assert await desk.ledger.release(desk.organisation, id_, b"", MARK.name) == "RELEASED"
    with pytest.raises(LedgerConflict, match="ALREADY"):
        await ask(desk, id_=id_)
    granted(await ask(desk))


async def test_names_are_of_one_organisation(desk: Desk) -> None:
    """The same name in another organisation is another mark."""
    granted(await ask(desk))
    name = f"{desk.organisation}-2"
    await desk.session.open_organisation(name, create=True)
    answer = await desk.ledger.reserve(
        ScopePath(name), "m", lambda _: dollars(1), recorded(), desk.session.new_id(), MARK
    )
    granted(answer)


async def test_without_a_name_a_request_carries_nothing_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six keys as ever in both calls, and a lease of four parts: marks cost only those who use
    them; and those one key more, not a call more."""
    calls: list[tuple[str, int]] = []
    call = desk.transport.call

    async def counted(script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]) -> Reply:
        calls.append((script.name, len(keys)))
        return await call(script, keys, args)

    granted(await ask(desk, None))  # all is cached
    before = await desk.lease_ids()
    monkeypatch.setattr(desk.transport, "call", counted)
    for mark, keys, parts in ((None, 6, 4), (MARK, 7, 5)):
        reservation = granted(await ask(desk, mark))
        (id_,) = await desk.lease_ids() - before
        lease = await desk.transport.command("HGET", desk.key("leases"), id_)
        assert isinstance(lease, bytes)
        assert _values(lease) == parts
        await end(desk, reservation, Truth(1, 1))
        assert calls == [("reserve", keys), ("settle", keys)]
        calls.clear()


def _values(packed: bytes) -> int:
    """How many values cmsgpack has joined: an array's head in front makes them one."""
    for count in range(1, 10):
        try:
            msgspec.msgpack.decode(bytes([0x90 + count]) + packed, type=list[msgspec.Raw])
        except msgspec.DecodeError:
            continue
        return count
    raise AssertionError(packed)
