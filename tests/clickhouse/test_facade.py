"""The records over HTTP, by a real server in a process of its own: what clients rely on, what is
refused, and that a half answer never looks whole."""

import gzip
import json
import re
from collections.abc import Iterator

import httpx
import pytest

from clickhouse.compression import CODINGS, encoder_of
from tests.clickhouse.conftest import Served
from tests.clickhouse.samples import SECRET
from tests.clickhouse.wire import code_of, decoded

HEAVY = "SELECT sum(sipHash64(sipHash64(sipHash64(sipHash64(number))))) FROM numbers(1999000000)"


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    """A client as the reader of all organisations."""
    with httpx.Client(
        base_url=served.url, auth=served.auth("reader"), timeout=20, verify=False
    ) as client:
        yield client


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
    assert decoded(raw, coding) == plain.content
    assert rows == 1 or len(raw) < len(plain.content)
    off = http.post(
        "/",
        params={"enable_http_compression": "0"},
        content=query,
        headers={"Accept-Encoding": coding},
    )
    assert "content-encoding" not in off.headers


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
