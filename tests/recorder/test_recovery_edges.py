"""Where a recovery could go wrong: snapshots beside it, epochs, idle workers, clocks, and
what recorders before it left half done."""

import contextlib
import json
import secrets

import pytest

from budgets.answers import Refusal
from budgets.redispy import RedisPyTransport
from budgets.transport import LedgerUnavailable
from clickhouse.errors import StoreUnavailable
from clickhouse.store import Store
from recorder.batch import Head
from recorder.packing import INSERT_STATES
from recorder.snapshots import Snapshots
from tests.budgets.harness import SystemClock, dollars
from tests.recorder.hooks import Call, HookedStore, happens
from tests.recorder.recovering import RESERVED_NUSD, Worker, kept_files, recording, restarted
from tests.recorder.rig import Stage, until
from tests.recorder.test_recovery import a_life, everything, judged
from tests.recorder.workbench import request_event


@pytest.fixture
def organisation() -> str:
    """One that no other test has."""
    return f"edge-{secrets.token_hex(5)}"


async def test_what_was_open_at_a_snapshot_comes_back(
    stage: Stage, store: Store, organisation: str
) -> None:
    """A snapshot keeps the requests that are open; whether they have ended since is asked, over
    HTTP too."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        first, second, *_ = await a_life(worker)
        await worker.until_recorded()
        head = await worker.head()
        at_head = Head(head.epoch, head.seq, "", head.time_ms)
        await Snapshots(store).take(organisation, at_head)
        assert len((await Snapshots(store).last(organisation)).open) == 3
        await worker.end(first, 5)
        await worker.until_recorded()
        before = await worker.books()
        with restarted(stage.server, files=everything(stage.folder)):
            pass
        assert await worker.end(first, 5) == "ALREADY"
        assert await worker.books() == before
        assert await worker.end(second, 5) == "SETTLED"
        await worker.until_recorded()
    await judged(stage, store, worker)


async def test_a_refusal_that_is_recorded_is_not_told_again(
    stage: Stage, store: Store, organisation: str
) -> None:
    """A worker that has not heard that its refusal was taken tells it again after a recovery."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await a_life(worker)
        id_ = worker.session.new_id()
        refusal = organisation, id_, "budget_exceeded", request_event(id_, organisation)
        assert await worker.administration.append(*refusal) == "DONE"
        await worker.until_recorded()
        with restarted(stage.server, files=everything(stage.folder)):
            pass
        assert await worker.administration.append(*refusal) == "ALREADY"
        await worker.until_recorded()
    await judged(stage, store, worker)


async def test_an_epoch_is_opened_once(stage: Stage, store: Store, organisation: str) -> None:
    """A ledger that is emptied again before anything of its new epoch was recorded gets another
    one: what a worker was told in the one before must not fit."""
    async with recording(stage, store, organisation) as recorder:
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "1"}])
        await worker.until_recorded()
        hooked = recorder._store
        assert isinstance(hooked, HookedStore)

        async def no_events(call: Call) -> object:
            if call.name == "insert events":
                raise StoreUnavailable("not now")
            return await happens(call)

        hooked.hook = no_events
        places = []
        for _ in range(2):
            with restarted(stage.server, files=everything(stage.folder)):
                pass
            await worker.transport.command("PING")
            await worker.session.looked_at(organisation)
            head = await worker.head()
            places.append((head.epoch, head.seq))
        hooked.hook = happens
        assert [epoch for epoch, _ in places] == [2, 3]
        assert places[1][1] > places[0][1] + 10**6
        await worker.end(await worker.begin(), 7)
        await worker.until_recorded()
    await judged(stage, store, worker)


async def test_what_was_begun_and_never_used_is_recorded_after_a_restart(
    stage: Stage, store: Store, organisation: str
) -> None:
    """An organisation without any event, as a stack leaves it that is stopped at once: its first
    event comes after a recovery, in a later epoch, and the chain begins there."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
    with restarted(stage.server):
        pass
    async with recording(stage, store, organisation):
        await worker.transport.command("PING")
        await worker.session.looked_at(organisation)
        await worker.set_budget(organisation, [{"usd": "1"}])
        await worker.end(await worker.begin(), 7)
        await worker.until_recorded()
        assert (await worker.head()).epoch > 1
    await judged(stage, store, worker)


@pytest.mark.parametrize("kind", ["pipelined", "redis-py"])
async def test_an_idle_worker_forgets_nothing_that_it_has_not_brought(
    stage: Stage, store: Store, organisation: str, kind: str
) -> None:
    """What it asks first after a recovery is how far the records are: they are far, without what it
    alone knows."""
    other = RedisPyTransport(f"unix://{stage.server.socket_path}") if kind == "redis-py" else None
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation, transport=other)
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "1"}])
        await worker.until_recorded()
    older = kept_files(stage.server, stage.folder / "older")
    await worker.end(await worker.begin(), 700)
    with restarted(stage.server, files=older):
        pass
    eyes = await Worker.at(stage, organisation)
    async with recording(stage, store, organisation):
        await until(lambda: _is_recovered(eyes))
        await eyes.until_recorded()
        for _ in range(3):
            with contextlib.suppress(LedgerUnavailable):
                await worker.ledger.forget_recorded()
        assert await eyes.totals() == (700, 0)
        await eyes.until_recorded()
    await worker.transport.close()
    await judged(stage, store, eyes)


async def _is_recovered(worker: Worker) -> bool:
    try:
        head = await worker.head()
    except AssertionError:
        return False
    return head.epoch > 1


async def test_windows_are_over_by_the_ledgers_clock(
    stage: Stage, store: Store, organisation: str
) -> None:
    """A recorder whose clock is a day ahead does not give the day's budget again."""
    async with recording(stage, store, organisation, clock=Ahead()):
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "0.000001", "window": "day"}])
        await worker.end(await worker.begin(), 900)
        await worker.until_recorded()
        with restarted(stage.server, files=everything(stage.folder)):
            pass
        refused = await worker.ask(dollars(RESERVED_NUSD))
        assert isinstance(refused, Refusal)
        assert refused.code == "EXHAUSTED"


class Ahead(SystemClock):
    """Wrong by more than a day."""

    def now_ms(self) -> int:
        """As Clock."""
        return super().now_ms() + 30 * 3_600_000


async def test_what_a_recorder_wrote_of_acts_that_came_to_nothing_is_not_believed(
    stage: Stage, store: Store, organisation: str
) -> None:
    """Killed between a state and its event, before the server lost the act: however often the
    ledger is recovered, the budget is the one that there is an event of."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "0.000001"}])
        await worker.until_recorded()
        head = await worker.head()
        policy = '{"limits":[{"id":"9.0","dimension":"usd","window":"total","amount":"99999"}]}'
        orphan = [organisation, "policy", organisation, head.epoch, head.seq + 1, 5, policy]
        await store.insert(INSERT_STATES, json.dumps(orphan).encode(), "orphan")
        for _ in range(2):
            with restarted(stage.server, files=everything(stage.folder)):
                pass
            refused = await worker.ask(dollars(1001))
            assert isinstance(refused, Refusal)
            assert refused.code == "TOO_LARGE"
            await worker.until_recorded()
