"""`comptroller quote`, `report` and `top` on a real stack that has served and refused."""

import asyncio
import json
import os
import pty
import signal
import termios
from decimal import Decimal
from pathlib import Path

import pytest

from clickhouse.query import load_query
from comptroller.commands.report import load_reports
from comptroller.exits import FAILED, REFUSED_BY_BUDGET, USAGE_ERROR
from tests.comptroller.commands.administered import Administered
from tests.comptroller.commands.commanding import COMPTROLLER
from tests.comptroller.commands.forked import forked

pytestmark = pytest.mark.asyncio(loop_scope="session")

COST_USD = "0.0000362"  # what the demo model says to "hello"
REPORTS = ("agents", "keys", "models", "overruns", "refusals", "slowest", "spend", "workflows")


def gateway(stack: Administered, secret: str = "") -> dict[str, str]:
    """Variables for `quote`."""
    base = {"COMPTROLLER_BASE_URL": f"http://127.0.0.1:{stack.running.port}/v1"}
    return base | ({"COMPTROLLER_KEY": secret} if secret else {})


async def test_a_quote_is_what_the_call_then_reserves(stack: Administered) -> None:
    """From a prompt, from a body on stdin, and from a file, with the first key of the data dir."""
    prompt = await stack("quote", "demo/small", "--prompt", "hello", "--json", **gateway(stack))
    assert prompt.code == 0, prompt.err
    assert prompt.document["fits"] is True
    body = {"messages": [{"role": "user", "content": "hello"}], "model": "another"}
    piped = await stack(
        "quote", "demo/small", "--input", "-", stdin=json.dumps(body), **gateway(stack)
    )
    assert f"reserved_usd\t{prompt.document['reserved_usd']}\n" in piped.out
    file = stack.running.data_dir / "body.json"
    file.write_text(json.dumps(body | {"max_tokens": 7}))
    capped = await stack(
        *("quote", "demo/small", "--input", str(file), "--max-tokens", "99", "--json"),
        **gateway(stack),
    )
    assert capped.document["output_tokens_max"] == 7
    secret = (stack.running.data_dir / "first-key").read_text()
    answer = await stack.chat(secret, max_tokens=7)
    reserved = Decimal(answer.headers["x-comptroller-reserved-usd"])
    assert reserved == Decimal(capped.document["reserved_usd"])


async def test_a_quote_that_does_not_fit_exits_with_3(stack: Administered) -> None:
    """Too large for the budget, and frozen: the reason, and the command that shows the budget."""
    key = await stack("key", "create", "q", "--scope", "quoted", "--budget", "requests=0", "--json")
    secret = key.document["key"]
    ran = await stack("quote", "demo/large", "--prompt", "hello", **gateway(stack, secret))
    assert ran.code == REFUSED_BY_BUDGET
    assert "fits\tno\n" in ran.out
    scope = key.document["budget_scope"]
    assert ran.next_command == f"comptroller budget show {scope}"
    await stack("budget", "freeze", "quoted")
    ran = await stack("quote", "demo/large", "--prompt", "hello", **gateway(stack, secret))
    assert ran.code == REFUSED_BY_BUDGET
    assert "frozen" in ran.err


async def test_mistakes_of_a_quote_are_told(stack: Administered, tmp_path: Path) -> None:
    """A wrong key exits 1; an unknown model, no input, two inputs, no JSON, no file exit 2; no
    message has the key."""
    wrong = await stack("quote", "demo/small", "--prompt", "x", **gateway(stack, "ck-wrong-key"))
    assert (wrong.code, wrong.next_command) == (FAILED, "comptroller key list")
    assert "ck-wrong" not in wrong.out + wrong.err
    for arguments in (
        ("nobody/small", "--prompt", "x"),
        ("demo/small",),
        ("demo/small", "--prompt", "x", "--input", "-"),
        ("demo/small", "--input", str(tmp_path / "nothing")),
        ("demo/small", "--prompt", '{"messages": ['),
        ("demo/small", "--prompt", '{"messages": 5}'),
    ):
        ran = await stack("quote", *arguments, **gateway(stack))
        assert ran.code == USAGE_ERROR, arguments
        assert ran.next_command
    no_key = await forked("quote", "demo/small", "--prompt", "x", "--data-dir", str(tmp_path))
    assert no_key.code == USAGE_ERROR
    assert "COMPTROLLER_KEY" in no_key.err


async def test_reports_answer_what_was_spent_and_refused(stack: Administered) -> None:
    """Two calls and a refused one of a key with an agent: every report is asked, and those that
    have a number for it have the right one; another organisation sees none of it."""
    key = await stack(
        *("key", "create", "r", "--scope", "reported/team", "--budget", "requests=2"),
        *("--agent", "teller", "--json"),
    )
    secret, key_id = key.document["key"], key.document["id"]
    statuses = [(await stack.chat(secret)).status_code for _ in range(3)]
    assert statuses == [200, 200, 402]
    await stack.until_recorded("SELECT count() FROM requests WHERE agent = 'teller'", 2)
    await stack.until_recorded("SELECT count() FROM refusals WHERE agent = 'teller'", 1)
    cost = str(2 * Decimal(COST_USD))
    (agent,) = await report(stack, "agents")
    assert (agent["agent"], agent["requests"], agent["usd"]) == ("teller", 2, cost)
    (used,) = await report(stack, "keys")
    assert (used["key"], used["requests"], used["refused"]) == (key_id, 2, 1)
    (model,) = await report(stack, "models")
    assert (model["model"], model["requests"], model["usd"]) == ("demo/small", 2, cost)
    (day,) = await report(stack, "spend")
    assert (day["organisation"], day["requests"], day["usd"]) == ("reported", 2, cost)
    (refusal,) = await report(stack, "refusals")
    assert (refusal["reason"], refusal["dimension"], refusal["refused"]) == (
        *("exhausted", "requests"),
        1,
    )
    assert refusal["refused_by"] == key.document["budget_scope"]
    (workflow,) = await report(stack, "workflows")
    assert (workflow["project"], workflow["usd"]) == ("team", cost)
    assert len(await report(stack, "slowest")) == 2
    assert await report(stack, "overruns") == []
    for name in REPORTS:
        assert await report(stack, name, organisation="nobody") == []


async def report(
    stack: Administered, name: str, organisation: str = "reported"
) -> list[dict[str, object]]:
    """Rows of a report."""
    ran = await stack("report", name, "--organisation", organisation, "--json")
    assert ran.code == 0, ran.err
    rows: list[dict[str, object]] = ran.documents
    return rows


async def test_reports_are_their_files(stack: Administered) -> None:
    """`report list` names each file with its first line; all are bounded and typed; a table has the
    columns of the query."""
    listed = (await stack("report", "list", "--json")).documents
    assert {each["name"] for each in listed} == set(REPORTS) == set(load_reports())
    for each in listed:
        text = load_query(f"report_{each['name']}")
        assert text.startswith(f"-- {each['shows']}\n")
        assert "{since:DateTime('UTC')}" in text
        assert "LIMIT" in text
    table = await stack("report", "spend", "--since", "2026-01-01")
    assert table.out.startswith("day\torganisation\tmodel\trequests\t")
    future = await stack("report", "spend", "--since", "2100-01-01", "--json")
    assert (future.code, future.out) == (0, "")
    for arguments in (("nothing",), ("../secrets",), ("spend", "--since", "soon")):
        ran = await stack("report", *arguments)
        assert ran.code == USAGE_ERROR
        assert ran.next_command.startswith("comptroller report")


async def test_top_shows_what_happens(stack: Administered) -> None:
    """One frame as JSON and as text: calls and cost of these minutes, the tightest limit first, the
    last events; what a client has named cannot speak to the terminal."""
    key = await stack(
        *("key", "create", "t", "--scope", "topped", "--budget", "requests=1", "--json"),
        *("--agent", "\u202eevil[red]"),
    )
    assert (await stack.chat(key.document["key"])).status_code == 200
    await stack.until_recorded("SELECT count() FROM requests WHERE org = 'topped'", 1)
    shown = await stack("top", "--once", "--json")
    assert shown.code == 0, shown.err
    document = shown.document
    assert sum(row["requests"] for row in document["minutes"]) >= 1
    assert sum(row["charged_nusd"] for row in document["minutes"]) >= 36_200
    tightest = document["tightest"][0]
    assert (tightest["dimension"], tightest["free"]) == ("requests", 0)
    assert "topped" in {event["org"] for event in document["events"]}
    assert document["trouble"] == ""
    frame = await stack("top", "--once", COLUMNS="200")
    assert "tightest budgets" in frame.out
    assert key.document["budget_scope"] in frame.out
    assert "\\u202eevil[red]" in frame.out
    assert "\x1b" not in frame.out


async def test_top_without_records_says_so(stack: Administered) -> None:
    """Budgets are shown although the records do not answer."""
    file = stack.running.data_dir / "records.url"
    url = file.read_text()
    file.unlink()
    try:
        ran = await stack("top", "--once", "--json")
    finally:
        file.write_text(url)
    assert ran.code == 0, ran.err
    assert "no records" in ran.document["trouble"]
    assert ran.document["tightest"]


@pytest.mark.parametrize("end", ["q", "interrupt"])
async def test_top_lives_until_it_is_told(stack: Administered, end: str) -> None:
    """On a terminal it draws anew until `q` or Ctrl-C, exits 0, and leaves it as it was."""
    ours, theirs = pty.openpty()
    try:
        before = terminal_state(theirs)
        process = await asyncio.create_subprocess_exec(
            *(COMPTROLLER, "top", "--data-dir", str(stack.running.data_dir)),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "150", "LINES": "60"},
        )
        seen = await asyncio.to_thread(read_until, ours, b"tightest budgets", 2)
        assert b"comptroller top" in seen
        if end == "q":
            os.write(ours, b"q")
        else:
            process.send_signal(signal.SIGINT)
        draining = asyncio.create_task(asyncio.to_thread(read_until, ours, b"\x1b[?1049l", 1))
        assert await asyncio.wait_for(process.wait(), 20) == 0
        await asyncio.wait_for(draining, 20)
        assert terminal_state(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


def terminal_state(fd: int) -> list[object]:
    """What termios knows of it."""
    return list(termios.tcgetattr(fd))


def read_until(fd: int, mark: bytes, times: int) -> bytes:
    """What comes until the mark was seen so often."""
    seen = b""
    while seen.count(mark) < times:
        seen += os.read(fd, 65536)
    return seen
