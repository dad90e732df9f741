"""Retention: days go as a whole, sums never; and what the documented views say before and after."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest

from clickhouse.errors import StoreRefused
from recorder.batch import Head
from recorder.retention import Retention
from recorder.snapshots import Snapshots
from tests.recorder.workbench import (
    DAY_MS,
    Log,
    StoreProcess,
    begin_anew,
)

ORG = "acme"
TODAY = datetime(2027, 3, 10, 12, 0, tzinfo=UTC)
NOW_MS = int(TODAY.timestamp()) * 1000
HOUR_MS = 3_600_000
DAYS = 6
TOTAL = "c:1.0:0"
VIEWS = ("spend_hourly", "spend_daily", "usage")


def day_of(days_ago: int) -> str:
    """A day's name, as a partition has it."""
    return (TODAY - timedelta(days=days_ago)).strftime("%Y%m%d")


def ago_ms(days: int, hour: int = 0, ms: int = 0) -> int:
    """A time on the day so long ago, from its midnight on."""
    return NOW_MS // DAY_MS * DAY_MS - days * DAY_MS + hour * HOUR_MS + ms


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """Records in a process of their own."""
    made = StoreProcess(tmp_path_factory.mktemp("records"))
    yield made
    made.stop()


@pytest.fixture
async def store(process: StoreProcess) -> StoreProcess:
    """Empty records."""
    process.refuse_next = ""
    await begin_anew(process)
    return process


@pytest.fixture
async def log(store: StoreProcess) -> Log:
    """DAYS days of calls, two hours of each, at its first and last millisecond too; two
    organisations."""
    made = Log(store)
    for day in reversed(range(DAYS)):
        made.call(ago_ms(day), 10 + day)
        made.call(ago_ms(day, 5), 20, agent="other", streamed=False)
        made.call(ago_ms(day, 5, 1), 300)
        if day:
            made.call(ago_ms(day, 23, HOUR_MS - 1), 7)
    await made.write()
    second = Log(store, "globex")
    for day in reversed(range(DAYS)):
        second.call(ago_ms(day, 9), 1)
    await second.write()
    return made


def retention(store: StoreProcess, events_days: int, bodies_days: int) -> Retention:
    """At NOW_MS."""
    return Retention(
        store, Snapshots(store), events_days, bodies_days, lambda: NOW_MS, lambda _: None
    )


async def days_in(store: StoreProcess, table: str) -> list[str]:
    """Days that a table has."""
    rows = await store.rows(
        f"SELECT DISTINCT toString(toYYYYMMDD(time)) FROM comptroller.{table} ORDER BY 1"
    )
    return [day for (day,) in rows]


async def said(store: StoreProcess) -> dict[str, list[list[Any]]]:
    """What the views of sums say."""
    return {
        view: await store.rows(f"SELECT * FROM comptroller.{view} ORDER BY ALL") for view in VIEWS
    }


async def test_exactly_the_days_that_are_over_go(store: StoreProcess, log: Log) -> None:
    """As many whole days as are kept stay beside today; payloads have a time of their own; what
    went is named, oldest first."""
    dropped = await retention(store, 3, 1).sweep()
    assert dropped == [
        *(f"bodies {day_of(day)}" for day in (5, 4, 3, 2)),
        *(f"events {day_of(day)}" for day in (5, 4)),
    ]
    assert await days_in(store, "events") == [day_of(day) for day in (3, 2, 1, 0)]
    assert await days_in(store, "bodies") == [day_of(day) for day in (1, 0)]
    assert await retention(store, 3, 1).sweep() == []


@pytest.mark.parametrize(("now", "kept"), [(0, [1, 0]), (DAY_MS - 1, [1, 0]), (DAY_MS, [0])])
async def test_a_day_is_over_at_midnight_utc(
    store: StoreProcess, now: int, kept: list[int]
) -> None:
    """Not by the hour at which a recorder looks."""
    log = Log(store)
    log.call(ago_ms(1, 23, HOUR_MS - 1), 1)
    log.call(ago_ms(0), 1)
    await log.write()
    await Retention(store, Snapshots(store), 1, 1, lambda: ago_ms(0) + now, lambda _: None).sweep()
    assert await days_in(store, "events") == [day_of(day) for day in kept]
    assert await days_in(store, "bodies") == [day_of(day) for day in kept]


async def _spent(store: StoreProcess, log: Log) -> int:
    """What the records say was spent in the one counter that there is."""
    standing = await Snapshots(store).standing(log.organisation, log.head, over_ms=0)
    return standing.spent[TOTAL][1]


async def _counted(store: StoreProcess) -> Log:
    log = Log(store)
    for day in reversed(range(DAYS)):
        log.add(ago_ms(day), "llm_response", b"{}", counters=((TOTAL, 1, 0, 10 + day),))
    await log.write()
    return log


async def test_what_a_counter_has_spent_outlives_its_events(store: StoreProcess) -> None:
    """Before a day's events go, a snapshot has what they come to; late truth is added to it."""
    log = await _counted(store)
    before = await _spent(store, log)
    assert await retention(store, 3, 99).sweep()
    assert await _spent(store, log) == before == sum(10 + day for day in range(DAYS))
    log.add(NOW_MS, "correction", b"{}", counters=((TOTAL, 1, 0, -4),))
    await log.write()
    await Snapshots(store).take(log.organisation, log.head)
    assert await retention(store, 0, 99).sweep()
    assert await _spent(store, log) == before - 4


async def test_a_day_that_no_snapshot_covers_is_kept(
    store: StoreProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """Of an organisation that cannot be added up nothing is dropped, and it is said; nor while a
    snapshot fails. One that ends within the day covers what is before it only."""
    log = await _counted(store)
    store.refuse_next = "comptroller.snapshots"
    with pytest.raises(StoreRefused):
        await retention(store, 3, 99).sweep()
    assert len(await days_in(store, "events")) == DAYS
    idle = Snapshots(store)
    idle.take = AsyncMock(return_value=False)  # type: ignore[method-assign]
    with caplog.at_level(logging.ERROR, "comptroller.recorder"):
        assert not await Retention(store, idle, 3, 99, lambda: NOW_MS, lambda _: None).sweep()
    assert f"no snapshot covers the events of {log.organisation}" in caplog.text
    first = Head(1, 1, "", ago_ms(DAYS - 1))
    await Snapshots(store).take(log.organisation, first)
    dropped = await Retention(store, idle, 3, 99, lambda: NOW_MS, lambda _: None).sweep()
    assert dropped == [f"events {day_of(DAYS - 1)}"]


async def test_the_archive_is_what_the_events_were(store: StoreProcess, log: Log) -> None:
    """The hours of dropped days come to the same, group by group, as the events did."""
    names = "org, event_type, project, workflow, agent, provider, model, usage_source"
    sums = (
        "count() AS events, sum(charged_nusd), sum(reserved_nusd), sum(text_input), "
        "sum(cached_input), sum(cache_write_5m), sum(cache_write_1h), sum(audio_input), "
        "sum(image_input), sum(text_output), sum(reasoning_output), sum(audio_output), "
        "sum(tool_calls), sum(overrun), sum(duration_ms), sum(video_input), sum(image_output), "
        "sum(search_calls), sum(audio_ms), sum(pages), sum(characters)"
    )
    before = await store.rows(
        f"SELECT toStartOfHour(time) AS hour, {names}, {sums} FROM comptroller.events "
        f"WHERE toYYYYMMDD(time) < {day_of(3)} GROUP BY hour, {names} ORDER BY ALL"
    )
    assert len(before) > 12
    await retention(store, 3, 99).sweep()
    assert await store.rows("SELECT * FROM comptroller.hours FINAL ORDER BY ALL") == before


@pytest.mark.parametrize("events_days", [0, 3, DAYS - 1, DAYS])
async def test_the_views_say_the_same_before_and_after(
    store: StoreProcess, log: Log, events_days: int
) -> None:
    """Whatever went, no sum changes: by hour, by day, and of use."""
    before = await said(store)
    assert all(before.values())
    await retention(store, events_days, 99).sweep()
    assert await said(store) == before
    assert await days_in(store, "events") == [
        day_of(day) for day in reversed(range(min(DAYS, events_days + 1)))
    ]


async def test_the_views_count_each_event_once(store: StoreProcess, log: Log) -> None:
    """Totals of the views are those of the events themselves, dropped days included."""
    query = "SELECT count(), sum(charged_nusd), sum(text_input) FROM comptroller.events"
    ((events, charged, text),) = await store.rows(query)
    assert charged == sum(330 + day + 1 for day in range(DAYS)) + (DAYS - 1) * 7
    await retention(store, 2, 2).sweep()
    for view in ("spend_hourly", "spend_daily"):
        rows = await store.rows(
            f"SELECT sum(events), sum(charged_nusd), sum(text_input) FROM comptroller.{view}"
        )
        assert rows == [[events, charged, text]], view


async def test_a_crash_between_archive_and_drop_loses_and_doubles_nothing(
    store: StoreProcess, log: Log
) -> None:
    """The archive stands, the events too: the views count them once, and the next sweep goes on."""
    before = await said(store)
    store.refuse_next = "DROP PARTITION"
    with pytest.raises(StoreRefused):
        await retention(store, 3, 99).sweep()
    assert await store.rows("SELECT count() > 0 FROM comptroller.hours") == [[1]]
    assert len(await days_in(store, "events")) == DAYS
    assert await said(store) == before
    dropped = await retention(store, 3, 99).sweep()
    assert dropped == [f"events {day_of(day)}" for day in (5, 4)]
    assert await said(store) == before


async def test_half_an_archive_is_written_again(store: StoreProcess, log: Log) -> None:
    """Of an insert that was cut short: the whole day is written once more, over what is there."""
    before = await said(store)
    store.refuse_next = "DROP PARTITION"
    with pytest.raises(StoreRefused):
        await retention(store, 3, 99).sweep()
    await store.command(
        "ALTER TABLE comptroller.hours DELETE WHERE event_type = 'llm_response' "
        "SETTINGS mutations_sync = 2"
    )
    await retention(store, 3, 99).sweep()
    assert await said(store) == before
    assert len(await days_in(store, "events")) == 4


async def test_a_day_whose_archive_differs_is_kept(
    store: StoreProcess, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """More in the archive than in the events: neither is touched, it is said, and the other days
    go."""
    await store.insert(
        "INSERT INTO comptroller.hours (hour, org, event_type, events, charged_nusd)",
        b'["2027-03-05 03:00:00", "x", "y", 999, 5]',
        "strange",
    )
    with caplog.at_level(logging.ERROR, "comptroller.recorder"):
        dropped = await retention(store, 3, 99).sweep()
    assert dropped == [f"events {day_of(day)}" for day in (4,)]
    assert day_of(5) in await days_in(store, "events")
    assert f"day {day_of(5)} is kept" in caplog.text


async def test_events_that_come_after_their_day_went_are_kept(
    store: StoreProcess, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """From a disk spool that was away for long: the archive is not overwritten by the few that
    came late."""
    await retention(store, 3, 99).sweep()
    archived = await store.rows("SELECT * FROM comptroller.hours FINAL ORDER BY ALL")
    late = Log(store, "late-org")
    late.call(ago_ms(5, 4), 50)
    late.call(NOW_MS, 1)
    await late.write()
    with caplog.at_level(logging.ERROR, "comptroller.recorder"):
        assert await retention(store, 3, 99).sweep() == []
    assert await store.rows("SELECT * FROM comptroller.hours FINAL ORDER BY ALL") == archived
    assert day_of(5) in await days_in(store, "events")
    assert f"day {day_of(5)} is kept" in caplog.text


async def test_the_last_event_of_an_organisation_is_kept(store: StoreProcess) -> None:
    """However old it is: what comes next stands on it, and without it a ledger that was emptied
    would begin the organisation anew."""
    idle = Log(store, "idle-org")
    for days in (9, 8, 8):
        idle.call(ago_ms(days), 50)
    await idle.write()
    await retention(store, 3, 99).sweep()
    assert await days_in(store, "events") == [day_of(8)]
    assert await Snapshots(store).is_known("idle-org")
    assert not await Snapshots(store).is_known("nobody")


async def test_nothing_to_drop_is_nothing_done(store: StoreProcess) -> None:
    """Empty records, and records of today only."""
    assert await retention(store, 1, 1).sweep() == []
    log = Log(store)
    log.call(NOW_MS, 1)
    await log.write()
    assert await retention(store, 0, 0).sweep() == []
    assert await store.rows("SELECT count() FROM comptroller.hours") == [[0]]
