"""Readers: what is refused, what works, and that an organisation sees its own rows only."""

from collections.abc import Mapping

import pytest

from clickhouse.engine import Engine
from clickhouse.errors import StoreRefused
from clickhouse.guard import QUERY_BYTES_MAX, Guard
from clickhouse.reading import texts
from tests.clickhouse.hostile import HOSTILE
from tests.clickhouse.samples import SECRET

ALL = None
ACME = "acme"
REFUSALS = {36, 60, 62, 164, 497}


@pytest.fixture(scope="module")
def guard(engine: Engine) -> Guard:
    """The guard of the process's engine."""
    return Guard(engine)


def ask(
    guard: Guard,
    engine: Engine,
    query: str,
    organisation: str | None,
    parameters: Mapping[str, str | int] | None = None,
) -> bytes:
    """What an account gets: the guard's verdict, then the engine's answer."""
    admitted = guard.admit(query, texts(parameters), organisation)
    format_name = admitted.format_name or "TabSeparated"
    with engine.read(
        admitted.query, format_name, admitted.parameters, admitted.restrictions
    ) as reading:
        return b"".join(reading)


@pytest.mark.parametrize("organisation", [ALL, ACME])
@pytest.mark.parametrize("query", HOSTILE)
def test_hostile_queries_are_refused(guard: Guard, query: str, organisation: str | None) -> None:
    """Refused before it runs, for a reader of everything as for an organisation's."""
    with pytest.raises(StoreRefused) as caught:
        guard.admit(query, {}, organisation)
    assert caught.value.code in REFUSALS, caught.value


RESTRICTED = [
    "SELECT * FROM events PREWHERE kind = 7",
    "SELECT * FROM events prewhere intDiv(1, kind - 7)",
    "SELECT * FROM (SELECT * FROM events PREWHERE kind = 7)",
    "SELECT * FROM heads",
    "SELECT * FROM comptroller.heads",
    "WITH heads AS (SELECT 1 AS note) SELECT * FROM heads",
    "SELECT 1 FROM heads WINDOW heads AS (ORDER BY 1)",
    "SELECT 1 IN heads",
    "SELECT 1 IN comptroller.heads",
    "SELECT * FROM totals_feed",
    "DESCRIBE heads",
    "EXPLAIN SELECT * FROM events",
    "EXPLAIN PIPELINE SELECT * FROM events",
    "EXPLAIN ESTIMATE SELECT * FROM events",
    "EXPLAIN indexes = 1 SELECT * FROM events",
    "EXPLAIN SYNTAX oneline = 1 SELECT * FROM events",
]


@pytest.mark.parametrize("query", RESTRICTED)
def test_what_only_a_reader_of_everything_may(guard: Guard, query: str) -> None:
    """Refused to an organisation, not to a reader of all: so it is the organisation's rule."""
    with pytest.raises(StoreRefused) as caught:
        guard.admit(query, {}, ACME)
    assert caught.value.code == 497
    if "WINDOW" not in query:
        assert guard.admit(query, {}, ALL).restrictions.filters == {}


# As acme on `events`, the same as a reader of everything on a copy with acme's rows only.
ISOLATED = [
    "SELECT org, count(), sum(amount) FROM {events} GROUP BY org ORDER BY org",
    "SELECT count() FROM {events}",
    "SELECT min(org), max(org), min(seq), max(seq), uniqExact(note) FROM {events}",
    "SELECT * FROM {events} ORDER BY seq LIMIT 5",
    "SELECT * FROM {events} ORDER BY seq DESC LIMIT 5",
    "SELECT DISTINCT org FROM {events}",
    "SELECT DISTINCT kind FROM {events} ORDER BY kind",
    "SELECT kind, count(), sum(amount) FROM {events} GROUP BY kind ORDER BY kind",
    "SELECT * FROM {events} WHERE kind = 7 ORDER BY at LIMIT 3",
    "SELECT * FROM {events} WHERE org = 'globex'",
    "SELECT * FROM {events} WHERE org = 'globex' OR 1 ORDER BY seq LIMIT 3",
    "SELECT * FROM {events} WHERE org != 'acme' OR kind = 7",
    "SELECT count() FROM comptroller.{events} AS e WHERE e.kind > 2",
    "SELECT e.org, count() FROM {events} e JOIN {events} f ON e.seq = f.seq GROUP BY e.org",
    "SELECT count() FROM {events} e FULL JOIN {events} f ON e.seq = f.seq + 2000",
    "SELECT count() FROM {events} e LEFT JOIN {events} f ON f.kind = 7 AND e.seq = f.seq - 3000",
    "SELECT count() FROM {events} e CROSS JOIN (SELECT max(kind) k FROM {events}) m WHERE k = 7",
    "SELECT count() FROM {events} e, (SELECT 1 AS one) o WHERE e.kind = 7",
    "SELECT 7 IN (SELECT kind FROM {events})",
    "SELECT count() FROM {events} WHERE seq IN (SELECT seq + 3000 FROM {events})",
    "SELECT (SELECT max(seq) FROM {events})",
    "SELECT EXISTS(SELECT 1 FROM {events} WHERE kind = 7)",
    "WITH x AS (SELECT * FROM {events}) SELECT org, count() FROM x GROUP BY org",
    "WITH (SELECT max(kind) FROM {events}) AS k SELECT k",
    """WITH RECURSIVE r AS (SELECT max(kind) AS n FROM {events} UNION ALL SELECT n + 1 FROM r
       WHERE n < 7) SELECT * FROM r ORDER BY n""",
    "SELECT count() FROM (SELECT org FROM {events} UNION ALL SELECT org FROM {events})",
    "SELECT org FROM {events} INTERSECT SELECT 'globex'",
    "SELECT 'globex' EXCEPT SELECT org FROM {events}",
    "SELECT * FROM (SELECT * FROM {events} ORDER BY seq DESC LIMIT 3)",
    "SELECT org, count() FROM {replaced} FINAL GROUP BY org",
    "SELECT count() FROM {replaced} AS r FINAL WHERE kind = 7",
    "SELECT org, count() FROM {replaced} GROUP BY org",
    "SELECT * FROM {spend} ORDER BY kind",
    "SELECT sum(total) FROM {spend} WHERE kind = 7",
    "SELECT count() FROM {spend} s JOIN {events} e ON s.kind = e.kind",
    "SELECT sum(amount) OVER (PARTITION BY kind ORDER BY seq) FROM {events} ORDER BY seq LIMIT 3",
    "SELECT lagInFrame(org) OVER (ORDER BY seq DESC) AS o, org FROM {events} ORDER BY seq LIMIT 2",
    "SELECT groupUniqArray(org) FROM {events}",
    "SELECT topK(2)(org) FROM {events}",
    "SELECT argMax(note, seq) FROM {events}",
    "SELECT kind, count() FROM {events} GROUP BY kind WITH TOTALS ORDER BY kind FORMAT JSONCompact",
    "SELECT org, kind, count() FROM {events} GROUP BY ROLLUP(org, kind) ORDER BY org, kind",
    "SELECT * FROM {events} ORDER BY seq DESC LIMIT 1 BY kind",
    "SELECT arrayJoin(groupUniqArray(kind)) AS k FROM {events} ORDER BY k",
    "SELECT count() FROM {events} ARRAY JOIN [1, 2] AS x WHERE kind = 7",
    "SELECT count() FROM {events} WHERE (org, kind) IN (('globex', 7), ('acme', 1))",
    "SELECT count() FROM {events} WHERE toDate(at) = {day:Date} OR org = {org:String}",
    "SELECT * EXCEPT (at) FROM {events} WHERE note = {note:String}",
    "SELECT count() FROM {events} WHERE _part != ''",
    "SELECT count() FROM {events} WHERE NOT ignore(org) AND materialize(org) = 'globex'",
    # an error in an expression must not tell of a row that is not theirs
    "SELECT count() FROM {events} WHERE toUInt64(note) >= 0",
    "SELECT count() FROM {events} WHERE toUInt64(note) >= 0 AND kind < 9 AND seq > 5",
    "SELECT sum(toUInt64(note)) FROM {events}",
    "SELECT max(toUInt64(note)) FROM {events} WHERE seq > 10",
    "SELECT count() FROM {events} WHERE intDiv(1, kind - 7) <= 0",
    "SELECT count() FROM {events} WHERE intDiv(1, toInt16(kind) - 7) <= 0 ORDER BY count()",
    "SELECT count() FROM {events} WHERE modulo(10, kind - 7) < 100",
    "SELECT toUInt64(note) AS n FROM {events} ORDER BY n LIMIT 3",
    "SELECT count() FROM {events} e JOIN (SELECT 1 k) f ON e.kind = f.k AND toUInt64(e.note) > 0",
    "SELECT count() FROM {events} GROUP BY toUInt64(note) > 5 ORDER BY 1",
    "SELECT count() FROM (SELECT toUInt64(note) AS n FROM {events}) WHERE n > 7",
    "SELECT count() FROM {replaced} FINAL WHERE toUInt64(note) >= 0",
    "SELECT count() FROM {spend} WHERE intDiv(1, kind - 7) <= 0",
    "SELECT toUInt64(note) FROM {events} WHERE kind = 2 ORDER BY at LIMIT 2",
    "SELECT count() FROM {events} WHERE if(kind = 7, toUInt64(note), 1) = 1 OR toUInt64(note) > 1",
]
_PARAMETERS: Mapping[str, str | int] = {"day": "2026-11-01", "org": "globex", "note": SECRET}


@pytest.mark.parametrize("query", ISOLATED)
def test_an_organisation_sees_its_own_rows_only(guard: Guard, engine: Engine, query: str) -> None:
    """The answer, whatever it is computed from, is the one of a database in which no other
    organisation ever wrote."""

    def answer(prefix: str, organisation: str | None) -> bytes:
        text = query
        for name in ("events", "replaced", "spend"):
            text = text.replace(f"{{{name}}}", prefix + name)
        body = ask(guard, engine, text, organisation, _PARAMETERS)
        return body.split(b'"statistics"')[0]

    seen = answer("", ACME)
    assert seen == answer("only_acme_", ALL)
    assert SECRET.encode() not in seen


def test_the_filters_are_what_keeps_rows_away(guard: Guard, engine: Engine) -> None:
    """The same queries show other rows to a reader of everything: so the test above can fail."""
    query = "SELECT org, count() FROM events GROUP BY org ORDER BY org"
    assert ask(guard, engine, query, ALL) == b"acme\t3000\nglobex\t3000\n"
    assert ask(guard, engine, query, ACME) == b"acme\t3000\n"
    assert ask(guard, engine, query, "nobody") == b""


@pytest.mark.parametrize(
    "name", ["' OR 1 OR org = '", "\\' OR 1 --", "acme'", "a\\", "'}", "acme', 'x':'1"]
)
def test_an_organisation_cannot_break_out_of_its_filter(
    guard: Guard, engine: Engine, name: str
) -> None:
    """A name full of quotes is compared, not run."""
    assert ask(guard, engine, "SELECT count() FROM events", name) == b"0\n"


def test_a_view_shows_nothing_of_a_table_without_org(guard: Guard, engine: Engine) -> None:
    """Such a table is empty to an organisation even behind a view that it may name."""
    assert ask(guard, engine, "SELECT * FROM head_notes", ACME) == b""
    assert SECRET.encode() in ask(guard, engine, "SELECT * FROM head_notes", ALL)


def test_new_tables_are_seen_and_filtered_at_once(guard: Guard, engine: Engine) -> None:
    """What a command makes is known to the next query, with its filter; what it drops is not."""
    with pytest.raises(StoreRefused) as caught:
        ask(guard, engine, "SELECT * FROM fresh", ACME)
    assert caught.value.code == 60
    engine.command("CREATE TABLE fresh (org String) ENGINE = MergeTree ORDER BY org")
    engine.command("INSERT INTO fresh VALUES ('acme'), ('globex')")
    assert ask(guard, engine, "SELECT * FROM fresh", ACME) == b"acme\n"
    engine.command("DROP TABLE fresh")
    with pytest.raises(StoreRefused):
        guard.admit("SELECT * FROM fresh", {}, ACME)


USEFUL = [
    ("SELECT 1", b"1\n"),
    ("SELECT 1;", b"1\n"),
    ("select 1 -- a comment\n", b"1\n"),
    ("(SELECT 1) UNION ALL (SELECT 1)", b"1\n1\n"),
    ("SELECT version() != '', timezone() != ''", b"1\t1\n"),
    ("SELECT 'a;b', 'INTO OUTFILE', 'SETTINGS x'", b"a;b\tINTO OUTFILE\tSETTINGS x\n"),
    ('SELECT 1 AS `my column`, 2 AS "count()"', b"1\t2\n"),
    ("SELECT count() FILTER (WHERE kind = 1), countIf(kind = 2) FROM events", b"1000\t1000\n"),
    ("SELECT quantileExactIf(0.5)(seq, org = 'acme') FROM events", b"1500\n"),
    ("SELECT arrayMap(x -> x * 2, [1, 2]), map('a', 1)['a'], (1, 2).2", b"[2,4]\t1\t2\n"),
    ("SELECT toStartOfInterval(toDateTime(0, 'UTC'), INTERVAL 5 MINUTE)", b"1970-01-01 00:00:00\n"),
    ("SELECT CASE WHEN 1 THEN 'a' ELSE 'b' END, 1 BETWEEN 0 AND 2, 'x' LIKE 'x%'", b"a\t1\t1\n"),
    ("SELECT 5::UInt8, CAST('7' AS UInt8), DATE '2026-11-01'", b"5\t7\t2026-11-01\n"),
    ("SELECT number FROM numbers(2)", b"0\n1\n"),
    ("SELECT a FROM (VALUES (1), (2)) AS t(a)", b"1\n2\n"),
    ("SELECT max(k) FROM (SELECT kind AS k FROM events) AS t", b"7\n"),
    ("WITH x AS (SELECT 1 AS a) SELECT a FROM x WHERE a IN (SELECT a FROM x)", b"1\n"),
    ("SELECT {n:UInt8} + 1, {s:String}, {a:Array(String)}", b"3\tit\\'s\\n\t['x']\n"),
    ("SELECT JSONExtractInt('{\"a\": 3}', 'a'), lower('A'), round(1.55, 1)", b"3\ta\t1.6\n"),
    ("SELECT kind FROM events PREWHERE kind = 7 LIMIT 1", b"7\n"),
    ("SELECT sum(total) FROM totals", b"-9000000\n"),
    ("SELECT count() > 0 FROM (SELECT 1 WHERE 1)", b"1\n"),
    ("SHOW TABLES LIKE 'replaced'", b"replaced\n"),
    ("SHOW TABLES FROM comptroller LIKE 'heads'", b"heads\n"),
]


@pytest.mark.parametrize(("query", "answer"), USEFUL)
def test_what_analysts_write_works(guard: Guard, engine: Engine, query: str, answer: bytes) -> None:
    """The guard lets through what it should: it is not safe by refusing everything."""
    parameters: Mapping[str, str | int] = {"n": 2, "s": "it's\n", "a": "['x']"}
    used = {name: value for name, value in parameters.items() if f"{{{name}:" in query}
    assert ask(guard, engine, query, ALL, used) == answer


def test_describe_and_format(guard: Guard, engine: Engine) -> None:
    """DESCRIBE answers columns; the FORMAT clause is taken off and told."""
    assert b"ReadFromSystemOne" in ask(guard, engine, "EXPLAIN SELECT 1", ALL)
    assert b"SELECT 1" in ask(guard, engine, "EXPLAIN SYNTAX SELECT 1", ACME)
    assert ask(guard, engine, "DESCRIBE TABLE events", ACME).startswith(b"org\tString")
    admitted = guard.admit("SELECT 1 FORMAT JSONCompact", {}, ALL)
    assert (admitted.query, admitted.format_name) == ("SELECT 1", "JSONCompact")
    assert guard.admit("SELECT 1 AS format", {}, ALL).format_name == ""


def test_clickhouse_connect_gets_settings_and_nothing_else(guard: Guard, engine: Engine) -> None:
    """Its question at connect is answered, all read-only, without the account's filter."""
    query = "SELECT name, value, readonly FROM system.settings LIMIT 10000"
    answer = ask(guard, engine, query, ACME)
    assert b"enable_http_compression\t1\t1\n" in answer
    assert b"additional_table_filters" not in answer
    assert b"\t0\n" not in answer.replace(b"\t0\t1\n", b"")


def test_a_parameter_does_not_change_the_verdict(guard: Guard, engine: Engine) -> None:
    """A verdict that is kept holds for other values, because a value stays a value."""
    query = "SELECT count() FROM events WHERE note = {note:String}"
    for value, count in (("1", b"1\n"), ("' OR 1 OR '", b"0\n"), (SECRET, b"0\n")):
        assert ask(guard, engine, query, ACME, {"note": value}) == count
    with pytest.raises(StoreRefused):
        guard.admit("SELECT * FROM {t:Identifier}", {"t": "system.processes"}, ALL)


def test_a_query_is_bounded(guard: Guard) -> None:
    """Too long, and too deep, are errors of their own."""
    with pytest.raises(StoreRefused) as caught:
        guard.admit("SELECT " + "1" * QUERY_BYTES_MAX, {}, ALL)
    assert caught.value.code == 229
    with pytest.raises(StoreRefused):
        guard.admit("SELECT " + "(" * 3000 + "1" + ")" * 3000, {}, ALL)
    with pytest.raises(StoreRefused):
        guard.admit("SELECT " + "-" * 3 + "abs(" * 400 + "1" + ")" * 400, {}, ALL)
