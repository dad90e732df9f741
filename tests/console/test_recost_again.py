"""A correction is booked once: however often a recost is run, by how many at once, wherever it is
interrupted, and whatever happens to the ledger."""

import asyncio
import dataclasses
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import console.recosting
from budgets.policy import Policy
from budgets.transport import LedgerUnavailable
from console.options import ConsoleOptions
from tests.console.desk import Console, opened
from tests.console.recosting import (
    CALLS,
    RIGHT_NUSD,
    SPAN,
    Prices,
    agreed,
    booked,
    charges,
    pages,
    sums,
    wrongly_charged,
)
from tests.recorder.crashing import RecordsServer
from tests.recorder.recovering import Worker, recording, restarted
from tests.recorder.rig import staged

ROOT = Path(__file__).parents[2]


async def test_a_price_may_change_to_and_fro(recosting: Console, prices: Prices) -> None:
    """Dearer, cheaper, and back to one that was booked before: each time what the last one says."""
    caller = await recosting.caller()
    await wrongly_charged(caller, 3)
    for nusd, version in ((500, "a"), (2, "b"), (500, "a"), (0, "free"), (500, "a")):
        prices.nusd, prices.version = nusd, version
        assert await booked(recosting, caller) == 3
        assert await caller.desk.totals() == (3 * nusd, 0)


async def test_two_at_once_book_once(
    recosting: Console, records: RecordsServer, options: ConsoleOptions
) -> None:
    """Whoever comes second on the same charge is told ALREADY and changes nothing, even with
    another price: it finds the new charge when it is run again."""
    caller = await recosting.caller()
    await wrongly_charged(caller)
    await caller.recorded()
    other, wanted = Prices(500, "other"), {"organisation": caller.organisation, "book": True}
    async with opened(recosting.stage, Console.found(records), options, other) as second:
        both = await asyncio.gather(pages(recosting, wanted), pages(second, wanted))
        assert sum(page["booked"] + page["already"] for found in both for page in found) >= CALLS
        await caller.recorded()
        charged = await charges(records, caller.organisation)
        assert len(charged) == CALLS
        assert set(charged) <= {RIGHT_NUSD, 500}
        assert await caller.desk.totals() == (sum(charged), 0)
        await booked(second, caller)
        assert await caller.desk.totals() == (CALLS * 500, 0)


async def test_the_second_on_one_charge_is_told_already(
    recosting: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another recost books between the reading of a page and its booking."""
    caller = await recosting.caller()
    await wrongly_charged(caller, 3)
    others: list[str | int] = []
    policies = recosting.parts.session.policies

    async def overtaken(organisation: str) -> Mapping[str, Policy]:
        if not others:
            others.append("begun")
            others.append(await booked(recosting, caller))
        return await policies(organisation)

    monkeypatch.setattr(recosting.parts.session, "policies", overtaken)
    (page,) = await pages(recosting, {"organisation": caller.organisation, "book": True})
    assert others == ["begun", 3]
    assert (page["booked"], page["already"]) == (0, 3)
    assert await caller.desk.totals() == (3 * RIGHT_NUSD, 0)


async def test_a_reading_from_before_a_recovery_is_not_booked_by(
    recosting: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recovery forgets which corrections were booked: what was read before it is read again."""
    caller = await recosting.caller()
    await wrongly_charged(caller, 2)
    desk, policies = caller.desk, recosting.parts.session.policies

    async def recovered(organisation: str) -> Mapping[str, Policy]:
        head = await desk.head()
        await desk.set_head(dataclasses.replace(head, epoch=head.epoch + 1))
        return await policies(organisation)

    monkeypatch.setattr(recosting.parts.session, "policies", recovered)
    body = {**SPAN, "organisation": caller.organisation, "book": True}
    await recosting.refused(503, "ledger_unavailable", "POST", "/v1/prices/recost", body)
    assert await desk.totals() == (3, 0)


async def test_an_old_reading_is_not_booked_by(
    recosting: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tombstones of what others have booked meanwhile go after a while: a process that was paused
    reads again."""
    caller = await recosting.caller()
    await wrongly_charged(caller, 1)
    monkeypatch.setattr(console.recosting, "BOOK_S_MAX", -1)
    body = {**SPAN, "organisation": caller.organisation, "book": True}
    await recosting.refused(503, "records_unavailable", "POST", "/v1/prices/recost", body)
    assert await caller.desk.totals() == (1, 0)


@pytest.mark.parametrize("after", [0, 7, 19])
async def test_one_that_is_cut_off_is_run_again(
    recosting: Console, records: RecordsServer, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The ledger goes after some corrections, one of them booked without an answer: what was booked
    is there, and the second run books the rest, and no more."""
    caller = await recosting.caller()
    await wrongly_charged(caller)
    administration = recosting.parts.administration
    adjust, made = administration.adjust, 0

    async def cut(*args: Any, **more: Any) -> str:
        nonlocal made
        made += 1
        answer = await adjust(*args, **more)
        if made > after:
            raise LedgerUnavailable("gone")
        return answer

    monkeypatch.setattr(type(administration), "adjust", lambda _, *a, **m: cut(*a, **m))
    body = {**SPAN, "organisation": caller.organisation, "book": True}
    await recosting.refused(503, "ledger_unavailable", "POST", "/v1/prices/recost", body)
    monkeypatch.undo()
    assert await booked(recosting, caller) == CALLS - after - 1
    assert await caller.desk.totals() == (CALLS * RIGHT_NUSD, 0)
    await caller.recorded()
    assert await sums(records, caller.organisation) == agreed(CALLS * RIGHT_NUSD)


@pytest.mark.parametrize("after", [1, 11])
async def test_one_that_is_killed_is_run_again(
    recosting: Console, records: RecordsServer, after: int
) -> None:
    """A process that ends by SIGKILL between two corrections: the second run books what is left."""
    caller = await recosting.caller()
    await wrongly_charged(caller)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.console.recosting_process"),
        *(str(recosting.stage.server.socket_path), str(records.folder), str(records.port)),
        *(caller.organisation, str(after)),
        cwd=ROOT,
    )
    assert await process.wait() == -signal.SIGKILL
    assert await booked(recosting, caller) == CALLS - after
    assert await caller.desk.totals() == (CALLS * RIGHT_NUSD, 0)
    await caller.recorded()
    assert await sums(records, caller.organisation) == agreed(CALLS * RIGHT_NUSD)


async def test_records_that_are_behind_are_not_gone_by(
    records: RecordsServer, prices: Prices
) -> None:
    """What the ledger has booked and no recorder has written may be a correction: nothing is booked
    before it is there."""
    options = ConsoleOptions(recost_wait_ms_max=300)
    async with staged() as stage:
        store = records.store()
        running = await stage.recorder(store)
        async with opened(stage, Console.found(records), options, prices) as console:
            caller = await console.caller()
            await wrongly_charged(caller)
            await caller.recorded()
            await running.stop()
            assert await caller.call(0)
            body = {**SPAN, "organisation": caller.organisation, "book": True}
            path = "/v1/prices/recost"
            error = await console.refused(503, "records_unavailable", "POST", path, body)
            assert "not yet" in error["message"]
            assert (await caller.desk.totals())[0] == 210 + 100
        await store.close()


async def test_a_recovery_keeps_what_was_corrected(
    records: RecordsServer, options: ConsoleOptions, prices: Prices
) -> None:
    """The ledger loses everything after a recost: it comes back with the corrected counters, a
    second run changes nothing, and the chain holds through both epochs."""
    store = records.store()
    organisation = "recost-recovered"
    async with staged() as stage, recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "1"}])
        for _ in range(5):
            await worker.end(await worker.begin(), 7)
        async with opened(stage, Console.found(records), options, prices) as console:
            body = {"organisation": organisation, "book": True}
            (page,) = await pages(console, body)
            assert page["booked"] == 5
            await worker.until_recorded()
            before = await worker.books()
            with restarted(stage.server, files=stage.folder / "nowhere"):
                pass
            await worker.transport.command("PING")
            await worker.session.looked_at(organisation)
            assert await worker.books() == before
            assert await worker.totals() == (5 * RIGHT_NUSD, 0)
        async with opened(stage, Console.found(records), options, prices) as console:
            (again,) = await pages(console, body)
            assert (again["examined"], again["booked"], again["already"]) == (5, 0, 0)
        assert await worker.totals() == (5 * RIGHT_NUSD, 0)
        await worker.until_recorded()
    await store.close()
