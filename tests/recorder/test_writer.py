"""A batch is there once, whatever the engine remembers of the tokens that it was given."""

import json
import secrets

import pytest

from clickhouse.store import Store
from recorder.batch import Batch
from recorder.packing import insert_events, pack
from recorder.writer import RecordsDisagree, Writer
from tests.recorder.workbench import BEFORE_ALL, entry, response_event

COUNT = 5
EVENTS_JSON = "JSONCompactEachRow"


def a_batch() -> Batch:
    """Of an organisation of its own."""
    event = response_event("r-1", "acme/x", 1, 1)
    entries = [entry(seq, event=event) for seq in range(1, COUNT + 1)]
    return pack(f"org-{secrets.token_hex(5)}", BEFORE_ALL, entries)


async def recorded(store: Store, batch: Batch) -> int:
    """How many events of its organisation are there."""
    query = "SELECT count() FROM comptroller.events WHERE org = {org:String}"
    (count,) = json.loads(await store.select(query, {"org": batch.organisation}))
    return int(count)


async def test_what_is_there_is_not_written_again_under_a_token_that_was_forgotten(
    store: Store,
) -> None:
    """An engine knows only its last tokens: a batch in doubt is asked for before it is written."""
    batch = a_batch()
    await store.insert(insert_events(), batch.events, "a token of long ago", EVENTS_JSON)
    await Writer(store).write(batch, doubt=True)
    assert await recorded(store, batch) == COUNT


async def test_what_an_engine_has_only_in_part_is_left_to_a_person(store: Store) -> None:
    """Nothing is added to records that hold a part of a batch: nobody knows why they do."""
    batch = a_batch()
    first = batch.events.split(b"\n")[0]
    await store.insert(insert_events(), first, "a part of it", EVENTS_JSON)
    with pytest.raises(RecordsDisagree, match="comptroller verify"):
        await Writer(store).write(batch, doubt=True)
    assert await recorded(store, batch) == 1
