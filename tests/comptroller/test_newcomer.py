"""The first ten minutes with Comptroller, as a newcomer spends them: only what is printed is typed.

Nothing is configured. The folder is empty, and every command is run in it as it stands.
"""

import asyncio
import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.comptroller.commands.commanding import Ran
from tests.comptroller.standing import until
from tests.gateway.curling import run_curl_line
from tests.gateway.ledger_view import LedgerView
from tests.gateway.processes import Running, all_gone, descendants, free_port
from tests.gateway.wire import burst, post

CALLS = 50
DOLLAR_NUSD = 10**9
# Dear enough that fifty of them are worth several dollars.
DEAR = {
    "model": "demo/large",
    "messages": [{"role": "user", "content": "word " * 20_000}],
    "max_tokens": 100,
}
TAIL_S_MAX = 60
LOOKED_S_MAX = 60


class Newcomer:
    """Types commands in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        scripts = Path(sys.executable).parent
        self._environment = {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[Running]:
        """`comptroller up`; the ports are another's here, because tests share a machine."""
        port, output_file = free_port(), self.folder / "output.txt"
        with output_file.open("wb") as output:
            process = await self._begun("comptroller up", port=port, stdout=output)
        running = Running(process, self.folder / ".comptroller", port, output_file)
        try:
            await running.until_ready()
            await running.until_greeted()
            yield running
        finally:
            await running.close_views()
            if process.returncode is None:
                await running.kill_all()

    async def types(self, line: str) -> Ran:
        """A line in a shell, to its end."""
        process = await self._begun(line, stdout=asyncio.subprocess.PIPE)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def sees(self, line: str, text: str) -> str:
        """A line whose command goes on and on: what it prints up to this text; then Ctrl-C."""
        process = await self._begun(line, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        seen = ""
        try:
            async with asyncio.timeout(TAIL_S_MAX):
                while text not in seen:
                    seen += (await process.stdout.readline()).decode()
        finally:
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        return seen

    async def _begun(
        self, line: str, *, stdout: Any, port: int | None = None
    ) -> asyncio.subprocess.Process:
        mine = {} if port is None else _ports(port)
        return await asyncio.create_subprocess_shell(
            f"exec {line}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stdout if port else asyncio.subprocess.PIPE,
            env=self._environment | mine,
            cwd=self.folder,
        )


def _ports(port: int) -> dict[str, str]:
    return {
        "COMPTROLLER_PORT": str(port),
        "COMPTROLLER_ADMIN_PORT": "0",
        "COMPTROLLER_CLICKHOUSE_PORT": "0",
    }


class Watched:
    """Looks at the one counter of an organisation again and again, from a thread and a loop of its
    own: in the loop that makes the calls it would be run between them, and see next to nothing."""

    def __init__(self, running: Running, organisation: str) -> None:
        self._ledger = (running.data_dir / "ledger.sock", organisation)
        self._looked, self._over = threading.Event(), threading.Event()
        self._seen: list[int] = []

    async def __aenter__(self) -> list[int]:
        """What it has, spent and reserved together, at every look so far; there is one already."""
        self._looking = asyncio.create_task(asyncio.to_thread(asyncio.run, self._look()))
        await asyncio.to_thread(self._looked.wait, LOOKED_S_MAX)
        return self._seen

    async def __aexit__(self, *_: object) -> None:
        """The last look is one that began after this was asked for."""
        self._over.set()
        await self._looking

    async def _look(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            view = LedgerView(*self._ledger)
            stack.push_async_callback(view.close)
            is_last = False
            while not is_last:
                is_last = self._over.is_set()
                for spent, reserved, _ in (await view.counters()).values():
                    self._seen.append(spent + reserved)
                self._looked.set()


def command_in(message: str) -> str:
    """What stands between the backticks."""
    (command,) = re.findall(r"`([^`]+)`", message)
    return str(command)


async def test_the_first_ten_minutes(folder: Path) -> None:
    """`comptroller up`, the curl line it prints, the call in the log, fifty calls at once that
    never cross the dollar, the refusal's command that raises it, records that say what the ledger
    says, and verify; then SIGTERM and exit code 0."""
    newcomer = Newcomer(folder)
    async with newcomer.up() as running:
        output = running.output
        secret = next(word for word in output.split() if word.startswith("ck-"))
        answer = await run_curl_line(output)
        assert answer["choices"][0]["message"]["content"]
        tail = await newcomer.sees("comptroller tail", "llm_response")
        assert f"${answer['usage']['cost']:.6f}" in tail

        workers = running.workers()
        async with Watched(running, "demo") as looks:
            answers = await burst(running.port, secret, [DEAR] * CALLS)
            while (last := await post(running.port, secret, DEAR)).status == 200:
                answers.append(last)
        assert {each.status for each in answers} <= {200, 402, 429}
        assert 1 < [each.status for each in answers].count(200) < CALLS
        assert len(set(looks)) > 2
        assert DOLLAR_NUSD // 2 < max(looks) <= DOLLAR_NUSD

        assert last.status == 402
        told = command_in(last.error["message"])
        assert told == "comptroller budget set demo/key-first 2.00"
        raised = await newcomer.types(told)
        assert raised.code == 0, raised.err
        assert (await post(running.port, secret, DEAR)).status == 200
        assert running.workers() == workers

        spent_nusd = await _spent(running)
        sums = "SELECT sum(charged_nusd), sum(requests) FROM usage"
        served = [each.status for each in answers].count(200) + 2

        async def agree() -> bool:
            ran = await newcomer.types(f'comptroller sql "{sums}" --format TSV')
            return ran.out == f"{spent_nusd}\t{served}\n"

        await until(agree)
        verified = await newcomer.types("comptroller verify")
        assert (verified.code, "demo: ok." in verified.out) == (0, True), verified.err

        family = descendants(running.process.pid)
        running.terminate()
        assert await running.ended() == 0, running.output
        await all_gone(family)


async def _spent(running: Running) -> int:
    """Once nothing is reserved."""
    view = running.view("demo")

    async def is_at_rest() -> bool:
        return not any(reserved for _, reserved, _ in (await view.counters()).values())

    await until(is_at_rest)
    return await view.spent()
