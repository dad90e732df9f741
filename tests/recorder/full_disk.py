"""A recorder's writer on an engine whose disk is full, as a process that has a small disk to
itself: `python -m tests.recorder.full_disk FOLDER BYTES`, FOLDER on that disk, of which BYTES
stay free. Prints an Outcome.
"""

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from clickhouse.engine import Engine, EngineLimits
from clickhouse.errors import StoreRefused, StoreUnavailable
from clickhouse.migrate import Layout, migrate
from clickhouse.store import EmbeddedStore
from recorder.batch import Batch, Head
from recorder.packing import pack
from recorder.writer import RecordsDisagree, Writer
from tests.recorder.workbench import BEFORE_ALL, entry, request_event

BATCHES_MAX = 50
EVENTS = 400
BODY_BYTES = 20_000
BALLAST_BYTES = 40 * 2**20


class Outcome(msgspec.Struct, frozen=True):
    """`errors`: what the writer raised, by the exception's name, for a batch that it then wrote
    when there was room again. `wanted` and `found`: events acknowledged, and events in the records
    of an engine that was opened anew; `payloads` likewise."""

    errors: list[str]
    wanted: int
    found: list[int]
    payloads: int


async def _main(folder: Path, free_bytes_min: int) -> Outcome:
    limits = EngineLimits(disk_free_bytes_min=free_bytes_min)
    ballast = folder / "ballast"
    ballast.write_bytes(os.urandom(BALLAST_BYTES))
    with Engine(folder / "records", limits) as engine:
        store = EmbeddedStore(engine)
        await migrate(store, Layout())
        writer, head, errors = Writer(store), BEFORE_ALL, list[str]()
        while not errors and head.seq < BATCHES_MAX * EVENTS:
            batch = _batch(head)
            try:
                await writer.write(batch, doubt=False)
            except (StoreRefused, StoreUnavailable, RecordsDisagree) as error:
                errors.append(type(error).__name__)
                ballast.unlink()
                await writer.write(batch, doubt=True)
            head = batch.head
        await store.close()
    with Engine(folder / "records") as engine:
        store = EmbeddedStore(engine)
        seqs = await store.select("SELECT seq FROM comptroller.events ORDER BY seq", {})
        payloads = await store.select("SELECT count() FROM comptroller.bodies FINAL", {})
        await store.close()
    found = [msgspec.json.decode(line)[0] for line in seqs.splitlines()]
    return Outcome(errors, head.seq, found, msgspec.json.decode(payloads)[0])


def _batch(head: Head) -> Batch:
    event = request_event("r", "acme/key-1")
    entries = [
        entry(seq, "llm_request", event, body=os.urandom(BODY_BYTES))
        for seq in range(head.seq + 1, head.seq + EVENTS + 1)
    ]
    return pack("acme", head, entries)


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode(asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2]))))
    )
