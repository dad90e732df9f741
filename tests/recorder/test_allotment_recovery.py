"""Allotments come back from the records with all that they have set aside and spent, open, closing
and closed, and end afterwards as if nothing had happened."""

import secrets
import struct
import time
from pathlib import Path

import pytest

from budgets.allotments import Allotment
from budgets.answers import Reservation
from budgets.recovering import Present
from clickhouse.store import Store
from recorder.batch import Head
from recorder.restoring import restoration
from recorder.snapshots import Standing
from tests.recorder.recovering import RESERVED_NUSD, Worker, recording, restarted
from tests.recorder.rig import Stage

DAY_MS = 86_400_000


@pytest.fixture
def organisation() -> str:
    """One that no other test has."""
    return f"moved-{secrets.token_hex(5)}"


async def allot(worker: Worker, scope: str, nusd: int) -> Allotment:
    """One for a day."""
    until_ms = time.time_ns() // 10**6 + DAY_MS
    opening = worker.administration.allot(scope, {"usd": nusd}, until_ms, b"{}")
    allotment = await opening
    assert isinstance(allotment, Allotment), allotment
    return allotment


async def a_life(worker: Worker) -> list[Reservation]:
    """One that is closed, one with an inner one that is overrun, and one that is closing and whose
    scope is a key's: what is open in the last two."""
    org = worker.organisation
    await worker.session.begin_organisation(org)
    await worker.set_budget(org, [{"usd": "1"}, {"usd": "1", "window": "month"}])
    await allot(worker, f"{org}/over", 5000)
    await worker.end(await worker.begin(f"{org}/over"), 700)
    assert await worker.administration.close_allotment(f"{org}/over", b"{}") == "CLOSED"
    await allot(worker, f"{org}/run", 5000)
    await allot(worker, f"{org}/run/step", 3000)
    inner = await worker.begin(f"{org}/run/step")
    await worker.end(await worker.begin(f"{org}/run/step"), 3500)
    await worker.end(await worker.begin(f"{org}/run"), 100)
    key = await worker.mint("key-1", org, f"ck-{org}")
    await allot(worker, key.key_scope, 2000)
    last = await worker.begin(key.key_scope)
    assert await worker.administration.close_allotment(key.key_scope, b"{}") == "CLOSING"
    return [inner, last]


async def moved(worker: Worker) -> dict[str, object]:
    """All that is kept of allotments, but when the sweeper looks at those that are closing."""
    fields = await worker._hash("ledger")
    command = worker.transport.command
    due = await command("ZRANGE", worker.key("allotments:expiry"), "0", "-1")
    assert isinstance(due, list)
    return {
        "fields": {name: raw for name, raw in fields.items() if name[:2] in (b"a:", b"o:")},
        "by scope": await command("ZRANGE", worker.key("allotments"), "0", "-1"),
        "to look at": sorted(due),
    }


@pytest.mark.parametrize("lost", [False, True], ids=["nothing", "everything"])
async def test_allotments_come_back(
    stage: Stage, store: Store, organisation: str, lost: bool
) -> None:
    """Whether the server has lost nothing or everything: what they cost above, who is open, and the
    key that goes on when its allotment is closed."""
    files: Path | None = stage.folder / "nowhere" if lost else None
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        inner, last = await a_life(worker)
        await worker.until_recorded()
        before, kept = await worker.books(), await moved(worker)
        with restarted(stage.server, files=files):
            pass
        await worker.transport.command("PING")
        await worker.session.looked_at(organisation)
        assert await worker.books() == before
        assert await moved(worker) == kept
        above = [each for name, each in (await worker.counters()).items() if name[:3] != "c:a"]
        assert above == [(700, 0, 7000)] * 2
        assert await worker.keyring.find(f"ck-{organisation}".encode())
        assert await worker.end(last, RESERVED_NUSD) == "SETTLED"
        assert await worker.end(inner, 0) == "SETTLED"
        close = worker.administration.close_allotment
        assert await close(f"{organisation}/run", b"{}") == "CLOSED"
        above = [each for name, each in (await worker.counters()).items() if name[:3] != "c:a"]
        assert above == [(700 + 1000 + 3600, 0, 0)] * 2
        await worker.until_recorded()


def test_what_only_the_ledger_knows_to_be_spent_is_set_aside_above() -> None:
    """An overrun that the records have not seen costs the scopes above as much as it did."""
    text = (
        '{"id":"a5","scope":"o/run","state":"open","expires_ms":"9",'
        '"moves":{"usd":{"amount":"300","raised":"c:1.0:0"}}}'
    )
    standing = Standing(Head(1, 9, "", 5), {"c:a5.1:0": (1, 100)}, (), {"allotment": {"a5": text}})
    there = {"c:a5.1:0": struct.pack("<3q", 450, 0, 0), "c:1.0:0": struct.pack("<3q", 0, 0, 450)}
    found = restoration(standing, [], Present(there, {}, {}, frozenset()), 5)
    written = {each.field: each.text for each in found.writes}
    assert struct.unpack("<3q", written["c:a5.1:0"]) == (450, 0, 0)
    assert struct.unpack("<3q", written["c:1.0:0"]) == (0, 0, 450)
    assert found.booked == ["c:a5.1:0", 1, 0, 350]
