"""What is at rest leaves the ledger, and comes back from the records when it is used, exactly."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

import pytest

from budgets.administration import ScopeClosed
from budgets.answers import Reservation, Truth
from budgets.embedded import EmbeddedServer
from budgets.keys import Key, KeyRing, digest, record_key
from budgets.memory import MemoryAway, Remembered
from budgets.plan import ScopePath
from budgets.policy import parse_policy
from budgets.recording import Going, Overtaken
from budgets.transport import LedgerUnavailable
from comptroller.remembering import RecordsMemory
from gateway.events import KeyEvents
from recorder.compaction import Compaction
from tests.budgets.harness import TimedDesk, dollars, granted, refused
from tests.recorder.test_compaction import REST_MS, Bench
from tests.recorder.workbench import NOON_MS, StoreProcess, begin_anew, desk_at

HOUR_MS = 3_600_000
DAY_MS = 86_400_000


class Asked:
    """The records' memory, counted; `away` makes it fail, `then` runs after each answer."""

    def __init__(self, store: StoreProcess) -> None:
        self._memory = RecordsMemory(store.select)
        self.times = 0
        self.away = False
        self.then: list[Callable[[], Awaitable[None]]] = []

    async def remembered(
        self,
        organisation: str,
        through_seq: int,
        *,
        scopes: Sequence[str] = (),
        fields: Sequence[str] = (),
        keys: Sequence[str] = (),
    ) -> Remembered | None:
        """See budgets.memory.Memory."""
        self.times += 1
        if self.away:
            raise MemoryAway("away")
        found = await self._memory.remembered(
            organisation, through_seq, scopes=scopes, fields=fields, keys=keys
        )
        while found is not None and self.then:
            await self.then.pop(0)()
        return found


class Growing(Bench):
    """A bench whose workers can ask the records."""

    def __init__(self, desk: TimedDesk, store: StoreProcess, memory: Asked) -> None:
        super().__init__(desk, store)
        self.memory = memory

    def scope(self, name: str) -> str:
        """Below the organisation."""
        return f"{self.organisation}/{name}"

    async def template(self, *limits: dict[str, object]) -> None:
        """What binds each child of the organisation."""
        await self.desk.set_budget(self.organisation, {"per_child": list(limits)})

    async def rest(self, by_ms: int = REST_MS) -> None:
        """Time passes, in which somebody else does something."""
        await self.desk.advance(by_ms)
        await self.desk.administration.append(
            self.organisation, self.desk.session.new_id(), "step_started", b"{}"
        )

    async def pass_by(self, by_ms: int = REST_MS) -> int:
        """Time passes, all is recorded, and the ledger forgets; how much."""
        await self.rest(1)
        await self.record()
        await self.compaction.snapshots.take(self.organisation, self.head)
        await self.rest(by_ms)
        await self.rest(1)
        await self.record()
        return await self.sweep()

    async def scopes(self) -> set[str]:
        """Those that the ledger has."""
        return {
            each.scope
            async for piece in self.recording.held(self.organisation, "s:")
            for each in piece.scopes
        }

    async def has(self, scope: str) -> bool:
        """Whether the ledger does."""
        return scope in await self.scopes()

    async def spent(self, scope: str) -> list[int]:
        """In each limit that binds it, as a worker that knows nothing finds it."""
        self.desk.ledger._policies.forget(ScopePath(scope).nodes())
        checked = await self.desk.ledger.check(ScopePath(scope))
        return [each.spent for each in checked.standings]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """Records in a process of their own."""
    made = StoreProcess(tmp_path_factory.mktemp("records"))
    yield made
    made.stop()


@pytest.fixture
async def bench(process: StoreProcess, valkey: EmbeddedServer) -> AsyncIterator[Growing]:
    """Empty records, and a ledger at noon."""
    await begin_anew(process)
    memory = Asked(process)
    async with desk_at(valkey, memory=memory) as desk:
        yield Growing(desk, process, memory)


async def test_a_child_at_rest_leaves_and_comes_back_with_what_it_spent(bench: Growing) -> None:
    """Record and counters go; the next request finds the total of all its life, and in windows what
    it spent in those that last."""
    await bench.template({"usd": "1"}, {"usd": "1", "window": "month"}, {"requests": 9})
    run = bench.scope("run-1")
    await bench.spend(70, run)
    await bench.desk.advance(1000)
    await bench.spend(5, run)
    assert await bench.spent(run) == [75, 75, 2]
    assert await bench.pass_by() == 4
    assert not await bench.has(run)
    assert await bench.recording.counters(bench.organisation) == {}
    assert await bench.spent(run) == [75, 75, 2]
    await bench.spend(1, run)
    assert await bench.spent(run) == [76, 76, 3]
    assert await bench.pass_by() == 4
    assert await bench.spent(run) == [76, 76, 3]


async def test_a_total_binds_a_child_that_was_away(bench: Growing) -> None:
    """The very first request after it came back is refused if only what it spent before does not
    leave room: nothing is counted from zero."""
    await bench.template({"usd": "0.000000100"})
    run = bench.scope("run-1")
    await bench.spend(70, run)
    await bench.pass_by()
    refusal = refused(await bench.desk.ask(dollars(31), run), "EXHAUSTED")
    assert refusal.spent == 70
    granted(await bench.desk.ask(dollars(30), run))


async def test_a_worker_s_cached_plan_does_not_count_from_zero(
    bench: Growing, valkey: EmbeddedServer
) -> None:
    """Another worker still has the plan of a child that has left: the record that it believes in is
    not there, so it asks, and finds what was spent."""
    await bench.template({"usd": "0.000000100"})
    run = bench.scope("run-1")
    async with desk_at(valkey, organisation=bench.organisation, memory=bench.memory) as other:
        granted(await other.ask(dollars(0), run))
        await bench.spend(70, run)
        await bench.desk.advance(60_001)
        await bench.desk.ledger.sweep(bench.organisation)
        other.clock.at_ms = bench.desk.clock.at_ms
        await bench.pass_by()
        other.clock.at_ms = bench.desk.clock.at_ms
        assert not await bench.has(run)
        refused(await other.ask(dollars(31), run), "EXHAUSTED")
        granted(await other.ask(dollars(30), run))


async def test_a_worker_that_knows_the_parent_asks_by_what_the_parent_says_now(
    bench: Growing, valkey: EmbeddedServer
) -> None:
    """A worker has the template in its cache, maybe an old one, and meets a child that it has never
    seen: what binds that is looked up with it."""
    await bench.template({"usd": "0.000000100"})
    run = bench.scope("run-1")
    async with desk_at(valkey, organisation=bench.organisation, memory=bench.memory) as other:
        granted(await other.ask(dollars(0), bench.scope("run-2")))
        await bench.spend(70, run)
        await bench.template({"usd": "0.000000100"}, {"usd": "1", "window": "month"})
        await bench.spend(10, run)
        await bench.pass_by()
        assert not await bench.has(run)
        other.clock.at_ms = bench.desk.clock.at_ms
        refused(await other.ask(dollars(21), run), "EXHAUSTED")
        assert await bench.spent(run) == [80, 10]


async def test_what_was_changed_lately_stays(bench: Growing) -> None:
    """A scope that was closed or fenced within the rest, however long nobody has used it."""
    await bench.template({"usd": "1"})
    closed, fenced = bench.scope("closed"), bench.scope("fenced")
    for scope in (closed, fenced):
        await bench.spend(1, scope)
    await bench.rest()
    await bench.record()
    administration = bench.desk.administration
    await administration.set_state(closed, "close", "run_halted", b"{}")
    await administration.set_state(fenced, "fence", "budget_changed", b"{}", attempt=2)
    await bench.pass_by(REST_MS // 2)
    assert await bench.scopes() >= {closed, fenced}
    await bench.pass_by(REST_MS // 2)
    assert not await bench.scopes() & {closed, fenced}


async def test_what_is_used_stays(bench: Growing) -> None:
    """A child that spent within the rest, one with a request in flight, and a scope without limits
    that a request went through; an unused one beside them leaves."""
    await bench.template({"usd": "1"})
    free = bench.scope("free")
    await bench.desk.set_budget(free, {"kind": "project"})
    for name in ("old", "recent", "busy", "free/old", "free/recent"):
        await bench.spend(1, bench.scope(name))
    await bench.pass_by(HOUR_MS // 2)
    busy = await bench.reserve(1, bench.scope("busy"))
    for name in ("recent", "free/recent"):
        await bench.spend(1, bench.scope(name))
    for _ in range(60):
        await bench.desk.advance(59_000)
        await bench.desk.ledger.extend(bench.organisation, [(busy.id, busy.path)])
    await bench.record()
    await bench.desk.advance(-20 * 60_000)
    await bench.sweep()
    assert await bench.scopes() == {
        bench.organisation,
        free,
        *(bench.scope(name) for name in ("recent", "busy", "free/recent")),
    }


async def test_a_scope_with_a_policy_of_its_own_or_frozen_stays(bench: Growing) -> None:
    """Somebody has decided about them, and wants to see it."""
    await bench.template({"usd": "1"})
    for name in ("limited", "frozen", "by-use"):
        await bench.spend(1, bench.scope(name))
    await bench.limit(bench.scope("limited"), "total")
    await bench.desk.administration.set_state(
        bench.scope("frozen"), "freeze", "budget_changed", b"{}"
    )
    await bench.pass_by()
    assert await bench.scopes() == {
        bench.organisation,
        bench.scope("limited"),
        bench.scope("frozen"),
    }


async def test_a_closed_scope_leaves_and_stays_closed(bench: Growing) -> None:
    """Record, policy and counters; whoever asks, by a request or by an act, finds it closed."""
    run, administration = bench.scope("run"), bench.desk.administration
    await bench.limit(run, "total", "month")
    await bench.spend(7, run)
    await administration.set_state(run, "close", "run_halted", b"{}")
    assert await bench.pass_by() == 3
    assert await bench.scopes() == {bench.organisation}
    assert await bench.recording.policies(bench.organisation) == {}
    assert await bench.recording.counters(bench.organisation) == {}
    assert refused(await bench.desk.ask(dollars(1), f"{run}/step"), "CLOSED").scope == run
    assert await bench.pass_by() == 1  # the step, which came by use
    assert await bench.pass_by() == 1
    with pytest.raises(ScopeClosed):
        await administration.set_policy(run, parse_policy([{"usd": "9"}]), b"{}")
    for action in ("thaw", "freeze", "fence"):
        await bench.pass_by()
        assert not await bench.has(run)
        assert await administration.set_state(run, action, "budget_changed", b"{}") == "CLOSED"
    await bench.pass_by()
    assert await bench.desk.session.load([run], create=False)
    assert (await bench.desk.session.load([run], create=False))[run].is_closed


async def test_a_closed_scope_waits_for_what_is_below_it(bench: Growing) -> None:
    """Else each request below would ask the records who closed it."""
    run = bench.scope("run")
    await bench.limit(run, "total")
    await bench.limit(f"{run}/step", "total")
    await bench.desk.administration.set_state(run, "close", "run_halted", b"{}")
    await bench.pass_by()
    assert await bench.scopes() == {bench.organisation, run, f"{run}/step"} - {bench.organisation}
    await bench.desk.administration.set_state(f"{run}/step", "close", "run_halted", b"{}")
    await bench.pass_by()
    assert await bench.scopes() == {run}
    await bench.pass_by(1)
    assert await bench.scopes() == set()


async def test_a_fence_comes_back(bench: Growing) -> None:
    """An attempt that was shut out before the run was at rest stays shut out."""
    step = bench.scope("step")
    await bench.template({"usd": "1"})
    await bench.spend(5, step)
    fence = ("fence", "budget_changed", b"{}")
    await bench.desk.administration.set_state(step, *fence, attempt=3)
    await bench.pass_by()
    assert not await bench.has(step)
    old, new = (ScopePath(step, attempts=((step, attempt),)) for attempt in (2, 3))
    refused(await bench.desk.ask(dollars(1), path=old), "FENCED")
    granted(await bench.desk.ask(dollars(1), path=new))
    ((spent, _, _),) = (await bench.desk.counters()).values()
    assert spent == 5


async def test_late_truth_about_what_has_left_is_found(bench: Growing) -> None:
    """It is an event only: a child that comes back has it, be it recorded or only in a snapshot of
    later; and its balance then has a later row."""
    await bench.template({"usd": "1"})
    run = bench.scope("run")
    lost = await bench.reserve(100, run)
    await bench.desk.advance(60_001)
    await bench.desk.ledger.sweep(bench.organisation)
    await bench.record()
    await bench.rest()
    await bench.rest(1)
    await bench.record()
    await bench.compaction.sweep(bench.organisation, bench.head)
    # The tombstone of a request lives two hours: the truth comes within them.
    await bench.rest()
    await bench.rest(1)
    await bench.record()
    await bench.sweep()
    assert not await bench.has(run)
    await bench.settle(lost, 15)
    await bench.record()
    assert await bench.spent(run) == [15]
    await bench.pass_by()
    assert not await bench.has(run)
    ((field, rows),) = await bench.store.rows(
        "SELECT field, groupArray(spent) FROM (SELECT field, spent FROM comptroller.balances FINAL "
        "WHERE org = {org:String} ORDER BY seq) GROUP BY field",
        org=bench.organisation,
    )
    assert rows == [100, 15], field
    assert await bench.spent(run) == [15]


async def test_late_truth_that_is_not_recorded_yet_is_waited_for(bench: Growing) -> None:
    """The ledger knows that it came; an answer without it is none. Known scopes go on."""
    await bench.template({"usd": "1"})
    run, other = bench.scope("run"), bench.scope("other")
    free = await bench.reserve(0, run)
    await bench.spend(10, run)
    await bench.record()
    await bench.compaction.snapshots.take(bench.organisation, bench.head)
    for _ in range(62):
        await bench.desk.advance(58_500)
        await bench.desk.ledger.extend(bench.organisation, [(free.id, free.path)])
    await bench.spend(1, other)
    await bench.pass_by(2)
    assert not await bench.has(run)
    assert await bench.desk.ledger.extend(bench.organisation, [(free.id, free.path)]) == {
        free.id: "OK"
    }
    await bench.settle(free, 4)
    with pytest.raises(MemoryAway):
        await bench.desk.ask(dollars(1), run)
    granted(await bench.desk.ask(dollars(1), other))
    await bench.record()
    assert await bench.spent(run) == [14]


async def test_truth_that_comes_while_somebody_asks_is_asked_for_again(bench: Growing) -> None:
    """Between the answer of the records and the creation: the creation is refused, the second
    answer has it."""
    await bench.template({"usd": "1"})
    run = bench.scope("run")
    await bench.spend(10, run)
    await bench.pass_by()
    policy = (await bench.recording.policies(bench.organisation))[bench.organisation]
    field = f"c:{policy.per_child[0].id}:{run}:0"

    async def corrected() -> None:
        assert (
            await bench.desk.administration.adjust(
                bench.organisation, bench.desk.session.new_id(), [(field, 1, -3)], b"{}"
            )
            == "DONE"
        )
        assert await bench.recording.counters(bench.organisation) == {}
        await bench.record()

    bench.memory.then.append(corrected)
    assert await bench.spent(run) == [7]


async def test_counters_without_their_scope_leave_too(bench: Growing) -> None:
    """A recovery writes back all counters that ever were, also of children that nobody uses any
    more: they go, and who comes back finds them. One with an open reservation stays."""
    await bench.template({"usd": "1"})
    run, busy = bench.scope("run"), bench.scope("busy")
    await bench.spend(10, run)
    await bench.reserve(20, busy)
    await bench.record()
    for scope in (run, busy):
        await bench.desk.transport.command("HDEL", bench.desk.key("ledger"), f"s:{scope}")
    assert await bench.sweep() == 1
    ((field, _),) = (await bench.recording.counters(bench.organisation)).items()
    assert busy in field
    assert await bench.spent(run) == [10]
    assert bench.memory.times == 1


async def test_a_counter_that_has_stayed_is_left_as_it_is(bench: Growing) -> None:
    """Where the record of a child went and a counter did not, the counter has all of the truth,
    also what the records do not have yet: it is not overwritten by what they say."""
    await bench.template({"usd": "1"})
    run = bench.scope("run")
    await bench.spend(10, run)
    await bench.spend(1, bench.scope("gone"))
    await bench.pass_by(REST_MS - 2)
    await bench.spend(5, run)
    await bench.pass_by(0)
    assert await bench.scopes() == {bench.organisation, run}
    await bench.spend(2, run)
    await bench.desk.transport.command("HDEL", bench.desk.key("ledger"), f"s:{run}")
    assert await bench.spent(run) == [17]


async def test_two_workers_that_ask_at_once_bring_it_back_once(
    bench: Growing, valkey: EmbeddedServer
) -> None:
    """The slower one, whose answer is old by then, does not overwrite what was spent meanwhile."""
    await bench.template({"usd": "1"})
    run = bench.scope("run")
    await bench.spend(10, run)
    await bench.pass_by()
    async with desk_at(
        valkey, bench.desk.clock.at_ms, bench.organisation, RecordsMemory(bench.store.select)
    ) as quick:

        async def meanwhile() -> None:
            reservation = granted(await quick.ask(dollars(5), run))
            await quick.ledger.settle(quick.organisation, reservation.id, Truth(5, None), b"", b"")

        bench.memory.then.append(meanwhile)
        assert await bench.spent(run) == [15]


async def test_without_the_records_what_is_unknown_is_refused(bench: Growing) -> None:
    """Fail closed, for requests and acts; what the ledger has goes on, and a process that has no
    way to ask says so."""
    await bench.template({"usd": "1"})
    run, known = bench.scope("run"), bench.scope("known")
    await bench.spend(10, run)
    await bench.pass_by()
    await bench.spend(1, known)
    bench.memory.away = True
    for scope in (run, bench.scope("new")):
        with pytest.raises(MemoryAway):
            await bench.desk.ask(dollars(1), scope)
        with pytest.raises(MemoryAway):
            await bench.desk.set_budget(scope, [{"usd": "1"}])
        with pytest.raises(MemoryAway):
            await bench.desk.administration.set_state(scope, "freeze", "budget_changed", b"{}")
        with pytest.raises(MemoryAway):
            await bench.desk.session.load([scope], create=False)
    granted(await bench.desk.ask(dollars(1), known))
    bench.desk.session._memory = None
    with pytest.raises(LedgerUnavailable, match="cannot ask the records"):
        await bench.desk.ask(dollars(1), run)


async def test_nobody_asks_where_nothing_has_ever_left(bench: Growing) -> None:
    """Small installations and tests never do: also where counters of old windows have gone."""
    bench.memory.away = True
    await bench.template({"usd": "1", "window": "minute"})
    await bench.spend(10, bench.scope("run"))
    await bench.desk.advance(60_000)
    await bench.spend(1, bench.scope("other"))
    await bench.record()
    assert await bench.sweep() == 1
    await bench.spend(1, bench.scope("third"))
    assert bench.memory.times == 0


async def test_a_limit_that_is_set_above_while_a_child_is_out(bench: Growing) -> None:
    """A new one counts from its creation, one that stayed has all that was spent, whatever its
    amount is now."""
    await bench.template({"usd": "1"})
    run = bench.scope("run")
    await bench.spend(10, run)
    await bench.pass_by()
    await bench.template({"usd": "2"}, {"usd": "1", "window": "day"})
    assert await bench.spent(run) == [10, 0]
    await bench.spend(3, run)
    await bench.pass_by()
    assert await bench.spent(run) == [13, 3]


async def test_a_window_that_ends_while_a_child_is_out_is_over(bench: Growing) -> None:
    """The day is a new one, the total is not."""
    await bench.template({"usd": "1"}, {"usd": "1", "window": "day"})
    run = bench.scope("run")
    await bench.spend(10, run)
    await bench.pass_by()
    assert await bench.spent(run) == [10, 10]
    await bench.pass_by()
    await bench.rest(DAY_MS)
    assert not await bench.has(run)
    await bench.record()
    assert await bench.spent(run) == [10, 0]


async def test_an_old_pass_of_a_paused_recorder_takes_nothing(bench: Growing) -> None:
    """It has not seen the last compaction: refused, whatever it believes. And one that has, with
    sums of before, lets nothing go that has changed."""
    await bench.template({"usd": "1"})
    runs = [bench.scope(f"run-{n}") for n in range(2)]
    for run in runs:
        await bench.spend(10, run)
    await bench.record()
    await bench.compaction.snapshots.take(bench.organisation, bench.head)
    old = await bench.recording.begin_pass(bench.organisation)
    policy = (await bench.recording.policies(bench.organisation))[bench.organisation]
    held = {
        each.scope: each
        async for piece in bench.recording.held(bench.organisation, "s:")
        for each in piece.scopes
    }
    going = [Going(((f"c:{policy.per_child[0].id}:{run}:0", 0, 10),), held[run]) for run in runs]
    await bench.spend(1, runs[0])
    await bench.recording.compact(old, bench.head.seq, going[:1])
    assert await bench.has(runs[0])
    assert await bench.pass_by() == 4
    for run in runs:
        await bench.spend(0, run)
    with pytest.raises(Overtaken):
        await bench.recording.compact(old, bench.head.seq, going)
    assert await bench.spent(runs[0]) == [11]


async def _minted(bench: Growing, lasts_ms: int | None, secret: str = "s" * 40) -> Key:
    key = Key(
        id="key-writer",
        name="writer",
        scope=bench.organisation,
        created_at_ms=bench.desk.clock.at_ms,
        expires_at_ms=None if lasts_ms is None else bench.desk.clock.at_ms + lasts_ms,
        secret_sha256=digest(secret),
    )
    budget = parse_policy([{"usd": "0.000000100"}])
    await _ring(bench).mint(key, secret, budget)
    return key


def _ring(bench: Growing) -> KeyRing:
    return KeyRing(bench.desk.session, bench.desk.administration, KeyEvents("test"))


async def test_an_expired_key_leaves_with_its_scope_and_comes_back_with_its_budget(
    bench: Growing,
) -> None:
    """Its record by secret by itself, the entry of the index with the scope. Minted again it has
    spent what it had; the records know when it was first made."""
    key = await _minted(bench, HOUR_MS)
    left_ms = await bench.desk.transport.command("PTTL", record_key(key.secret_sha256))
    assert isinstance(left_ms, int)
    assert 0 < left_ms <= 2 * HOUR_MS
    reservation = granted(await bench.desk.ask(dollars(70), path=key.path()))
    await bench.desk.ledger.settle(bench.organisation, reservation.id, Truth(70, None), b"", b"")
    await bench.pass_by()
    assert await bench.has(key.key_scope)
    await bench.pass_by()
    assert await bench.scopes() == {bench.organisation}
    assert await _ring(bench).named(bench.organisation, key.id) is None
    assert await _ring(bench).made_before(bench.organisation, key.id) == key
    assert await _ring(bench).made_before(bench.organisation, "key-other") is None
    again = await _minted(bench, HOUR_MS, "t" * 40)
    refused(await bench.desk.ask(dollars(31), path=again.path()), "EXHAUSTED")
    granted(await bench.desk.ask(dollars(30), path=again.path()))


async def test_a_key_that_works_stays(bench: Growing) -> None:
    """However long nobody has used it."""
    key = await _minted(bench, None)
    await bench.pass_by(90 * DAY_MS)
    assert await bench.has(key.key_scope)
    assert await _ring(bench).named(bench.organisation, key.id) == key


async def test_a_revoked_key_leaves_and_stays_revoked(bench: Growing) -> None:
    """Its entry too; to mint it again under its name is refused as ever."""
    key = await _minted(bench, None)
    await _ring(bench).revoke(key)
    assert await bench.pass_by() == 1
    assert await _ring(bench).named(bench.organisation, key.id) is None
    with pytest.raises(ScopeClosed):
        await _minted(bench, None)
    refused(await bench.desk.ask(dollars(1), path=key.path()), "CLOSED")


async def test_whatever_happens_a_child_has_spent_what_it_spent(bench: Growing) -> None:
    """A model: children spend, rest, come back; truth comes late; the recorder lags and compacts at
    any time. What a worker that knows nothing finds is what was spent, to the nano-dollar."""
    chance = random.Random(7)
    await bench.template({"usd": "1"}, {"usd": "1", "window": "month"})
    children = [bench.scope(f"run-{n}") for n in range(6)]
    truth = dict.fromkeys(children, 0)
    expired: list[tuple[str, str]] = []
    came_back = 0
    for _ in range(220):
        act = chance.random()
        child = chance.choice(children)
        try:
            if act < 0.35:
                came_back += not await bench.has(child)
                nusd = chance.randrange(100)
                await bench.spend(nusd, child)
                truth[child] += nusd
            elif act < 0.45:
                reservation = await bench.reserve(50, child)
                await bench.desk.advance(60_001)
                await bench.desk.ledger.sweep(bench.organisation)
                truth[child] += 50
                expired.append((reservation.id, child))
            elif act < 0.6 and expired:
                id_, of = expired.pop(chance.randrange(len(expired)))
                nusd = chance.randrange(120)
                answer = await bench.desk.ledger.settle(
                    bench.organisation, id_, Truth(nusd, None), b"", b""
                )
                truth[of] += nusd - 50 if answer == "CORRECTED" else 0
            elif act < 0.75:
                await bench.record()
            elif act < 0.9:
                await bench.record()
                await bench.sweep()
            else:
                await bench.rest(chance.choice((REST_MS // 2, REST_MS + 1)))
        except MemoryAway:
            await bench.record()
    await bench.record()
    for child in children:
        assert await bench.spent(child) == [truth[child]] * 2, child
    assert came_back > 15


async def test_a_ledger_that_forgets_all_the_time_grants_exactly_what_there_is(
    bench: Growing, valkey: EmbeddedServer
) -> None:
    """Three workers spend the budgets of some children at once, while a recorder that knows no
    rest lets each of them go as soon as it can: whatever meets whatever, each child is granted its
    budget, to the nano-dollar."""
    budget_nusd, gone_least = 40, 30
    await bench.template({"usd": f"0.{budget_nusd:09d}"}, {"requests": 1000})
    children = [bench.scope(f"run-{n}") for n in range(12)]
    snapshots = bench.compaction.snapshots
    bench.compaction = Compaction(bench.recording, bench.store, snapshots, rest_ms=0)
    spent_nusd = dict.fromkeys(children, 0)
    enough = asyncio.Event()

    async def spends(desk: TimedDesk, child: str) -> bool:
        """One nano-dollar, if there is one left."""
        try:
            answer = await desk.ask(dollars(1), child)
        except LedgerUnavailable:  # the records are behind: not now
            return True
        if isinstance(answer, Reservation):
            await desk.ledger.settle(desk.organisation, answer.id, Truth(1, None), b"", b"")
            spent_nusd[child] += 1
        return isinstance(answer, Reservation)

    async def works(desk: TimedDesk, chance: random.Random) -> None:
        while not enough.is_set():
            await spends(desk, chance.choice(children))
            await asyncio.sleep(0.1)

    async def forgets() -> None:
        gone = 0
        while gone < gone_least:
            await bench.rest(1)
            await bench.record()
            gone += await bench.sweep()
        enough.set()

    async with (
        desk_at(valkey, NOON_MS, bench.organisation, RecordsMemory(bench.store.select)) as second,
        desk_at(valkey, NOON_MS, bench.organisation, RecordsMemory(bench.store.select)) as third,
    ):
        desks = (bench.desk, second, third)
        works_on = (works(desk, random.Random(n)) for n, desk in enumerate(desks))
        await asyncio.gather(forgets(), *works_on)
    await bench.record()
    for child in children:
        while await spends(bench.desk, child):
            pass
    assert spent_nusd == dict.fromkeys(children, budget_nusd)
