"""A purse at a real ledger, and a real gateway beside it that serves the keys it mints."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop

from budgets.embedded import EmbeddedServer
from budgets.policy import Limit, parse_policy
from budgets.session import Session
from gateway.options import GatewayOptions
from orchestrator.places import AttemptPlace, RunPlace, TaskId
from orchestrator.running.database import Database
from orchestrator.running.journal import Hold, in_one
from orchestrator.running.purse import Purse
from tests.gateway.stack import Stack, running_stack
from tests.orchestrator.running.acting import Write, claimed, submitted
from tests.orchestrator.running.book import Book, opened
from tests.orchestrator.running.databases import (
    Connect,
    fresh_database,
    postgres_at,
    postgres_server,
    sqlite_at,
)
from tests.orchestrator.running.workshop import Workshop, workshop

MASTER = b"m" * 32
LATER_MS = 4 * 10**12
SOON_MS = 20


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What the gateway runs on."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass(frozen=True, slots=True)
class Till:
    """A run in a project of its own, its purse, and the gateway."""

    stack: Stack
    purse: Purse
    run: RunPlace

    @property
    def session(self) -> Session:
        """The worker's, at the same server."""
        return self.stack.parts.ledger._session

    def attempt(self, step: str = "search", number: int = 1, entry: int = -1) -> AttemptPlace:
        """At a step of the run."""
        return AttemptPlace(self.run, TaskId(step, entry), number)

    async def begin(
        self,
        attempt: AttemptPlace,
        budget: tuple[Limit, ...] = (),
        guaranteed: bool = False,
        **more: object,
    ) -> str:
        """The secret of an attempt's key, at a step with this budget."""
        step = attempt.task.step
        if budget:
            await self.purse.open_step(attempt.run, step, budget, guaranteed=guaranteed)
        return await self.purse.begin_attempt(attempt, expires_at_ms=LATER_MS, **more)  # type: ignore[arg-type]  # a test says what

    async def status(self, secret: str) -> int:
        """Of a call with this key: 18 tokens are used, at most about 100 asked for."""
        return (await self.stack.chat(secret, max_tokens=10)).status_code


def limits(*written: Mapping[str, object]) -> tuple[Limit, ...]:
    """As users write them."""
    return parse_policy(list(written)).limits


@pytest.fixture
async def stack(valkey: EmbeddedServer) -> AsyncIterator[Stack]:
    """A gateway that records refusals almost at once, and does not wait for others."""
    async with contextlib.AsyncExitStack() as running:
        options = GatewayOptions(wait_ms=50)
        yield await running.enter_async_context(
            running_stack(valkey.socket_path, options=options, refusals_flush_ms=SOON_MS)
        )


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    """A database of runs without an executor."""
    book = opened(tmp_path)
    yield book
    book.database.close()


@pytest.fixture
def till(stack: Stack) -> Till:
    """A run that nobody has opened yet."""
    purse = purse_of(stack)
    return Till(stack, purse, RunPlace("r1", stack.scope("project/r1"), "report", 3))


def purse_of(stack: Stack) -> Purse:
    """An executor's, of its own."""
    session = stack.parts.ledger._session
    return Purse(session, stack.administration, MASTER)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL, one for each test process; tests use databases of their own in it."""
    with tempfile.TemporaryDirectory(prefix="ct-pg-") as folder:
        Path(folder).chmod(0o755)  # it does not run as root
        with postgres_server(Path(folder)) as url:
            yield url


@pytest.fixture(params=["sqlite", "postgres"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Connect:
    """Connections to a fresh database of each kind."""
    if request.param == "sqlite":
        return sqlite_at(tmp_path)
    return postgres_at(fresh_database(request.getfixturevalue("postgres")))


@pytest.fixture
async def shop(stack: Stack, tmp_path: Path) -> AsyncIterator[Workshop]:
    """An executor on SQLite."""
    async with workshop(stack, sqlite_at(tmp_path), tmp_path) as made:
        yield made


@pytest.fixture
def database(connect: Connect) -> Iterator[Database]:
    """Of each kind."""
    database = connect()
    yield database
    database.close()


@pytest.fixture
def write(database: Database) -> Write:
    """One act in a transaction of its own."""

    def act(what: Any) -> Any:
        (result,) = in_one(database, [what])
        return result

    return act


@pytest.fixture
def hold(write: Write) -> Hold:
    """A run that executor e1 has."""
    return claimed(write, "e1", submitted(write).run)
