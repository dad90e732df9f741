"""What the recorder's tests stand on: events as the gateway writes them, a ledger's desk, and
records in a process of their own.

A process can have one folder of the embedded engine, and other suites have theirs in the test's own
process; so the schema under test lives in a child, and a pipe carries the store's calls.
"""

import asyncio
import contextlib
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from budgets.embedded import EmbeddedServer, die_with_parent
from budgets.ledger import LedgerOptions
from budgets.memory import Memory
from budgets.pipelined import NodeAddress, PipelinedTransport, TransportLimits
from clickhouse.chain import GENESIS
from clickhouse.engine import Engine
from clickhouse.errors import StoreRefused
from clickhouse.events import COLUMNS, EventRow
from clickhouse.migrate import Layout, migrate
from clickhouse.store import ROWS, EmbeddedStore
from clickhouse.stream import Entry
from gateway.events import RequestEvent, ResponseEvent, encode
from recorder.batch import Batch, Head
from recorder.packing import INSERT_BODIES, INSERT_STATES, insert_events, pack
from tests.budgets.harness import ManualClock, TimedDesk, timed_desk_for
from tests.forking import warm

ENDPOINT = "/v1/chat/completions"
BEFORE_ALL = Head(0, 0, GENESIS, 0)
LEASE_MS = 60_000
NOON_MS = int(datetime(2027, 3, 10, 12, 0, 0, tzinfo=UTC).timestamp()) * 1000
DAY_MS = 86_400_000
TABLES = ("events", "bodies", "balances", "hours", "states", "snapshots")
ENDED_S_MAX = 60
_IN_ROWS = {
    "time_ms": "toUnixTimestamp64Milli(time)",
    # A named tuple is an object in JSON; the chain has it as an array.
    "counters": "arrayMap(c -> (c.1, c.2, c.3, c.4), counters)",
}


class StoreProcess:
    """Store, in a child process. `refuse_next` makes the next command that starts so fail before
    it happens, as a crash in between would."""

    def __init__(self, folder: Path) -> None:
        self._pipe, theirs = warm().Pipe()
        self._process = warm().Process(target=_served, args=(theirs, folder), daemon=True)
        self._process.start()
        theirs.close()
        self._lock = threading.Lock()
        self.refuse_next = ""

    async def select(self, query: str, parameters: Mapping[str, str | int]) -> bytes:
        """As Store."""
        plain = {name: str(v) if isinstance(v, str) else v for name, v in parameters.items()}
        answer = await asyncio.to_thread(self._call, "select", query, plain)
        assert isinstance(answer, bytes)
        return answer

    async def insert(
        self, statement: str, rows: bytes, token: str, format_name: str = ROWS
    ) -> None:
        """As Store."""
        self._refuse(statement)
        await asyncio.to_thread(self._call, "insert", statement, rows, token, format_name)

    async def command(self, statement: str) -> None:
        """As Store."""
        self._refuse(statement)
        await asyncio.to_thread(self._call, "command", statement)

    def _refuse(self, statement: str) -> None:
        if self.refuse_next and self.refuse_next in statement:
            self.refuse_next = ""
            raise StoreRefused(1001, "refused by the test")

    async def close(self) -> None:
        """Ends the child."""
        self.stop()

    def stop(self) -> None:
        """Ends the child; it leaves by itself when its pipe ends."""
        self._pipe.close()
        self._process.join(ENDED_S_MAX)
        assert self._process.exitcode == 0

    def _call(self, *call: Any) -> Any:
        with self._lock:
            self._pipe.send_bytes(msgspec.msgpack.encode(call))
            outcome, value = msgspec.msgpack.decode(self._pipe.recv_bytes())
        if outcome == "refused":
            raise StoreRefused(*value)
        assert outcome == "done", value
        return value

    async def rows(self, query: str, **parameters: str | int) -> list[list[Any]]:
        """The answer's rows."""
        lines = await self.select(query, parameters)
        return [msgspec.json.decode(line) for line in lines.splitlines()]

    async def write(self, batch: Batch) -> None:
        """A batch as the recorder writes it."""
        if batch.bodies:
            await self.insert(INSERT_BODIES, batch.bodies, f"{batch.token}-bodies", "RowBinary")
        if batch.states:
            await self.insert(INSERT_STATES, batch.states, f"{batch.token}-states")
        await self.insert(insert_events(), batch.events, batch.token)

    async def event_rows(self, organisation: str) -> list[tuple[str, str, EventRow]]:
        """(hash, hash before, event) of an organisation's chain, in order, as SQL has them."""
        columns = ", ".join(_IN_ROWS.get(name, name) for name in COLUMNS)
        lines = await self.rows(
            f"SELECT hash, prev_hash, {columns} FROM comptroller.events "
            "WHERE org = {org:String} AND part = 0 ORDER BY epoch, seq",
            org=organisation,
        )
        return [(line[0], line[1], msgspec.convert(line[2:], EventRow)) for line in lines]


async def begin_anew(store: StoreProcess) -> None:
    """The schema, with nothing in it."""
    await migrate(store, Layout(fsync=False))
    for table in TABLES:
        await store.command(f"TRUNCATE TABLE comptroller.{table}")


@asynccontextmanager
async def desk_at(
    valkey: EmbeddedServer,
    at_ms: int = NOON_MS,
    organisation: str = "",
    memory: Memory | None = None,
) -> AsyncIterator[TimedDesk]:
    """A worker at a time that the test sets, of an organisation that no other test has."""
    name = organisation or f"rec-{secrets.token_hex(5)}"
    address = NodeAddress(unix_path=str(valkey.socket_path))
    transport = PipelinedTransport(address, TransportLimits(call_timeout_ms=30_000))
    options = LedgerOptions(lease_ms=LEASE_MS)
    desk = timed_desk_for(name, transport, ManualClock(at_ms), options, memory)
    await desk.set_time(at_ms)
    await desk.session.open_organisation(name, create=True)
    try:
        yield desk
    finally:
        await transport.close()


def request_event(id_: str, scope: str, **changes: Any) -> bytes:
    """An `llm_request` as the gateway writes it."""
    event = RequestEvent(
        request_id=id_,
        scope=scope,
        key_id="key-1",
        agent="writer",
        endpoint=ENDPOINT,
        provider="openai",
        model_requested="small",
        model="small-1",
        streamed=False,
        input_tokens_max=100,
        output_cap_asked=50,
        price_version="p1",
        request_bytes=20,
        payload_state="full",
    )
    return encode(msgspec.structs.replace(event, **changes))


def response_event(id_: str, scope: str, reserved: int, charged: int, **changes: Any) -> bytes:
    """An `llm_response` as the gateway writes it: of a settlement unless said."""
    event = ResponseEvent(
        request_id=id_,
        scope=scope,
        key_id="key-1",
        agent="writer",
        endpoint=ENDPOINT,
        provider="openai",
        model_requested="small",
        model="small-1",
        streamed=False,
        status=200,
        usage_source="provider",
        reserved_nusd=reserved,
        charged_nusd=charged,
        price_version="p1",
        text_input=7,
        cached_input=3,
        text_output=5,
        reasoning_output=2,
        overrun=charged > reserved,
        duration_ms=12,
        payload_state="full",
    )
    return encode(msgspec.structs.replace(event, **changes))


def entry(
    seq: int,
    kind: str = "llm_response",
    event: bytes = b"",
    *,
    epoch: int = 1,
    at_ms: int = NOON_MS,
    output: int = 0,
    reserved: int = 0,
    counters: tuple[tuple[str, int, int, int], ...] = (),
    body: bytes = b"",
) -> Entry:
    """An entry of an outbox."""
    return Entry(epoch, seq, kind, at_ms, f"id-{seq}", output, reserved, counters, event, body)


class Log:
    """Writes an organisation's events into the records, day by day."""

    def __init__(self, store: StoreProcess, organisation: str = "acme") -> None:
        self.store = store
        self.organisation = organisation
        self.head: Head = BEFORE_ALL
        self.entries: list[Entry] = []

    def add(self, at_ms: int, kind: str, event: bytes, **more: Any) -> None:
        """One event more."""
        seq = self.head.seq + len(self.entries) + 1
        self.entries.append(entry(seq, kind, event, at_ms=at_ms, **more))

    def call(self, at_ms: int, charged: int, **more: Any) -> None:
        """A request and its settlement, with payloads and a tool call."""
        scope = f"{self.organisation}/research/key-1"
        id_ = f"r-{self.head.seq + len(self.entries)}"
        request = request_event(id_, scope)
        self.add(at_ms, "llm_request", request, reserved=100, body=b'{"messages":[]}')
        event = response_event(id_, scope, 100, charged, **more)
        self.add(at_ms, "llm_response", event, body=b"{}")

    async def write(self) -> None:
        """What was added. (One insert for several days: quicker, the same to what is read.)"""
        batch = pack(self.organisation, self.head, self.entries)
        await self.store.write(batch)
        self.head, self.entries = batch.head, []


def _served(pipe: Connection, folder: Path) -> None:
    die_with_parent()
    asyncio.run(_serve(pipe, folder))


async def _serve(pipe: Connection, folder: Path) -> None:
    with Engine(folder) as engine:
        store = EmbeddedStore(engine)
        with contextlib.suppress(EOFError):  # nobody asks any more
            await _answer(pipe, store)
        await store.close()


async def _answer(pipe: Connection, store: EmbeddedStore) -> None:
    calls: dict[str, Callable[..., Awaitable[Any]]] = {
        "select": store.select,
        "insert": store.insert,
        "command": store.command,
    }
    while True:
        name, *arguments = msgspec.msgpack.decode(pipe.recv_bytes())
        answer: tuple[str, Any]
        try:
            answer = ("done", await calls[name](*arguments))
        except StoreRefused as error:
            answer = ("refused", (error.code, error.message))
        pipe.send_bytes(msgspec.msgpack.encode(answer))
