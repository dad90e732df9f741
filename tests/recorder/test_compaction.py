"""Compaction: what the ledger forgets stands in the records, for good and exactly."""

import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, get_args
from unittest.mock import AsyncMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.answers import Reservation, Truth
from budgets.counters import windows_of
from budgets.embedded import EmbeddedServer
from budgets.plan import ScopePath
from budgets.policy import Limit, Policy, Window, parse_policy
from budgets.recording import LIMIT_REMOVED, Recording
from budgets.windows import window_bounds
from recorder.batch import Head
from recorder.compaction import Compaction, leaving_alone
from recorder.packing import pack
from recorder.reading import Outbox
from recorder.snapshots import Snapshots
from tests.budgets.contract import window_at
from tests.budgets.harness import TimedDesk, dollars, granted, recorded
from tests.recorder.workbench import (
    BEFORE_ALL,
    LEASE_MS,
    NOON_MS,
    StoreProcess,
    begin_anew,
    desk_at,
    request_event,
    response_event,
)

WINDOWS: tuple[Window, ...] = get_args(Window)
ENDING = tuple(window for window in WINDOWS if window != "total")
MINUTE_MS = 60_000
REST_MS = 3_600_000
YEARS_MS = st.integers(
    int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1000,
    int(datetime(2029, 1, 1, tzinfo=UTC).timestamp()) * 1000,
)


def policy_of(*windows: Window, children: tuple[Window, ...] = ()) -> Policy:
    """Limits named 1.0, 1.1, ... and those of children 2.0, 2.1, ..."""
    return Policy(
        limits=tuple(Limit(f"1.{n}", "usd", each, "9") for n, each in enumerate(windows)),
        per_child=tuple(Limit(f"2.{n}", "usd", each, "9") for n, each in enumerate(children)),
    )


@given(st.sampled_from(ENDING), YEARS_MS, st.booleans())
def test_a_window_is_over_at_its_end(window: Window, at_ms: int, is_child: bool) -> None:
    """For every kind of window, by the calendar: not a millisecond before, and from then on."""
    start_s, end_s = window_at(window, at_ms)
    policy = policy_of(children=(window,)) if is_child else policy_of(window)
    field = f"c:2.0:acme/a:b+c@d/e:{start_s}" if is_child else f"c:1.0:{start_s}"
    windows = windows_of([policy])
    assert leaving_alone([field], windows, end_s * 1000 - 1, 99) == {}
    assert leaving_alone([field], windows, end_s * 1000, 99) == {field: end_s}


@pytest.mark.parametrize("field", ["c:1.0:0", "c:2.0:acme/x:0", "c:9.9:0"])
def test_what_has_no_end_is_never_over(field: str) -> None:
    """Totals and concurrency, of a scope, a child or a limit that was removed."""
    policies = [policy_of("total", children=("total",))]
    assert leaving_alone([field], windows_of(policies), 10**15, 8) == {}


@pytest.mark.parametrize("window", ENDING)
def test_an_unknown_limit_s_counter_waits_for_the_longest_window(window: Window) -> None:
    """Of a limit that was made since the policies were read nobody knows the window: whatever it
    is, it is not over before its true end, on any day of any month."""
    for day in range(800):
        at_ms = NOON_MS + day * 86_400_000
        start_s, end_s = window_at(window, at_ms)
        field = f"c:9.9:{start_s}"
        early = leaving_alone([field], {}, end_s * 1000 - 1, 8)
        assert early == {}, datetime.fromtimestamp(start_s, UTC)
        assert leaving_alone([field], {}, (start_s + 40 * 86_400) * 1000, 8)


def test_a_limit_of_now_is_not_taken_for_a_removed_one() -> None:
    """A recorder that read the policies before it was made does not forget its counter; nor one
    that is no limit's."""
    windows = windows_of([policy_of("total")])
    fields = ["c:1.0:0", "c:9.0:0", "c:1.9:0", "c:1.9:acme/x:0", "c:a7.1:0"]
    removed = dict.fromkeys(["c:1.9:0", "c:1.9:acme/x:0"], LIMIT_REMOVED)
    assert leaving_alone(fields, windows, 10**15, 8) == removed
    assert "c:9.0:0" in leaving_alone(fields, windows, 10**15, 9)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """Records in a process of their own."""
    made = StoreProcess(tmp_path_factory.mktemp("records"))
    yield made
    made.stop()


class Bench:
    """A ledger at a time of the test's, a recorder's steps one by one, and records."""

    def __init__(self, desk: TimedDesk, store: StoreProcess) -> None:
        self.desk = desk
        self.store = store
        self.organisation = desk.organisation
        self.recording = Recording(desk.session, "one")
        self.compaction = Compaction(self.recording, store, Snapshots(store), REST_MS)
        self.head: Head = BEFORE_ALL

    async def limit(self, scope: str, *windows: str) -> list[str]:
        """Limits of a scope; their ids."""
        limits = parse_policy([{"usd": "1", "window": window} for window in windows])
        policy = await self.desk.administration.set_policy(scope, limits, b"{}")
        return [each.id for each in policy.limits]

    async def reserve(self, nusd: int, scope: str = "") -> Reservation:
        """A grant of so much."""
        path = ScopePath(scope or self.organisation)
        id_ = self.desk.session.new_id()
        event = request_event(id_, path.scope)
        asking = self.desk.ledger.reserve(
            path, "m", lambda _: dollars(nusd), recorded(event, b""), id_
        )
        return granted(await asking)

    async def settle(self, reservation: Reservation, nusd: int) -> str:
        """Its truth."""
        scope = reservation.path.scope
        event = response_event(reservation.id, scope, reservation.reserved_nusd, nusd)
        return await self.desk.ledger.settle(
            self.organisation, reservation.id, Truth(nusd, None), event, b""
        )

    async def spend(self, nusd: int, scope: str = "") -> None:
        """A whole request."""
        await self.settle(await self.reserve(nusd, scope), nusd)

    async def record(self) -> None:
        """All that waits goes into the records and is confirmed."""
        outbox = Outbox(self.recording, self.organisation, 1000, 10**9)
        while entries := await outbox.next_entries(self.head):
            batch = pack(self.organisation, self.head, entries)
            await self.store.write(batch)
            self.head = batch.head
            await self.recording.confirm(self.organisation, self.head.epoch, self.head.seq, 0)

    async def sweep(self) -> int:
        """One pass."""
        return await self.compaction.sweep(self.organisation, self.head)

    async def balances(self) -> dict[str, int]:
        """The newest balance of each counter."""
        rows: list[list[Any]] = await self.store.rows(
            "SELECT field, argMax(spent, (epoch, seq)) FROM comptroller.balances FINAL "
            "WHERE org = {org:String} GROUP BY field ORDER BY field",
            org=self.organisation,
        )
        return {str(field): int(spent) for field, spent in rows}

    async def truth(self, field: str) -> int:
        """A counter by its balance and the events after it."""
        named = {"org": self.organisation, "field": field}
        ((spent, epoch, seq),) = await self.store.rows(
            "SELECT spent, epoch, seq FROM comptroller.balances FINAL WHERE org = {org:String} "
            "AND field = {field:String} ORDER BY epoch DESC, seq DESC LIMIT 1",
            **named,
        )
        ((later,),) = await self.store.rows(
            "SELECT sum(c.4) FROM comptroller.events ARRAY JOIN counters AS c "
            "WHERE org = {org:String} AND c.1 = {field:String} AND event_type != 'llm_request' "
            "AND (epoch, seq) > ({epoch:UInt32}, {seq:UInt64})",
            **named,
            epoch=epoch,
            seq=seq,
        )
        return int(spent) + int(later)


@pytest.fixture
async def bench(process: StoreProcess, valkey: EmbeddedServer) -> AsyncIterator[Bench]:
    """Empty records, and a ledger at noon."""
    await begin_anew(process)
    async with desk_at(valkey) as desk:
        yield Bench(desk, process)


async def test_a_counter_goes_with_its_balance_in_the_records(bench: Bench) -> None:
    """The sum over its events, as of the head; what is not over stays in the ledger."""
    minute, total = await bench.limit(bench.organisation, "minute", "total")
    await bench.spend(70)
    await bench.spend(5)
    await bench.desk.advance(MINUTE_MS)
    await bench.spend(9)
    await bench.record()
    old = f"c:{minute}:{NOON_MS // 1000}"
    new = f"c:{minute}:{NOON_MS // 1000 + 60}"
    assert await bench.sweep() == 1
    assert await bench.recording.counters(bench.organisation) == {new: 9, f"c:{total}:0": 84}
    assert await bench.store.rows(
        "SELECT org, field, dimension, epoch, seq, toUnixTimestamp64Milli(time), spent "
        "FROM comptroller.balances WHERE field = {field:String}",
        field=old,
    ) == [[bench.organisation, old, 1, 1, bench.head.seq, bench.head.time_ms, 75]]
    assert await bench.sweep() == 0


async def test_expiry_and_late_truth_are_in_the_balance(bench: Bench) -> None:
    """All that was booked in the window, whenever it came: a settlement after the window's end, an
    expiry, its correction."""
    (minute,) = await bench.limit(bench.organisation, "minute")
    late = await bench.reserve(100)
    lost = await bench.reserve(40)
    await bench.desk.advance(LEASE_MS + 1)
    await bench.desk.ledger.sweep(bench.organisation)
    await bench.settle(late, 130)
    await bench.record()
    assert await bench.sweep() == 1
    field = f"c:{minute}:{NOON_MS // 1000}"
    assert await bench.balances() == {field: 170}
    await bench.settle(lost, 15)
    await bench.record()
    assert await bench.recording.counters(bench.organisation) == {}
    assert await bench.truth(field) == 145


async def test_a_counter_of_each_kind_of_window_goes_in_its_time(bench: Bench) -> None:
    """Minute, hour, day, week and month, one after the other; the balances are all there."""
    ids = await bench.limit(bench.organisation, *ENDING)
    await bench.spend(70)
    fields = {
        window: f"c:{id_}:{window_bounds(window, NOON_MS)[0]}"
        for window, id_ in zip(ENDING, ids, strict=True)
    }
    ends = sorted((window_bounds(window, NOON_MS)[1], window) for window in ENDING)
    for end_s, window in ends:
        await bench.desk.set_time(end_s * 1000)
        # An event: the ledger stores its time with one.
        await bench.desk.administration.append(
            bench.organisation, bench.desk.session.new_id(), "step_started", b"{}"
        )
        await bench.record()
        assert await bench.sweep() == 1, window
        assert fields[window] not in await bench.recording.counters(bench.organisation)
    assert await bench.balances() == dict.fromkeys(fields.values(), 70)


async def test_a_counter_that_differs_stays_and_is_said(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """An audit: what the ledger and the records do not agree on is an alarm with both figures."""
    (minute,) = await bench.limit(bench.organisation, "minute")
    await bench.spend(70)
    await bench.record()
    field = f"c:{minute}:{NOON_MS // 1000}"
    raw = (71).to_bytes(8, "little") + bytes(16)
    await bench.desk.transport.command("HSET", bench.desk.key("ledger"), field, raw)
    await bench.desk.advance(MINUTE_MS)
    await bench.spend(0)
    await bench.record()
    with caplog.at_level(logging.WARNING, "comptroller.recorder"):
        assert await bench.sweep() == 0
    assert f"counter {field} is 71 in the ledger and 70 in the records" in caplog.text
    assert (await bench.recording.counters(bench.organisation))[field] == 71


async def test_what_is_not_recorded_yet_is_not_forgotten(bench: Bench) -> None:
    """A settlement that still waits in the outbox makes the two differ: its counter stays until it
    is recorded."""
    await bench.limit(bench.organisation, "minute")
    late = await bench.reserve(100)
    await bench.desk.advance(MINUTE_MS // 2)
    await bench.spend(0)
    await bench.record()
    await bench.desk.advance(MINUTE_MS // 2)
    await bench.settle(late, 60)
    assert await bench.sweep() == 0
    await bench.record()
    assert await bench.sweep() == 1
    assert list((await bench.balances()).values()) == [60]


async def test_every_counter_that_goes_has_a_balance(bench: Bench) -> None:
    """Also where an earlier pass at the same head has left an older counter behind (a lease is
    still open in it): the second pass writes other balances, and none of them may be taken for the
    first's and dropped."""
    held, quick = f"{bench.organisation}/held", f"{bench.organisation}/quick"
    await bench.limit(held, "minute")
    (minute,) = await bench.limit(quick, "minute")
    open_ = await bench.reserve(50, held)
    await bench.spend(1, quick)
    await bench.desk.advance(MINUTE_MS)
    await bench.spend(2, quick)
    await bench.desk.advance(MINUTE_MS)
    await bench.desk.ledger.extend(bench.organisation, [(open_.id, ScopePath(held))])
    await bench.spend(3, quick)
    await bench.record()
    fields = [f"c:{minute}:{NOON_MS // 1000 + 60 * n}" for n in range(3)]
    await bench.desk.advance(MINUTE_MS)
    assert await bench.sweep() == 2  # the third is not over by the time that was stored
    assert await bench.sweep() == 1  # now it is, at the same head
    left = await bench.recording.counters(bench.organisation)
    assert not left.keys() & set(fields)
    balances = await bench.balances()
    assert {field: balances.get(field) for field in fields} == dict(
        zip(fields, (1, 2, 3), strict=True)
    )


async def test_a_pass_that_is_repeated_after_a_crash_changes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the balances and the ledger: the next pass writes the same rows and lets go."""
    (minute,) = await bench.limit(bench.organisation, "minute")
    await bench.spend(70)
    await bench.desk.advance(MINUTE_MS)
    await bench.spend(1)
    await bench.record()
    with monkeypatch.context() as patched:
        patched.setattr(bench.recording, "compact", AsyncMock(side_effect=ConnectionError))
        with pytest.raises(ConnectionError):
            await bench.sweep()
    assert await bench.sweep() == 1
    assert (await bench.balances())[f"c:{minute}:{NOON_MS // 1000}"] == 70


async def test_children_and_removed_limits_are_let_go(bench: Bench) -> None:
    """A template's child counts under its own name; the counter of a limit that is gone leaves at
    once, whatever its window, for nobody counts on it any more."""
    organisation = bench.organisation
    await bench.desk.set_budget(organisation, {"per_child": [{"usd": "1", "window": "hour"}]})
    await bench.spend(7, f"{organisation}/user:1@x.example")
    (old,) = await bench.limit(f"{organisation}/p", "hour")
    await bench.spend(5, f"{organisation}/p")
    await bench.desk.set_budget(f"{organisation}/p", [])
    start_s = NOON_MS // 1000
    await bench.record()
    assert await bench.sweep() == 1
    left = await bench.recording.counters(organisation)
    assert f"c:{old}:{start_s}" not in left
    assert any("user:1" in field for field in left)
    assert (await bench.balances())[f"c:{old}:{start_s}"] == 5
    await bench.desk.advance(3_599_000)
    await bench.spend(0, f"{organisation}/q")
    await bench.desk.advance(1_000)
    await bench.spend(0, f"{organisation}/q")
    await bench.record()
    await bench.sweep()
    left = await bench.recording.counters(organisation)
    assert not any("user:1" in field for field in left)


async def test_organisations_do_not_mix(bench: Bench, valkey: EmbeddedServer) -> None:
    """Two with the same limit ids, as all have: each balance is of its own events."""
    async with desk_at(valkey) as desk:
        other = Bench(desk, bench.store)
        for each, nusd in ((bench, 70), (other, 3)):
            await each.limit(each.organisation, "minute")
            await each.spend(nusd)
            await each.desk.advance(MINUTE_MS)
            await each.spend(0)
            await each.record()
        assert await bench.sweep() == 1
        assert await other.sweep() == 1
        assert list((await bench.balances()).values()) == [70, 0]
        assert list((await other.balances()).values()) == [3, 0]
