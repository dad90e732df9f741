"""A snapshot that is there is whole, and one that was acknowledged is there: an engine that takes
rows and keeps none (a full disk, a token that outlived its block) makes no ledger forget."""

import secrets
from typing import Any

import pytest

from clickhouse.errors import StoreUnavailable
from clickhouse.quoting import quoted
from clickhouse.store import Store
from recorder.batch import Batch
from recorder.packing import pack
from recorder.snapshots import Snapshots
from recorder.writer import Writer
from tests.recorder.hooks import Call, HookedStore
from tests.recorder.workbench import BEFORE_ALL, NOON_MS, entry, response_event

COUNTERS = (("c:1.0:0", 0, 0, 7), ("c:1.1:0", 1, 0, 3))
COUNT = 4
SPENT = {"c:1.0:0": (0, 7 * COUNT), "c:1.1:0": (1, 3 * COUNT)}


class Forgetful:
    """Takes the first calls of a name, and does nothing."""

    def __init__(self, name: str, times: int) -> None:
        self.left = times
        self._name = name

    async def around(self, call: Call) -> Any:
        """The hook."""
        if call.name == self._name and self.left:
            self.left -= 1
            return None
        return await call.happen()


class LosingOthers(HookedStore):
    """Keeps the balance of one counter alone."""

    def __init__(self, store: Store, kept: str) -> None:
        super().__init__(store)
        self._kept = kept

    async def command(self, statement: str) -> None:
        """As Store."""
        await super().command(f"{statement}\nHAVING booked.field = {quoted(self._kept)}")


async def written(store: Store) -> Batch:
    """Events of an organisation of its own that have charged something."""
    event = response_event("r-1", "acme/x", 1, 1)
    entries = [entry(seq, event=event, counters=COUNTERS) for seq in range(1, COUNT + 1)]
    batch = pack(f"org-{secrets.token_hex(5)}", BEFORE_ALL, entries)
    await Writer(store).write(batch, doubt=False)
    return batch


async def test_a_snapshot_that_was_not_kept_is_written_again(store: Store) -> None:
    """Under another token, until it is there: an epoch that was opened is not opened again."""
    batch = await written(store)
    snapshots = Snapshots(HookedStore(store, Forgetful("insert snapshots", 1).around))
    assert await snapshots.take(batch.organisation, batch.head)
    assert await snapshots.last_place(batch.organisation) == (batch.head.epoch, batch.head.seq)
    assert not await snapshots.take(batch.organisation, batch.head)


@pytest.mark.parametrize("name", ["insert snapshots", "command"])
async def test_what_is_never_kept_is_no_snapshot(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither without its own row nor without its balances; the next try begins anew, and what was
    spent is all there."""
    monkeypatch.setattr("recorder.keeping.LATE_S", ())
    batch = await written(store)
    forgetful = Forgetful(name, 100)
    snapshots = Snapshots(HookedStore(store, forgetful.around))
    with pytest.raises(StoreUnavailable, match="do not keep it: is the disk full"):
        await snapshots.take(batch.organisation, batch.head)
    assert await snapshots.last_place(batch.organisation) == (0, 0)
    forgetful.left = 0
    assert await snapshots.take(batch.organisation, batch.head)
    standing = await snapshots.standing(batch.organisation, batch.head, NOON_MS)
    assert standing.spent == SPENT


@pytest.mark.parametrize("kept", [*SPENT])
async def test_balances_of_which_one_is_lost_are_no_snapshot(
    store: Store, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever; the next try adds up the lost one alone, and what was spent is all there, once."""
    monkeypatch.setattr("recorder.keeping.LATE_S", ())
    batch = await written(store)
    with pytest.raises(StoreUnavailable, match="do not keep it: is the disk full"):
        await Snapshots(LosingOthers(store, kept)).take(batch.organisation, batch.head)
    snapshots = Snapshots(store)
    assert await snapshots.last_place(batch.organisation) == (0, 0)
    assert await snapshots.take(batch.organisation, batch.head)
    standing = await snapshots.standing(batch.organisation, batch.head, NOON_MS)
    assert standing.spent == SPENT
