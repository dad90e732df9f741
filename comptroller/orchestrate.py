"""The orchestrator's process, which executes runs: `python -m comptroller.orchestrate`."""

import asyncio
import contextlib
import dataclasses
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial

import uvloop

from budgets.administration import Administration
from budgets.session import Session
from comptroller.greeting import address
from comptroller.parts import open_session
from comptroller.process import begin, say_ready
from comptroller.remembering import records_memory
from comptroller.runs_database import callbacks, connection, programs_folder, runs_secret
from comptroller.settings import Settings
from comptroller.wired import PooledWire
from orchestrator.running.attempt_secrets import signing_secret
from orchestrator.running.calls import GatewayCalls
from orchestrator.running.clocks import SharedClock
from orchestrator.running.database import DatabaseAway
from orchestrator.running.executor import Executor
from orchestrator.running.journal import Journal
from orchestrator.running.kit import ExecutorOptions, Kit
from orchestrator.running.live import Live
from orchestrator.running.programs import Programs
from orchestrator.running.purse import Purse
from orchestrator.running.sends import Sends
from orchestrator.running.tools import Toolbox
from orchestrator.running.watching import Watch

POSTGRES_POLL_MS = 100


async def orchestrate(settings: Settings) -> None:
    """Until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with executor(settings) as at_work:
        await at_work.start()
        say_ready()
        await stopping.wait()
        await at_work.stop()


@contextlib.asynccontextmanager
async def executor(settings: Settings) -> AsyncIterator[Executor]:
    """Put together from the settings, and taken apart again, also where that comes half way."""
    async with contextlib.AsyncExitStack() as closing:
        session = open_session(settings, memory=records_memory(settings))
        closing.push_async_callback(session.transport.close)
        clock = SharedClock(session.clock)
        journal = Journal(partial(connection, settings), clock.heard)
        closing.push_async_callback(journal.close)
        await journal.opened()
        purse = Purse(session, Administration(session), runs_secret(settings))
        yield Executor(
            Kit(
                executor=secrets.token_hex(8),
                journal=journal,
                purse=purse,
                tools=_tools(settings, session, journal, clock, closing),
                clock=clock,
                options=_options(settings),
                gate=asyncio.Semaphore(settings.workflows.attempts_max),
                watch=Watch(purse),
            )
        )


def _tools(
    settings: Settings,
    session: Session,
    journal: Journal,
    clock: SharedClock,
    closing: contextlib.AsyncExitStack,
) -> Toolbox:
    programs = Programs()
    closing.callback(programs.close)
    sends = Sends(signing_secret(runs_secret(settings)))
    closing.push_async_callback(sends.close)
    calls = GatewayCalls(PooledWire())
    closing.push_async_callback(calls.close)
    live = Live(session.transport)
    closing.push_async_callback(live.close)
    here = f"{address(settings.host, settings.port)}/v1"
    return Toolbox(
        journal=journal,
        calls=calls,
        sends=sends,
        programs=programs,
        clock=clock,
        gateway_url=(settings.workflows.gateway_url or here).rstrip("/"),
        programs_folder=programs_folder(settings),
        callbacks=callbacks(settings),
        live=live,
    )


def _options(settings: Settings) -> ExecutorOptions:
    workflows = settings.workflows
    options = ExecutorOptions(
        lease_ms=workflows.executor_lease_ms,
        runs_max=workflows.runs_max,
        attempts_max=workflows.attempts_max,
        runs_days=workflows.runs_days,
        sole=not settings.database_url,
    )
    if not settings.database_url:
        return options
    return dataclasses.replace(options, poll_ms=POSTGRES_POLL_MS)


def main() -> None:
    """The process's entry point."""
    settings = begin("orchestrator", models=False)
    try:
        uvloop.run(orchestrate(settings))
    except (DatabaseAway, OSError) as error:
        sys.exit(f"comptroller: the orchestrator cannot start: {error}")


if __name__ == "__main__":
    main()
