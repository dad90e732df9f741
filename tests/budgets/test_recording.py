"""The recorder's side of the ledger: one owner, fixed bounds, exact confirmation, compaction."""

from dataclasses import replace

import msgspec
import pytest

from budgets.answers import Reservation, Truth
from budgets.plan import ScopePath
from budgets.policy import parse_policy
from budgets.recording import Bounds, Going, OwnershipLost, Recording
from budgets.transport import LedgerUnavailable
from budgets.windows import window_bounds
from tests.budgets.conftest import START_MS, MakeTimedDesk
from tests.budgets.harness import TimedDesk, dollars, granted, recorded

OWNED_MS = 30_000
LEASE_MS = 60_000
HOUR_S = 3600


def recorder(desk: TimedDesk, token: str = "one") -> Recording:
    """A recorder of that name."""
    return Recording(desk.session, token)


async def append(desk: TimedDesk, count: int) -> None:
    """So many events."""
    for _ in range(count):
        id_ = desk.session.new_id()
        await desk.administration.append(desk.organisation, id_, "step_started", b"{}")


async def request(
    desk: TimedDesk, nusd: int = 100, body: bytes = b"", scope: str = ""
) -> Reservation:
    """A request of so many nano-dollars with this payload."""
    path = ScopePath(scope or desk.organisation)
    id_ = desk.session.new_id()
    event = msgspec.json.encode({"request_id": id_, "scope": path.scope})
    return granted(
        await desk.ledger.reserve(path, "m", lambda _: dollars(nusd), recorded(event, body), id_)
    )


async def settle(desk: TimedDesk, reservation: Reservation, nusd: int, body: bytes = b"") -> str:
    """Its truth."""
    truth = Truth(nusd, None)
    return await desk.ledger.settle(desk.organisation, reservation.id, truth, b"{}", body)


async def outbox_ids(desk: TimedDesk, stream: str = "outbox") -> list[str]:
    """What is in a stream."""
    found = await desk.transport.command("XRANGE", desk.key(stream), "-", "+")
    assert isinstance(found, list)
    return [id_.decode() for id_, _ in found]


async def recorder_fields(desk: TimedDesk) -> set[str]:
    """What the ledger keeps of recorders."""
    found = await desk.transport.command("HKEYS", desk.key("recorder"))
    assert isinstance(found, list)
    return {each.decode() for each in found}


async def in_epoch(desk: TimedDesk, epoch: int) -> None:
    """As a recovery leaves the head."""
    await desk.set_head(replace(await desk.head(), epoch=epoch))


async def test_an_organisation_has_one_owner_at_a_time(timed: TimedDesk) -> None:
    """The first that asks; others get it a millisecond after its lease has ended, by the ledger's
    clock, and then the first one does not."""
    one, two = recorder(timed, "one"), recorder(timed, "two")
    assert await one.own(timed.organisation, OWNED_MS) is not None
    assert await two.own(timed.organisation, OWNED_MS) is None
    await timed.advance(OWNED_MS - 1)
    assert await two.own(timed.organisation, OWNED_MS) is None
    await timed.advance(1)
    assert await two.own(timed.organisation, OWNED_MS) is not None
    assert await one.own(timed.organisation, OWNED_MS) is None


async def test_an_owner_that_asks_again_stays_one(timed: TimedDesk) -> None:
    """Each call is a whole lease from then on."""
    one, two = recorder(timed, "one"), recorder(timed, "two")
    for _ in range(3):
        assert await one.own(timed.organisation, OWNED_MS) is not None
        await timed.advance(OWNED_MS - 1)
    assert await two.own(timed.organisation, OWNED_MS) is None
    await timed.advance(1)
    assert await one.own(timed.organisation, OWNED_MS) is not None, "it comes back if nobody has"
    assert await two.own(timed.organisation, OWNED_MS) is None


async def test_an_owner_can_give_back(timed: TimedDesk) -> None:
    """A lease of 0 ends it at once: the next recorder need not wait."""
    one, two = recorder(timed, "one"), recorder(timed, "two")
    await one.own(timed.organisation, OWNED_MS)
    await one.own(timed.organisation, 0)
    assert await two.own(timed.organisation, OWNED_MS) is not None
    with pytest.raises(OwnershipLost):
        await one.fix(timed.organisation, Bounds(1, 1, 1))


async def test_the_workers_clock_does_not_count(make_timed_desk: MakeTimedDesk) -> None:
    """A recorder whose own clock is an hour ahead cannot take over, nor keep for longer."""
    right = await make_timed_desk()
    wrong = await make_timed_desk(skew_ms=HOUR_S * 1000)
    assert await recorder(right, "one").own(right.organisation, OWNED_MS) is not None
    assert await recorder(wrong, "two").own(right.organisation, OWNED_MS) is None


async def test_time_that_steps_back_gives_nobody_two_owners(timed: TimedDesk) -> None:
    """The ledger's time never falls below what was stored; an ownership can only get longer."""
    one, two = recorder(timed, "one"), recorder(timed, "two")
    await append(timed, 1)
    await one.own(timed.organisation, OWNED_MS)
    await timed.set_time(START_MS - 10 * OWNED_MS)
    assert await two.own(timed.organisation, OWNED_MS) is None
    assert await one.fix(timed.organisation, Bounds(1, 1, 1)) == Bounds(1, 1, 1)


async def test_a_lost_owner_cannot_fix(timed: TimedDesk) -> None:
    """Neither after its lease, though nobody took over, nor after somebody did, nor without ever
    having owned; and nothing is written."""
    one, two = recorder(timed, "one"), recorder(timed, "two")
    with pytest.raises(OwnershipLost):
        await one.fix(timed.organisation, Bounds(1, 1, 3))
    await one.own(timed.organisation, OWNED_MS)
    await timed.advance(OWNED_MS)
    before = await timed.everything()
    with pytest.raises(OwnershipLost):
        await one.fix(timed.organisation, Bounds(1, 1, 3))
    assert await timed.everything() == before
    await two.own(timed.organisation, OWNED_MS)
    with pytest.raises(OwnershipLost):
        await one.fix(timed.organisation, Bounds(1, 1, 3))


async def test_fixed_bounds_stay_fixed(timed: TimedDesk) -> None:
    """Until they are confirmed, whoever asks for whatever gets them; a new owner is told."""
    one, two = recorder(timed, "one"), recorder(timed, "two")
    await append(timed, 9)
    await one.own(timed.organisation, OWNED_MS)
    assert await one.fix(timed.organisation, Bounds(1, 1, 3)) == Bounds(1, 1, 3)
    assert await one.fix(timed.organisation, Bounds(1, 1, 9)) == Bounds(1, 1, 3)
    await timed.advance(OWNED_MS)
    ownership = await two.own(timed.organisation, OWNED_MS)
    assert ownership is not None
    assert (ownership.epoch, ownership.seq, ownership.fixed) == (1, 9, Bounds(1, 1, 3))
    assert await two.fix(timed.organisation, Bounds(1, 1, 9)) == Bounds(1, 1, 3)
    await two.confirm(timed.organisation, 1, 3, 0)
    assert await two.fix(timed.organisation, Bounds(1, 4, 9)) == Bounds(1, 4, 9)


def test_bounds_are_written_as_they_are_read() -> None:
    """The text in the ledger and the value are one."""
    assert str(Bounds(3, 4, 5)) == "3-4-5"
    assert Bounds.parse(str(Bounds(3, 4, 2**53))) == Bounds(3, 4, 2**53)


@pytest.mark.parametrize("through", range(7))
async def test_confirming_forgets_exactly_what_is_recorded(timed: TimedDesk, through: int) -> None:
    """Both streams up to the seq, and not one entry more; the answer says how many events went, and
    a second call finds nothing."""
    for n in range(6):
        await request(timed, body=b"x" if n % 2 else b"")
    one = recorder(timed)
    assert await one.confirm(timed.organisation, 1, through, 0) == through
    assert await outbox_ids(timed) == [f"1-{n}" for n in range(through + 1, 7)]
    assert await outbox_ids(timed, "bodies") == [f"1-{n}" for n in (2, 4, 6) if n > through]
    assert await one.confirm(timed.organisation, 1, through, 0) == 0
    assert (await timed.head()).seq == 6


async def test_confirming_a_long_stream_is_exact(timed: TimedDesk) -> None:
    """Redis trims whole nodes where it may; here it may not."""
    await append(timed, 1000)
    assert await recorder(timed).confirm(timed.organisation, 1, 777, 0) == 777
    assert (await outbox_ids(timed))[0] == "1-778"


async def test_payload_bytes_are_given_back_once(timed: TimedDesk) -> None:
    """With the entries that they belong to; a confirmation that is repeated (its answer was lost)
    gives nothing back."""
    for size in (10, 20, 30):
        await request(timed, body=b"x" * size)
    one = recorder(timed)
    assert (await timed.head()).bodies_bytes == 60
    for _ in range(2):
        await one.confirm(timed.organisation, 1, 2, 30)
        assert (await timed.head()).bodies_bytes == 30
    await one.confirm(timed.organisation, 1, 3, 30)
    assert (await timed.head()).bodies_bytes == 0


@pytest.mark.parametrize(
    ("epoch", "through", "cleared"),
    [(1, 4, False), (1, 5, True), (1, 6, True), (2, 1, True), (0, 9, False)],
)
async def test_a_batch_is_fixed_until_all_of_it_is_recorded(
    timed: TimedDesk, epoch: int, through: int, cleared: bool
) -> None:
    """A confirmation of less, or of an earlier epoch, leaves it."""
    await append(timed, 6)
    one = recorder(timed)
    await one.own(timed.organisation, OWNED_MS)
    await one.fix(timed.organisation, Bounds(1, 2, 5))
    await one.confirm(timed.organisation, epoch, through, 0)
    assert ("fixed" in await recorder_fields(timed)) is not cleared


async def test_only_the_owner_confirms(timed: TimedDesk) -> None:
    """A recorder that was paused in its write confirms after another took over: nothing is trimmed
    and the batch stays fixed, so that the other cannot fix a longer one over what is written."""
    one, two = recorder(timed, "one"), recorder(timed, "two")
    await append(timed, 3)
    await one.own(timed.organisation, OWNED_MS)
    await one.fix(timed.organisation, Bounds(1, 1, 2))
    await timed.advance(OWNED_MS)
    await two.own(timed.organisation, OWNED_MS)
    before = await timed.everything()
    with pytest.raises(OwnershipLost):
        await one.confirm(timed.organisation, 1, 2, 0)
    assert await timed.everything() == before
    assert await two.fix(timed.organisation, Bounds(1, 1, 3)) == Bounds(1, 1, 2)


async def test_a_spool_s_mark_stays_until_the_records_have_it(timed: TimedDesk) -> None:
    """Events that went to a disk: the next owner is told whose and up to where, until exactly that
    is in the records; the batch is no longer fixed and its entries are gone."""
    await append(timed, 6)
    one = recorder(timed)
    await one.own(timed.organisation, OWNED_MS)
    await one.fix(timed.organisation, Bounds(1, 1, 4))
    assert await one.confirm(timed.organisation, 1, 4, 0, on_disk=True) == 4
    ownership = await one.own(timed.organisation, OWNED_MS)
    assert ownership is not None
    assert (ownership.fixed, ownership.spooler, ownership.spooled) == (None, "one", "1-4")
    await one.confirm(timed.organisation, 1, 6, 0, on_disk=True)
    await one.confirm(timed.organisation, 1, 4, 0)  # the older batch is drained
    ownership = await one.own(timed.organisation, OWNED_MS)
    assert ownership is not None
    assert (ownership.spooler, ownership.spooled) == ("one", "1-6")
    await one.confirm(timed.organisation, 1, 6, 0)
    ownership = await one.own(timed.organisation, OWNED_MS)
    assert ownership is not None
    assert (ownership.spooler, ownership.spooled) == ("", "")


async def test_a_recorder_of_another_epoch_cannot_confirm(timed: TimedDesk) -> None:
    """It was paused, and others took over: refused, nothing is trimmed; once it owns again it knows
    the new epoch."""
    await append(timed, 3)
    one = recorder(timed)
    await in_epoch(timed, 2)
    before = await timed.everything()
    with pytest.raises(LedgerUnavailable, match=timed.organisation):
        await one.confirm(timed.organisation, 1, 3, 0)
    assert await timed.everything() == before
    ownership = await one.own(timed.organisation, OWNED_MS)
    assert ownership is not None
    assert ownership.epoch == 2
    assert await one.confirm(timed.organisation, 1, 3, 0) == 3


async def test_nothing_is_owned_or_fixed_at_a_server_that_was_rolled_back(timed: TimedDesk) -> None:
    """A seq below what this process has seen: recovering, and nothing is written."""
    await append(timed, 3)
    one = recorder(timed)
    of_pass = await one.begin_pass(timed.organisation)
    await timed.set_head(replace(await timed.head(), seq=1))
    before = await timed.everything()
    with pytest.raises(LedgerUnavailable):
        await one.own(timed.organisation, OWNED_MS)
    with pytest.raises(LedgerUnavailable):
        await one.fix(timed.organisation, Bounds(1, 1, 1))
    with pytest.raises(LedgerUnavailable):
        await one.compact(of_pass, 0, [Going((("c:1.0:1", 2, 0),))])
    assert await timed.everything() == before


async def test_counters_policies_and_time_are_the_ledger_s(timed: TimedDesk) -> None:
    """What was spent by field, policies by scope as they were set, and the stored time."""
    limits = [{"usd": "1", "window": "hour"}, {"concurrency": 3}]
    policy = await timed.administration.set_policy(timed.organisation, parse_policy(limits), b"")
    await settle(timed, await request(timed), 70)
    await timed.set_time(START_MS + 500)
    one = recorder(timed)
    start_s, _ = window_bounds("hour", START_MS)
    assert await one.counters(timed.organisation) == {
        f"c:{policy.limits[0].id}:{start_s}": 70,
        f"c:{policy.limits[1].id}:0": 0,
    }
    assert (await one.policies(timed.organisation))[timed.organisation] == policy
    assert await one.time_ms(timed.organisation) == START_MS
    assert timed.organisation in await one.organisations()


async def test_one_recorder_of_all_is_first(timed: TimedDesk) -> None:
    """Whoever asks first within the time does what all need done once; the others do not."""
    await timed.transport.command("DEL", "comptroller:retention")
    firsts = [await recorder(timed, name).first_in(3600) for name in ("one", "two", "one")]
    assert firsts == [True, False, False]
    await timed.transport.command("DEL", "comptroller:retention")
    assert await recorder(timed, "two").first_in(3600) is True
    await timed.transport.command("DEL", "comptroller:retention")
