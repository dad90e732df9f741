"""docs/clients.md says what was measured of the versions that are pinned; every folder is whole."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.clients import catalogue, environments, report
from tests.clients.catalogue import Client, clients
from tests.clients.door import Call, Door, Outside

ALL = clients()


@pytest.mark.parametrize("client", [pytest.param(each, id=each.name) for each in ALL])
def test_what_was_measured_is_of_what_is_pinned(client: Client) -> None:
    """Who changes a version, or how often a client may ask, has to run it again."""
    found = report.measured()[client.name]
    assert found.version == client.version
    assert {int(status): count for status, count in found.stop.items()} == client.stop


def test_the_table_is_of_what_was_measured() -> None:
    """Every client has its row, and nothing else stands there."""
    assert [each.name for each in ALL] == list(report.measured())
    text = report.DOCUMENT.read_text(encoding="utf-8")
    assert report.with_tables(text) == text


@pytest.mark.parametrize("client", [pytest.param(each, id=each.name) for each in ALL])
def test_what_has_to_be_set_is_in_the_example(client: Client) -> None:
    """The words of the table are those of the script, or of variables that are set."""
    script = client.agent.read_text(encoding="utf-8")
    for words in client.sets:
        assert words in client.variables or words in script
    addressed = [value for value in client.variables.values() if value.startswith("{gateway}")]
    assert len(addressed) == 1
    assert "{key}" in client.variables.values()


@pytest.mark.parametrize("line", ["openai", "openai>=3", "openai==3.57.0 --index-url=x"])
def test_what_is_not_pinned_is_no_client(tmp_path: Path, line: str) -> None:
    """Exact versions and nothing else: no ranges, no addresses."""
    (tmp_path / "requirements.txt").write_text(line)
    with pytest.raises(ValueError, match="exact version"):
        catalogue._pins(tmp_path)


async def test_what_cannot_be_installed_says_whose_word_that_is() -> None:
    """A skipped client has a reason."""
    with pytest.raises(environments.CannotBeInstalled, match="sh: no such package"):
        await environments._run("sh", "-c", "echo no such package; exit 1")


async def test_the_door_counts_what_comes_in() -> None:
    """Method, path, status and kind of each answer, which pass unchanged."""
    headers = [(b"Content-Type", b"text/event-stream; charset=utf-8")]
    messages: list[Message] = [
        {"type": "http.response.start", "status": 402, "headers": headers},
        {"type": "http.response.body", "body": b"x"},
    ]

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        for each in messages:
            await send(each)

    async def receive() -> Message:
        return {}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    door = Door(behind)
    await door({"type": "http", "method": "POST", "path": "/v1/messages"}, receive, send)
    assert door.calls == [Call("POST", "/v1/messages", 402, streamed=True)]
    assert sent == messages


async def test_the_way_out_leads_nowhere_and_is_seen() -> None:
    """Who wanted to leave is refused, and remembered."""
    async with Outside() as outside:
        port = int(outside.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"CONNECT example.com:443 HTTP/1.1\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"403"
        writer.close()
    assert outside.asked == ["CONNECT example.com:443 HTTP/1.1"]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not here")
async def test_libraries_that_ask_no_proxy_are_seen_too() -> None:
    """Node's own fetch is let through to this machine alone."""
    script = """
        const error = await fetch("https://example.com/x").catch((error) => error);
        const here = await fetch(process.env.HTTPS_PROXY);
        console.log(error.cause.code, here.status);
    """
    guard = catalogue.FOLDER / "outside.cjs"
    async with Outside() as outside:
        process = await asyncio.create_subprocess_exec(
            *("node", f"--require={guard}", "--input-type=module", "--eval", script),
            env={"PATH": os.environ["PATH"], "HTTPS_PROXY": outside.url},
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
    assert said == b"ECONNREFUSED 403\n"
    assert sorted(outside.asked) == ["CONNECT example.com", "GET / HTTP/1.1"]
