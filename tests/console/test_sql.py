"""SQL over the admin API: read-only, bounded, exact."""

from decimal import Decimal
from typing import Any

import pytest

from console.options import ConsoleOptions
from console.records import NoUser, RecordsAddress
from tests.console.desk import Console, opened
from tests.recorder.crashing import RecordsServer
from tests.recorder.rig import staged


async def ask(console: Console, query: str, **parameters: Any) -> dict[str, Any]:
    """The answer's document."""
    body = {"query": query, "parameters": parameters}
    answer: dict[str, Any] = await console.done("POST", "/v1/sql", body)
    return answer


async def test_the_shape_of_an_answer(recorded: Console) -> None:
    """Columns with their types, rows in order, statistics."""
    answer = await ask(recorded, "SELECT number AS n, 'x' AS t FROM numbers(2)")
    assert set(answer) == {"columns", "rows", "statistics"}
    assert answer["columns"] == [{"name": "n", "type": "UInt64"}, {"name": "t", "type": "String"}]
    assert answer["rows"] == [[0, "x"], [1, "x"]]
    assert {"elapsed", "rows_read", "bytes_read"} <= set(answer["statistics"])


async def test_numbers_are_exact(recorded: Console) -> None:
    """64-bit integers are integers to the last digit, decimals are texts: no float between."""
    answer = await ask(
        recorded,
        "SELECT 9223372036854775807, 18446744073709551615, toDecimal128('0.000000001', 9)",
    )
    assert answer["rows"] == [[9223372036854775807, 18446744073709551615, "0.000000001"]]


async def test_parameters_are_values_and_nothing_else(recorded: Console) -> None:
    """Texts of any kind come back as they are, as do numbers and lists."""
    hostile = "it's \\ a\ttab\nline 'OR' 1=1 -- {x:String} \\N"
    answer = await ask(
        recorded,
        "SELECT {t:String}, {n:UInt64}, {d:Decimal(10,2)}, {l:Array(String)}, {i:Array(Int8)}, "
        "{b:Bool}",
        t=hostile,
        n=18446744073709551615,
        d="1.25",
        l=["a'b", hostile],
        i=[1, -2],
        b=True,
    )
    assert answer["rows"] == [
        [hostile, 18446744073709551615, "1.25", ["a'b", hostile], [1, -2], True]
    ]
    assert Decimal(answer["rows"][0][2]) == Decimal("1.25")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELEC 1", "clickhouse_62"),
        ("SELECT no_such FROM events", "clickhouse_47"),
        ("SELECT * FROM nothing", "clickhouse_60"),
        ("SELECT {x:String}", "clickhouse_456"),
        ("INSERT INTO events (org) VALUES ('x')", "clickhouse_497"),
        ("DROP TABLE events", "clickhouse_497"),
        ("SELECT * FROM url('http://127.0.0.1/x', CSV)", "clickhouse_497"),
        ("SELECT * FROM file('/etc/passwd')", "clickhouse_497"),
        ("SELECT 1; SELECT 2", ""),
        ("SELECT 1 SETTINGS max_execution_time = 0", "clickhouse_164"),
        ("SELECT 1 FORMAT CSV", "clickhouse_73"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", ""),
        ("SELECT * FROM system.users", "clickhouse_497"),
    ],
)
async def test_what_clickhouse_refuses_is_a_400_with_its_code(
    recorded: Console, query: str, code: str
) -> None:
    """Errors of the query are the caller's; nothing can be written or fetched."""
    answer = await recorded.call("POST", "/v1/sql", {"query": query})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == code or (not code and error["code"].startswith("clickhouse_"))
    assert error["param"] == "query"
    assert error["code"].removeprefix("clickhouse_") in error["message"]


@pytest.fixture
def options() -> ConsoleOptions:
    """Small answers, short questions."""
    return ConsoleOptions(sql_rows_max=100, sql_bytes_max=20_000, sql_ms_max=1_000)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT number FROM numbers(101)",
        "SELECT repeat('x', 30000)",
        "SELECT sum(sipHash64(number, number + 1)) FROM numbers(1500000000)",
    ],
)
async def test_an_answer_is_bounded(recorded: Console, query: str) -> None:
    """In rows, in bytes, in time: refused, and never cut short in silence."""
    error = (await recorded.call("POST", "/v1/sql", {"query": query})).json()["error"]
    assert error["type"] == "invalid_request_error", error
    assert error["code"] in ("clickhouse_396", "clickhouse_159"), error
    await ask(recorded, "SELECT number FROM numbers(100)")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": "SELECT 1", "params": {}}, "params"),
        ({"query": "SELECT 1", "parameters": {"a b": 1}}, ""),
        ({"query": "SELECT 1", "parameters": {"a": {"b": 1}}}, "parameters.a"),
        ({"query": "SELECT 1", "parameters": {"a": None}}, "parameters.a"),
        ({"query": "SELECT 1", "parameters": {"a": [[1]]}}, "parameters.a"),
    ],
)
async def test_a_body_that_cannot_be(console: Console, body: dict[str, Any], param: str) -> None:
    """Named before anybody is asked."""
    error = await console.refused(400, "invalid_request_error", "POST", "/v1/sql", body)
    assert not param or error["param"] == param


async def test_without_records_there_is_no_sql(console: Console) -> None:
    """503, and the ledger's calls go on."""
    await console.refused(503, "records_unavailable", "POST", "/v1/sql", {"query": "SELECT 1"})
    await console.done("GET", "/v1/keys")


async def test_where_an_organisation_has_no_user(
    records: RecordsServer, options: ConsoleOptions
) -> None:
    """At a ClickHouse server nobody keeps SQL apart for it: a bound token gets none. Its events are
    still there, by the query's own condition."""
    whole = Console.found(records)

    def where(organisation: str) -> RecordsAddress:
        if organisation:
            raise NoUser("this server has no user for it")
        return whole("")

    async with staged() as stage, opened(stage, where, options) as console:
        store = records.store()
        await stage.recorder(store)
        mine, theirs = await console.caller(), await console.caller()
        for each in (mine, theirs):
            await each.make(1)
            await each.recorded()
        token = await console.token("admin", mine.organisation)
        body = {"query": "SELECT 1"}
        await console.refused(403, "role_not_allowed", "POST", "/v1/sql", body, token=token)
        page = await console.done("GET", "/v1/events", token=token)
        assert {each["org"] for each in page["events"]} == {mine.organisation}
        await store.close()


async def test_a_password_that_is_wrong_is_ours(
    records: RecordsServer, options: ConsoleOptions
) -> None:
    """The caller did nothing wrong: 503, without a word about accounts."""

    def where(organisation: str) -> RecordsAddress:
        return RecordsAddress(records.url, organisation or "reader", "wrong")

    async with staged() as stage, opened(stage, where, options) as console:
        body = {"query": "SELECT 1"}
        error = await console.refused(503, "records_unavailable", "POST", "/v1/sql", body)
        assert "password" not in error["message"]
