"""Keeps the outbox short while the bench runs, as the recorder does, in a process of its own.

Every half second everything is confirmed up to the highest seq, by the ledger's own `confirm`. Its
work inside the server is part of the ledger's bill; this process is on nobody's. Reading the
entries, which the recorder does as well, is not imitated.
"""

import argparse
import asyncio
import json
import struct
import sys
import threading
from pathlib import Path

from budgets.pipelined import NodeAddress, PipelinedTransport
from budgets.recording import Recording
from budgets.scripts import load_scripts
from budgets.session import Session, SessionOptions
from gateway.clock import SystemClock

TRUSTS = SessionOptions(trusts=True)

CONFIRM_EVERY_S = 0.5
_META = struct.Struct("<6q")  # epoch, seq, time, compaction, bytes of bodies, opened: chunks/meta


async def drain(socket_path: Path, organisation: str, ended: asyncio.Event) -> None:
    """Confirms until `ended`."""
    transport = PipelinedTransport(NodeAddress(unix_path=str(socket_path)))
    session = Session(transport, load_scripts(), SystemClock(), TRUSTS)
    recording = Recording(session, "bench")
    ledger_key = (await session.slot(organisation)).keys[0]
    print(json.dumps({"ready": True}), flush=True)
    try:
        while not ended.is_set():
            meta = await transport.command("HGET", ledger_key, "meta")
            assert isinstance(meta, bytes)
            epoch, seq, _, _, bodies_bytes, _ = _META.unpack(meta)
            await recording.confirm(organisation, epoch, seq, bodies_bytes)
            try:
                await asyncio.wait_for(ended.wait(), CONFIRM_EVERY_S)
            except TimeoutError:
                continue
    finally:
        await transport.close()


async def _main(socket_path: Path, organisation: str) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    await drain(socket_path, organisation, ended)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("socket_path", type=Path)
    parser.add_argument("organisation")
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.socket_path, arguments.organisation))
