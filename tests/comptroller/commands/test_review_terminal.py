"""Commands on a terminal, and what they tell who mistyped, forgot or was lured."""

import asyncio
import os
import pty
import struct
import termios
from fcntl import ioctl
from pathlib import Path

import pytest

from comptroller.admin_client import AdminUnusable, admin_address
from comptroller.commands.gateway import base_url
from comptroller.data_dir import admin_token_file, gateway_url_file, held
from comptroller.exits import FAILED, USAGE_ERROR
from tests.comptroller.commands.administered import Administered
from tests.comptroller.commands.commanding import ENDED_S_MAX
from tests.comptroller.commands.forked import to_its_end

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def on_terminal(
    stack: Administered, *arguments: str, columns: int = 80, typed: bytes = b""
) -> str:
    """What a terminal of this width is sent, on which this is typed."""
    ours, theirs = pty.openpty()
    os.write(ours, typed)
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, columns, 0, 0))
    where = ("--data-dir", str(stack.running.data_dir))
    variables = {"PATH": os.environ["PATH"], "TERM": "xterm"}
    reading = asyncio.create_task(asyncio.to_thread(_all_sent, ours))
    await to_its_end((*arguments, *where), variables, theirs, theirs, theirs)
    os.close(theirs)
    sent = await asyncio.wait_for(reading, ENDED_S_MAX)
    os.close(ours)
    return sent.decode()


def _all_sent(fd: int) -> bytes:
    sent = bytearray()
    while piece := _read(fd):
        sent += piece
    return bytes(sent)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # how a terminal says that nobody writes any more
        return b""


async def test_lists_on_80_columns_can_be_read_and_copied(stack: Administered) -> None:
    """Ids and amounts of keys, budgets and `top` are in one piece, however long scopes are."""
    scope = "narrow/a-project-with-a-long-name/nightly-run-of-the-agents"
    made = await stack("key", "create", "one", "--scope", scope, "--budget", "12345.67", "--json")
    key = made.document
    assert (await stack.chat(key["key"])).status_code == 200
    assert key["id"] in await on_terminal(stack, "key", "list")
    for command in (("budget", "list", "narrow"), ("budget", "show", key["budget_scope"])):
        shown = await on_terminal(stack, *command)
        assert "$12345.6699638" in shown
        assert "$0.0000362" in shown
        assert "\u2026" not in shown
    assert "\u2026" not in await on_terminal(stack, "top", "--once")


async def test_sql_sends_a_terminal_nothing_that_it_obeys(stack: Administered) -> None:
    """What a client wrote into a prompt is text; in a pipe it is as it was."""
    query = "SELECT concat('a', char(27), '[2J', char(194, 155), '31m') AS x, 'caf\u00e9' AS y"
    for more in ((), ("--format", "TSVRaw")):
        shown = await on_terminal(stack, "sql", query, *more)
        assert "\x1b" not in shown
        assert "\x9b" not in shown
        assert "a\\x1b[2J\\x9b31m" in shown
        assert "caf\u00e9" in shown
    piped = await stack("sql", query, "--format", "TSVRaw")
    assert piped.out == "a\x1b[2J\x9b31m\tcaf\u00e9\n"


async def test_what_a_new_budget_drops_is_said(stack: Administered) -> None:
    """On stderr, so that nobody who raises one limit loses another or a payload policy unseen."""
    await stack("budget", "set", "gone", "5.00/day", "requests=6/minute", "--payloads", "off")
    ran = await stack("budget", "set", "gone", "9.00/day", "--json")
    assert ran.err == "gone: 6 requests per minute; payloads off\n"
    assert ran.document["limits"][0]["limit"] == "9.00"
    assert (await stack("budget", "set", "gone", "8.00/day")).err == ""
    ran = await stack("budget", "unset", "gone")
    assert ran.err == "gone: $8.00 per day\n"


@pytest.mark.parametrize("key_id", ["", "..", "a/b", "a?b", "\x1b[2J"])
async def test_what_is_no_id_names_no_other_call(stack: Administered, key_id: str) -> None:
    """Told as such, with the list of those that there are."""
    for verb in ("show", "rotate", "revoke"):
        ran = await stack("key", verb, key_id)
        assert (ran.code, ran.next_command) == (FAILED, "comptroller key list")


async def test_a_key_that_two_organisations_have(stack: Administered) -> None:
    """Is told apart by an option; one that is of neither is not there."""
    ran = await stack("key", "show", "key-first", "--organisation", "demo", "--json")
    assert ran.document["scope"] == "demo"
    await stack.organisation("others")
    ran = await stack("key", "revoke", "key-first", "--organisation", "others")
    assert (ran.code, ran.next_command) == (FAILED, "comptroller key list")
    ran = await stack("key", "rotate", "key-first", "--overlap", "soon")
    assert (ran.code, ran.next_command) == (USAGE_ERROR, "comptroller key rotate --help")


@pytest.mark.parametrize("lines", ["-1", "10001"])
async def test_lines_of_tail_are_bounded(stack: Administered, lines: str) -> None:
    """Before anything is asked."""
    assert (await stack("tail", "--no-follow", "--lines", lines)).code == USAGE_ERROR


@pytest.mark.parametrize(
    "url", ["http://a..b", "http://xn--/", "http://127.0.0.1:4001/?x", "http://127.0.0.1:4001/#x"]
)
async def test_an_address_that_is_none_is_no_fault_of_ours(stack: Administered, url: str) -> None:
    """No traceback, whatever the host's name is; the token is not in what is said."""
    token = {"COMPTROLLER_ADMIN_TOKEN": stack.token}
    ran = await stack("key", "list", "--admin-url", url, **token)
    assert ran.code in (FAILED, USAGE_ERROR)
    assert "Traceback" not in ran.err
    assert stack.token not in ran.err
    assert ran.next_command


@pytest.mark.parametrize(
    "url", ["http://admin.example", "http://10.0.0.1:4001", "http://127.0.0.1.example:4001"]
)
async def test_the_data_dirs_token_is_for_this_machine(tmp_path: Path, url: str) -> None:
    """An address elsewhere, by option or variable, gets it only from who names it, too."""
    file = admin_token_file(tmp_path)
    file.write_text("ca-of-the-data-dir")
    file.chmod(0o600)
    with pytest.raises(AdminUnusable) as raised:
        admin_address(url, "", tmp_path)
    assert raised.value.variable == "COMPTROLLER_ADMIN_TOKEN"
    assert admin_address(url, "ca-given", tmp_path).token == "ca-given"
    for near in ("http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"):
        assert admin_address(near, "", tmp_path).token == "ca-of-the-data-dir"


async def test_a_gateway_that_a_killed_stack_has_left_is_not_asked(tmp_path: Path) -> None:
    """Nobody has the data dir: whoever listens there now must not be sent a key."""
    left = "http://127.0.0.1:5001/v1"
    with held(tmp_path):
        gateway_url_file(tmp_path).write_text(left)
        assert base_url("", None, str(tmp_path)) == left
    assert base_url("", None, str(tmp_path)) != left


async def test_what_clickhouse_refuses_is_said_in_its_words(stack: Administered) -> None:
    """Its reason and code, without what driver and engine put around; no query is told as such."""
    ran = await stack("sql", "SELECT * FROM nope")
    assert ran.code == FAILED
    first = ran.err.splitlines()[0]
    assert first.startswith("comptroller: there is no table nope; there are ")
    assert first.endswith(" (ClickHouse code 60)")
    for query in ("", " ;\n"):
        ran = await stack("sql", query)
        assert (ran.code, ran.next_command) == (USAGE_ERROR, "comptroller sql --help")
