"""The embedded engine: one owner, bounds that a query cannot lift, reads that can be given up."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from clickhouse.engine import Engine, Restrictions
from clickhouse.errors import (
    Code,
    EngineBusy,
    StoreRefused,
    StoreUnavailable,
    of_write,
    refused,
)
from clickhouse.reading import format_of, texts

HEAVY = "SELECT sum(sipHash64(sipHash64(sipHash64(number)))) FROM numbers(1999000000)"
SOON_S_MAX = 7  # far less than that takes


def read(engine: Engine, query: str, format_name: str = "TSV", **settings: int) -> bytes:
    """A reader's whole answer."""
    with engine.read(query, format_name, {}, Restrictions(settings=settings)) as reading:
        return b"".join(reading)


def code_of(engine: Engine, query: str, format_name: str = "TSV", **settings: int) -> int:
    """The code that a reader's query is refused with."""
    with pytest.raises(StoreRefused) as caught:
        read(engine, query, format_name, **settings)
    return caught.value.code


def in_process(script: str, *arguments: str) -> str:
    """What a Python process of its own says: a process has one engine."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


OPENED = """
import sys
from pathlib import Path
from clickhouse.engine import Engine, EngineLimits
from clickhouse.errors import EngineBusy, StoreRefused, StoreUnavailable
"""


def test_a_folder_has_one_owner(engine: Engine, tmp_path: Path) -> None:
    """A second process is told, before it touches anything; the lock goes with its owner."""
    script = f"""{OPENED}
try:
    Engine(Path(sys.argv[1]))
except EngineBusy as busy:
    assert "chdb" not in sys.modules
    print(busy)
"""
    folder = str(engine._path)
    assert "is open in another process" in in_process(script, folder)
    with pytest.raises(EngineBusy):
        Engine(engine._path)
    again = f"{OPENED}\nEngine(Path(sys.argv[1])).command('SELECT 1'); print('opened')"
    assert in_process(again, str(tmp_path)) == "opened"  # ended without closing
    assert in_process(again, str(tmp_path)) == "opened"


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    """Closing and opening anew, in another process, loses nothing; a closed engine says so."""
    script = f"""{OPENED}
with Engine(Path(sys.argv[1])) as engine:
    engine.command("CREATE TABLE IF NOT EXISTS t (a UInt8) ENGINE = MergeTree ORDER BY a")
    engine.insert("INSERT INTO comptroller.t (a)", b"[1]")
    print(engine.select("SELECT count() FROM t").decode().strip())
try:
    engine.select("SELECT 1")
except StoreUnavailable:
    print("closed")
"""
    assert in_process(script, str(tmp_path)) == "[1]\nclosed"
    assert in_process(script, str(tmp_path)) == "[2]\nclosed"


def test_closing_ends_reads(tmp_path: Path) -> None:
    """close() does not wait for an analyst's query: it ends with code 394, quickly."""
    script = f"""{OPENED}
import threading, time
engine = Engine(Path(sys.argv[1]))
reading = engine.read({HEAVY!r})
def take():
    try:
        list(reading)
    except StoreRefused as error:
        print(error.code)
    reading.close()
taking = threading.Thread(target=take)
taking.start()
while b"sipHash64" not in engine.select(
    "SELECT query FROM system.processes WHERE query NOT LIKE '%processes%'"
):
    pass
began = time.monotonic()
engine.close()
print(time.monotonic() - began < {SOON_S_MAX})
taking.join()
"""
    assert in_process(script, str(tmp_path)).splitlines() in (["394", "True"], ["True", "394"])


def test_the_engine_s_memory_is_capped(tmp_path: Path) -> None:
    """The bound of the whole process holds for trusted statements too, and it lives on."""
    script = f"""{OPENED}
with Engine(Path(sys.argv[1]), EngineLimits(memory_bytes_max=700 * 1024**2)) as engine:
    try:
        engine.select("SELECT length(groupArray(number)) FROM numbers(200000000)")
    except StoreRefused as error:
        print(error.code)
    print(engine.select("SELECT 1").decode().strip())
"""
    assert in_process(script, str(tmp_path)) == "241\n[1]"


def test_nothing_is_written_on_a_disk_that_is_nearly_full(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the margin an insert is refused before the engine, which would lose it, sees it; the
    engine's own writes (merges) keep the same margin."""
    (kept,) = json.loads(engine.select("SELECT keep_free_space FROM system.disks"))
    assert kept == engine.limits.disk_free_bytes_min > 0
    engine.command("CREATE TABLE full (n Int64) ENGINE = MergeTree ORDER BY n")
    monkeypatch.setattr(engine, "limits", replace(engine.limits, disk_free_bytes_min=2**60))
    with pytest.raises(StoreRefused, match=r"MiB free.*make room") as caught:
        engine.insert("INSERT INTO full (n)", b"[1]")
    assert caught.value.code == Code.NOT_ENOUGH_SPACE
    monkeypatch.undo()
    engine.insert("INSERT INTO full (n)", b"[2]")
    assert json.loads(engine.select("SELECT n FROM full")) == [2]


@pytest.mark.parametrize("name", ["a?b", "a&b", "a#b"])
def test_a_path_that_chdb_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    """What stands behind a question mark would be taken for settings."""
    with pytest.raises(ValueError, match="cannot hold"):
        Engine(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO heads (note) VALUES ('x')",
        "CREATE TABLE x (a UInt8) ENGINE = Memory",
        "DROP TABLE events",
        "ALTER TABLE events DELETE WHERE 1",
        "SET readonly = 0",
        "SET max_memory_usage = 0",
        "SET additional_table_filters = {'comptroller.events': '1'}",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    ],
)
def test_a_reader_changes_nothing_even_without_the_guard(engine: Engine, statement: str) -> None:
    """readonly = 1 is set last on the reader's own connection: code 164."""
    assert code_of(engine, statement) == 164


def test_each_bound_of_a_read(engine: Engine) -> None:
    """Time, memory, rows read, rows and bytes of the answer: each has its own code."""
    assert code_of(engine, HEAVY, max_execution_time=1) == 159
    assert code_of(engine, "SELECT groupArray(number) FROM numbers(100000000)") == 241
    assert code_of(engine, "SELECT count() FROM numbers(3000000000) WHERE number > 1") == 158
    assert code_of(engine, "SELECT number FROM numbers(100)", max_result_rows=10) == 396
    assert code_of(engine, "SELECT repeat('x', 999) FROM numbers(90000)", "JSON") == 396
    deep = "SELECT " + "(SELECT " * 60 + "1" + ")" * 60
    assert code_of(engine, deep) in {162, 167}


def test_a_streamed_answer_is_the_whole_answer(engine: Engine) -> None:
    """Pieces put together are what one piece would have been, in each format that is streamed."""
    query = "SELECT number, toString(number) FROM numbers(200000)"
    for name in ("TSV", "CSV", "JSONEachRow", "JSONCompactEachRow", "RowBinary"):
        with engine.read(query, name) as reading:
            pieces = list(reading)
        assert len(pieces) > 1
        assert b"".join(pieces) == engine.select(query, format_name=name)


def test_a_read_is_begun_by_its_first_piece_and_counts(engine: Engine) -> None:
    """Nothing runs before someone reads; then what was read is told."""
    reading = engine.read("SELECT sum(seq) FROM events", "TSV")
    assert reading.rows_read == 0
    assert list(reading) == [b"17997000\n"]
    assert (reading.rows_read, reading.bytes_read > 0) == (6_000, True)
    reading.close()
    reading.close()


def test_a_read_is_cancelled_from_another_thread(engine: Engine) -> None:
    """While it computes, between two pieces, and before it began: code 394, soon."""
    with engine.read(HEAVY) as reading, ThreadPoolExecutor(1) as pool:
        taking = pool.submit(next, reading)
        until_running(engine, HEAVY[:30], 1)
        began = time.monotonic()
        cancelling = threading.Thread(target=reading.cancel)
        cancelling.start()
        with pytest.raises(StoreRefused) as caught:
            taking.result(30)
        assert caught.value.code == 394
        assert time.monotonic() - began < SOON_S_MAX
        reading.close()
        cancelling.join()
    with engine.read("SELECT number FROM numbers(19000000)", "TSV") as reading:
        next(reading)
        cancelling = threading.Thread(target=reading.cancel)
        cancelling.start()
        with pytest.raises(StoreRefused):
            list(reading)
        reading.close()
        cancelling.join()
    until_running(engine, "SELECT number", 0)


def until_running(engine: Engine, text: str, count: int) -> None:
    """Waits until so many queries with this text run."""
    query = "SELECT count() FROM system.processes WHERE startsWith(query, {text:String})"
    give_up = time.monotonic() + 5
    while json.loads(engine.select(query, {"text": text})) != [count]:
        assert time.monotonic() < give_up


def test_a_read_that_is_left_ends(engine: Engine) -> None:
    """Closing in the middle stops the engine's work."""
    with engine.read("SELECT number FROM numbers(18000000)", "TSV") as reading:
        next(reading)
    until_running(engine, "SELECT number FROM numbers(18", 0)


def test_reads_and_inserts_do_not_wait_for_one_another(engine: Engine) -> None:
    """While two heavy reads run, inserts and other reads are done, each soon."""
    readings = [engine.read(HEAVY) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        taking = [pool.submit(next, reading) for reading in readings]
        until_running(engine, HEAVY[:30], 2)
        slowest = 0.0
        for n in range(20):
            began = time.monotonic()
            engine.insert("INSERT INTO comptroller.heads (note)", f'["n{n}"]'.encode())
            assert read(engine, f"SELECT count() FROM heads WHERE note = 'n{n}'") == b"1\n"
            slowest = max(slowest, time.monotonic() - began)
        assert not any(each.done() for each in taking)
        assert slowest < 1
        for reading in readings:
            threading.Thread(target=reading.cancel).start()
        for each in taking:
            with pytest.raises(StoreRefused):
                each.result(5)
    for reading in readings:
        reading.close()


def test_settings_of_one_call_do_not_reach_another(engine: Engine) -> None:
    """Filters and bounds are of one connection, while others run with other ones."""

    def counted(org: str) -> bytes:
        filters = {"comptroller.events": f"org = '{org}'"}
        with engine.read(
            "SELECT DISTINCT org FROM events", "TSV", {}, Restrictions(filters)
        ) as reading:
            return b"".join(reading)

    with ThreadPoolExecutor(8) as pool:
        names = ["acme", "globex"] * 40
        assert list(pool.map(counted, names)) == [f"{name}\n".encode() for name in names]


def test_parameters_are_text(engine: Engine) -> None:
    """Plain values of a trusted query arrive as they are."""
    for value in ("a'b", "x\ny\tz\\", "\r", "\\N", "\0", "{x}", "\U0001f600"):
        assert json.loads(engine.select("SELECT {v:String}", {"v": value})) == [value]
    assert texts({"n": 5, "s": "a\n"}) == {"n": "5", "s": "a\\n"}


def test_a_failed_insert_leaves_the_engine_usable(engine: Engine) -> None:
    """Nothing of it is written, and the next one works."""
    for _ in range(3):
        with pytest.raises(StoreRefused):
            engine.insert("INSERT INTO comptroller.heads (day)", b'["2026-11-05"]\n["no day"]')
    assert read(engine, "SELECT count() FROM heads WHERE day = '2026-11-05'") == b"0\n"
    engine.insert("INSERT INTO comptroller.heads (day)", b'["2026-11-05"]')
    assert read(engine, "SELECT count() FROM heads WHERE day = '2026-11-05'") == b"1\n"


def test_a_command_makes_the_schema_newer(engine: Engine) -> None:
    """Whoever keeps a copy of the schema knows that it is old, when one failed too."""
    before = engine.schema_version
    engine.command("CREATE VIEW newer AS SELECT 1")
    assert engine.schema_version > before
    before = engine.schema_version
    with pytest.raises(StoreRefused):
        engine.command("CREATE VIEW newer AS SELECT 1")
    assert engine.schema_version > before
    engine.command("DROP VIEW newer")


def test_format_names() -> None:
    """In any case; those of chDB's own and those that read files do not exist."""
    assert format_of("jsoncompact") == "JSONCompact"
    for name in ("DataFrame", "ArrowTable", "Template", "Protobuf", "CapnProto", "", "x" * 999):
        with pytest.raises(StoreRefused) as caught:
            format_of(name)
        assert caught.value.code == 73


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("Code: 62. DB::Exception: Syntax error. (SYNTAX_ERROR)", 62, "Syntax error."),
        (
            "X: Code: 164. DB::Exception: Code: 164. DB::Exception: No. (RO) (version 26.9). (RO)",
            164,
            "No.",
        ),
        ("Streaming insert finish failed: Code: 27. DB::Exception: no", 27, "no"),
        ("std::bad_alloc", 1001, "std::bad_alloc"),
        ("", 1001, ""),
    ],
)
def test_errors_are_read_out_of_the_engine_s_text(text: str, code: int, message: str) -> None:
    """The first code counts, the frames around the sentence go."""
    error = refused(text)
    assert (error.code, error.message) == (code, message)
    assert refused(error.text("26.9")).code == code


def test_an_error_that_leaves_a_write_in_doubt_is_unavailable() -> None:
    """Refused means that nothing was written: after a timeout nobody knows."""
    assert isinstance(of_write(StoreRefused(159, "time")), StoreUnavailable)
    assert isinstance(of_write(StoreRefused(62, "syntax")), StoreRefused)
