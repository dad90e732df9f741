"""`comptroller snippet`: what it prints works against a real stack, as it is printed."""

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comptroller.commands.snippet import filled, load_snippets
from comptroller.data_dir import held
from comptroller.exits import USAGE_ERROR
from tests.comptroller.commands.commanding import run
from tests.comptroller.commands.forked import forked
from tests.gateway.processes import Running, comptroller_up

SECRET = "ck-of-a-test-0123456789"
CONFIG = {
    "budgets": {"acme": [{"usd": "1.00"}]},
    "keys": [{"name": "one", "scope": "acme", "secret": SECRET}],
}
WITH_KEY = {"COMPTROLLER_KEY": SECRET}
PYTHON = ("langchain-openai", "litellm", "openai-python")


@pytest.fixture
async def running(folder: Path) -> AsyncIterator[Running]:
    """A stack with a key."""
    async with comptroller_up(folder, config=CONFIG) as running:
        yield running


async def printed(name: str, running: Running) -> str:
    """The snippet for that stack."""
    base = f"http://127.0.0.1:{running.port}/v1"
    ran = await forked("snippet", name, "--base-url", base)
    assert ran.code == 0, ran.err
    assert base in ran.out
    return ran.out


async def test_those_that_can_run_here_get_an_answer(running: Running) -> None:
    """curl, OpenAI's library and its variables: each answers, and is charged, with nothing added
    but the key's variable."""
    curl = await run("sh", "-c", await printed("curl", running), environment=WITH_KEY)
    assert curl.code == 0, curl.err
    assert curl.document["usage"]["cost"] > 0
    text = curl.document["choices"][0]["message"]["content"]
    python = await run(
        sys.executable, "-c", await printed("openai-python", running), environment=WITH_KEY
    )
    assert python.out == f"{text}\n", python.err
    ask = "from openai import OpenAI; print(len(OpenAI().models.list().data))"
    script = f"{await printed('env', running)}\n'{sys.executable}' -c '{ask}'"
    env = await run("sh", "-c", script, environment=WITH_KEY)
    assert env.out == "4\n", env.err


async def test_the_key_is_what_the_variable_holds(running: Running) -> None:
    """Another key than the one minted is refused: the snippet brings none of its own."""
    curl = await run(
        "sh", "-c", await printed("curl", running), environment={"COMPTROLLER_KEY": "ck-unknown"}
    )
    assert curl.code != 0
    assert curl.document["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("name", PYTHON)
def test_python_compiles(name: str) -> None:
    """Also where the library is not installed here."""
    compile(filled(load_snippets()[name], "http://127.0.0.1:4000/v1", "demo/small"), name, "exec")


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
async def test_javascript_parses(tmp_path: Path) -> None:
    """Node accepts it as a module."""
    file = tmp_path / "hello.mjs"
    file.write_text(filled(load_snippets()["openai-node"], "http://h/v1", "demo/small"))
    ran = await run("node", "--check", str(file))
    assert ran.code == 0, ran.err


def test_every_snippet_says_what_it_is_for_and_holds_no_mark_once_filled() -> None:
    """The first line is a comment, the key comes from the environment, both marks are used."""
    snippets = load_snippets()
    assert set(snippets) >= {*PYTHON, "openai-node", "curl", "env"}
    for name, text in snippets.items():
        assert text.startswith(("# ", "// ")), name
        assert "COMPTROLLER_KEY" in text, name
        assert "@" not in filled(text, "http://h/v1", "demo/small"), name


async def test_what_could_end_a_quote_is_refused(tmp_path: Path) -> None:
    """A model or an address with quotes or blanks in it: exit 2, and nothing is printed."""
    for arguments in (
        ("--model", 'x"; rm -rf ~ #'),
        ("--base-url", "http://h/$(id)"),
        ("--base-url", 'http://h/"'),
        ("--base-url", "file:///etc/passwd"),
    ):
        ran = await forked("snippet", "curl", *arguments)
        assert (ran.code, ran.out) == (USAGE_ERROR, "")
        assert ran.next_command
    ran = await forked("snippet", "cobol")
    assert (ran.code, ran.next_command) == (USAGE_ERROR, "comptroller snippet")


async def test_the_address_is_the_settings_or_what_up_has_left(tmp_path: Path) -> None:
    """Port and first model of the configuration; the address that a stack has left in the data dir
    wins over them while it runs."""
    config = tmp_path / "comptroller.yaml"
    config.write_text(f"host: 0.0.0.0\nport: 4123\ndata_dir: {tmp_path}\n")
    ran = await forked("snippet", "curl", "--config", str(config), "--json")
    assert '"http://127.0.0.1:4123/v1/chat/completions"' in ran.document["text"]
    assert '"model": "demo/' in ran.document["text"]
    (tmp_path / "gateway.url").write_text("http://127.0.0.1:4999/v1")
    with held(tmp_path):
        ran = await forked("snippet", "curl", "--config", str(config))
    assert '"http://127.0.0.1:4999/v1/chat/completions"' in ran.out
