"""What the ledger's tests stand on: clocks that a test sets, and a desk that looks into Redis.

Tests judge the ledger by what it answers and by what it leaves behind; the desk reads both, the
counters and the outbox, without the code under test in between. The test clock replaces the one
Lua chunk that knows the time, so that a test can stand at any second of any year.
"""

import functools
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from budgets.administration import Administration
from budgets.answers import Ask, Refusal, Reservation
from budgets.ledger import Ledger, LedgerOptions
from budgets.memory import Memory
from budgets.plan import ScopePath
from budgets.policy import Payloads, parse_policy
from budgets.scripts import Script, load_scripts
from budgets.session import Clock, Session, SessionOptions
from budgets.transport import LedgerTransport

TRUSTS = SessionOptions(trusts=True)

# One text for all tests: the clock's key is named after the organisation's own.
NOW_CHUNK = """
local function now()
  return tonumber(redis.call('GET', 'test:clock:' .. KEYS[1]))
end
"""
_COUNTER = struct.Struct("<3q")
_HEAD = struct.Struct("<6q")


@functools.cache
def scripts(now_chunk: str | None = None) -> dict[str, Script]:
    """The ledger's, read once: tests make thousands of sessions."""
    return load_scripts(now_chunk)


class SystemClock:
    """The machine's time."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A worker's time as a test sets it; `skew_ms` is what it is wrong by."""

    def __init__(self, at_ms: int, skew_ms: int = 0) -> None:
        self.at_ms = at_ms
        self.skew_ms = skew_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970, as this worker believes."""
        return self.at_ms + self.skew_ms


@dataclass(frozen=True, slots=True)
class Entry:
    """One outbox entry. `counters` is flat: three numbers for each counter of a request, four for
    each of an ending or correction, none for events that touch no counter."""

    epoch: int
    seq: int
    kind: str
    time_ms: int
    id: str
    output: int
    counters: tuple[str | int, ...]
    event: bytes

    def changes(self) -> dict[str, tuple[int, int]]:
        """(spent, reserved) that this entry adds to each counter."""
        changes: dict[str, tuple[int, int]] = {}
        width = 3 if self.kind == "llm_request" else 4
        for at in range(0, len(self.counters), width):
            field, _dimension, *amounts = self.counters[at : at + width]
            spent, reserved = changes.get(str(field), (0, 0))
            if width == 3:
                changes[str(field)] = (spent, reserved + int(amounts[0]))
            else:
                changes[str(field)] = (spent + int(amounts[1]), reserved - int(amounts[0]))
        return changes


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an organisation's ledger."""

    epoch: int
    seq: int
    time_ms: int
    compaction: int
    bodies_bytes: int
    opened_ms: int


@dataclass(frozen=True, slots=True)
class Desk:
    """A worker of one organisation, and eyes of its own into the server."""

    organisation: str
    transport: LedgerTransport
    session: Session
    ledger: Ledger
    administration: Administration

    def key(self, name: str) -> str:
        """One of the organisation's keys."""
        return f"{{{self.organisation}}}:{name}"

    async def counters(self) -> dict[str, tuple[int, int, int]]:
        """(spent, reserved, allotted) by counter field; untouched ones are left out."""
        found = counters_of(await self._hash("ledger"))
        return {field: values for field, values in found.items() if any(values)}

    async def totals(self) -> tuple[int, int]:
        """(spent, reserved) of the only counter that there is; zeros where there is none."""
        found = list((await self.counters()).values())
        assert len(found) <= 1, found
        return (found[0][0], found[0][1]) if found else (0, 0)

    async def totals_of(self, dimension: str) -> tuple[int, int]:
        """(spent, reserved) of the organisation's own limit of a dimension."""
        checked = await self.ledger.check(ScopePath(self.organisation))
        (standing,) = (
            each for each in checked.standings if each.bound.limit.dimension == dimension
        )
        return standing.spent, standing.reserved

    async def head(self) -> Head:
        """The ledger's head."""
        raw = await self.transport.command("HGET", self.key("ledger"), "meta")
        assert isinstance(raw, bytes)
        return Head(*_HEAD.unpack(raw))

    async def set_head(self, head: Head) -> None:
        """Rewrites the head, as a rollback or a recovery does."""
        raw = _HEAD.pack(
            head.epoch,
            head.seq,
            head.time_ms,
            head.compaction,
            head.bodies_bytes,
            head.opened_ms,
        )
        await self.transport.command("HSET", self.key("ledger"), "meta", raw)

    async def outbox(self, after: str = "-") -> list[Entry]:
        """The outbox, oldest first."""
        entries = await self.transport.command("XRANGE", self.key("outbox"), after, "+")
        assert isinstance(entries, list)
        return [entry_of(id_, fields) for id_, fields in entries]

    async def lease_ids(self) -> set[str]:
        """Open leases."""
        return {field.decode() for field in await self._hash("leases")}

    async def everything(self) -> dict[bytes, bytes]:
        """Every key of the organisation with its serialised value: equal before and after a call
        that wrote nothing."""
        keys = await self.transport.command("KEYS", self.key("*").replace("[", "\\["))
        assert isinstance(keys, list)
        dumped = {key: await self.transport.command("DUMP", key) for key in sorted(keys)}
        return {key: value for key, value in dumped.items() if isinstance(value, bytes)}

    async def set_budget(self, scope: str, document: object) -> None:
        """Sets a policy as a user writes it."""
        await self.administration.set_policy(scope, parse_policy(document), b"set")

    async def ask(
        self,
        asked: Ask,
        scope: str = "",
        *,
        path: ScopePath | None = None,
        model: str = "m",
        id_: str = "",
        body: bytes = b"",
    ) -> Reservation | Refusal:
        """One reserve, on the organisation's own scope unless said."""
        return await self.ledger.reserve(
            path or ScopePath(scope or self.organisation),
            model,
            lambda _plan: asked,
            recorded(b"request", body),
            id_ or self.session.new_id(),
        )

    async def _hash(self, name: str) -> dict[bytes, bytes]:
        flat = await self.transport.command("HGETALL", self.key(name))
        assert isinstance(flat, list)
        return dict(zip(flat[::2], flat[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class TimedDesk(Desk):
    """A desk whose ledger lives at the time that the test sets."""

    clock: ManualClock

    async def set_time(self, at_ms: int, *, worker_too: bool = True) -> None:
        """Moves the ledger's clock, and the worker's unless said."""
        await self.transport.command("SET", f"test:clock:{self.key('ledger')}", str(at_ms))
        if worker_too:
            self.clock.at_ms = at_ms

    async def advance(self, by_ms: int) -> int:
        """Moves both clocks on; the new time."""
        await self.set_time(self.clock.at_ms + by_ms)
        return self.clock.at_ms


def desk_for(
    organisation: str,
    transport: LedgerTransport,
    options: LedgerOptions | None = None,
    clock: Clock | None = None,
) -> Desk:
    """A desk at the real time."""
    session = Session(transport, scripts(), clock or SystemClock(), TRUSTS)
    ledger = Ledger(session, options)
    most = ledger.options.outbox_events_max
    administration = Administration(session, outbox_events_max=most)
    return Desk(organisation, transport, session, ledger, administration)


def timed_desk_for(
    organisation: str,
    transport: LedgerTransport,
    clock: ManualClock,
    options: LedgerOptions | None = None,
    memory: Memory | None = None,
) -> TimedDesk:
    """A desk at the time of the test's clock; the caller sets it before the first call."""
    session = Session(transport, scripts(NOW_CHUNK), clock, TRUSTS, memory)
    ledger = Ledger(session, options)
    administration = Administration(session)
    return TimedDesk(organisation, transport, session, ledger, administration, clock)


def dollars(nusd: int, output: int = 0, least: int | None = None, per_nusd: int = 1) -> Ask:
    """An ask for money only: fixed nano-dollars, and `per_nusd` for each output token."""
    return Ask(nusd, per_nusd * 1000, 0, 0, output, output if least is None else least)


def recorded(event: bytes = b"", body: bytes = b"") -> Callable[[Payloads], tuple[bytes, bytes]]:
    """The same event and body under every policy for payloads."""
    return lambda _payloads: (event, body)


def granted(answer: Reservation | Refusal) -> Reservation:
    """The answer, which must be a grant."""
    assert isinstance(answer, Reservation), answer
    return answer


def refused(answer: Reservation | Refusal, code: str) -> Refusal:
    """The answer, which must be this refusal."""
    assert isinstance(answer, Refusal), answer
    assert answer.code == code, answer
    return answer


def counters_of(ledger: dict[bytes, bytes]) -> dict[str, tuple[int, int, int]]:
    """The counters in an organisation's ledger hash."""
    found: dict[str, tuple[int, int, int]] = {}
    for field, raw in ledger.items():
        if field.startswith(b"c:"):
            spent, reserved, allotted = _COUNTER.unpack(raw)
            found[field.decode()] = (spent, reserved, allotted)
    return found


def head_of(ledger: dict[bytes, bytes]) -> Head:
    """The head in an organisation's ledger hash."""
    return Head(*_HEAD.unpack(ledger[b"meta"]))


def entry_of(id_: bytes, fields: list[bytes]) -> Entry:
    """An outbox entry as the server gives it."""
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    epoch, seq = id_.decode().split("-")
    # cmsgpack joins the packed values; an array's head in front makes them one value.
    kind, time_ms, event_id, counters, output, _ = msgspec.msgpack.decode(
        b"\x96" + named[b"facts"], type=tuple[str, int, str, msgspec.Raw, int, int]
    )
    packed = _text_bytes(bytes(counters))
    flat: list[str | int] = msgspec.msgpack.decode(packed) if packed else []
    return Entry(
        int(epoch), int(seq), kind, time_ms, event_id, output, tuple(flat), named[b"event"]
    )


def _text_bytes(packed: bytes) -> bytes:
    """The content of a packed text that is not text: cmsgpack knows no binary type."""
    if packed[0] & 0xE0 == 0xA0:
        return packed[1:]
    return packed[1 + {0xD9: 1, 0xDA: 2, 0xDB: 4}[packed[0]] :]
