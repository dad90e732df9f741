"""A ledger that was restarted, emptied, rolled back or replaced says again what the records say,
and what only its workers know; until then it decides nothing."""

import asyncio
import dataclasses
import json
import secrets
import string
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from budgets.answers import Mark, Refusal, Repeat, Reservation
from budgets.plan import ScopePath
from budgets.recording import Bounds, Recording
from budgets.recovering import Overtaken, Recovering, Write
from budgets.session import LedgerRecovering
from clickhouse.errors import StoreUnavailable
from clickhouse.query import load_query
from clickhouse.store import Store
from recorder.heads import SigningKey, read_heads
from recorder.verification import CHAIN_COLUMNS, verify
from tests.budgets.harness import dollars, granted, recorded
from tests.recorder.hooks import Call, happens
from tests.recorder.recovering import LOOKS, RESERVED_NUSD, Worker, kept_files, recording, restarted
from tests.recorder.rig import Stage, until
from tests.recorder.workbench import request_event

USD = 1
BUDGET = [{"usd": "1"}, {"requests": 1000, "window": "day"}, {"concurrency": 50}]
Lose = Callable[[Path], Path | None]


@pytest.fixture
def organisation() -> str:
    """One that no other test has."""
    return f"lost-{secrets.token_hex(5)}"


async def a_life(worker: Worker) -> list[Reservation]:
    """Budgets, keys, freezes, fences, and calls of which some are still open: those."""
    org, admin = worker.organisation, worker.administration
    await worker.session.begin_organisation(org)
    await worker.set_budget(org, BUDGET)
    await worker.set_budget(f"{org}/team", [{"usd": "0.5", "window": "month"}, {"tokens": 10**6}])
    await worker.set_budget(f"{org}/team", [{"usd": "0.4", "window": "month"}])
    await worker.set_budget(f"{org}/users", {"per_child": [{"usd": "0.1"}]})
    await worker.set_budget(f"{org}/gone", [{"usd": "3"}])
    await admin.set_state(f"{org}/frozen", "freeze", "budget_changed", b"{}")
    await admin.set_state(f"{org}/gone", "close", "budget_changed", b"{}")
    await admin.set_state(f"{org}/team", "fence", "budget_changed", b"{}", attempt=3)
    await worker.mint("key-1", f"{org}/team", f"ck-{org}-1")
    key = await worker.mint("key-2", f"{org}/team", f"ck-{org}-2")
    await worker.keyring.revoke(key)
    for n in range(6):
        await worker.end(await worker.begin(f"{org}/users/{n % 2}"), 100 + n)
    return [await worker.begin(f"{org}/users/{n}") for n in range(3)]


def nothing(_: Path) -> Path | None:
    """The files are whole."""
    return None


def everything(folder: Path) -> Path | None:
    """The disk is lost."""
    return folder / "nowhere"


@pytest.mark.parametrize("lose", [nothing, everything], ids=["nothing", "everything"])
async def test_what_is_recorded_comes_back(
    stage: Stage, store: Store, organisation: str, lose: Lose
) -> None:
    """Counters, policies, states, fences, keys and open leases are what they were, whether the
    server that starts again has lost nothing or everything; the worker that waited goes on, in a
    later epoch, and what was open is settled as ever."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        still_open = await a_life(worker)
        await worker.until_recorded()
        before, head = await worker.books(), await worker.head()
        with restarted(stage.server, files=lose(stage.folder)):
            pass
        await worker.transport.command("PING")  # notices that the connection is another one
        await worker.session.looked_at(organisation)
        assert await worker.books() == before
        asked = await worker.begin()
        assert asked.epoch == head.epoch + 1
        assert asked.seq > head.seq + 10**6
        assert await worker.end(asked, 0) == "SETTLED"
        assert await worker.keyring.find(f"ck-{organisation}-1".encode())
        assert not await worker.keyring.find(f"ck-{organisation}-2".encode())
        for each in still_open:
            assert await worker.end(each, 7) == "SETTLED"
            assert await worker.end(each, 7) == "ALREADY"
        assert sum(reserved for _, reserved, _ in (await worker.counters()).values()) == 0
        await worker.until_recorded()
    await _judge(stage, store, worker)


async def _judge(stage: Stage, store: Store, worker: Worker) -> None:
    """The chain holds through all epochs, and the records sum to the counters."""
    org = worker.organisation
    lines = await store.select(
        "SELECT counter.1, sum(counter.4) FROM comptroller.events ARRAY JOIN counters AS counter "
        "WHERE org = {org:String} AND part = 0 AND event_type != 'llm_request' GROUP BY counter.1",
        {"org": org},
    )
    sums = dict(json.loads(line) for line in lines.splitlines())
    found = await worker.counters()
    counters = {name: spent for name, (spent, _, _) in found.items() if spent}
    assert {name: spent for name, spent in sums.items() if spent} == counters
    query = string.Template(load_query("chain")).substitute(columns=CHAIN_COLUMNS)
    asked: dict[str, str | int] = {"org": org, "epoch": 0, "seq": 0, "limit": 100_000}
    rows = (await store.select(query, asked)).splitlines()
    heads = read_heads(stage.folder / "a" / "heads", org)
    key = SigningKey.load_or_create(stage.folder / "a" / "signing-key")
    verdict = verify(rows, heads, key.public_hex)
    assert verdict.ok, verdict.message


async def test_what_the_records_have_is_not_lost_to_an_older_file(
    stage: Stage, store: Store, organisation: str
) -> None:
    """A server that comes back with an older file has forgotten spending, a freeze and a
    revocation: the records have not."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await a_life(worker)
        older = kept_files(stage.server, stage.folder / "older")
        key = await worker.keyring.named(organisation, "key-1")
        assert key is not None
        await worker.keyring.revoke(key)
        await worker.administration.set_state(
            f"{organisation}/team", "freeze", "budget_changed", b"{}"
        )
        spent = [await worker.begin(f"{organisation}/users/1") for _ in range(20)]
        for each in spent:
            await worker.end(each, RESERVED_NUSD)
        await worker.until_recorded()
        before = await worker.books()
        with restarted(stage.server, files=older):
            pass
        refused = await worker.ask(dollars(1), f"{organisation}/team/x")
        assert isinstance(refused, Refusal)
        assert refused.code == "FROZEN"
        after = await worker.books()
        assert after == before
        assert not await worker.keyring.find(f"ck-{organisation}-1".encode())
        await worker.until_recorded()
    await _judge(stage, store, worker)


async def test_what_only_a_worker_knows_is_brought(
    stage: Stage, store: Store, organisation: str
) -> None:
    """Grants and settlements that neither the ledger's older file nor the records have are brought
    by the worker that was answered, above every limit if need be, and marked; a worker that knows
    nothing does not go on before the ledger is recovered."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "0.000010"}])  # ten
        ended = await worker.begin()
        await worker.until_recorded()
    older = kept_files(stage.server, stage.folder / "older")
    lost = [await worker.begin() for _ in range(4)]
    for each in (ended, *lost[:2]):
        assert await worker.end(each, 600) == "SETTLED"
    with restarted(stage.server, files=older):
        pass
    stranger = await Worker.at(stage, organisation, LOOKS)
    with pytest.raises(LedgerRecovering):
        await stranger.begin()
    async with recording(stage, store, organisation):
        await asyncio.gather(*(worker.begin() for _ in range(2)))
        assert await worker.totals() == (3 * 600, 4 * RESERVED_NUSD)
        for each in lost[2:]:
            assert await worker.end(each, 500) == "SETTLED"
        assert await worker.end(lost[0], 600) == "ALREADY"
        await worker.until_recorded()
        rows = await store.select(
            "SELECT detail FROM comptroller.events WHERE org = {org:String} "
            "AND event_type = 'llm_request' AND detail != ''",
            {"org": organisation},
        )
        assert rows.splitlines() == [b'["recovered"]'] * 4
    await _judge(stage, store, worker)


async def test_an_unconfirmed_grant_that_still_runs_is_brought_by_its_heartbeat(
    stage: Stage, store: Store, organisation: str
) -> None:
    """Its stream is not cut: the ledger learns of it again."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.until_recorded()
    older = kept_files(stage.server, stage.folder / "older")
    running = await worker.begin()
    with restarted(stage.server, files=older):
        pass
    async with recording(stage, store, organisation):
        answers = await worker.ledger.extend(organisation, [(running.id, running.path)])
        assert answers == {running.id: "OK"}
        assert await worker.lease_ids() == {running.id}


async def test_who_knows_more_closes_a_ledger_that_was_changed_while_it_ran(
    stage: Stage, store: Store, organisation: str
) -> None:
    """Rolled back without a restart, nobody else would notice: the worker that knows a later seq
    closes it for all, and it is recovered."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        still_open = await a_life(worker)
        await worker.until_recorded()
        before, head = await worker.books(), await worker.head()
        await worker.set_head(dataclasses.replace(head, seq=head.seq - 5))
        await worker.transport.command("HDEL", worker.key("leases"), still_open[0].id)
        assert await worker.end(still_open[0], RESERVED_NUSD) == "SETTLED"
        assert (await worker.head()).epoch == head.epoch + 1
        assert await worker.end(still_open[1], 0) == "SETTLED"
        del before["counters"]
        assert before["leases"] == await worker.lease_ids() | {each.id for each in still_open[:2]}
        await worker.until_recorded()
    await _judge(stage, store, worker)


async def test_late_truth_is_booked_once_after_a_recovery(
    stage: Stage, store: Store, organisation: str
) -> None:
    """A lease that had expired before keeps what its truth needs; one that comes back lives one
    lease from its recovery."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "1"}])
        expired, left = await worker.begin(), await worker.begin()
        await worker.transport.command("ZADD", worker.key("expiry"), "1", expired.id)
        await worker.set_head(dataclasses.replace(await worker.head(), opened_ms=0))
        assert await worker.ledger.sweep(organisation) == [expired.id]
        await worker.until_recorded()
        with restarted(stage.server, files=everything(stage.folder)):
            pass
        assert await worker.end(expired, 300) == "CORRECTED"
        assert await worker.end(expired, 200) == "ALREADY"
        assert await worker.totals() == (300, RESERVED_NUSD)
        assert await worker.ledger.sweep(organisation) == []  # one lease after it was opened
        head = await worker.head()
        score = await worker.transport.command("ZSCORE", worker.key("expiry"), left.id)
        assert isinstance(score, bytes)
        assert abs(float(score) - head.opened_ms - 60_000) < 5_000
        await worker.until_recorded()
    await _judge(stage, store, worker)


async def test_all_that_waits_is_recorded_before_the_records_decide(
    stage: Stage, store: Store, organisation: str
) -> None:
    """A recorder that was killed had fixed a batch of what waited then, and more came since: both
    are recorded before the ledger is compared, and nothing is booked, held or ended twice."""
    worker = await Worker.at(stage, organisation)
    async with recording(stage, store, organisation):
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "1"}])
        await worker.until_recorded()
    first = (await worker.head()).seq + 1
    left = await worker.begin()
    killed = Recording(worker.session, "a node that is gone")
    assert await killed.own(organisation, lease_ms=200) is not None
    await killed.fix(organisation, Bounds(1, first, first))
    assert await worker.end(left, 300) == "SETTLED"
    still_open = await worker.begin()
    with restarted(stage.server):
        pass
    await worker.transport.command("PING")
    async with recording(stage, store, organisation):
        await worker.session.looked_at(organisation)
        assert await worker.totals() == (300, RESERVED_NUSD)
        assert await worker.lease_ids() == {still_open.id}
        assert await worker.end(left, 300) == "ALREADY"
        assert await worker.end(still_open, 50) == "SETTLED"
        await worker.until_recorded()
    await _judge(stage, store, worker)


async def test_a_lease_that_comes_back_still_has_its_name(
    stage: Stage, store: Store, organisation: str
) -> None:
    """A request that its client has named, and whose worker died with the ledger, is no more said
    to run once its lease was charged."""
    mark = Mark("0" * 64, b"1" * 32)
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "1"}])
        id_ = worker.session.new_id()
        about = ScopePath(organisation), "small-1", lambda _plan: dollars(RESERVED_NUSD)
        event = recorded(request_event(id_, organisation))
        granted(await worker.ledger.reserve(*about, event, id_, mark))
        await worker.until_recorded()
        with restarted(stage.server):
            pass
        await worker.transport.command("PING")
        await worker.session.looked_at(organisation)
        await worker.transport.command("ZADD", worker.key("expiry"), "1", id_)
        await worker.set_head(dataclasses.replace(await worker.head(), opened_ms=0))
        assert await worker.ledger.sweep(organisation) == [id_]
        again = await worker.ledger.reserve(*about, event, worker.session.new_id(), mark)
        assert isinstance(again, Repeat)
        assert (again.request_id, again.state) == (id_, "expired")
        await worker.until_recorded()
    await _judge(stage, store, worker)


async def test_what_the_ledger_says_beyond_the_records_is_booked(
    stage: Stage, store: Store, organisation: str
) -> None:
    """Spending that no event tells of is not forgotten but corrected in the records; a policy that
    the records have never heard of stays, and they keep it from then on."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "1"}])
        await worker.end(await worker.begin(), 400)
        await worker.until_recorded()
        (field,) = await worker.counters()
        raw = struct.pack("<3q", 450, 0, 0)
        await worker.transport.command("HSET", worker.key("ledger"), field, raw)
        old, older = f"{organisation}/old", struct.pack("<BqqB", 0, 1, 0, 0)
        await worker.transport.command("HSET", worker.key("ledger"), f"s:{old}", older)
        policy = '{"limits":[{"id":"1.0","dimension":"usd","window":"total","amount":"5"}]}'
        await worker.transport.command("HSET", worker.key("policies"), old, policy)
        for _ in range(2):
            with restarted(stage.server):
                pass
            assert await worker.end(await worker.begin(), 0) == "SETTLED"
            assert await worker.totals() == (450, 0)
        await worker.until_recorded()
        with restarted(stage.server, files=everything(stage.folder)):
            pass
        refused = await worker.ask(dollars(6), old)
        assert isinstance(refused, Refusal)
        assert refused.code == "TOO_LARGE"
        assert await worker.totals() == (450, 0)
        await worker.until_recorded()
    await _judge(stage, store, worker)


async def test_an_organisation_that_only_the_records_know_is_not_begun_again(
    stage: Stage, store: Store, organisation: str
) -> None:
    """Whoever declares it at a ledger that was emptied gets the one that there was."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await a_life(worker)
        await worker.until_recorded()
        before = await worker.books()
    with restarted(stage.server, files=everything(stage.folder)):
        pass
    declaring = await Worker.at(stage, organisation)
    began = asyncio.create_task(declaring.session.begin_organisation(organisation))
    await until(lambda: _is_wanted(declaring))
    async with recording(stage, store, organisation):
        await began
        assert await declaring.books() == before


async def _is_wanted(worker: Worker) -> bool:
    wanted = await worker.transport.command("SMEMBERS", "comptroller:organisations")
    return bool(wanted)


async def test_who_cannot_ask_the_records_opens_nothing(
    stage: Stage, store: Store, organisation: str
) -> None:
    """A restarted ledger stays closed while the records do not answer, and opens when they do."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await a_life(worker)
        await worker.until_recorded()
    with restarted(stage.server):
        pass
    impatient = await Worker.at(stage, organisation, LOOKS)
    asked = asyncio.Event()

    async def away(call: Call) -> object:
        asked.set()
        raise StoreUnavailable("nobody listens")

    async with recording(stage, store, organisation) as recorder:
        hooked = recorder._store
        hooked.hook = away  # type: ignore[attr-defined]
        asked.clear()
        await asked.wait()
        for _ in range(3):
            with pytest.raises(LedgerRecovering):
                await impatient.begin()
        hooked.hook = happens  # type: ignore[attr-defined]
        assert await worker.end(await worker.begin(), 1) == "SETTLED"


async def test_a_recovery_that_was_paused_writes_nothing_after_another_began(
    stage: Stage, organisation: str
) -> None:
    """Each of its writes names the epoch that it raised."""
    worker = await Worker.at(stage, organisation)
    await worker.session.open_organisation(organisation, create=True)
    await worker.set_budget(organisation, [{"usd": "1"}])
    await worker.transport.command("HDEL", worker.key("ledger"), "run")
    slow, quick = [await Worker.at(stage, organisation, LOOKS) for _ in range(2)]
    paused = Recovering(slow.session, "a")
    other = Recovering(quick.session, "b")
    assert await paused.begin(organisation, (0, 0, 0), 0)  # its lease is over at once
    assert await other.begin(organisation, (0, 0, 0), 60_000)
    with pytest.raises(Overtaken):
        await paused.restore(organisation, [Write(1, "c:1.0:0", struct.pack("<3q", 9, 9, 9))], 1)
    with pytest.raises(Overtaken):
        await paused.reopen(organisation, b"{}", b"", b"")
    with pytest.raises(Overtaken):
        await paused.begin(organisation, (0, 0, 0), 60_000)
    await other.reopen(organisation, b"{}", b"", b"")
    assert not await other.begin(organisation, (0, 0, 0), 60_000), "it is open"
    assert await worker.totals() == (0, 0)


async def test_no_grant_exceeds_a_limit_through_recoveries(
    stage: Stage, store: Store, organisation: str
) -> None:
    """Restarted and emptied in turn under load, a budget of thirty is granted thirty times."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "0.000030"}])
        grants = 0
        for lose in (nothing, everything, nothing, everything):
            for _ in range(7):
                answer = await worker.ask(dollars(RESERVED_NUSD))
                assert await worker.end(granted(answer), RESERVED_NUSD) == "SETTLED"
                grants += 1
            await worker.until_recorded()
            with restarted(stage.server, files=lose(stage.folder)):
                pass
        for _ in range(2):
            await worker.end(await worker.begin(), RESERVED_NUSD)
        refused = await worker.ask(dollars(RESERVED_NUSD))
        assert isinstance(refused, Refusal)
        assert refused.code == "EXHAUSTED"
        assert await worker.totals() == (30 * RESERVED_NUSD, 0)
