"""The records over HTTP, by a real server in a process of its own: what clients rely on, what is
refused, and that a half answer never looks whole."""

import asyncio
import base64
import contextlib
import gzip
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from clickhouse.compression import CODINGS, encoder_of
from tests.clickhouse.conftest import Served
from tests.clickhouse.samples import SECRET

# Neither ends within the engine's 10 s, nor is refused for its size.
HEAVY = "SELECT sum(sipHash64(sipHash64(sipHash64(sipHash64(number))))) FROM numbers(1999000000)"
ENDLESS = "SELECT number FROM numbers(19990000)"


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    """A client as the reader of all organisations."""
    with httpx.Client(
        base_url=served.url, auth=served.auth("reader"), timeout=20, verify=False
    ) as client:
        yield client


def code_of(answer: httpx.Response) -> tuple[int, int]:
    """Status and ClickHouse's code, the same in header and body."""
    code = int(answer.headers["x-clickhouse-exception-code"])
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    return answer.status_code, code


# -- the door


def test_health_needs_no_account(served: Served) -> None:
    """Probes and drivers ask without a password, and learn nothing else."""
    with httpx.Client(base_url=served.url, verify=False) as client:
        for path in ("/ping", "/replicas_status", "/"):
            assert client.get(path).text == "Ok.\n"
        assert client.get("/play").status_code == 404
        assert client.get("/../etc/passwd").status_code == 404
        assert client.put("/").status_code == 405
        assert client.head("/ping").status_code == 200


def test_ways_to_say_who_you_are(served: Served) -> None:
    """Basic, ClickHouse's headers and the URL's fields are the same account."""
    user, password = served.auth("acme")
    query = {"query": "SELECT DISTINCT org FROM events"}
    with httpx.Client(base_url=served.url, verify=False) as client:
        answers = [
            client.get("/", params=query, auth=(user, password)),
            client.get(
                "/",
                params=query,
                headers={"X-ClickHouse-User": user, "X-ClickHouse-Key": password},
            ),
            client.get("/", params={**query, "user": user, "password": password}),
        ]
    assert [(each.status_code, each.text) for each in answers] == [(200, "acme\n")] * 3


@pytest.mark.parametrize(
    ("headers", "fields", "expected"),
    [
        ({}, {}, (401, 194)),
        ({"X-ClickHouse-User": "reader"}, {}, (403, 516)),
        ({"X-ClickHouse-User": "reader", "X-ClickHouse-Key": "x"}, {}, (403, 516)),
        ({"X-ClickHouse-User": "default", "X-ClickHouse-Key": ""}, {}, (403, 516)),
        ({"X-ClickHouse-Key": "x"}, {}, (403, 516)),
        ({}, {"user": "reader"}, (403, 516)),
        ({}, {"user": "acme", "password": "{reader}"}, (403, 516)),
        ({"Authorization": "Bearer x"}, {}, (403, 516)),
        ({"Authorization": "Basic !!!"}, {}, (403, 516)),
        ({"Authorization": "Basic"}, {}, (403, 516)),
        (
            {"X-ClickHouse-User": "reader", "X-ClickHouse-Key": "{reader}"},
            {"user": "x"},
            (403, 516),
        ),
    ],
)
def test_who_is_not_let_in(
    served: Served, headers: dict[str, str], fields: dict[str, str], expected: tuple[int, int]
) -> None:
    """No account, a wrong password, another's password, two accounts at once: refused."""
    secret = served.auth("reader")[1]
    filled = {name: value.replace("{reader}", secret) for name, value in headers.items()}
    params = {name: value.replace("{reader}", secret) for name, value in fields.items()}
    answer = httpx.get(
        served.url, verify=False, params={**params, "query": "SELECT 1"}, headers=filled
    )
    assert code_of(answer) == expected
    assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1", "", 200),
        ("localhost:1234", "", 200),
        ("LOCALHOST", "", 200),
        ("[::1]:80", "", 200),
        ("records.example", "", 200),
        ("records.example:8123", "http://records.example", 200),
        ("evil.example", "", 403),
        ("127.0.0.1.evil.example", "", 403),
        ("localhost@evil.example", "", 403),
        ("[::1]evil", "", 403),
        ("", "", 403),
        ("127.0.0.1", "http://evil.example", 403),
        ("127.0.0.1", "null", 403),
    ],
)
def test_names_of_others_are_not_served(
    http: httpx.Client, host: str, origin: str, status: int
) -> None:
    """A page that had its name resolve to loopback (DNS rebinding) gets nothing, nor does one of
    another site, not even health."""
    headers = {"Host": host, **({"Origin": origin} if origin else {})}
    assert http.get("/", params={"query": "SELECT 1"}, headers=headers).status_code == status
    assert http.get("/ping", headers=headers).status_code == status


# -- queries


def test_a_query_in_url_body_or_both(http: httpx.Client) -> None:
    """GET, POST, and a beginning in the URL that the body goes on."""
    assert http.get("/", params={"query": "SELECT 1"}).text == "1\n"
    assert http.post("/", content="SELECT 1").text == "1\n"
    assert http.post("/", params={"query": "SELECT"}, content="1 + 1").text == "2\n"
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # what `curl -d` says
    assert http.post("/", content="SELECT 3", headers=form).text == "3\n"


def test_formats(http: httpx.Client) -> None:
    """FORMAT wins over the header, that over default_format, that over TabSeparated; the answer
    names the one it has."""
    query = {"query": "SELECT 1 AS a", "default_format": "CSVWithNames"}
    answer = http.get("/", params=query)
    assert (answer.text, answer.headers["x-clickhouse-format"]) == ('"a"\n1\n', "CSVWithNames")
    answer = http.get("/", params=query, headers={"X-ClickHouse-Format": "JSONEachRow"})
    assert answer.json() == {"a": 1}
    assert "ndjson" in answer.headers["content-type"]
    answer = http.get("/", params={"query": "SELECT 1 AS a FORMAT JSON"})
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["data"] == [{"a": 1}]
    empty = http.get("/", params={"query": "SELECT 1 AS a WHERE 0 FORMAT JSON"})
    assert empty.json()["meta"] == [{"name": "a", "type": "UInt8"}]
    assert code_of(http.get("/", params={"query": "SELECT 1 FORMAT Nonsense"})) == (404, 73)
    assert code_of(http.get("/", params={"query": "SELECT 1 FORMAT DataFrame"})) == (404, 73)
    assert code_of(http.get("/", params={"query": "SELECT 1 FORMAT Template"})) == (404, 73)


def test_framed_formats_are_whole_however_many_rows(http: httpx.Client) -> None:
    """JSON of 100,000 rows is one document, CSVWithNames has one line of names."""
    query = "SELECT number FROM numbers(100000) FORMAT "
    assert http.post("/", content=query + "JSONCompact").json()["rows"] == 100_000
    lines = http.post("/", content=query + "CSVWithNames").text.splitlines()
    assert (len(lines), lines.count('"number"')) == (100_001, 1)


def test_parameters(http: httpx.Client) -> None:
    """`param_*` are values, in the protocol's escapes, in the URL or as a form."""
    query = "SELECT {a:String}, {b:UInt64}, {c:Array(String)} FORMAT JSONCompactEachRow"
    fields = {"param_a": "it's\\n", "param_b": str(2**64 - 1), "param_c": "['x','y']"}
    expected = ["it's\n", 2**64 - 1, ["x", "y"]]
    assert http.post("/", params=fields, content=query).json() == expected
    form = {name: (None, value) for name, value in {**fields, "query": query}.items()}
    assert http.post("/", files=form).json() == expected
    assert code_of(http.post("/", content=query)) == (400, 456)
    upload = http.post("/", files={"query": (None, "SELECT 1"), "t": ("t.csv", b"1")})
    assert code_of(upload) == (501, 48)


def test_an_organisation_gets_its_own_rows(served: Served) -> None:
    """Through the whole way, on two accounts of the same server."""
    query = "SELECT org, count() FROM events GROUP BY org ORDER BY org"
    for user, expected in (
        ("acme", "acme\t3000\n"),
        ("globex", "globex\t3000\n"),
        ("unheard-of", ""),
        ("reader", "acme\t3000\nglobex\t3000\n"),
    ):
        answer = httpx.post(served.url, verify=False, content=query, auth=served.auth(user))
        assert (answer.status_code, answer.text) == (200, expected)
    leaks = httpx.post(
        served.url, verify=False, content="SELECT * FROM heads", auth=served.auth("acme")
    )
    assert code_of(leaks) == (403, 497)
    assert SECRET not in leaks.text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELEC 1", (400, 62)),
        ("", (400, 62)),
        ("SELECT nothing_like_it FROM events", (404, 47)),
        ("SELECT * FROM nothing_like_it", (404, 60)),
        ("SELECT * FROM system.processes", (403, 497)),
        ("INSERT INTO events (org) VALUES ('x')", (403, 497)),
        ("SELECT 1 SETTINGS max_threads = 2", (500, 164)),
        ("SELECT toUInt8('x')", (400, 6)),
        ("SELECT * FROM (SELECT number FROM numbers(9000000)) FORMAT JSON", (500, 396)),
        ("SELECT groupArray(number) FROM numbers(200000000)", (500, 241)),
    ],
)
def test_errors_have_clickhouse_s_shape(
    http: httpx.Client, query: str, expected: tuple[int, int]
) -> None:
    """Its status, its code in the header, its sentence in the body: drivers parse them."""
    answer = http.post("/", content=query)
    assert code_of(answer) == expected
    assert re.search(r"\(version [0-9.]+\)\n\Z", answer.text)


def test_headers_of_an_answer(http: httpx.Client) -> None:
    """What drivers and Grafana read; a query id that could split a header is replaced."""
    answer = http.get("/", params={"query": "SELECT count() FROM events", "query_id": "mine-1"})
    assert answer.headers["x-clickhouse-query-id"] == "mine-1"
    assert answer.headers["x-clickhouse-timezone"]
    assert answer.headers["cache-control"] == "no-store"
    summary = json.loads(answer.headers["x-clickhouse-summary"])
    assert set(summary) >= {"read_rows", "read_bytes", "written_rows"}
    full = http.get("/", params={"query": "SELECT sum(length(note)) FROM events"})
    assert json.loads(full.headers["x-clickhouse-summary"])["read_rows"] == "6000"
    hostile = http.get("/", params={"query": "SELECT 1", "query_id": "a\r\nX-Evil: 1"})
    assert "x-evil" not in hostile.headers
    assert len(hostile.headers["x-clickhouse-query-id"]) == 36


def test_settings(http: httpx.Client) -> None:
    """Harmless ones are let go, the shape of answers is the client's, bounds only go down,
    everything else is refused and not ignored."""

    def ask(query: str, **settings: str) -> httpx.Response:
        return http.post("/", params=settings, content=query)

    harmless = {"session_id": "s", "client_protocol_version": "54405", "wait_end_of_query": "1"}
    assert ask("SELECT 1", **harmless, readonly="1", compress="0").text == "1\n"
    big = "SELECT toUInt64(1) AS n FORMAT JSONEachRow"
    assert ask(big, output_format_json_quote_64bit_integers="1").text == '{"n":"1"}\n'
    assert ask(big, output_format_json_quote_64bit_integers="0").text == '{"n":1}\n'
    assert ask("SELECT toDateTime(0)", session_timezone="Asia/Tokyo").text.endswith("09:00:00\n")
    assert code_of(ask("SELECT number FROM numbers(50)", max_result_rows="10")) == (500, 396)
    assert code_of(ask(HEAVY, max_execution_time="1")) == (408, 159)
    for name, value in (
        ("additional_table_filters", "{}"),
        ("readonly", "0"),
        ("allow_introspection_functions", "1"),
        ("insert_deduplication_token", "x"),
        ("compress", "1"),
        ("format_schema", "/etc/passwd"),
        ("output_format_schema", "x"),
        ("role", "admin"),
        ("stacktrace", "1"),
        ("no_such_setting", "1"),
    ):
        assert code_of(ask("SELECT 1", **{name: value})) == (500, 164), name
    assert code_of(ask("SELECT 1", max_threads="many")) == (400, 36)
    assert code_of(ask("SELECT 1", session_timezone="a'b")) == (400, 36)
    assert code_of(ask("SELECT 1", database="system")) == (404, 81)
    assert ask("SELECT 1", database="default").text == "1\n"


def test_fields_that_are_there_twice_are_refused(http: httpx.Client) -> None:
    """Two readers of one request would read it differently."""
    assert code_of(http.get("/?query=SELECT+1&query=SELECT+2")) == (400, 36)
    assert code_of(http.get("/?query=SELECT+1&" + "a=1&" * 400)) == (400, 36)


# -- compression and bounds


@pytest.mark.parametrize("coding", sorted(CODINGS))
@pytest.mark.parametrize("rows", [1, 300_000])
def test_answers_are_compressed_when_asked(http: httpx.Client, coding: str, rows: int) -> None:
    """Each coding, for short answers and for streamed ones; without being asked, none."""
    query = f"SELECT number FROM numbers({rows})"
    plain = http.post("/", content=query, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with http.stream(
        "POST", "/", content=query, headers={"Accept-Encoding": f"br, {coding}, gzip"}
    ) as answer:
        assert answer.headers["content-encoding"] == coding
        raw = b"".join(answer.iter_raw())
    assert _decoded(raw, coding) == plain.content
    assert rows == 1 or len(raw) < len(plain.content)
    off = http.post(
        "/",
        params={"enable_http_compression": "0"},
        content=query,
        headers={"Accept-Encoding": coding},
    )
    assert "content-encoding" not in off.headers


def _decoded(raw: bytes, coding: str) -> bytes:
    from clickhouse.compression import decompressed  # noqa: PLC0415

    return gzip.decompress(raw) if coding == "gzip" else decompressed(raw, coding, 10**8)


def test_bodies_are_decompressed_within_a_bound(http: httpx.Client) -> None:
    """Every coding is read; a small body that holds much is refused without being held."""
    for coding in CODINGS:
        encoder = encoder_of(coding)
        body = encoder.compress(b"SELECT 5") + encoder.flush()
        headers = {"Content-Encoding": coding}
        assert http.post("/", content=body, headers=headers).text == "5\n"
        encoder = encoder_of(coding)
        bomb = encoder.compress(b" " * 30_000_000) + encoder.flush()
        assert len(bomb) < 1_000_000
        assert code_of(http.post("/", content=bomb, headers=headers)) == (413, 229)
        assert code_of(http.post("/", content=body[:-5], headers=headers)) == (400, 117)
        assert code_of(http.post("/", content=b"nonsense", headers=headers)) == (400, 117)
    unknown = http.post("/", content=b"x", headers={"Content-Encoding": "br"})
    assert code_of(unknown) == (415, 748)


def test_requests_are_bounded(http: httpx.Client) -> None:
    """Body, query and URL each have a limit that is told, chunked bodies too."""
    assert code_of(http.post("/", content=b" " * (1024**2 + 1))) == (413, 229)
    chunks = (b" " * 100_000 for _ in range(12))
    assert code_of(http.post("/", content=chunks)) == (413, 229)
    assert code_of(http.post("/", content="SELECT " + "1" * 300_000)) == (413, 229)
    assert http.post("/", content="SELECT 1").text == "1\n"


# -- streams


@pytest.fixture
async def aio(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    """As `http`, asynchronous."""
    async with httpx.AsyncClient(
        base_url=served.url, auth=served.auth("reader"), timeout=20, verify=False
    ) as client:
        yield client


async def running(served: Served, aio: httpx.AsyncClient, text: str) -> int:
    """How many queries with this text run."""
    query = "SELECT count() FROM system.processes WHERE startsWith(query, {text:String})"
    answer = await aio.post(
        "/",
        params={"param_text": text},
        content=query,
        auth=served.auth("recorder"),
        headers={"Accept-Encoding": "identity"},
    )
    return int(answer.text)


async def until_running(served: Served, aio: httpx.AsyncClient, text: str, count: int) -> None:
    """Waits until so many run."""
    async with asyncio.timeout(8):
        while await running(served, aio, text) != count:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0)  # the question itself takes its milliseconds


async def test_a_large_answer_comes_while_it_is_made(aio: httpx.AsyncClient) -> None:
    """The first part of an endless answer arrives; 100 MB pass whole."""
    plain = {"Accept-Encoding": "identity"}
    async with aio.stream("POST", "/", content=ENDLESS, headers=plain) as answer:
        first = await anext(answer.aiter_raw(1000))
    assert first.startswith(b"0\n1\n2\n")
    size = 0
    query = "SELECT repeat('x', 999) FROM numbers(100000)"
    async with aio.stream("POST", "/", content=query, headers=plain) as answer:
        async for part in answer.aiter_raw():
            size += len(part)
    assert size == 100_000_000


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd", "lz4"])
async def test_an_error_in_the_middle_breaks_the_answer(served: Served, coding: str) -> None:
    """The status was sent: so the body never ends properly, and says why as ClickHouse does."""
    query = "SELECT number, toUInt8(if(number = 290000, 'oops', '1')) FROM numbers(300000)"
    credentials = base64.b64encode(":".join(served.auth("reader")).encode()).decode()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(
        f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n"
        f"Accept-Encoding: {coding}\r\nContent-Length: {len(query)}\r\n\r\n{query}".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    raw = await reader.read()  # until the server closed the connection
    writer.close()
    await writer.wait_closed()
    assert not raw.endswith(b"0\r\n\r\n")
    found = re.search(rb"x-clickhouse-exception-tag: (\w{16})\r\n", head)
    assert found is not None
    body = _dechunked(raw)
    if coding != "identity":
        body = _decoded(body, coding)
    tag = found[1]
    tail = body[body.rindex(b"__exception__\r\n" + tag) :]
    block = rb"__exception__\r\n%b\r\n(.*\n)(\d+) %b\r\n__exception__\r\n" % (tag, tag)
    told = re.fullmatch(block, tail, re.DOTALL)
    assert told is not None
    assert told[1].startswith(b"Code: 6. DB::Exception: Cannot parse string 'oops'")
    assert int(told[2]) == len(told[1])


def _dechunked(raw: bytes) -> bytes:
    body = b""
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        body += rest[: int(size, 16)]
        raw = rest[int(size, 16) + 2 :]
    return body


@pytest.mark.parametrize("query", [HEAVY, ENDLESS + " WHERE NOT ignore(number)"])
async def test_a_client_that_hangs_up_ends_its_query(
    served: Served, aio: httpx.AsyncClient, query: str
) -> None:
    """Before the first byte or in the middle: the engine stops working for nobody, soon."""
    asking = asyncio.create_task(aio.post("/", content=query))
    await until_running(served, aio, query[:40], 1)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    began = time.monotonic()
    await until_running(served, aio, query[:40], 0)
    assert time.monotonic() - began < 3


async def test_a_client_that_does_not_read_is_given_up(
    served: Served, aio: httpx.AsyncClient
) -> None:
    """Its place is not held for ever by buffers that nobody empties."""
    credentials = base64.b64encode(":".join(served.auth("reader")).encode()).decode()
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # of the reading half
    query = ENDLESS + " WHERE number >= 0"  # 170 MB: more than all buffers hold
    writer.write(
        f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n"
        f"Content-Length: {len(query)}\r\n\r\n{query}".encode()
    )
    await until_running(served, aio, query, 1)
    await until_running(served, aio, query, 0)
    writer.transport.abort()


async def test_places_are_few_and_come_free(served: Served, aio: httpx.AsyncClient) -> None:
    """Two reads of one account, then 503 with code 202 that says when to come again; another
    account is served; a place that came free is taken."""
    acme = served.auth("acme")
    query = HEAVY + " WHERE number > 1"
    tasks = [asyncio.create_task(aio.post("/", content=query, auth=acme)) for _ in range(2)]
    await until_running(served, aio, query, 2)
    third = await aio.post("/", content="SELECT 1", auth=acme)
    assert code_of(third) == (503, 202)
    assert third.headers["retry-after"] == "1"
    assert (await aio.post("/", content="SELECT 1", auth=served.auth("globex"))).text == "1\n"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until_running(served, aio, query, 0)
    assert (await aio.post("/", content="SELECT 1", auth=acme)).text == "1\n"


async def test_a_heavy_read_stops_neither_inserts_nor_other_reads(
    served: Served, aio: httpx.AsyncClient
) -> None:
    """The recorder goes on while an analyst's query runs: thirty inserts and reads, each soon."""
    query = HEAVY + " WHERE number > 2"
    heavy = asyncio.create_task(aio.post("/", content=query))
    await until_running(served, aio, query, 1)
    slowest = 0.0
    for n in range(30):
        began = time.monotonic()
        written = await aio.post(
            "/",
            params={"query": "INSERT INTO comptroller.heads (note) FORMAT JSONCompactEachRow"},
            content=json.dumps([f"during-{n}"]),
            auth=served.auth("recorder"),
        )
        assert written.status_code == 200, written.text
        seen = await aio.post("/", content=f"SELECT count() FROM heads WHERE note = 'during-{n}'")
        assert seen.text == "1\n"
        slowest = max(slowest, time.monotonic() - began)
    assert not heavy.done()
    assert slowest < 1
    heavy.cancel()
    await asyncio.gather(heavy, return_exceptions=True)


# -- writing


def test_only_the_recorder_writes_and_only_by_post(served: Served, http: httpx.Client) -> None:
    """A statement that writes is refused to readers; a GET never writes, whoever asks."""
    statement = "INSERT INTO comptroller.heads (note) VALUES ('written')"
    for user in ("reader", "acme"):
        answer = http.post("/", content=statement, auth=served.auth(user))
        assert code_of(answer) == (403, 497)
    recorder = served.auth("recorder")
    assert code_of(http.get("/", params={"query": statement}, auth=recorder)) == (500, 164)
    answer = http.post("/", content=statement, auth=recorder)
    assert (answer.status_code, answer.content) == (200, b"")
    data = http.post(
        "/",
        params={"query": "INSERT INTO comptroller.heads (note) FORMAT JSONCompactEachRow"},
        content=gzip.compress(b'["written"]\n["written"]'),
        headers={"Content-Encoding": "gzip"},
        auth=recorder,
    )
    assert json.loads(data.headers["x-clickhouse-summary"])["written_rows"] == "2"
    count = http.post("/", content="SELECT count() FROM heads WHERE note = 'written'")
    assert count.text == "3\n"
    bad = http.post(
        "/",
        content="INSERT INTO comptroller.heads (note) FORMAT JSONCompactEachRow\n[1, 2]",
        auth=recorder,
    )
    assert bad.status_code == 400


# -- drivers


@pytest.fixture
def driver(served: Served) -> Iterator[Any]:
    """clickhouse-connect's synchronous client, as it comes, for one organisation."""
    from clickhouse_connect import get_client  # noqa: PLC0415

    client = get_client(
        host="127.0.0.1",
        port=served.port,
        username="acme",
        password=served.auth("acme")[1],
        database="comptroller",
        dedicated_pool=True,
    )
    yield client
    client.close()


def test_clickhouse_connect(driver: Any) -> None:
    """Connecting, queries, parameters, empty results, streams, commands, raw queries."""
    assert driver.ping()
    query = "SELECT org, count() FROM events WHERE kind = {k:UInt8} GROUP BY org"
    assert driver.query(query, parameters={"k": 2}).result_rows == [("acme", 1000)]
    assert driver.query("SELECT * FROM events LIMIT 0").column_names[:2] == ("org", "seq")
    assert driver.query("SELECT * FROM events WHERE kind = 7").result_rows == []
    with driver.query_rows_stream("SELECT number FROM numbers(200000)") as rows:
        assert sum(1 for _ in rows) == 200_000
    assert driver.command("SELECT count() FROM events") == 3_000
    assert driver.raw_query("SELECT 1 AS a", fmt="JSONEachRow") == b'{"a":1}\n'
    assert driver.query("SELECT * FROM {t:Identifier}".replace("{t:Identifier}", "spend")).row_count


def test_clickhouse_connect_raises_what_went_wrong(driver: Any) -> None:
    """Refusals have their code; an answer that was cut short raises, never ends early."""
    from clickhouse_connect.driver.exceptions import DatabaseError  # noqa: PLC0415

    for query, code in (("SELECT * FROM system.processes", 497), ("SELEC 1", 62)):
        with pytest.raises(DatabaseError) as caught:
            driver.query(query)
        assert caught.value.code == code
    broken = "SELECT toUInt8(if(number = 290000, 'oops', '1')) FROM numbers(300000)"
    with pytest.raises(Exception, match="Cannot parse string 'oops'"):
        list(driver.query(broken).result_rows)


def test_what_grafana_s_plugin_asks_when_it_connects(http: httpx.Client) -> None:
    """clickhouse-go's questions over HTTP, and the plugin's lists of tables and columns."""
    hello = "SELECT displayName(), version(), revision(), timezone()"
    answer = http.post("/", params={"default_format": "Native"}, content=hello)
    assert answer.status_code == 200
    assert answer.content[:2] == b"\x04\x01"  # Native: four columns, one row
    assert "events" in http.post("/", content="SHOW TABLES FROM comptroller").text.split("\n")
    assert http.post("/", content="DESC TABLE `comptroller`.`events`").text.startswith("org\t")
