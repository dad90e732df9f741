"""Reserve called again, late, or against a ledger that is not the one that the caller knew."""

import asyncio
import contextlib
import dataclasses
import struct
from collections.abc import Awaitable, Callable

import pytest

from budgets.answers import Refusal, Reservation, Truth
from budgets.ledger import LedgerConflict, LedgerOptions
from budgets.plan import ScopePath
from budgets.recording import Recording
from budgets.transport import LedgerUnavailable
from tests.budgets.conftest import START_MS, MakeDesk, MakeTimedDesk
from tests.budgets.harness import Desk, TimedDesk, dollars, granted, refused

HOUR_MS = 3_600_000


async def test_the_same_id_gets_the_same_grant(desk: Desk, make_desk: MakeDesk) -> None:
    """A repeated reserve answers what was granted and changes nothing, from any worker, also
    where nothing would fit any more and the path is frozen."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "0.000001000"}])
    id_ = desk.session.new_id()
    asked = dollars(100, 5000, 10)
    first = granted(await desk.ask(asked, id_=id_))
    assert first.output_tokens == 900
    other = await make_desk()
    assert (await desk.administration.set_state(org, "freeze", "freeze", b"")) == "DONE"
    before = await desk.everything()
    for again in (
        granted(await desk.ask(asked, id_=id_)),
        granted(await other.ask(asked, id_=id_)),
    ):
        assert (again.id, again.output_tokens, again.seq) == (id_, 900, first.seq)
        assert (again.reserved_nusd, again.granted_at_ms) == (1000, first.granted_at_ms)
    assert await desk.everything() == before


async def test_the_same_id_for_something_else_is_a_conflict(desk: Desk) -> None:
    """An id stands for one request: another amount, output or scope under it is refused."""
    id_ = desk.session.new_id()
    granted(await desk.ask(dollars(100, 50), id_=id_))
    before = await desk.everything()
    for asked, scope in (
        (dollars(101, 50), ""),
        (dollars(100, 51), ""),
        (dollars(100, 50, 1), ""),
        (dollars(100, 50, per_nusd=2), ""),
        (dollars(100, 50), f"{desk.organisation}/a"),
    ):
        with pytest.raises(LedgerConflict, match="CONFLICT"):
            await desk.ask(asked, scope, id_=id_)
    await desk.ledger.release(desk.organisation, id_, b"")
    assert before.keys() - (await desk.everything()).keys()  # the lease went with its release


@pytest.mark.parametrize("ending", ["settle", "release"])
async def test_a_resolved_id_is_never_granted_again(desk: Desk, ending: str) -> None:
    """ALREADY: the request has ended, and its money is booked."""
    org, id_ = desk.organisation, desk.session.new_id()
    granted(await desk.ask(dollars(5), id_=id_))
    if ending == "settle":
        assert await desk.ledger.settle(org, id_, Truth(5, 0), b"", b"") == "SETTLED"
    else:
        assert await desk.ledger.release(org, id_, b"") == "RELEASED"
    with pytest.raises(LedgerConflict, match="ALREADY"):
        await desk.ask(dollars(5), id_=id_)


async def test_a_reserve_that_was_given_up_finds_itself_released(desk: Desk) -> None:
    """A worker that gives up while the answer is outstanding releases the id; the reserve that
    arrives after that reserves nothing."""
    await desk.set_budget(desk.organisation, [{"usd": "0.000000100"}])
    id_ = desk.session.new_id()
    assert await desk.ledger.release(desk.organisation, id_, b"") == "RELEASED"
    before = await desk.everything()
    with pytest.raises(LedgerConflict, match="ALREADY"):
        await desk.ask(dollars(5), id_=id_)
    assert await desk.everything() == before
    assert await desk.ledger.release(desk.organisation, id_, b"") == "ALREADY"


async def test_an_id_older_than_the_tombstones_is_refused(timed: TimedDesk) -> None:
    """An hour old is still known; older ones could have been resolved and forgotten. An id from
    far ahead would outlive its tombstone."""
    for age_ms in (HOUR_MS, 0, -300_000):
        id_ = f"{START_MS - age_ms:012x}{'0' * 20}"
        granted(await timed.ask(dollars(1), id_=id_))
    before = await timed.everything()
    for age_ms in (HOUR_MS + 1, 30 * 24 * HOUR_MS, -300_001):
        id_ = f"{START_MS - age_ms:012x}{'0' * 20}"
        with pytest.raises(LedgerConflict, match="TOO_OLD"):
            await timed.ask(dollars(1), id_=id_)
    assert await timed.everything() == before


async def test_a_lease_older_than_the_tombstones_is_still_the_same_grant(timed: TimedDesk) -> None:
    """A request that streams for two hours is known by its lease, not by its age."""
    id_ = timed.session.new_id()
    granted(await timed.ask(dollars(1), id_=id_))
    await timed.advance(2 * HOUR_MS)
    granted(await timed.ask(dollars(1), id_=id_))


async def test_tombstones_outlive_the_age_at_which_ids_are_refused(desk: Desk) -> None:
    """Tombstones leave Redis by themselves, but not before their ids are too old to be used."""
    id_ = desk.session.new_id()
    await desk.ledger.release(desk.organisation, id_, b"")
    slot = await desk.session.slot(desk.organisation)
    left_s = await desk.transport.command("TTL", slot.done_key(id_))
    assert isinstance(left_s, int)
    assert 3600 + 300 < left_s <= 2 * 3600


async def test_a_full_outbox_admits_nothing_but_lets_end(make_desk: MakeDesk) -> None:
    """BACKLOG: where the recorder is behind, nothing new starts; what runs can still end, and
    what is recorded makes room."""
    desk = await make_desk(LedgerOptions(outbox_events_max=2))
    first, second = [granted(await desk.ask(dollars(1))) for _ in range(2)]
    before = await desk.everything()
    refused(await desk.ask(dollars(1)), "BACKLOG")
    assert await desk.everything() == before
    assert await desk.ledger.settle(desk.organisation, first.id, Truth(1, 0), b"", b"") == "SETTLED"
    assert await desk.ledger.release(desk.organisation, second.id, b"") == "RELEASED"
    refused(await desk.ask(dollars(1)), "BACKLOG")
    await Recording(desk.session, "test").confirm(desk.organisation, 1, 3, 0)
    granted(await desk.ask(dollars(1)))


async def test_full_bodies_admit_no_body_that_does_not_fit(make_desk: MakeDesk) -> None:
    """Payloads are bounded by their bytes; what the recorder has taken is given back once."""
    desk = await make_desk(LedgerOptions(bodies_bytes_max=10))
    path = ScopePath(desk.organisation)

    async def ask(body: bytes) -> Reservation | Refusal:
        return await desk.ask(dollars(1), path=path, body=body)

    first = granted(await ask(b"6 byte"))
    refused(await ask(b"5 byt"), "BACKLOG")
    granted(await ask(b"4 by"))
    granted(await ask(b""))
    refused(await ask(b"1"), "BACKLOG")
    for _ in range(2):
        await Recording(desk.session, "test").confirm(desk.organisation, 1, first.seq, 6)
    assert (await desk.head()).bodies_bytes == 4
    refused(await ask(b"7 bytes"), "BACKLOG")
    granted(await ask(b"6 byte"))


@pytest.mark.parametrize("loss", ["deleted", "rolled back", "emptied", "another epoch"])
async def test_a_server_that_lost_what_the_caller_knows_is_recovering(
    desk: Desk, loss: str
) -> None:
    """Epoch and seq that do not fit write nothing: a server that was rolled back or replaced must
    not grant money that is spent already."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "0.000000100"}])
    running = granted(await desk.ask(dollars(100)))
    head = await desk.head()
    if loss == "deleted":
        await desk.transport.command("HDEL", desk.key("ledger"), "meta")
    elif loss == "emptied":
        for key in await desk.everything():
            await desk.transport.command("DEL", key)
    elif loss == "rolled back":
        await desk.set_head(dataclasses.replace(head, seq=head.seq - 1))
    else:
        await desk.set_head(dataclasses.replace(head, epoch=head.epoch - 1))
    before = await desk.everything()
    refused(await desk.ask(dollars(1)), "RECOVERING")
    with pytest.raises(LedgerUnavailable):
        await desk.ledger.settle(org, running.id, Truth(1, 1), b"", b"")
    with pytest.raises(LedgerUnavailable):
        await desk.ledger.release(org, running.id, b"")
    with pytest.raises(LedgerUnavailable):
        await desk.ledger.extend(org, [(running.id, running.path)])
    with pytest.raises(LedgerUnavailable):
        await desk.ledger.sweep(org)
    for action in ("freeze", "close"):
        with pytest.raises(LedgerUnavailable):
            await desk.administration.set_state(org, action, action, b"")
    with pytest.raises(LedgerUnavailable):
        await desk.set_budget(org, [{"usd": "5"}])
    with pytest.raises(LedgerUnavailable):
        await desk.administration.append(org, desk.session.new_id(), "step_started", b"")
    with pytest.raises(LedgerUnavailable):
        await desk.administration.adjust(org, desk.session.new_id(), [("c:1.0:0", 1, 5)], b"")
    with pytest.raises(LedgerUnavailable):
        await desk.administration.record_key(org, "key-1", b"{}", "key_minted", b"")
    refused(await desk.ask(dollars(1), f"{org}/new/scope"), "RECOVERING")
    assert await desk.everything() == before


async def test_only_who_knows_more_closes_a_ledger(desk: Desk) -> None:
    """A caller that knows as much as the ledger, or less, closes nothing for anybody."""
    granted(await desk.ask(dollars(1)))
    slot, head = await desk.session.slot(desk.organisation), await desk.head()

    async def distrusted(epoch: int, seq: int) -> list[object]:
        place = struct.pack("<2q", epoch, seq)
        return await desk.session.run("distrust", slot.keys, (place,))

    for known in ((head.epoch, 0), (head.epoch, head.seq), (head.epoch - 1, head.seq + 1)):
        assert await distrusted(*known) == [b"NO"]
        assert await desk.head() == head
    assert await distrusted(head.epoch, head.seq + 1) == [b"CLOSED"]
    assert (await desk.head()).epoch == -head.epoch


async def test_a_ledger_ahead_of_the_caller_is_fine(desk: Desk, make_desk: MakeDesk) -> None:
    """Others have written since: a caller that knows less is served."""
    other = await make_desk()
    for _ in range(3):
        granted(await desk.ask(dollars(1)))
    granted(await other.ask(dollars(1)))


async def test_a_later_epoch_is_followed(desk: Desk, make_desk: MakeDesk) -> None:
    """After a recovery the ledger goes on in a later epoch: a worker follows by itself, also
    where its next call is for a scope that it has not seen before."""
    other, third = await make_desk(), await make_desk()
    for each in (desk, other, third):
        granted(await each.ask(dollars(1)))
    head = await desk.head()
    await desk.set_head(dataclasses.replace(head, epoch=2, seq=1))
    assert granted(await desk.ask(dollars(1))).epoch == 2
    answer = await other.ask(dollars(1), f"{desk.organisation}/new")
    assert granted(answer).epoch == 2
    assert (await third.ledger.check(ScopePath(f"{desk.organisation}/new"))).refusal is None


Act = Callable[[Desk], Awaitable[object]]
ACTS: dict[str, Act] = {
    "freeze": lambda desk: desk.administration.set_state(desk.organisation, "freeze", "f", b""),
    "set": lambda desk: desk.set_budget(desk.organisation, [{"requests": 1}]),
    "append": lambda desk: desk.administration.append(
        desk.organisation, desk.session.new_id(), "step_started", b""
    ),
    "adjust": lambda desk: desk.administration.adjust(
        desk.organisation, desk.session.new_id(), [], b""
    ),
    "key": lambda desk: desk.administration.record_key(
        desk.organisation, "key-1", b"{}", "key_minted", b""
    ),
    "load": lambda desk: desk.session.load([f"{desk.organisation}/a"]),
    "check": lambda desk: desk.ledger.check(ScopePath(f"{desk.organisation}/a")),
}


@pytest.mark.parametrize("act", ACTS)
async def test_a_later_epoch_is_followed_by_those_who_never_reserve(desk: Desk, act: str) -> None:
    """A console, recorder or orchestrator follows too, at the latest when it tries again: a freeze
    must not be refused until the process restarts."""
    await desk.administration.append(desk.organisation, desk.session.new_id(), "x", b"")
    head = await desk.head()
    await desk.set_head(dataclasses.replace(head, epoch=head.epoch + 1, seq=1))
    with contextlib.suppress(LedgerUnavailable):
        await ACTS[act](desk)
    await ACTS[act](desk)


async def test_a_changed_policy_counts_at_the_next_call_of_every_worker(
    desk: Desk, make_desk: MakeDesk
) -> None:
    """STALE is handled inside: a worker that has the old policy cached decides by the new one, and
    a limit that is gone binds no more."""
    other = await make_desk()
    scope = f"{desk.organisation}/a/b"
    granted(await other.ask(dollars(100), scope))
    for limits, code in (
        ([{"usd": "0.000000099"}], "TOO_LARGE"),
        ([{"requests": 0}], "TOO_LARGE"),
        ([], ""),
        ([{"usd": "0.000000100"}], ""),
    ):
        await desk.set_budget(f"{desk.organisation}/a", limits)
        answer = await other.ask(dollars(100), scope)
        assert (answer.code if isinstance(answer, Refusal) else "") == code


async def test_a_worker_with_a_wrong_clock_counts_in_the_ledgers_window(
    make_timed_desk: MakeTimedDesk,
) -> None:
    """WINDOW is handled inside: the ledger's time decides which minute it is, whatever a worker
    believes, and at the very millisecond of the edge."""
    desks = [await make_timed_desk(skew_ms) for skew_ms in (0, 240_000, -3_000_000)]
    org = desks[0].organisation
    await desks[0].set_budget(org, [{"requests": 3, "window": "minute"}])
    edge_ms = START_MS + 50_000
    for at_ms in (START_MS, edge_ms - 1, edge_ms, edge_ms + 59_999, edge_ms + 60_000):
        for desk in desks:
            desk.clock.at_ms = at_ms
        await desks[0].set_time(at_ms)
        fresh = at_ms in (START_MS, edge_ms, edge_ms + 60_000)
        for desk in desks:
            answer = await desk.ask(dollars(1))
            assert isinstance(answer, Reservation) == fresh
        await _settle_all(desks[0])


async def test_a_window_ends_at_its_very_millisecond(timed: TimedDesk) -> None:
    """A worker whose clock stands still names the old minute: the ledger takes it to the last
    millisecond, and counts in the new one from the first."""
    await timed.set_budget(timed.organisation, [{"requests": 2, "window": "minute"}])
    for at_ms, minutes in (
        (START_MS, 1),
        (START_MS + 49_999, 1),
        (START_MS + 50_000, 2),
        (START_MS + 109_999, 2),
        (START_MS + 110_000, 3),
    ):
        await timed.set_time(at_ms, worker_too=False)
        granted(await timed.ask(dollars(1)))
        assert len(await timed.counters()) == minutes


async def _settle_all(desk: TimedDesk) -> None:
    for id_ in await desk.lease_ids():
        await desk.ledger.settle(desk.organisation, id_, Truth(1, 0), b"", b"")


async def test_the_ledgers_time_never_goes_back(timed: TimedDesk) -> None:
    """A server clock that steps back does not reopen a window that is over."""
    await timed.set_budget(timed.organisation, [{"requests": 1, "window": "minute"}])
    await timed.set_time(START_MS + 50_000)
    granted(await timed.ask(dollars(1)))
    await timed.set_time(START_MS)
    answer = refused(await timed.ask(dollars(1)), "HELD")
    assert answer.bound is not None
    assert answer.bound.resets_at_ms == START_MS + 110_000
    last = (await timed.outbox())[-1]
    assert last.time_ms == START_MS + 50_000


async def test_callers_over_an_edge_at_once_all_find_the_new_window(
    make_timed_desk: MakeTimedDesk,
) -> None:
    """A hundred callers with the old minute cached meet the new one together."""
    desk = await make_timed_desk(-20_000)
    await desk.set_budget(desk.organisation, [{"requests": 100, "window": "minute"}])
    granted(await desk.ask(dollars(1)))
    await desk.advance(50_000)
    answers = await asyncio.gather(*(desk.ask(dollars(1)) for _ in range(101)))
    assert sum(isinstance(each, Reservation) for each in answers) == 100
