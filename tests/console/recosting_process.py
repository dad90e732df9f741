"""A console that kills itself in the middle of a recost, with SIGKILL, after so many corrections:
`python -m tests.console.recosting_process <ledger's socket> <records' folder> <their port>
<organisation> <corrections>`."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from budgets.pipelined import NodeAddress, PipelinedTransport
from budgets.scripts import load_scripts
from budgets.session import Session, SessionOptions
from console.charges import Charged, Owed
from console.event_log import Place
from console.parts import parts_of
from console.recosting import Recosting, Span
from tests.budgets.harness import SystemClock
from tests.console.desk import Console
from tests.recorder.crashing import RecordsServer

COST_NUSD = 333


class _Fixed:
    def owed(self, _: Charged, /) -> Owed:
        """See console.charges.Tariff."""
        return Owed(COST_NUSD, "right")


async def _recost(
    socket: str, records: RecordsServer, organisation: str, killed_after: int
) -> None:
    transport = PipelinedTransport(NodeAddress(unix_path=socket))
    session = Session(transport, load_scripts(), SystemClock(), SessionOptions(trusts=True))
    parts = parts_of(session, Console.found(records), tariff=_Fixed())
    adjust, left = parts.administration.adjust, killed_after

    async def until_killed(*args: Any, **more: Any) -> str:
        nonlocal left
        answer = await adjust(*args, **more)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    parts.administration.adjust = until_killed  # type: ignore[method-assign]
    span = Span(0, 2**43, "")
    await Recosting(parts).page([organisation], Place(), span, "", 500, "ops")


if __name__ == "__main__":
    _, ledger, folder, port, name, count = sys.argv
    server = RecordsServer(Path(folder))
    server.port = int(port)
    asyncio.run(_recost(ledger, server, name, int(count)))
