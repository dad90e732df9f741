"""What may leave the ledger, as its own script judges it: nothing that has changed meanwhile."""

import struct
from dataclasses import replace

import pytest

from budgets.plan import ScopePath
from budgets.policy import parse_policy
from budgets.recording import NOT_HERE, Going, HeldScope, OldKey, Recording
from budgets.replies import code_of
from budgets.transport import LedgerUnavailable
from tests.budgets.harness import TimedDesk, dollars, granted, refused
from tests.budgets.test_recording import recorder, request, settle

_PAST = struct.Struct("<2q")
_RECORD = struct.Struct("<BqqB")


async def read(one: Recording, desk: TimedDesk, scope: str) -> HeldScope:
    """A scope as a recorder reads it."""
    found = [
        each
        async for piece in one.held(desk.organisation, "s:")
        for each in piece.scopes
        if each.scope == scope
    ]
    return found[0]


async def goes(one: Recording, desk: TimedDesk, *going: Going, recorded_seq: int = 0) -> bool:
    """Whether all of it goes."""
    of_pass = await one.begin_pass(desk.organisation)
    await one.compact(of_pass, recorded_seq, going)
    return of_pass.scopes == len(going)


async def past(desk: TimedDesk) -> tuple[int, int] | None:
    """How far the records must be, and the last late truth; None where nothing has left."""
    raw = await desk.transport.command("HGET", desk.key("ledger"), "past")
    return _PAST.unpack(raw) if isinstance(raw, bytes) else None


async def used(desk: TimedDesk, name: str = "run") -> tuple[str, HeldScope]:
    """A child that came by use."""
    scope = f"{desk.organisation}/{name}"
    await desk.ledger.plan(ScopePath(scope), None)
    return scope, await read(recorder(desk), desk, scope)


async def test_how_far_the_records_must_be(timed: TimedDesk) -> None:
    """Whoever asks must see all that the ledger had done when something left: its own seq while
    events wait, or what is recorded where none does, because a seq may have no event."""
    _, first = await used(timed, "first")
    _, second = await used(timed, "second")
    assert await past(timed) is None
    await settle(timed, await request(timed), 70)
    head = await timed.head()
    assert await goes(recorder(timed), timed, Going((), first), recorded_seq=head.seq - 1)
    assert await past(timed) == (head.seq, 0)
    await timed.transport.command("XTRIM", timed.key("outbox"), "MAXLEN", "0")
    await timed.set_head(replace(await timed.head(), seq=head.seq + 1000))
    timed.session.known_slot(timed.organisation).seq = 0
    await timed.transport.command("HDEL", timed.key("ledger"), "past")
    assert await goes(recorder(timed), timed, Going((), second), recorded_seq=head.seq)
    assert await past(timed) == (head.seq, 0)


@pytest.mark.parametrize("action", ["freeze", "close", "fence"])
async def test_a_scope_that_was_changed_since_it_was_read_stays(
    timed: TimedDesk, action: str
) -> None:
    """Its state or its fence."""
    scope, as_read = await used(timed)
    await timed.administration.set_state(scope, action, "budget_changed", b"{}", attempt=1)
    assert not await goes(recorder(timed), timed, Going((), as_read))
    changed = await read(recorder(timed), timed, scope)
    assert await goes(recorder(timed), timed, Going((), changed)) == (action != "freeze")


async def test_a_scope_that_was_given_a_policy_stays(timed: TimedDesk) -> None:
    """As it was read, and as it is: only closed ones and those of old keys go with a policy."""
    scope, as_read = await used(timed)
    await timed.set_budget(scope, [{"usd": "1"}])
    assert not await goes(recorder(timed), timed, Going((), as_read))
    changed = await read(recorder(timed), timed, scope)
    assert not await goes(recorder(timed), timed, Going((), changed))


async def test_a_scope_whose_limits_wait_for_their_past_stays(timed: TimedDesk) -> None:
    """How many do is in its record alone."""
    scope, as_read = await used(timed)
    raw = _RECORD.pack(as_read.state, as_read.version, as_read.fence, 1)
    await timed.transport.command("HSET", timed.key("ledger"), f"s:{scope}", raw)
    assert not await goes(recorder(timed), timed, Going((), as_read))


async def test_a_scope_with_an_open_allotment_stays(timed: TimedDesk) -> None:
    """The ledger names it in a field of its own."""
    scope, as_read = await used(timed)
    await timed.transport.command("HSET", timed.key("ledger"), f"o:{scope}", "1")
    assert not await goes(recorder(timed), timed, Going((), as_read))
    await timed.transport.command("HDEL", timed.key("ledger"), f"o:{scope}")
    assert await goes(recorder(timed), timed, Going((), as_read))


async def test_the_scope_of_a_key_goes_when_its_time_is_over(timed: TimedDesk) -> None:
    """By the ledger's clock, and with the entry that was read: one that was minted again stays."""
    scope = f"{timed.organisation}/key-1"
    await timed.set_budget(scope, {"kind": "key"})
    await timed.administration.record_key(
        timed.organisation, "key-1", b'{"a":1}', "key_minted", b"{}"
    )
    as_read = await read(recorder(timed), timed, scope)
    over_ms = timed.clock.at_ms + 1000
    old = Going((), as_read, OldKey("key-1", '{"a":1}', over_ms))
    assert not await goes(recorder(timed), timed, old)
    await timed.advance(1000)
    other = Going((), as_read, OldKey("key-1", '{"a":0}', over_ms))
    for wrong in (other, Going((), as_read, OldKey("key-1", "", over_ms)), Going((), as_read)):
        assert not await goes(recorder(timed), timed, wrong)
    assert await goes(recorder(timed), timed, old)
    for name in ("policies", "keys"):
        assert not await timed.transport.command("EXISTS", timed.key(name))


async def test_a_counter_goes_without_its_scope_only_where_that_is_not_here(
    timed: TimedDesk,
) -> None:
    """Of a window that lasts: else the next request would count from zero."""
    await timed.set_budget(timed.organisation, {"per_child": [{"usd": "1"}]})
    scope = f"{timed.organisation}/run"
    reservation = granted(await timed.ask(dollars(100), scope))
    await settle(timed, reservation, 70)
    ((field, _),) = (await timed.counters()).items()
    orphan = Going(((field, 0, 70),), HeldScope(scope, NOT_HERE, 0, 0))
    one, of_pass = recorder(timed), await recorder(timed).begin_pass(timed.organisation)
    await one.compact(of_pass, 0, [orphan, Going(((field, 0, 70),))])
    assert (of_pass.counters, await past(timed)) == (0, None)
    await timed.transport.command("HDEL", timed.key("ledger"), f"s:{scope}")
    await one.compact(of_pass, 0, [orphan])
    assert (of_pass.counters, of_pass.scopes) == (1, 0)
    assert await past(timed) is not None


async def test_a_pass_counts_as_one_compaction(timed: TimedDesk) -> None:
    """However many calls it takes: who asks the records during a long one is not refused each time.
    The next pass is another."""
    held = [await used(timed, f"run-{n}") for n in range(4)]
    one = recorder(timed)
    before = (await timed.head()).compaction
    of_pass = await one.begin_pass(timed.organisation)
    for _, each in held[:3]:
        await one.compact(of_pass, 0, [Going((), each)])
    assert of_pass.scopes == 3
    assert (await timed.head()).compaction == before + 1
    assert await goes(one, timed, Going((), held[3][1]))
    assert (await timed.head()).compaction == before + 2


async def test_nothing_is_decided_about_a_scope_that_may_have_left(timed: TimedDesk) -> None:
    """Neither a request nor an act makes a record where there is none, once anything has left; a
    process that cannot ask the records is refused, and one that can is told to."""
    _, as_read = await used(timed)
    assert await goes(recorder(timed), timed, Going((), as_read))
    new = f"{timed.organisation}/new"
    with pytest.raises(LedgerUnavailable, match="cannot ask the records"):
        await timed.ask(dollars(1), new)
    slot = await timed.session.slot(timed.organisation)
    act = timed.session.new_id()
    keys = (*slot.keys_done(act), slot.policies_key)
    policy = parse_policy([{"usd": "1"}])
    reply = await timed.session.run_in_epoch(
        slot, "set", keys, (-1, 0), (act, new, repr(policy), b"{}")
    )
    assert code_of(reply) == "UNKNOWN"
    keys = slot.keys_done(act)
    reply = await timed.session.run_in_epoch(
        slot, "state", keys, (0,), (act, new, "freeze", "budget_changed", b"{}")
    )
    assert code_of(reply) == "UNKNOWN"
    args = (act, "key-1", "{}", "key_minted", b"{}", "", new, b"{}")
    keys = (*slot.keys_done(act), slot.keys_key)
    reply = await timed.session.run_in_epoch(slot, "key", keys, (1,), args)
    assert code_of(reply) == "UNKNOWN"
    assert not await timed.transport.command("HEXISTS", timed.key("ledger"), f"s:{new}")


async def test_what_is_known_goes_on_without_the_records(timed: TimedDesk) -> None:
    """A budget that is there refuses as ever."""
    _, as_read = await used(timed)
    await timed.set_budget(timed.organisation, [{"requests": 0}])
    assert await goes(recorder(timed), timed, Going((), as_read))
    refused(await timed.ask(dollars(1)), "TOO_LARGE")
