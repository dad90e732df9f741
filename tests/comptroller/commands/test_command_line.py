"""The command line as a whole: documented, quick to start, and every complaint ends with what to
type next."""

import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from comptroller.cli import app
from comptroller.commands.outcome import printable
from comptroller.exits import FAILED, USAGE_ERROR
from tests.comptroller.commands.commanding import COMPTROLLER, comptroller, run

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"
HELP_S_MAX = 0.5
TRIES = 5
HEAVY = ("rich", "httpx", "clickhouse_connect", "redis", "uvicorn", "fastapi", "chdb", "yaml")


def commands(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its name as one types it."""
    below = getattr(command, "commands", None)
    if below is None:
        yield " ".join(path), command
        return
    for name, each in below.items():
        yield from commands(each, *path, name)


def options(command: Any) -> set[str]:
    """Long names of its options."""
    return {opt for each in command.params for opt in each.opts if opt.startswith("--")}


def test_every_command_and_option_is_documented_and_no_other() -> None:
    """docs/cli.md has one row for each command, with exactly its options."""
    row = re.compile(
        r"^\| `([a-z -]+?)(?: \[?[A-Z][^`]*)?` \| ((?:`--[a-z-]+` ?)+)\|", re.MULTILINE
    )
    documented = {
        name: set(re.findall(r"--[a-z-]+", listed))
        for name, listed in row.findall(DOCS.read_text(encoding="utf-8"))
    }
    existing = dict(commands(typer.main.get_command(app)))
    assert documented == {name: options(command) for name, command in existing.items()}


def test_every_command_prints_json_and_says_what_it_is() -> None:
    """All but `up`, which is a server, take --json; each has a help text, each option too."""
    for name, command in commands(typer.main.get_command(app)):
        assert command.help, name
        assert name == "up" or "--json" in options(command), name
        for each in command.params:
            assert each.help, f"{name}: {each.name}"


async def test_help_is_quick() -> None:
    """`comptroller --help` takes less than half a second of CPU: the clock would count what else
    the machine does."""
    took_s = []
    for _ in range(TRIES):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert (await comptroller("--help")).code == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took_s.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert 0 < min(took_s) < HELP_S_MAX


async def test_importing_the_command_line_imports_nothing_heavy() -> None:
    """Gateway workers import it, too: what a command stands on comes when it runs."""
    probe = "import sys, comptroller.cli; print([m for m in sys.argv[1:] if m in sys.modules])"
    ran = await run(sys.executable, "-c", probe, *HEAVY)
    assert ran.out == "[]\n", ran.err


NOTHING_RUNS = (
    ("key", "list"),
    ("key", "show", "key-1"),
    ("key", "create", "ci", "--scope", "acme"),
    ("key", "rotate", "key-1"),
    ("key", "revoke", "key-1"),
    ("budget", "list"),
    ("budget", "set", "acme", "5.00"),
    ("budget", "freeze", "acme"),
    ("run", "list"),
    ("top", "--once"),
    ("tail",),
    ("sql", "SELECT 1"),
    ("report", "spend"),
    ("quote", "demo/small", "--prompt", "hello", "--base-url", "http://127.0.0.1:1/v1"),
    ("verify",),
)


@pytest.mark.parametrize("arguments", NOTHING_RUNS, ids=" ".join)
async def test_where_nothing_runs_it_is_said_with_the_next_command(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """Exit 1, no traceback, and the last line is a command of ours."""
    key = {"COMPTROLLER_KEY": "ck-unused"}
    ran = await comptroller(*arguments, "--data-dir", str(tmp_path), environment=key)
    assert ran.code == FAILED, ran.err
    assert ran.out == ""
    assert ran.err.startswith("comptroller: ")
    assert "Traceback" not in ran.err
    assert ran.next_command.startswith("comptroller ")


async def test_an_unknown_option_is_a_usage_error() -> None:
    """Exit 2, and how to get help."""
    ran = await comptroller("key", "create", "ci", "--scop", "acme")
    assert ran.code == USAGE_ERROR
    assert "--help" in ran.err


async def test_a_format_in_the_query_is_sent_to_the_option(tmp_path: Path) -> None:
    """`sql "... FORMAT CSV"` exits 2 and says to use --format CSV, with the command to type."""
    for query in ("SELECT 1 FORMAT CSV", "select 1 format CSV ;\n"):
        ran = await comptroller("sql", query, "--data-dir", str(tmp_path))
        assert ran.code == USAGE_ERROR
        assert "use --format CSV" in ran.err
        assert ran.next_command.lower() == "comptroller sql 'select 1' --format csv"
    ran = await comptroller("sql", "SELECT 'a FORMAT CSV'", "--data-dir", str(tmp_path))
    assert ran.code == FAILED  # no records here: but the query was understood


def test_what_a_terminal_would_obey_is_shown_as_text() -> None:
    """Escape sequences, line ends and lone surrogates of names are spelt out."""
    assert printable("caf\u00e9 \u2603") == "caf\u00e9 \u2603"
    assert printable("\x1b[31mred\nnext\udc80") == "\\x1b[31mred\\nnext\\udc80"


async def test_a_reader_that_has_seen_enough_ends_it_in_silence() -> None:
    """A closed pipe is no failure of ours."""
    ran = await run("sh", "-c", f"{COMPTROLLER} report list | head -n 1")
    assert (ran.code, ran.err) == (0, "")
