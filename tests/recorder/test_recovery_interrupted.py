"""A recovery that meets more than it expects, or fails in the middle: what the simulation found."""

import asyncio
import contextlib
import dataclasses
import secrets

import msgspec
import pytest

from budgets.plan import ScopePath
from budgets.recording import Recording
from budgets.recovering import SEQS_APART, Overtaken, Recovering
from budgets.session import ORGANISATIONS_KEY
from clickhouse.errors import StoreUnavailable
from clickhouse.store import Store
from tests.budgets.harness import dollars, granted, recorded
from tests.recorder.hooks import Call, happens
from tests.recorder.recovering import LOOKS, QUICK, RESERVED_NUSD, Worker, recording, restarted
from tests.recorder.rig import Stage, until
from tests.recorder.workbench import request_event

LARGE_BYTES = 9 * 2**20
HOUR_MS = 3_600_000


@pytest.fixture
def organisation() -> str:
    """One that no other test has."""
    return f"lost-{secrets.token_hex(5)}"


async def test_all_that_waits_is_recorded_before_the_records_are_asked(
    stage: Stage, store: Store, organisation: str
) -> None:
    """Events that do not fit into one batch, though none is full, are all recorded before a
    recovery goes by the records: none has to be brought, and none is recorded twice."""
    worker = await Worker.at(stage, organisation)
    await worker.session.open_organisation(organisation, create=True)
    for _ in range(5):
        id_ = worker.session.new_id()
        event = request_event(id_, organisation, request_bytes=LARGE_BYTES)
        path = ScopePath(organisation)
        granted(
            await worker.ledger.reserve(
                path, "small-1", lambda _plan: dollars(RESERVED_NUSD), recorded(event), id_
            )
        )
    before = await worker.lease_ids()
    with restarted(stage.server):
        pass
    async with recording(stage, store, organisation):
        await worker.begin()
        assert before < await worker.lease_ids()
        await worker.until_recorded()
    rows = await store.select(
        "SELECT count(), uniqExact(request_id) FROM comptroller.events "
        "WHERE org = {org:String} AND part = 0 AND event_type = 'llm_request'",
        {"org": organisation},
    )
    assert msgspec.json.decode(rows) in ([6, 6], ["6", "6"])


async def test_a_recovery_that_fails_in_the_middle_is_begun_again(
    stage: Stage, store: Store, organisation: str
) -> None:
    """The records go away between its beginning and its end: the next try opens the ledger."""
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.until_recorded()
    await worker.begin()
    failed = 0

    async def away_once(call: Call) -> object:
        nonlocal failed
        if call.name == "insert events" and not failed:
            failed += 1
            raise StoreUnavailable("nobody listens")
        return await call.happen()

    async with recording(stage, store, organisation) as recorder:
        recorder._store.hook = away_once  # type: ignore[attr-defined]
        with restarted(stage.server):
            pass
        assert await worker.end(await worker.begin(), 1) == "SETTLED"


async def test_an_organisation_has_its_name_before_it_is_open(
    stage: Stage, organisation: str
) -> None:
    """An emptied ledger has lost the names of all: whoever sweeps finds this one even if its
    recovery's recorder dies as soon as it has opened it."""
    worker = await Worker.at(stage, organisation, LOOKS)
    recovering = Recovering(worker.session, "a")
    assert await recovering.begin(organisation, (1, 7, 1), 60_000)
    names = await worker.transport.command("SMEMBERS", ORGANISATIONS_KEY)
    assert isinstance(names, list)
    assert organisation.encode() in names


async def test_who_was_overtaken_has_no_place_to_begin_at(stage: Stage, organisation: str) -> None:
    """A recorder that slept in a recovery until another one had opened the organisation: a snapshot
    at a place above what is in that epoch would hide from the next one what was spent in it."""
    worker, other = [await Worker.at(stage, organisation, LOOKS) for _ in range(2)]
    sleeper, successor = Recovering(worker.session, "a"), Recovering(other.session, "b")
    assert await sleeper.begin(organisation, (1, 7, 1), 1)
    assert sleeper.next_place(organisation) == (2, SEQS_APART)

    async def has_begun() -> bool:
        with contextlib.suppress(Overtaken):
            return bool(await successor.begin(organisation, (1, 7, 1), 60_000))
        return False

    await until(has_begun)
    await successor.reopen(organisation, b'{"by": "recorder"}', b"", b"")
    assert await Recording(worker.session, "a").own(organisation, 1) is None
    with pytest.raises(Overtaken):
        sleeper.next_place(organisation)


async def test_what_is_older_than_tombstones_is_not_brought(
    stage: Stage, organisation: str
) -> None:
    """Of an id of long ago nobody knows any more whether it has ended: it is not charged again."""
    worker = await Worker.at(stage, organisation)
    await worker.session.open_organisation(organisation, create=True)
    await worker.set_budget(organisation, [{"usd": "1"}])
    reservation = await worker.begin()
    kept = worker.ledger._bringing._kept.granted(organisation, reservation.id)
    assert kept is not None
    slot = await worker.session.slot(organisation)
    for age_ms, answer in ((HOUR_MS - 60_000, "ADOPTED"), (HOUR_MS + 60_000, "TOO_OLD")):
        id_ = f"{int(reservation.id[:12], 16) - age_ms:012x}{reservation.id[12:]}"
        old = msgspec.structs.replace(
            kept, reservation=msgspec.structs.replace(reservation, id=id_)
        )
        assert await worker.ledger._bringing._adopt(slot, old) == answer
    assert await worker.totals() == (0, 2 * RESERVED_NUSD)


async def test_what_waits_on_the_disk_is_in_no_snapshot(
    stage: Stage, store: Store, organisation: str
) -> None:
    """Records that take no events, and all else, are not added up as if they had them: what was
    spent meanwhile comes back from a ledger that is lost."""
    async with recording(stage, store, organisation) as recorder:
        recorder._options = dataclasses.replace(QUICK, snapshot_every_ms=1)
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "1"}])
        await worker.until_recorded()
        taken = asyncio.Event()

        async def is_drained() -> bool:
            return not recorder._spool.pending(organisation)

        async def takes_no_events(call: Call) -> object:
            if call.name == "insert events":
                raise StoreUnavailable("nobody listens")
            return await call.happen()

        recorder._store.hook = takes_no_events  # type: ignore[attr-defined]
        assert await worker.end(await worker.begin(), 400) == "SETTLED"
        await worker.until_recorded()  # on the disk
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(taken.wait(), 0.5)
        recorder._store.hook = happens  # type: ignore[attr-defined]
        await until(is_drained)
        with restarted(stage.server, files=stage.folder / "nowhere"):
            pass
        await worker.transport.command("PING")
        await worker.session.looked_at(organisation)
        assert await worker.totals() == (400, 0)
