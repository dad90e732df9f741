"""Records in memory that obey ClickHouse's rules: an insert is one block, there or not; a token
that was seen drops its block; an answer may be lost; what was given up may be written later.
"""

import asyncio
import json
import struct
from collections import Counter
from collections.abc import Mapping
from contextvars import Context
from typing import Any

from clickhouse.errors import StoreRefused, StoreUnavailable
from clickhouse.events import COLUMNS, DERIVED_COLUMNS
from clickhouse.query import load_query
from clickhouse.store import ROWS
from tests.simulation.clockwork import SimulatedLoop
from tests.simulation.trace import Trace
from tests.simulation.weather import Weather

_QUERIES = {
    load_query(name): name
    for name in (
        *("last_event", "batch_count", "batch_bodies", "batch_states"),
        *("organisations", "balances", "days", "day_sums"),
    )
}
_EVENT = ("hash", "prev_hash", *DERIVED_COLUMNS, *COLUMNS)
_AT = {name: place for place, name in enumerate(_EVENT)}
_FIXED = struct.Struct("<IQq")


class MemoryStore:
    """A `Store` for every recorder of the world. `events` has the rows of the chain (part 0) as
    they were inserted, `bodies` (seq, kind) of payloads, by organisation."""

    def __init__(self, loop: SimulatedLoop, weather: Weather, trace: Trace) -> None:
        self.events: dict[str, list[list[Any]]] = {}
        self.bodies: dict[str, Counter[int]] = {}
        self.seqs: dict[str, set[int]] = {}
        self.states: dict[str, dict[tuple[int, int, str, str], str]] = {}
        self._loop = loop
        self._weather = weather
        self._trace = trace
        self._tokens: set[str] = set()
        self._swallowed: set[str] = set()
        self._was_behind = False

    async def select(self, query: str, parameters: Mapping[str, str | int]) -> bytes:
        """As Store."""
        await self._travel()
        answer = getattr(self, f"_{_QUERIES[query]}")(dict(parameters))
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
            self._loop.call_later(late_s, self._write, *write, context=Context())
            raise StoreUnavailable("timed out")
        batch = token.partition("#")[0]
        if batch not in self._swallowed and weather.strikes("store_swallows"):
            self._swallowed.add(batch)  # an engine that crashed knows the token, not the rows
            self._tokens.add(token)
        self._write(statement, rows, token)
        if weather.strikes("store_answer_lost"):
            raise StoreUnavailable("the answer was lost")
        await self._travel()

    async def command(self, statement: str) -> None:  # noqa: ARG002
        """As Store."""
        await self._travel()

    async def close(self) -> None:
        """As Store."""

    async def _travel(self) -> None:
        await asyncio.sleep(self._loop.rng.random() * 0.01)
        if self._weather.strikes("store_unavailable"):
            raise StoreUnavailable("nobody listens")

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
                if not row[_AT["part"]]:
                    organisation = row[_AT["org"]]
                    self.events.setdefault(organisation, []).append(row)
                    self.seqs.setdefault(organisation, set()).add(row[_AT["seq"]])
        elif table == "bodies":
            self._write_bodies(rows)
        elif table == "states":
            for line in rows.splitlines():
                organisation, kind, name, epoch, seq, _, text = json.loads(line)
                self.states.setdefault(organisation, {})[epoch, seq, kind, name] = text

    def _write_bodies(self, rows: bytes) -> None:
        at = 0
        while at < len(rows):
            organisation, at = _text(rows, at)
            _, seq, _ = _FIXED.unpack_from(rows, at)
            _, at = _text(rows, at + _FIXED.size)
            _, at = _text(rows, at + 1)
            self.bodies.setdefault(organisation.decode(), Counter())[seq] += 1

    # The questions of the recorder.

    def _last_event(self, asked: dict[str, Any]) -> list[Any]:
        rows = self.events.get(asked["org"], [])
        if not rows:
            return []
        last = max(rows, key=lambda row: (row[_AT["epoch"]], row[_AT["seq"]]))
        return [[last[_AT[name]] for name in ("epoch", "seq", "hash", "time_ms")]]

    def _batch_count(self, asked: dict[str, Any]) -> list[Any]:
        self._was_behind = not self._was_behind and self._weather.strikes("store_behind")
        if self._was_behind:
            return [[0]]  # a replica that has not caught up; the next one has
        rows = self.events.get(asked["org"], [])
        first, last = asked["first"], asked["last"]
        return [[sum(first <= row[_AT["seq"]] <= last for row in rows)]]

    def _batch_bodies(self, asked: dict[str, Any]) -> list[Any]:
        seqs = self.bodies.get(asked["org"], Counter())
        return [[sum(asked["first"] <= seq <= asked["last"] for seq in seqs)]]

    def _batch_states(self, asked: dict[str, Any]) -> list[Any]:
        places = self.states.get(asked["org"], {})
        first, last = (asked["epoch"], asked["first"]), (asked["epoch"], asked["last"])
        return [[sum(first <= place[:2] <= last for place in places)]]

    def _organisations(self, asked: dict[str, Any]) -> list[Any]:  # noqa: ARG002
        return [[name] for name in sorted(self.events)]

    def _balances(self, asked: dict[str, Any]) -> list[Any]:
        wanted = {name.strip("'") for name in asked["fields"].strip("[]").split(",")}
        sums: Counter[tuple[str, int]] = Counter()
        for row in self.events.get(asked["org"], []):
            if row[_AT["time_ms"]] >= asked["since_ms"] and row[_AT["event_type"]] != "llm_request":
                for name, dimension, _, charged in row[_AT["counters"]]:
                    if name in wanted:
                        sums[name, dimension] += charged
        return [[name, dimension, spent] for (name, dimension), spent in sorted(sums.items())]

    def _days(self, asked: dict[str, Any]) -> list[Any]:  # noqa: ARG002
        return []


def column(row: list[Any], name: str) -> Any:
    """A value of a row by its column."""
    return row[_AT[name]]


def canonical_part(row: list[Any]) -> list[Any]:
    """What the chain covers of a row."""
    return row[2 + len(DERIVED_COLUMNS) :]


def _text(rows: bytes, at: int) -> tuple[bytes, int]:
    length = shift = 0
    while True:
        byte = rows[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return rows[at : at + length], at + length
        shift += 7
