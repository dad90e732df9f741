"""What the recorder uses, on the engine in process and over HTTP: the same behaviour."""

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator

import pytest

from clickhouse.engine import Engine
from clickhouse.errors import StoreRefused, StoreUnavailable
from clickhouse.store import EmbeddedStore, HttpStore, HttpTimeouts, Store
from tests.clickhouse.conftest import Served


@pytest.fixture(params=["embedded", "http"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Both implementations."""
    made: Store
    if request.param == "embedded":
        engine: Engine = request.getfixturevalue("engine")
        made = EmbeddedStore(engine)
    else:
        served: Served = request.getfixturevalue("served")
        made = HttpStore(served.url, *served.auth("recorder"))
    yield made
    await made.close()


async def fresh(store: Store) -> str:
    """A new table with deduplication, as events have it, and a view's target behind it."""
    name = f"comptroller.t{uuid.uuid4().hex}"
    await store.command(
        f"""CREATE TABLE {name} (org String, seq UInt64, note String) ENGINE = MergeTree
        ORDER BY (org, seq) SETTINGS non_replicated_deduplication_window = 100"""
    )
    await store.command(
        f"""CREATE TABLE {name}_sums (org String, n UInt64) ENGINE = SummingMergeTree ORDER BY org
        SETTINGS non_replicated_deduplication_window = 100"""
    )
    await store.command(
        f"""CREATE MATERIALIZED VIEW {name}_view TO {name}_sums
        AS SELECT org, count() AS n FROM {name} GROUP BY org"""
    )
    return name


def rows(*values: list[object]) -> bytes:
    """As JSONCompactEachRow."""
    return "\n".join(json.dumps(value) for value in values).encode()


async def test_what_was_written_is_read(store: Store) -> None:
    """Rows come back as JSONCompactEachRow, 64-bit integers unquoted, whatever is in a text."""
    table = await fresh(store)
    text = "a'b\"c\\d\te\nf\x00g\r{h:String} é \U0001f600"
    await store.insert(
        f"INSERT INTO {table} (org, seq, note)", rows(["acme", 2**63, text], ["b", 1, ""]), "t1"
    )
    query = f"SELECT org, seq, note FROM {table} WHERE org = {{org:String}}"
    answer = await store.select(query, {"org": "acme"})
    assert json.loads(answer) == ["acme", 2**63, text]
    assert b'"9223372036854775808"' not in answer


async def test_parameters_are_values(store: Store) -> None:
    """Quotes, line breaks and backslashes of a parameter arrive, and are never SQL."""
    for value in ("it's", "a\nb", "a\tb", "\\N", "\\", "' OR 1 --", "é", ""):
        answer = await store.select("SELECT {v:String}, {n:UInt64}", {"v": value, "n": 7})
        assert json.loads(answer) == [value, 7]


async def test_the_same_token_writes_once(store: Store) -> None:
    """An insert that is sent again with its token changes nothing, in the view's target either;
    with another token it does."""
    table = await fresh(store)
    statement = f"INSERT INTO {table} (org, seq, note)"
    for token in ("batch-1", "batch-1", "batch-2"):
        await store.insert(statement, rows(["acme", 1, ""], ["acme", 2, ""]), token)
    answer = await store.select(f"SELECT count() FROM {table}", {})
    assert json.loads(answer) == [4]
    answer = await store.select(f"SELECT sum(n) FROM {table}_sums", {})
    assert json.loads(answer) == [4]


async def test_binary_rows(store: Store) -> None:
    """RowBinary, which bodies are written in, passes unharmed."""
    table = await fresh(store)
    note = bytes(range(256)) * 3
    row = b"\x01a" + (7).to_bytes(8, "little") + b"\x80\x06" + note
    await store.insert(f"INSERT INTO {table} (org, seq, note)", row, "t", "RowBinary")
    answer = await store.select(f"SELECT hex(note), seq FROM {table}", {})
    assert json.loads(answer) == [note.hex().upper(), 7]


async def test_a_large_batch_is_one_insert(store: Store) -> None:
    """20,000 rows of 500 bytes are one part: all or nothing."""
    table = await fresh(store)
    many = rows(*(["acme", seq, "x" * 500] for seq in range(20_000)))
    await store.insert(f"INSERT INTO {table} (org, seq, note)", many, "big")
    answer = await store.select(
        "SELECT count(), sum(rows) FROM system.parts WHERE active AND database = 'comptroller' "
        "AND table = {table:String}",
        {"table": table.partition(".")[2]},
    )
    assert json.loads(answer) == [1, 20_000]


@pytest.mark.parametrize(
    ("statement", "body", "code"),
    [
        ("INSERT INTO comptroller.no_such_table (a)", b'["x"]', 60),
        ("INSERT INTO {table} (org, seq, note)", b'["a", "not a number", ""]', 27),
        ("INSERT INTO {table} (org, seq, note)", b'["a", 1', 27),
        ("INSERT INTO {table} (no_such_column)", b"[1]", 16),
    ],
)
async def test_a_refused_insert_says_so_and_writes_nothing(
    store: Store, statement: str, body: bytes, code: int
) -> None:
    """The engine's own code, and not one row of the batch."""
    table = await fresh(store)
    good = b'["acme", 1, ""]\n' if "org" in statement else b""
    with pytest.raises(StoreRefused) as caught:
        await store.insert(statement.replace("{table}", table), good + body, "t")
    assert caught.value.code in {code, 26, 117}
    assert json.loads(await store.select(f"SELECT count() FROM {table}", {})) == [0]


async def test_a_refused_query_or_command_has_its_code(store: Store) -> None:
    """StoreRefused with ClickHouse's code and a message without the frame around it."""
    with pytest.raises(StoreRefused) as caught:
        await store.select("SELECT no_such_column", {})
    assert caught.value.code == 47
    assert "no_such_column" in caught.value.message
    assert "Code:" not in caught.value.message
    with pytest.raises(StoreRefused) as caught:
        await store.command("CREATE TABLE comptroller.x (a NoSuchType) ENGINE = Memory")
    assert caught.value.code == 50


async def test_inserts_at_the_same_time(store: Store) -> None:
    """Sixteen at once all land."""
    table = await fresh(store)
    await asyncio.gather(
        *(
            store.insert(f"INSERT INTO {table} (org, seq, note)", rows(["o", n, ""]), f"t{n}")
            for n in range(16)
        )
    )
    assert json.loads(await store.select(f"SELECT uniqExact(seq) FROM {table}", {})) == [16]


async def test_a_closed_store_is_unavailable(store: Store) -> None:
    """No call hangs or dies of something else after close, which may be called twice."""
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.select("SELECT 1", {})
    with pytest.raises(StoreUnavailable):
        await store.insert("INSERT INTO comptroller.x (a)", b"[1]", "t")


async def test_nobody_listens() -> None:
    """A refused connection is StoreUnavailable, at once, and the next call tries anew."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    store = HttpStore(f"http://127.0.0.1:{port}", "recorder", "x")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1 did not answer"):
            await store.command("SELECT 1")
    await store.close()


async def test_a_server_that_says_nothing_is_given_up() -> None:
    """The answer's timeout ends the call as StoreUnavailable: it may have happened."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel connects, nobody answers
        port = silent.getsockname()[1]
        store = HttpStore(
            f"http://127.0.0.1:{port}", "recorder", "x", HttpTimeouts(connect_s=1, answer_s=1)
        )
        with pytest.raises(StoreUnavailable):
            await store.command("SELECT 1")
        await store.close()


async def test_an_insert_is_never_sent_twice_by_itself(served: Served) -> None:
    """A server that breaks the connection in answer to an insert sees it once."""
    inserts = 0

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A proxy that ends the connection where an insert's answer would begin."""
        nonlocal inserts
        there, back = await asyncio.open_connection("127.0.0.1", served.port)
        answers = asyncio.create_task(_copied(there, writer))
        while data := await reader.read(65536):
            if b"INSERT" in data:
                inserts += 1
                break
            back.write(data)
        answers.cancel()
        back.close()
        writer.close()

    proxy = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    store = HttpStore(f"http://127.0.0.1:{port}", *served.auth("recorder"))
    await store.select("SELECT 1", {})
    with pytest.raises(StoreUnavailable):
        await store.insert("INSERT INTO comptroller.heads (note)", b'["once"]', "t")
    assert inserts == 1
    await store.close()
    proxy.close()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


async def test_a_wrong_password_is_refused(served: Served) -> None:
    """516, not an outage: no retry will help."""
    store = HttpStore(served.url, "recorder", "wrong")
    with pytest.raises(StoreRefused) as caught:
        await store.select("SELECT 1", {})
    assert caught.value.code == 516
    await store.close()


@pytest.mark.parametrize("url", ["", "127.0.0.1:8123", "ftp://x", "http://u:p@x", "http://"])
def test_a_url_that_is_none_is_told(url: str) -> None:
    """Before anything is sent anywhere."""
    with pytest.raises(ValueError, match="http"):
        HttpStore(url, "recorder", "x")
