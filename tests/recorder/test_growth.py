"""What is at rest leaves the ledger, and comes back from the records when it is used, exactly."""

import pytest

from budgets.administration import ScopeClosed
from budgets.answers import Truth
from budgets.embedded import EmbeddedServer
from budgets.memory import MemoryAway
from budgets.overview import Overview
from budgets.plan import ScopePath, ScopeRecord
from budgets.policy import parse_policy
from budgets.recording import Going, Overtaken
from budgets.transport import LedgerUnavailable
from comptroller.remembering import RecordsMemory
from tests.budgets.harness import dollars, granted, refused
from tests.recorder.growing import DAY_MS, HOUR_MS, Growing
from tests.recorder.test_compaction import REST_MS
from tests.recorder.workbench import desk_at


async def test_a_child_at_rest_leaves_and_comes_back_with_what_it_spent(growing: Growing) -> None:
    """Record and counters go; the next request finds the total of all its life, and in windows what
    it spent in those that last."""
    await growing.template({"usd": "1"}, {"usd": "1", "window": "month"}, {"requests": 9})
    run = growing.scope("run-1")
    await growing.spend(70, run)
    await growing.desk.advance(1000)
    await growing.spend(5, run)
    assert await growing.spent(run) == [75, 75, 2]
    assert await growing.pass_by() == 4
    assert not await growing.has(run)
    assert await growing.recording.counters(growing.organisation) == {}
    assert await growing.spent(run) == [75, 75, 2]
    await growing.spend(1, run)
    assert await growing.spent(run) == [76, 76, 3]
    assert await growing.pass_by() == 4
    assert await growing.spent(run) == [76, 76, 3]


async def test_a_total_binds_a_child_that_was_away(growing: Growing) -> None:
    """The very first request after it came back is refused if only what it spent before does not
    leave room: nothing is counted from zero."""
    await growing.template({"usd": "0.000000100"})
    run = growing.scope("run-1")
    await growing.spend(70, run)
    await growing.pass_by()
    refusal = refused(await growing.desk.ask(dollars(31), run), "EXHAUSTED")
    assert refusal.spent == 70
    granted(await growing.desk.ask(dollars(30), run))


async def test_a_worker_s_cached_plan_does_not_count_from_zero(
    growing: Growing, valkey: EmbeddedServer
) -> None:
    """Another worker still has the plan of a child that has left: the record that it believes in is
    not there, so it asks, and finds what was spent."""
    await growing.template({"usd": "0.000000100"})
    run = growing.scope("run-1")
    async with desk_at(valkey, organisation=growing.organisation, memory=growing.memory) as other:
        granted(await other.ask(dollars(0), run))
        await growing.spend(70, run)
        await growing.desk.advance(60_001)
        await growing.desk.ledger.sweep(growing.organisation)
        other.clock.at_ms = growing.desk.clock.at_ms
        await growing.pass_by()
        other.clock.at_ms = growing.desk.clock.at_ms
        assert not await growing.has(run)
        refused(await other.ask(dollars(31), run), "EXHAUSTED")
        granted(await other.ask(dollars(30), run))


async def test_a_worker_that_knows_the_parent_asks_by_what_the_parent_says_now(
    growing: Growing, valkey: EmbeddedServer
) -> None:
    """A worker has the template in its cache, maybe an old one, and meets a child that it has never
    seen: what binds that is looked up with it."""
    await growing.template({"usd": "0.000000100"})
    run = growing.scope("run-1")
    async with desk_at(valkey, organisation=growing.organisation, memory=growing.memory) as other:
        granted(await other.ask(dollars(0), growing.scope("run-2")))
        await growing.spend(70, run)
        await growing.template({"usd": "0.000000100"}, {"usd": "1", "window": "month"})
        await growing.spend(10, run)
        await growing.pass_by()
        assert not await growing.has(run)
        other.clock.at_ms = growing.desk.clock.at_ms
        refused(await other.ask(dollars(21), run), "EXHAUSTED")
        assert await growing.spent(run) == [80, 10]


async def test_what_was_changed_lately_stays(growing: Growing) -> None:
    """A scope that was closed or fenced within the rest, however long nobody has used it."""
    await growing.template({"usd": "1"})
    closed, fenced = growing.scope("closed"), growing.scope("fenced")
    for scope in (closed, fenced):
        await growing.spend(1, scope)
    await growing.rest()
    await growing.record()
    administration = growing.desk.administration
    await administration.set_state(closed, "close", "run_halted", b"{}")
    await administration.set_state(fenced, "fence", "budget_changed", b"{}", attempt=2)
    await growing.pass_by(REST_MS // 2)
    assert await growing.scopes() >= {closed, fenced}
    await growing.pass_by(REST_MS // 2)
    assert not await growing.scopes() & {closed, fenced}


async def test_what_is_used_stays(growing: Growing) -> None:
    """A child that spent within the rest, one with a request in flight, and a scope without limits
    that a request went through; an unused one beside them leaves."""
    await growing.template({"usd": "1"})
    free = growing.scope("free")
    await growing.desk.set_budget(free, {"kind": "project"})
    for name in ("old", "recent", "busy", "free/old", "free/recent"):
        await growing.spend(1, growing.scope(name))
    await growing.pass_by(HOUR_MS // 2)
    busy = await growing.reserve(1, growing.scope("busy"))
    for name in ("recent", "free/recent"):
        await growing.spend(1, growing.scope(name))
    for _ in range(60):
        await growing.desk.advance(59_000)
        await growing.desk.ledger.extend(growing.organisation, [(busy.id, busy.path)])
    await growing.record()
    await growing.desk.advance(-20 * 60_000)
    await growing.sweep()
    assert await growing.scopes() == {
        growing.organisation,
        free,
        *(growing.scope(name) for name in ("recent", "busy", "free/recent")),
    }


async def test_a_scope_with_a_policy_of_its_own_or_frozen_stays(growing: Growing) -> None:
    """Somebody has decided about them, and wants to see it."""
    await growing.template({"usd": "1"})
    for name in ("limited", "frozen", "by-use"):
        await growing.spend(1, growing.scope(name))
    await growing.limit(growing.scope("limited"), "total")
    await growing.desk.administration.set_state(
        growing.scope("frozen"), "freeze", "budget_changed", b"{}"
    )
    await growing.pass_by()
    assert await growing.scopes() == {
        growing.organisation,
        growing.scope("limited"),
        growing.scope("frozen"),
    }


async def test_a_closed_scope_leaves_and_stays_closed(growing: Growing) -> None:
    """Record, policy and counters; whoever asks, by a request or by an act, finds it closed."""
    run, administration = growing.scope("run"), growing.desk.administration
    await growing.limit(run, "total", "month")
    await growing.spend(7, run)
    await administration.set_state(run, "close", "run_halted", b"{}")
    assert await growing.pass_by() == 3
    assert await growing.scopes() == {growing.organisation}
    assert await growing.recording.policies(growing.organisation) == {}
    assert await growing.recording.counters(growing.organisation) == {}
    assert refused(await growing.desk.ask(dollars(1), f"{run}/step"), "CLOSED").scope == run
    assert await growing.pass_by() == 1  # the step, which came by use
    assert await growing.pass_by() == 1
    with pytest.raises(ScopeClosed):
        await administration.set_policy(run, parse_policy([{"usd": "9"}]), b"{}")
    for action in ("thaw", "freeze", "fence"):
        await growing.pass_by()
        assert not await growing.has(run)
        assert await administration.set_state(run, action, "budget_changed", b"{}") == "CLOSED"
    await growing.pass_by()
    assert await growing.desk.session.load([run], create=False)
    assert (await growing.desk.session.load([run], create=False))[run].is_closed


async def test_a_closed_scope_waits_for_what_is_below_it(growing: Growing) -> None:
    """Else each request below would ask the records who closed it."""
    run = growing.scope("run")
    await growing.limit(run, "total")
    await growing.limit(f"{run}/step", "total")
    await growing.desk.administration.set_state(run, "close", "run_halted", b"{}")
    await growing.pass_by()
    assert await growing.scopes() == {growing.organisation, run, f"{run}/step"} - {
        growing.organisation
    }
    await growing.desk.administration.set_state(f"{run}/step", "close", "run_halted", b"{}")
    await growing.pass_by()
    assert await growing.scopes() == {run}
    await growing.pass_by(1)
    assert await growing.scopes() == set()


async def test_a_fence_comes_back(growing: Growing) -> None:
    """An attempt that was shut out before the run was at rest stays shut out."""
    step = growing.scope("step")
    await growing.template({"usd": "1"})
    await growing.spend(5, step)
    fence = ("fence", "budget_changed", b"{}")
    await growing.desk.administration.set_state(step, *fence, attempt=3)
    await growing.pass_by()
    assert not await growing.has(step)
    old, new = (ScopePath(step, attempts=((step, attempt),)) for attempt in (2, 3))
    refused(await growing.desk.ask(dollars(1), path=old), "FENCED")
    granted(await growing.desk.ask(dollars(1), path=new))
    ((spent, _, _),) = (await growing.desk.counters()).values()
    assert spent == 5


async def test_counters_without_their_scope_leave_too(growing: Growing) -> None:
    """A recovery writes back all counters that ever were, also of children that nobody uses any
    more: they go, and who comes back finds them. One with an open reservation stays."""
    await growing.template({"usd": "1"})
    run, busy = growing.scope("run"), growing.scope("busy")
    await growing.spend(10, run)
    await growing.reserve(20, busy)
    await growing.record()
    for scope in (run, busy):
        await growing.desk.transport.command("HDEL", growing.desk.key("ledger"), f"s:{scope}")
    assert await growing.sweep() == 1
    ((field, _),) = (await growing.recording.counters(growing.organisation)).items()
    assert busy in field
    assert await growing.spent(run) == [10]
    assert growing.memory.times == 1


async def test_a_counter_that_has_stayed_is_left_as_it_is(growing: Growing) -> None:
    """Where the record of a child went and a counter did not, the counter has all of the truth,
    also what the records do not have yet: it is not overwritten by what they say."""
    await growing.template({"usd": "1"})
    run = growing.scope("run")
    await growing.spend(10, run)
    await growing.spend(1, growing.scope("gone"))
    await growing.pass_by(REST_MS - 2)
    await growing.spend(5, run)
    await growing.pass_by(0)
    assert await growing.scopes() == {growing.organisation, run}
    await growing.spend(2, run)
    await growing.desk.transport.command("HDEL", growing.desk.key("ledger"), f"s:{run}")
    assert await growing.spent(run) == [17]


async def test_two_workers_that_ask_at_once_bring_it_back_once(
    growing: Growing, valkey: EmbeddedServer
) -> None:
    """The slower one, whose answer is old by then, does not overwrite what was spent meanwhile."""
    await growing.template({"usd": "1"})
    run = growing.scope("run")
    await growing.spend(10, run)
    await growing.pass_by()
    async with desk_at(
        valkey, growing.desk.clock.at_ms, growing.organisation, RecordsMemory(growing.store.select)
    ) as quick:

        async def meanwhile() -> None:
            reservation = granted(await quick.ask(dollars(5), run))
            await quick.ledger.settle(quick.organisation, reservation.id, Truth(5, None), b"", b"")

        growing.memory.then.append(meanwhile)
        assert await growing.spent(run) == [15]


async def test_without_the_records_what_is_unknown_is_refused(growing: Growing) -> None:
    """Fail closed, for requests and acts; what the ledger has goes on, and a process that has no
    way to ask says so."""
    await growing.template({"usd": "1"})
    run, known = growing.scope("run"), growing.scope("known")
    await growing.spend(10, run)
    await growing.pass_by()
    await growing.spend(1, known)
    growing.memory.away = True
    for scope in (run, growing.scope("new")):
        with pytest.raises(MemoryAway):
            await growing.desk.ask(dollars(1), scope)
        with pytest.raises(MemoryAway):
            await growing.desk.set_budget(scope, [{"usd": "1"}])
        with pytest.raises(MemoryAway):
            await growing.desk.administration.set_state(scope, "freeze", "budget_changed", b"{}")
        with pytest.raises(MemoryAway):
            await growing.desk.session.load([scope], create=False)
    granted(await growing.desk.ask(dollars(1), known))
    growing.desk.session._memory = None
    with pytest.raises(LedgerUnavailable, match="cannot ask the records"):
        await growing.desk.ask(dollars(1), run)


async def test_nobody_asks_where_nothing_has_ever_left(growing: Growing) -> None:
    """Small installations and tests never do: also where counters of old windows have gone."""
    growing.memory.away = True
    await growing.template({"usd": "1", "window": "minute"})
    await growing.spend(10, growing.scope("run"))
    await growing.desk.advance(60_000)
    await growing.spend(1, growing.scope("other"))
    await growing.record()
    assert await growing.sweep() == 1
    await growing.spend(1, growing.scope("third"))
    assert growing.memory.times == 0


async def test_a_limit_that_is_set_above_while_a_child_is_out(growing: Growing) -> None:
    """A new one counts from its creation, one that stayed has all that was spent, whatever its
    amount is now."""
    await growing.template({"usd": "1"})
    run = growing.scope("run")
    await growing.spend(10, run)
    await growing.pass_by()
    await growing.template({"usd": "2"}, {"usd": "1", "window": "day"})
    assert await growing.spent(run) == [10, 0]
    await growing.spend(3, run)
    await growing.pass_by()
    assert await growing.spent(run) == [13, 3]


async def test_a_window_that_ends_while_a_child_is_out_is_over(growing: Growing) -> None:
    """The day is a new one, the total is not."""
    await growing.template({"usd": "1"}, {"usd": "1", "window": "day"})
    run = growing.scope("run")
    await growing.spend(10, run)
    await growing.pass_by()
    assert await growing.spent(run) == [10, 10]
    await growing.pass_by()
    await growing.rest(DAY_MS)
    assert not await growing.has(run)
    await growing.record()
    assert await growing.spent(run) == [10, 0]


async def test_an_old_pass_of_a_paused_recorder_takes_nothing(growing: Growing) -> None:
    """It has not seen the last compaction: refused, whatever it believes. And one that has, with
    sums of before, lets nothing go that has changed."""
    await growing.template({"usd": "1"})
    runs = [growing.scope(f"run-{n}") for n in range(2)]
    for run in runs:
        await growing.spend(10, run)
    await growing.record()
    await growing.compaction.snapshots.take(growing.organisation, growing.head)
    old = await growing.recording.begin_pass(growing.organisation)
    policy = (await growing.recording.policies(growing.organisation))[growing.organisation]
    held = {
        each.scope: each
        async for piece in growing.recording.held(growing.organisation, "s:")
        for each in piece.scopes
    }
    going = [Going(((f"c:{policy.per_child[0].id}:{run}:0", 0, 10),), held[run]) for run in runs]
    await growing.spend(1, runs[0])
    await growing.recording.compact(old, growing.head.seq, going[:1])
    assert await growing.has(runs[0])
    assert await growing.pass_by() == 4
    for run in runs:
        await growing.spend(0, run)
    with pytest.raises(Overtaken):
        await growing.recording.compact(old, growing.head.seq, going)
    assert await growing.spent(runs[0]) == [11]


async def test_a_scope_that_leaves_while_it_is_looked_at(
    growing: Growing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was here when its policy was read and is not any more when it is counted: it comes back,
    with what it spent. It is not told to be unknown, nor to have spent nothing."""
    await growing.template({"usd": "1"})
    run = growing.scope("run-1")
    await growing.spend(70, run)
    load, session = growing.desk.session.load, growing.desk.session
    left: list[int] = []

    async def leaves(scopes: list[str], *, create: bool = True) -> dict[str, ScopeRecord]:
        found = await load(scopes, create=create)
        if not left:
            left.append(0)
            left.append(await growing.pass_by())
        return found

    monkeypatch.setattr(session, "load", leaves)
    (shown,) = await Overview(session).standings(growing.organisation, [run])
    assert left[1] > 0
    assert shown.state == "open"
    assert [each.spent for each in shown.standings] == [70]
