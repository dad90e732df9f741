"""The log in pages: every event once, in order, and only those that were asked for."""

from typing import Any

import pytest

from clickhouse.events import COLUMNS, DERIVED_COLUMNS
from console.event_log import Filter
from tests.console.desk import Console

BESIDE = {"id", "hash", "prev_hash"}


async def pages(console: Console, query: str) -> list[dict[str, Any]]:
    """All events of a question, page by page."""
    found: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        page = await console.done("GET", f"/v1/events?{query}&after={after}")
        assert set(page) == {"events", "next"}
        found += page["events"]
        after = page["next"]
    return found


async def test_an_event_has_every_column(recorded: Console) -> None:
    """As it is chained, with its hash and its id; flags are true and false, amounts whole."""
    caller = await recorded.caller()
    await caller.make(1)
    await caller.recorded()
    page = await recorded.done("GET", f"/v1/events?organisation={caller.organisation}")
    event = next(each for each in page["events"] if each["event_type"] == "llm_response")
    assert set(event) == {*COLUMNS, *DERIVED_COLUMNS, *BESIDE}
    assert event["id"] == f"{caller.organisation}/{event['epoch']}-{event['seq']}-0"
    assert (event["overrun"], event["charged_nusd"]) == (False, 100)
    assert isinstance(event["time_ms"], int)


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_every_event_is_on_one_page(recorded: Console, order: str) -> None:
    """Whatever the size of a page, derived rows too; the other order is the same the other way."""
    caller = await recorded.caller()
    await caller.make(7)
    await caller.recorded()
    query = f"organisation={caller.organisation}&order={order}"
    whole = [each["id"] for each in await pages(recorded, f"{query}&limit=1000")]
    assert len(whole) == len(set(whole)) == 15 + caller.tools
    for size in (1, 3, 15):
        assert [each["id"] for each in await pages(recorded, f"{query}&limit={size}")] == whole
    places = [tuple(map(int, each.partition("/")[2].split("-"))) for each in whole]
    assert places == sorted(places, reverse=order == "desc")
    last = (await recorded.done("GET", f"/v1/events?{query}&after={whole[4]}"))["events"]
    assert [each["id"] for each in last] == whole[5:]


async def test_pages_go_over_organisations(recorded: Console) -> None:
    """Without one being named, both ways."""
    callers = [await recorded.caller() for _ in range(3)]
    for each in callers:
        await each.make(2)
        await each.recorded()
    mine = {each.organisation for each in callers}
    for order in ("asc", "desc"):
        found = [
            each for each in await pages(recorded, f"limit=4&order={order}") if each["org"] in mine
        ]
        assert len(found) == len({each["id"] for each in found})
        assert len(found) == sum(5 + each.tools for each in callers)


async def test_filters(recorded: Console) -> None:
    """By scope and below, key, run and type; together they narrow. A stream's filter says the same
    of each event."""
    caller = await recorded.caller()
    for n, scope in enumerate(("a", "a/b", "ab")):
        event = b'{"scope":"%s/%s","key_id":"key-%d","run_id":"run-%d"}' % (
            *(caller.organisation.encode(), scope.encode()),
            *(n, n % 2),
        )
        id_ = caller.desk.session.new_id()
        kind = "step_started" if n else "run_submitted"
        await caller.desk.administration.append(caller.organisation, id_, kind, event)
    await caller.recorded()
    org = caller.organisation
    everything = await pages(recorded, f"organisation={org}")
    for fields, count in (
        ({"scope": f"{org}/a"}, 2),
        ({"scope": f"{org}/a/b"}, 1),
        ({"key": "key-2"}, 1),
        ({"run": "run-0"}, 2),
        ({"type": "step_started"}, 2),
        ({"type": "step_started", "run": "run-0"}, 1),
        ({"key": "key-9"}, 0),
        ({"run": "run-0' OR '1'='1"}, 0),
    ):
        query = "&".join(f"{name}={value}" for name, value in fields.items())
        found = await pages(recorded, f"organisation={org}&{query}")
        assert len(found) == count, fields
        assert found == [each for each in everything if Filter(org, **fields).matches(each)]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("type=llm_respons", "type"),
        ("after=nonsense", "after"),
        ("after=acme/1-1", "after"),
        ("after=acme/1-1-1,b/1-1-1", "after"),
        ("after=a%27b/1-1--1", "after"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("order=random", "order"),
        ("scope=a//b", "scope"),
        ("organisation=a/b", "organisation"),
        ("scope=a/b&organisation=c", "organisation"),
        ("runs=x", "runs"),
    ],
)
async def test_a_question_that_cannot_be(console: Console, query: str, param: str) -> None:
    """The field is named."""
    error = await console.refused(400, "invalid_request_error", "GET", f"/v1/events?{query}")
    assert error["param"] == param


async def test_without_records_there_are_no_events(console: Console) -> None:
    """503, which says where to look."""
    await console.refused(503, "records_unavailable", "GET", "/v1/events")
