"""`comptroller run` on a real stack: what it submits is there, what it decides holds, and what it
watches ends with the code that says how. None is executed here: rows are written instead."""

import asyncio
import contextlib
import io
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rich.console import Console

from budgets.pipelined import NodeAddress, PipelinedTransport
from comptroller.commands.run_frame import frame
from comptroller.commands.run_rows import changes, duration_words, hints, step_rows
from comptroller.data_dir import runs_file
from comptroller.exits import FAILED, RUN_CANCELLED, RUN_HALTED, USAGE_ERROR
from orchestrator.places import AttemptPlace, RunPlace, TaskId
from orchestrator.progress import RunStatus
from orchestrator.running.live import Live
from orchestrator.running.sqlite import SqliteDatabase
from tests.comptroller.commands.administered import Administered, administered
from tests.comptroller.commands.commanding import Ran
from tests.comptroller.standing import until
from tests.orchestrator.running.book import Book

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKFLOW = """name: report
budget: [{usd: "2.00"}]
on_exhausted: ask
defaults: {model: demo/small}
input: {topic: {type: string}, n: {type: integer, default: 1}}
steps:
  - {id: plan, prompt: "{{ input.topic }}"}
  - {id: ok, needs: [plan], approval: "Go on?"}
  - {id: write, needs: [ok], workflow: inside/write.yaml}
"""
INSIDE = """name: inner
budget: [{usd: "0.50"}]
steps: [{id: a, sleep: 1s}]
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A workflow with one inside."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "write.yaml").write_text(INSIDE)
    (tmp_path / "w.yaml").write_text(WORKFLOW)
    return str(tmp_path / "w.yaml")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Administered]:
    """One that executes no runs."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        async with administered(Path(folder), COMPTROLLER_ORCHESTRATE="false") as stack:
            yield stack


def rewrite(file: str, old: str = "", new: str = "") -> None:
    """The workflow, with something else in it."""
    beside(file, "w.yaml", WORKFLOW.replace(old, new) if old else WORKFLOW)


def beside(file: str, name: str, text: str) -> str:
    """The path of another file in its folder."""
    path = Path(file).with_name(name)
    path.write_text(text)
    return str(path)


@contextlib.contextmanager
def book_of(stack: Administered) -> Iterator[Book]:
    """The database of runs, as an executor has it."""
    database = SqliteDatabase(runs_file(stack.running.data_dir))
    book = Book(database)
    book.now_ms = database.now_ms() + 60_000
    yield book
    database.close()


async def submit(stack: Administered, file: str, scope: str, *more: str) -> str:
    """The new run's id."""
    ran = await stack(
        "run", "submit", file, "--scope", scope, "--input", "topic=5", *more, "--json"
    )
    assert ran.code == 0, ran.err
    return str(ran.document["id"])


async def test_a_file_is_submitted_once_under_a_name(stack: Administered, file: str) -> None:
    """With its inputs as their types say, and the files inside it; the same again is the same."""
    more = ("--input", "n=7", "--name", "nightly", "--start-in", "10m")
    runs = [await submit(stack, file, "naming/lab", *more) for _ in range(2)]
    assert runs[0] == runs[1]
    shown = (await stack("run", "show", runs[0], "--json")).document
    assert (shown["status"], shown["input"]) == ("waiting", {"topic": "5", "n": 7})
    assert [each["id"] for each in shown["steps"]] == ["plan", "ok", "write"]
    given = beside(file, "given.json", '{"topic": "x", "n": 3}')
    from_file = await submit(stack, file, "naming/lab", "--input-file", given)
    shown = (await stack("run", "show", from_file, "--json")).document
    assert shown["input"] == {"topic": "5", "n": 3}
    with book_of(stack) as book:
        query = "select d.document, d.folder from definitions d where d.org = 'naming'"
        ((document, folder),) = book.rows(query)
    assert json.loads(str(document))["files"]["inside/write.yaml"]["workflow"]["name"] == "inner"
    assert folder == ""


async def test_what_cannot_run_is_told_by_line_or_place(stack: Administered, file: str) -> None:
    """By the file before anything is sent, and by the server what only it knows: its models."""
    asked = ("--scope", "wrong/lab", "--input", "topic=x")
    rewrite(file, "demo/small", "demo/smal")
    ran = await stack("run", "submit", file, *asked)
    assert ran.code == USAGE_ERROR
    assert "defaults.model: demo/smal is no model" in ran.err
    rewrite(file, "needs: [plan]", "needs: [paln]")
    ran = await stack("run", "submit", file, *asked)
    assert ran.code == USAGE_ERROR
    assert "w.yaml:8: " in ran.err
    assert ran.next_command == f"comptroller run check {file}"
    rewrite(file)
    for wrong in ("n=x", "topic", "=x"):
        ran = await stack("run", "submit", file, *asked, "--input", wrong)
        assert ran.code == USAGE_ERROR, wrong
    ran = await stack("run", "submit", file, "--scope", "wrong/lab", "--watch")
    assert ran.code == USAGE_ERROR
    assert "report needs the input topic" in ran.err
    listed = await stack("run", "list", "--scope", "wrong", "--json")
    assert (listed.code, listed.out) == (0, "")


async def test_programs_are_refused_with_what_to_do(stack: Administered, file: str) -> None:
    """This stack runs none."""
    rewrite(file, 'prompt: "{{ input.topic }}"', "command: [ls]")
    ran = await stack("run", "submit", file, "--scope", "programs/lab", "--input", "topic=x")
    assert ran.code == FAILED
    assert "comptroller up --workflows" in ran.err


async def test_a_run_is_decided_about(stack: Administered, file: str) -> None:
    """Paused, resumed, answered, given more, forked; what is not possible says what is."""
    run = await submit(stack, file, "deciding/lab")
    assert (await stack("run", "pause", run, "--json")).document["status"] == "paused"
    assert (await stack("run", "resume", run, "--json")).document["status"] == "queued"
    with book_of(stack) as book:
        book.claim()
        book.put(run, "plan", "done", output={"a": 1})
        book.put(run, "ok", "waiting")
        book.park(run)
        shown = await stack("run", "show", run)
        assert f"ok asks: comptroller run approve {run} ok" in shown.err
        ran = await stack("run", "approve", run, "ok", "--comment", "fine", "--json")
        assert ran.document["status"] == "queued"
        again = await stack("run", "reject", run, "ok")
        assert (again.code, again.next_command) == (FAILED, f"comptroller run show {run}")
        book.claim()
        book.leave(run, "asking")
        shown = await stack("run", "show", run)
        assert f"comptroller run approve {run} --budget usd=..." in shown.err
        more = await stack("run", "approve", run, "--budget", "usd=5.00", "--json")
        assert more.document["status"] == "queued"
        output = await stack("run", "output", run, "plan", "--json")
        assert output.document == {"a": 1}
        fork = await stack("run", "fork", run, "--from", "ok", "--input", "topic=y", "--json")
        forked = (await stack("run", "show", fork.document["id"], "--json")).document
        assert (forked["forked_from"], forked["input"]["topic"]) == (run, "y")
        assert forked["steps"][0]["status"] == "done"
        book.claim()
        for each in (run, fork.document["id"]):
            book.end(each, "failed", error="write: no")
    assert (await stack("run", "retry", run, "--json")).document["status"] == "queued"
    compared = await stack("run", "compare", run, fork.document["id"], "--json")
    assert compared.document["steps"][0]["is_same"] is True
    table = await stack("run", "compare", run, fork.document["id"])
    assert table.out.splitlines()[1].split("\t")[0] == "plan"
    history = await stack("run", "history", run, "--json")
    assert (history.code, history.out) == (0, "")  # nobody has taken it to the log
    for wrong in (("approve", run), ("approve", run, "ok", "--budget", "5"), ("show", "x/../y")):
        ran = await stack("run", *wrong)
        assert ran.code == USAGE_ERROR, wrong
    missing = await stack("run", "show", "r" + "0" * 21)
    assert (missing.code, missing.next_command) == (FAILED, "comptroller run list")


ENDS: tuple[tuple[RunStatus, int], ...] = (
    ("done", 0), ("failed", FAILED), ("halted", RUN_HALTED), ("cancelled", RUN_CANCELLED)
)  # fmt: skip


async def until_printed(file: Path) -> None:
    """Waits until a command has printed a line into this file."""

    def has_a_line() -> bool:
        return file.exists() and b"\n" in file.read_bytes()

    async def looked() -> bool:
        return has_a_line()

    await until(looked)


async def test_a_watch_ends_with_its_run(stack: Administered, file: str, tmp_path: Path) -> None:
    """The exit code says how; in a pipe a line for each change, in JSON the run at each."""
    runs = [await submit(stack, file, "watching/lab") for _ in ENDS]
    with book_of(stack) as book:
        book.claim()

        async def watched(number: int, run: str) -> Ran:
            more = ("--json",) if number else ()
            return await stack("run", "watch", run, *more, printed=str(tmp_path / run))

        watching = [asyncio.create_task(watched(n, run)) for n, run in enumerate(runs)]
        for run in runs:
            await until_printed(tmp_path / run)
        for run, (status, _) in zip(runs, ENDS, strict=True):
            book.put(run, "plan", "done", output=1)
            book.end(run, status, error="" if status == "done" else "why")
        ends = await asyncio.gather(*watching)
    assert [each.code for each in ends] == [code for _, code in ENDS], ends
    lines = [f"{runs[0]}\trunning", "plan\tdone", f"{runs[0]}\tdone"]
    assert ends[0].out.splitlines() == lines
    first, *_, last = ends[1].documents
    assert (first["status"], last["status"]) == ("running", "failed")


async def said(stack: Administered, run: str, *texts: tuple[TaskId, str]) -> None:
    """What steps say, as an executor writes it."""
    socket = str(stack.running.data_dir / "ledger.sock")
    transport = PipelinedTransport(NodeAddress(unix_path=socket))
    live = Live(transport)
    place = RunPlace(run, "following/lab", "report", 1)
    for task, text in texts:
        live.say(AttemptPlace(place, task, 1), "text", text)
    await live.close()
    await transport.close()


async def test_what_steps_say_is_printed_as_it_comes(stack: Administered, file: str) -> None:
    """The text alone on stdout, who says it on stderr, without what a terminal would obey; of one
    entry what it says; the exit code is that of the run's end."""
    run = await submit(stack, file, "following/lab")
    follow = ("run", "follow", run)
    every = asyncio.create_task(stack(*follow))
    entry = asyncio.create_task(stack(*follow, "plan[3]", "--json"))
    await said(stack, run, (TaskId("plan", 3), "Once \x1b[2Jupon\na time"), (TaskId("ok"), "x"))
    with book_of(stack) as book:
        book.claim()
        book.end(run, "halted", error="why")
    ran, ran_json = await every, await entry
    assert (ran.code, ran_json.code) == (RUN_HALTED, RUN_HALTED), ran.err + ran_json.err
    assert ran.out == "Once \\x1b[2Jupon\na time\nx\n"
    assert ran.err.splitlines() == ["==> plan[3]", "==> ok", "halted: why"]
    (only,) = ran_json.documents
    assert (only["kind"], only["step"], only["entry"], only["attempt"]) == ("text", "plan", 3, 1)
    missing = await stack("run", "follow", f"r{0:021x}")
    assert missing.code == FAILED


def run_of(**fields: Any) -> dict[str, Any]:
    """As the admin API shows one."""
    step = {
        "kind": "sleep", "needs": [], "status": "pending", "attempt": 0, "attempts": 0,
        "begun_ms": None, "ended_ms": None, "error": "", "entries": None, "cost": None,
    }  # fmt: skip
    steps = [
        {**step, "id": "b", "needs": ["a"]},
        {**step, "id": "a", "status": "done", "begun_ms": 0, "ended_ms": 1_500, "attempt": 1},
        {**step, "id": "c", "needs": ["b"], "entries": {"done": 1, "running": 2}, "begun_ms": 0},
    ]
    return {"id": "r1", "status": "running", "error": "", "steps": steps, **fields}


async def test_rows_are_in_the_order_in_which_steps_run() -> None:
    """Below what they need, with how long they took."""
    rows = step_rows(run_of(), 3_000)
    assert [(row["id"], row["level"], row["duration"]) for row in rows] == [
        ("a", 0, "1.5s"), ("b", 1, ""), ("c", 2, "3.0s")
    ]  # fmt: skip
    over = step_rows(run_of(status="cancelled"), 3_000)
    assert [row["duration"] for row in over] == ["1.5s", "", ""]
    assert [duration_words(0, each * 1000, 0) for each in (9, 59, 61, 3_660)] == [
        "9.0s", "59s", "1m01s", "1h01m"
    ]  # fmt: skip


async def test_a_frame_has_all_of_a_run() -> None:
    """In a terminal of any width: what it costs, why it waits, what to type; and no name of a step
    is taken for markup."""
    limit = {"dimension": "usd", "window": "total", "limit": "2.00", "spent": "0.12"}
    run = run_of(
        workflow="report", version=3, created_ms=0, ended_ms=None, limits=[limit], status="asking"
    )
    run["steps"][0]["error"] = "[bold]no[/bold]\x1b[31m"
    for width in (30, 80, 200):
        screen = Console(file=io.StringIO(), width=width)
        screen.print(frame(run, 61_000))
        text = " ".join(screen.file.getvalue().split())  # type: ignore[attr-defined]  # a StringIO
        assert "report v3 r1 asking 1m01s $0.12 of $2.00" in text
        assert "comptroller run approve r1 --budget" in text
        assert "\x1b" not in text
    assert "[bold]no[/bold]" in text


async def test_what_has_changed_is_said_once() -> None:
    """Steps that are as they were are not told again."""
    run = run_of()
    first = list(changes(None, run))
    assert first == ["a\tdone", "c\tpending\t1 done, 2 running", "r1\trunning"]
    assert list(changes(run, run)) == []
    assert list(hints(run_of(status="paused"))) == ["it is paused: comptroller run resume r1"]
