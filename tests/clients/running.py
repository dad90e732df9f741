"""Runs the agent of a client as its user would: a process, some variables, an empty home."""

import asyncio
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.clients.catalogue import FOLDER, Client
from tests.clients.environments import binaries_of

RUN_S_MAX = 180
MODEL = "demo/small"


class Ran(NamedTuple):
    """How it ended. A code below zero is a signal's."""

    code: int
    out: str
    err: str


async def run_agent(client: Client, environment: Path, gateway: str, key: str, outside: str) -> Ran:
    """The agent against `gateway`, an origin without a path; `outside`: the proxy for all else."""
    with tempfile.TemporaryDirectory(prefix="ct-client-") as home:
        process = await asyncio.create_subprocess_exec(
            *_command(client, environment),
            cwd=home,
            env=_variables(client, environment, home, gateway, key, outside),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), RUN_S_MAX)
        finally:
            _end_all(process.pid)  # what it started and left behind, too
            await process.wait()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def _command(client: Client, environment: Path) -> list[str]:
    agent = client.agent
    if agent.suffix == ".py":
        return [str(environment / "bin" / "python"), str(agent)]
    if agent.suffix == ".sh":
        return ["bash", str(agent)]
    # Modules are looked for from where the file is.
    return ["node", shutil.copy(str(agent), str(environment / f"{client.name}.mjs"))]


def _variables(
    client: Client, environment: Path, home: str, gateway: str, key: str, outside: str
) -> dict[str, str]:
    given = {
        name: value.format(gateway=gateway, key=key, model=MODEL)
        for name, value in client.variables.items()
    }
    return {
        "PATH": f"{binaries_of(environment)}:{os.environ['PATH']}",
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HTTP_PROXY": outside,
        "HTTPS_PROXY": outside,
        "NODE_OPTIONS": f"--require={FOLDER / 'outside.cjs'}",
        "NO_PROXY": "127.0.0.1,localhost",
        "MODEL": MODEL,
        **client.quiet,
        **given,
    }


def _end_all(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
