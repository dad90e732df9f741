"""Records in memory that obey ClickHouse's rules: an insert is one block, there or not; a token
that was seen drops its block; an answer may be lost; what was given up may be written later.
"""

import asyncio
import json
import struct
from collections import Counter
from collections.abc import Mapping
from contextvars import Context
from string import Template

from clickhouse.errors import StoreRefused, StoreUnavailable
from clickhouse.query import load_query
from clickhouse.store import ROWS
from recorder.openrequests import OPEN_COLUMNS
from tests.simulation.clockwork import SimulatedLoop
from tests.simulation.tables import Tables, column
from tests.simulation.trace import Trace
from tests.simulation.weather import Weather

_QUERIES = {
    load_query(name): name
    for name in (
        *("last_event", "batch_count", "batch_bodies", "batch_states", "organisations", "days"),
        *("snapshot", "snapshot_place", "balances_at", "balances_of", "balances_missing"),
        *("ended_between", "endings_since", "states_at", "states_of", "remembered"),
        *("seq_before", "used_among"),
    )
} | {Template(load_query("open_requests")).substitute(columns=OPEN_COLUMNS): "open_requests"}
_FIXED = struct.Struct("<IQq")


class MemoryStore(Tables):
    """A `Store` for every process of the world. `late` writes are given up and may still come."""

    def __init__(self, loop: SimulatedLoop, weather: Weather, trace: Trace) -> None:
        super().__init__()
        self.late = 0
        self._loop = loop
        self._weather = weather
        self._trace = trace
        self._tokens: set[str] = set()
        self._swallowed: set[str] = set()
        self._was_behind = False

    async def select(self, query: str, parameters: Mapping[str, str | int]) -> bytes:
        """As Store."""
        await self._travel()
        name = _QUERIES[query]
        answer = getattr(self, name)(dict(parameters))
        if name == "batch_count":
            # A replica that has not caught up; the next one has.
            self._was_behind = not self._was_behind and self._weather.strikes("store_behind")
            answer = [[0]] if self._was_behind else answer
        await self._travel()
        lines = [json.dumps(row).encode() for row in answer]
        return b"\n".join(lines) + b"\n" if lines else b""

    async def insert(
        self,
        statement: str,
        rows: bytes,
        token: str,
        format_name: str = ROWS,  # noqa: ARG002
    ) -> None:
        """As Store."""
        await self._travel()
        weather = self._weather
        if weather.strikes("store_refuses"):
            raise StoreRefused(241, "memory limit exceeded")
        if weather.strikes("store_late"):
            late_s = self._loop.rng.random() * 6
            write = (statement, rows, token)
            self.late += 1
            self._loop.call_later(late_s, self._write_late, *write, context=Context())
            raise StoreUnavailable("timed out")
        batch = token.partition("#")[0]
        if batch not in self._swallowed and weather.strikes("store_swallows"):
            self._swallowed.add(batch)  # an engine that crashed knows the token, not the rows
            self._tokens.add(token)
        self._write(statement, rows, token)
        if weather.strikes("store_answer_lost"):
            raise StoreUnavailable("the answer was lost")
        await self._travel()

    async def command(self, statement: str) -> None:
        """As Store."""
        await self._travel()
        if not self._weather.strikes("store_swallows"):  # else taken, and not kept
            self.command_of(statement)
        if self._weather.strikes("store_answer_lost"):
            raise StoreUnavailable("the answer was lost")
        await self._travel()

    async def close(self) -> None:
        """As Store."""

    async def _travel(self) -> None:
        await asyncio.sleep(self._loop.rng.random() * 0.01)
        if self._weather.strikes("store_unavailable"):
            raise StoreUnavailable("nobody listens")

    def _write_late(self, statement: str, rows: bytes, token: str) -> None:
        self.late -= 1
        self._write(statement, rows, token)

    def _write(self, statement: str, rows: bytes, token: str) -> None:
        table = statement.split()[2].removeprefix("comptroller.")
        if token in self._tokens:
            self._weather.tally["rare:block dropped by its token"] += 1
            return
        self._tokens.add(token)
        self._trace.note("records", "insert %s %s", table, token[:48])
        if table == "events":
            for line in rows.splitlines():
                row = json.loads(line)
                if not column(row, "part"):
                    organisation = column(row, "org")
                    self.events.setdefault(organisation, []).append(row)
                    place = column(row, "epoch"), column(row, "seq")
                    self.seqs.setdefault(organisation, set()).add(place)
        elif table == "bodies":
            self._write_bodies(rows)
        elif table == "states":
            for line in rows.splitlines():
                organisation, kind, name, epoch, seq, time_ms, text = json.loads(line)
                states = self.states.setdefault(organisation, {})
                states[epoch, seq, kind, name] = text, time_ms
        elif table == "snapshots":
            organisation, _, epoch, seq, _, still_open = json.loads(rows)
            self.snapshots.setdefault(organisation, []).append((epoch, seq, still_open))

    def _write_bodies(self, rows: bytes) -> None:
        at = 0
        while at < len(rows):
            organisation, at = _text(rows, at)
            epoch, seq, _ = _FIXED.unpack_from(rows, at)
            _, at = _text(rows, at + _FIXED.size)
            _, at = _text(rows, at + 1)
            self.bodies.setdefault(organisation.decode(), Counter())[epoch, seq] += 1


def _text(rows: bytes, at: int) -> tuple[bytes, int]:
    length = shift = 0
    while True:
        byte = rows[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return rows[at : at + length], at + length
        shift += 7
