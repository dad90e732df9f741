"""The README as a newcomer reads it: every block, in its order, typed into one shell."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.gateway.processes import all_gone, descendants, free_port

ROOT = Path(__file__).parent.parent
START = "make up"
READY_S_MAX = 60
PORTS = {
    4000: "COMPTROLLER_PORT",
    4001: "COMPTROLLER_ADMIN_PORT",
    4002: "COMPTROLLER_CLICKHOUSE_PORT",
}
# What the last command of a block, or the block, must have shown.
SHOWN = {
    "curl ": ('"cost":', "demo/small"),
    "from openai": ("This is the demo model",),
    "comptroller quote": ("fits",),
    "comptroller budget set": ("ck-", "acme/research", "tightest budgets"),
    "comptroller check": ("gpt-5.4-nano", "acme/research"),
    "comptroller sql": ("key_minted", "demo/small", "vouches"),
}


class Block(NamedTuple):
    """A fenced block: its language and what is in it."""

    language: str
    text: str


def blocks() -> list[Block]:
    """All of the README's, but pictures."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = [Block(*each) for each in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)]
    assert {each.language for each in found} == {"sh", "python", "yaml"}
    return found


def typed(block: Block) -> str:
    """As it is typed into a shell."""
    if block.language == "python":
        return f"python - <<'END'\n{block.text}END\n"
    if block.language == "yaml":
        name = re.match(r"# (\S+)\n", block.text)
        assert name, "a file without a name"
        return f"cat > {name[1]} <<'END'\n{block.text}END\n"
    return block.text


@asynccontextmanager
async def stack(folder: Path, environment: dict[str, str]) -> AsyncIterator[Path]:
    """`make up` in a folder that looks like the clone; its output."""
    for name in ("Makefile", ".venv", "requirements.lock", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    output = folder / "up.txt"
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *START.split(),
            cwd=folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        async with asyncio.timeout(READY_S_MAX):
            while "admin API" not in output.read_text():  # a file has no event
                assert process.returncode is None, output.read_text()
                await asyncio.sleep(0.05)
        yield output
    finally:
        family = descendants(process.pid)
        for pid in family[:1]:  # make does not pass a signal on
            os.kill(pid, signal.SIGTERM)
        await asyncio.wait_for(process.wait(), READY_S_MAX)
        await all_gone(family)


def local(text: str, ports: dict[int, int]) -> str:
    """With the ports of this test in place of those that everybody has."""
    for port, here in ports.items():
        text = text.replace(f":{port}", f":{here}")
    return text


@pytest.mark.timeout(240)
async def test_every_block_of_the_readme_works_in_its_order(tmp_path: Path) -> None:
    """`make up` in one terminal, all that follows in another, in one shell that stops at the first
    failure; each block shows what the text around it promises."""
    first, *rest = blocks()
    assert first.text.strip() == START
    ports = {port: free_port() for port in PORTS}
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "CI_KEY": "ck-a-secret-of-some-length",
        **{PORTS[port]: str(here) for port, here in ports.items()},
    }
    script = "set -euo pipefail\n" + "".join(
        f"printf '\\n=== {n}\\n'\n{local(typed(block), ports)}" for n, block in enumerate(rest)
    )
    async with stack(tmp_path, environment) as output:
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            cwd=tmp_path,
            env={**environment, "NO_PROXY": "127.0.0.1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        stdout, _ = await asyncio.wait_for(shell.communicate(), 180)
        greeting = output.read_text()
    shown = stdout.decode()
    assert shell.returncode == 0, shown[-3000:]
    parts = re.split(r"^=== \d+$", shown, flags=re.MULTILINE)[1:]
    assert len(parts) == len(rest)
    for block, part in zip(rest, parts, strict=True):
        for begin, wanted in SHOWN.items():
            if begin in block.text:
                missing = [each for each in wanted if each not in part]
                assert not missing, f"{block.text}\n{part}"
    assert "curl http://127.0.0.1:" in greeting


def test_every_promise_is_looked_for() -> None:
    """No entry of SHOWN is about a block that is not there any more."""
    text = "".join(block.text for block in blocks())
    assert [each for each in SHOWN if each not in text] == []
