"""Reading a real ledger's outbox into batches; events, counters and truth are one sum."""

import random
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from budgets.answers import Refusal, Truth
from budgets.embedded import EmbeddedServer
from budgets.plan import ScopePath
from budgets.recording import Bounds, Recording
from clickhouse.stream import Entry
from recorder.batch import Head
from recorder.packing import pack
from recorder.reading import RECORDED_BYTES_MAX, Outbox
from recorder.rows import rows_of
from tests.budgets.harness import Head as LedgerHead
from tests.budgets.harness import TimedDesk, dollars, granted, recorded
from tests.recorder.workbench import (
    BEFORE_ALL,
    DAY_MS,
    LEASE_MS,
    NOON_MS,
    desk_at,
    request_event,
    response_event,
)

BEFORE_MIDNIGHT_MS = int(datetime(2028, 2, 28, 23, 59, 59, tzinfo=UTC).timestamp()) * 1000


@pytest.fixture
async def desk(valkey: EmbeddedServer) -> AsyncIterator[TimedDesk]:
    """A worker at noon."""
    async with desk_at(valkey) as made:
        yield made


def outbox_of(desk: TimedDesk, events_max: int = 100, payload_bytes_max: int = 10**9) -> Outbox:
    """The outbox as a recorder reads it."""
    recording = Recording(desk.session, "reader")
    return Outbox(recording, desk.organisation, events_max, payload_bytes_max)


async def append(
    desk: TimedDesk, count: int, event: bytes = b"{}", kind: str = "step_started"
) -> None:
    """So many events of others."""
    for _ in range(count):
        id_ = desk.session.new_id()
        assert await desk.administration.append(desk.organisation, id_, kind, event) == "DONE"


async def request(desk: TimedDesk, body: bytes, said_bytes: int) -> str:
    """A request with a payload; its id."""
    id_ = desk.session.new_id()
    event = request_event(id_, desk.organisation, request_bytes=said_bytes)
    path = ScopePath(desk.organisation)
    answer = await desk.ledger.reserve(path, "m", lambda _: dollars(1), recorded(event, body), id_)
    granted(answer)
    return id_


def seqs(entries: list[Entry]) -> list[int]:
    """Their seqs."""
    return [each.seq for each in entries]


def head_at(seq: int, epoch: int = 1) -> Head:
    """A head that ends there."""
    return Head(epoch, seq, BEFORE_ALL.hash, NOON_MS)


async def test_an_empty_outbox_has_nothing(desk: TimedDesk) -> None:
    """Nothing written, nothing to read, nothing left over, from wherever one looks."""
    outbox = outbox_of(desk)
    for head in (BEFORE_ALL, head_at(7)):
        assert await outbox.next_entries(head) == []
        assert await outbox.leftovers(head) is None


async def test_reading_goes_on_behind_the_head(desk: TimedDesk) -> None:
    """In pieces of at most events_max, each once, in order, to the end."""
    await append(desk, 7)
    outbox = outbox_of(desk, events_max=3)
    head, read = BEFORE_ALL, []
    while entries := await outbox.next_entries(head):
        assert len(entries) <= 3
        read += seqs(entries)
        head = pack(desk.organisation, head, entries).head
    assert read == [1, 2, 3, 4, 5, 6, 7]


async def test_a_batch_ends_with_the_day(valkey: EmbeddedServer) -> None:
    """Events on both sides of midnight UTC are two batches, and so are those of a leap day."""
    async with desk_at(valkey, BEFORE_MIDNIGHT_MS) as desk:
        await append(desk, 2)
        await desk.advance(999)
        await append(desk, 1)
        await desk.advance(1)
        await append(desk, 2)
        await desk.advance(DAY_MS)
        await append(desk, 1)
        outbox = outbox_of(desk)
        assert seqs(await outbox.next_entries(BEFORE_ALL)) == [1, 2, 3]
        assert seqs(await outbox.next_entries(head_at(3))) == [4, 5]
        assert seqs(await outbox.next_entries(head_at(5))) == [6]


async def test_a_batch_ends_with_the_epoch(desk: TimedDesk) -> None:
    """Events of two epochs are two batches, also where the seq goes on without a gap."""
    await append(desk, 2)
    await desk.set_head(await _in_epoch(desk, 2, 2))
    await append(desk, 2)
    await desk.set_head(await _in_epoch(desk, 3, 10))
    await append(desk, 1)
    outbox = outbox_of(desk)
    read = []
    head = BEFORE_ALL
    while entries := await outbox.next_entries(head):
        read.append([(each.epoch, each.seq) for each in entries])
        head = pack(desk.organisation, head, entries).head
    assert read == [[(1, 1), (1, 2)], [(2, 3), (2, 4)], [(3, 11)]]


async def _in_epoch(desk: TimedDesk, epoch: int, seq: int) -> LedgerHead:
    head = await desk.head()
    return replace(head, epoch=epoch, seq=seq)


async def test_payloads_bound_a_batch(desk: TimedDesk) -> None:
    """By what their writers say of their sizes, and by what they wrote: a batch holds no more than
    bytes_max, but always one event, however large."""
    for size in (40_000, 50_000, 20_000, 500_000, 1):
        await request(desk, b"x", size)
    outbox = outbox_of(desk, payload_bytes_max=100_000)
    batches = []
    head = BEFORE_ALL
    while entries := await outbox.next_entries(head):
        batches.append(seqs(entries))
        head = head_at(entries[-1].seq)
    assert batches == [[1, 2], [3], [4], [5]]


async def test_what_is_kept_of_a_payload_bounds_what_is_counted(desk: TimedDesk) -> None:
    """A gateway keeps at most RECORDED_BYTES_MAX of one; what cannot be read counts as much."""
    for _ in range(3):
        await request(desk, b"x", 10**12)
    await append(desk, 2, b"not json")
    outbox = outbox_of(desk, payload_bytes_max=4 * RECORDED_BYTES_MAX + 10_000)
    assert seqs(await outbox.next_entries(BEFORE_ALL)) == [1, 2, 3, 4]


@pytest.mark.parametrize("event", [b'{"scope":"\xff"}', b'{"x":' + b"[" * 100_000])
async def test_an_event_that_breaks_a_parser_is_read(desk: TimedDesk, event: bytes) -> None:
    """`append` takes any bytes: text that is no UTF-8 and endless nesting must not stop the log."""
    await append(desk, 1, event)
    assert seqs(await outbox_of(desk).next_entries(BEFORE_ALL)) == [1]


async def test_fixed_bounds_are_read_exactly_with_their_payloads(desk: TimedDesk) -> None:
    """Whoever takes up a batch gets its events and no others, each with its own payload."""
    await append(desk, 1)
    bodies = [b"first", b"\xff\x00", b"", b"fourth"]
    for body in bodies:
        await request(desk, body, 1)
    outbox = outbox_of(desk)
    entries = await outbox.entries(Bounds(1, 2, 4))
    assert [(each.seq, each.body) for each in entries] == [
        (2, b"first"),
        (3, b"\xff\x00"),
        (4, b""),
    ]
    assert entries == await outbox.entries(Bounds(1, 2, 4))
    assert all(each.body == b"" for each in await outbox.next_entries(BEFORE_ALL))


async def test_leftovers_are_what_is_recorded_but_not_confirmed(desk: TimedDesk) -> None:
    """After a crash between writing and confirming: from the oldest that is still there, at most a
    batch at a time, and never beyond the head."""
    await append(desk, 8)
    recording = Recording(desk.session, "reader")
    outbox = outbox_of(desk, events_max=3)
    assert await outbox.leftovers(BEFORE_ALL) is None
    head, found = head_at(5), []
    while bounds := await outbox.leftovers(head):
        found.append(bounds)
        await recording.confirm(desk.organisation, bounds.epoch, bounds.last, 0)
    assert found == [Bounds(1, 1, 3), Bounds(1, 4, 5)]
    assert seqs(await outbox.next_entries(head)) == [6, 7, 8]


async def test_leftovers_of_an_earlier_epoch_stay_within_it(desk: TimedDesk) -> None:
    """Entries of an epoch before the head's are recorded too; bounds name one epoch, and what they
    name must be there: else what is read back is not what is confirmed."""
    await append(desk, 2)
    await desk.set_head(await _in_epoch(desk, 2, 2))
    await append(desk, 2)
    outbox = outbox_of(desk)
    recording = Recording(desk.session, "reader")
    slot = await desk.session.slot(desk.organisation)
    await desk.session.moved_on(slot, slot.epoch)
    head, read = head_at(4, epoch=2), []
    while bounds := await outbox.leftovers(head):
        read += [(each.epoch, each.seq) for each in await outbox.entries(bounds)]
        await recording.confirm(desk.organisation, bounds.epoch, bounds.last, 0)
    assert read == [(1, 1), (1, 2), (2, 3), (2, 4)]


class Walk:
    """A random life of an organisation with two projects, and what each of them truly spent."""

    def __init__(self, desk: TimedDesk, seed: int) -> None:
        self.desk = desk
        self.random = random.Random(seed)
        self.scopes = [f"{desk.organisation}/{name}" for name in ("a", "b")]
        self.spent: dict[str, int] = defaultdict(int)
        self.open: dict[str, tuple[str, int]] = {}
        self.expired: dict[str, tuple[str, int]] = {}
        self.done = 0

    async def begin(self) -> None:
        """Limits in every window on every node."""
        limits = [
            {"usd": "1", "window": window}
            for window in ("total", "minute", "hour", "day", "week", "month")
        ]
        for scope in (self.desk.organisation, *self.scopes):
            await self.desk.set_budget(scope, [*limits, {"requests": 10**6}, {"concurrency": 99}])

    async def step(self) -> None:
        """One of the things that happen."""
        step = self.random.choices(
            (self.reserve, self.settle, self.release, self.pass_time, self.adjust, self.again),
            (6, 4, 2, 2, 1, 1),
        )[0]
        await step()

    async def reserve(self) -> None:
        scope = self.random.choice(self.scopes)
        id_ = self.desk.session.new_id()
        nusd = self.random.choice((0, 1, self.random.randint(2, 10**6)))
        event = request_event(id_, scope)
        answer = await self.desk.ledger.reserve(
            ScopePath(scope), "m", lambda _: dollars(nusd), recorded(event, b"{}"), id_
        )
        if not isinstance(answer, Refusal):
            assert answer.reserved_nusd == nusd
            self.open[id_] = scope, nusd

    def _any(self) -> tuple[str, str, int, bool] | None:
        """Id, scope, reserved and lateness of a reservation without an end of its own."""
        pool = [*self.open, *self.expired]
        if not pool:
            return None
        id_ = self.random.choice(pool)
        late = id_ in self.expired
        scope, nusd = (self.expired if late else self.open).pop(id_)
        return id_, scope, nusd, late

    async def settle(self) -> None:
        if (found := self._any()) is None:
            return
        id_, scope, reserved, late = found
        known = self.random.choice((True, True, True, False))
        truth = self.random.choice((0, reserved, self.random.randint(0, 2 * 10**6)))
        charged = truth if known else reserved
        source = "provider" if known else "reserved"
        event = response_event(id_, scope, reserved, charged, usage_source=source)
        outcome = await self.desk.ledger.settle(
            self.desk.organisation, id_, Truth(truth if known else None, None), event, b"{}"
        )
        assert outcome == ("CORRECTED" if late else "SETTLED")
        self.spent[scope] += charged - (reserved if late else 0)
        self.done += 1

    async def release(self) -> None:
        if (found := self._any()) is None:
            return
        id_, scope, reserved, late = found
        event = response_event(id_, scope, reserved, 0, status=0, usage_source="released")
        event = self.random.choice((b"", event))
        assert await self.desk.ledger.release(self.desk.organisation, id_, event) == "RELEASED"
        self.spent[scope] -= reserved if late else 0
        self.done += 1

    async def pass_time(self) -> None:
        await self.desk.advance(self.random.choice((1, 10_000, LEASE_MS + 1)))
        for id_ in await self.desk.ledger.sweep(self.desk.organisation):
            scope, nusd = self.open.pop(id_)
            self.spent[scope] += nusd
            self.expired[id_] = scope, nusd

    async def adjust(self) -> None:
        """A price that was too low, on both totals that count it."""
        scope = self.random.choice(self.scopes)
        policies = await Recording(self.desk.session, "x").policies(self.desk.organisation)
        fields = [f"c:{policies[node].limits[0].id}:0" for node in (self.desk.organisation, scope)]
        if not (await self.desk.counters()).keys() >= set(fields):
            return  # test_recording has those that nothing has touched yet
        delta = self.random.randint(0, 1000)
        event = msgspec.json.encode({"scope": scope, "charged_nusd": delta, "by": "ops"})
        id_, deltas = self.desk.session.new_id(), [(field, 1, delta) for field in fields]
        await self.desk.administration.adjust(self.desk.organisation, id_, deltas, event)
        self.spent[scope] += delta

    async def again(self) -> None:
        """An ending that comes twice books nothing, and is no event."""
        before = await self.desk.head()
        late = [each for each in await self.desk.outbox() if each.kind == "llm_response"]
        for each in late[-2:]:
            outcome = await self.desk.ledger.settle(
                self.desk.organisation, each.id, Truth(5, 5), b"{}", b""
            )
            assert outcome == "ALREADY"
        assert (await self.desk.head()).seq == before.seq

    async def events(self) -> list[Entry]:
        """All that the ledger wrote, read in batches of uneven size."""
        head = BEFORE_ALL
        read: list[Entry] = []
        while True:
            outbox = outbox_of(self.desk, events_max=self.random.randint(1, 40))
            wanted = await outbox.next_entries(head)
            if not wanted:
                return read
            bounds = Bounds(wanted[0].epoch, wanted[0].seq, wanted[-1].seq)
            entries = await outbox.entries(bounds)
            assert len({each.time_ms // DAY_MS for each in entries}) == 1
            head = pack(self.desk.organisation, head, entries).head
            read += entries


@pytest.mark.parametrize("seed", range(8))
async def test_events_counters_and_truth_are_one_sum(valkey: EmbeddedServer, seed: int) -> None:
    """Whatever happens in whatever order, over midnight, with expiries and late truth: what the
    events of a scope charge is what its counters say and what was truly spent; counter by counter
    the records sum to the ledger; each ending is one event."""
    async with desk_at(valkey, BEFORE_MIDNIGHT_MS - 5 * 60_000) as desk:
        walk = Walk(desk, seed)
        await walk.begin()
        for _ in range(120):
            await walk.step()
        rows = [rows_of(desk.organisation, each).event for each in await walk.events()]
        assert all(row.error == "" for row in rows if row.event_type != "budget_changed")
        charged: dict[str, int] = defaultdict(int)
        counted: dict[str, int] = defaultdict(int)
        held: dict[str, int] = defaultdict(int)
        for row in rows:
            charged[row.scope] += row.charged_nusd
            for field, _, amount, change in row.counters:
                counted[field] += change
                held[field] += amount if row.event_type == "llm_request" else -amount
        counters = await desk.counters()
        policies = await Recording(desk.session, "x").policies(desk.organisation)
        assert walk.done > 20
        assert {"llm_response", "reservation_expired", "correction"} <= {
            row.event_type for row in rows
        }
        for scope in walk.scopes:
            field = f"c:{policies[scope].limits[0].id}:0"
            spent, reserved, _ = counters.get(field, (0, 0, 0))
            assert charged[scope] == walk.spent[scope] == spent
            assert reserved == sum(nusd for where, nusd in walk.open.values() if where == scope)
        total = counters[f"c:{policies[desk.organisation].limits[0].id}:0"][0]
        assert total == sum(walk.spent.values())
        for field in counted.keys() | counters.keys():
            assert (counted[field], held[field]) == counters.get(field, (0, 0, 0))[:2], field
        endings = [row for row in rows if row.event_type in ("llm_response", "correction")]
        assert len([row for row in endings if row.by == ""]) == walk.done


async def test_an_adjusted_charge_gives_way_to_late_truth_in_one_sum(desk: TimedDesk) -> None:
    """An expiry that an adjustment has already taken back in part: the counter stops at zero, and
    the events say the same."""
    scope = desk.organisation
    await desk.set_budget(scope, [{"usd": "1"}])
    id_ = desk.session.new_id()
    event = request_event(id_, scope)
    reserving = desk.ledger.reserve(
        ScopePath(scope), "m", lambda _: dollars(100), recorded(event, b""), id_
    )
    granted(await reserving)
    await desk.advance(LEASE_MS + 1)
    assert await desk.ledger.sweep(scope) == [id_]
    ((field, _),) = (await desk.counters()).items()
    adjusted = msgspec.json.encode({"scope": scope, "charged_nusd": -80, "by": "ops"})
    await desk.administration.adjust(scope, desk.session.new_id(), [(field, 1, -80)], adjusted)
    truth = response_event(id_, scope, 100, 30)
    assert await desk.ledger.settle(scope, id_, Truth(30, 0), truth, b"") == "CORRECTED"
    rows = [rows_of(scope, each).event for each in await outbox_of(desk).next_entries(BEFORE_ALL)]
    spent = (await desk.counters()).get(field, (0, 0, 0))[0]
    assert sum(change[3] for row in rows for change in row.counters) == spent
    assert sum(row.charged_nusd for row in rows) == spent == 0
