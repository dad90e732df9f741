"""A worker that does not believe a restarted ledger, a recorder beside it, and a server whose files
can be put back to what they were: for the tests of recovery."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from budgets.administration import Administration
from budgets.answers import Reservation, Truth
from budgets.embedded import EmbeddedServer
from budgets.keys import Key, KeyRing, digest
from budgets.ledger import Ledger, LedgerOptions
from budgets.plan import ScopePath
from budgets.policy import Policy
from budgets.session import Clock, Session, SessionOptions
from budgets.transport import LedgerTransport
from clickhouse.query import load_query
from clickhouse.store import Store
from gateway.events import KeyEvents
from recorder.options import RecorderOptions
from recorder.recorder import Recorder
from tests.budgets.harness import (
    Desk,
    SystemClock,
    counters_of,
    dollars,
    granted,
    recorded,
    scripts,
)
from tests.recorder.hooks import HookedStore
from tests.recorder.rig import Stage, until
from tests.recorder.workbench import request_event, response_event

WAITS = SessionOptions(reopen_ms=15_000)
LOOKS = SessionOptions(reopen_ms=0)
QUICK = RecorderOptions(linger_ms=10, retry_ms=30, patience_ms=300, drain_every_ms=50)
USD = "1"
RESERVED_NUSD = 1000


@dataclass(frozen=True, slots=True)
class Worker(Desk):
    """A desk that does not believe a restarted ledger, and makes calls as the gateway does."""

    @classmethod
    async def at(
        cls,
        stage: Stage,
        organisation: str,
        options: SessionOptions = WAITS,
        transport: LedgerTransport | None = None,
    ) -> "Worker":
        """A process of its own at the stage's server."""
        transport = transport or await stage.transport()
        session = Session(transport, scripts(), SystemClock(), options)
        ledger = Ledger(session, LedgerOptions(lease_ms=60_000))
        return cls(organisation, transport, session, ledger, Administration(session))

    @property
    def keyring(self) -> KeyRing:
        """Without a cache of what was found before."""
        return KeyRing(self.session, self.administration, KeyEvents("test"))

    async def begin(self, scope: str = "") -> Reservation:
        """One grant of RESERVED_NUSD."""
        id_ = self.session.new_id()
        event = request_event(id_, scope or self.organisation)
        answer = await self.ledger.reserve(
            ScopePath(scope or self.organisation),
            "small-1",
            lambda _plan: dollars(RESERVED_NUSD),
            recorded(event),
            id_,
        )
        return granted(answer)

    async def end(self, reservation: Reservation, charged_nusd: int) -> str:
        """Its settlement."""
        event = response_event(reservation.id, self.organisation, RESERVED_NUSD, charged_nusd)
        truth = Truth(charged_nusd, 1)
        return await self.ledger.settle(self.organisation, reservation.id, truth, event, b"")

    async def mint(self, name: str, scope: str, secret: str) -> Key:
        """A key without a budget of its own."""
        key = Key(name, name, scope, created_at_ms=1, secret_sha256=digest(secret))
        await self.keyring.mint(key, secret, Policy())
        return key

    async def until_recorded(self) -> None:
        """Waits until the outbox is empty."""

        async def is_empty() -> bool:
            return not await self.transport.command("XLEN", self.key("outbox"))

        await until(is_empty)

    async def books(self) -> dict[str, object]:
        """All of the ledger that must come back: counters, scopes with a policy or state, policies,
        keys, open leases."""
        ledger = await self._hash("ledger")
        scopes = {name: raw for name, raw in ledger.items() if name.startswith(b"s:")}
        policies = await self._hash("policies")
        return {
            "counters": {k: v for k, v in counters_of(ledger).items() if any(v)},
            "scopes": {k: v for k, v in scopes.items() if k[2:] in policies or v[0]},
            "policies": policies,
            "keys": await self._hash("keys"),
            "leases": await self.lease_ids(),
        }


@asynccontextmanager
async def recording(
    stage: Stage,
    store: Store,
    organisation: str,
    name: str = "a",
    clock: Clock | None = None,
) -> AsyncIterator[Recorder]:
    """A recorder that looks at all organisations of the server, and remembers none of others."""
    transport = await stage.transport()
    session = Session(transport, scripts(), clock or SystemClock(), LOOKS)
    recorder = Recorder(session, Remembering(store, organisation), stage.folder / name, QUICK)
    running = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        recorder.stop()
        await running


class Remembering(HookedStore):
    """The store of many tests, which remembers the organisation of this one alone."""

    def __init__(self, store: Store, organisation: str) -> None:
        super().__init__(store)
        self._organisation = organisation

    async def select(self, query: str, parameters: Mapping[str, str | int]) -> bytes:
        """As Store."""
        return await super().select(query, parameters) or await self._own(query)

    async def _own(self, query: str) -> bytes:
        if query != load_query("organisations"):
            return b""
        known = await self.store.select(query, {})
        mine = f'["{self._organisation}"]'.encode()
        return mine if mine in known else b""


@contextmanager
def restarted(server: EmbeddedServer, *, files: Path | None = None) -> Iterator[None]:
    """The server ends, and starts again: with the files that are there, with those of a folder, or
    (a folder that is not there) with none. In between the caller may do something."""
    server.stop()
    yield
    if files is not None:
        there = server.folder / "appendonlydir"
        shutil.rmtree(there)
        if files.exists():
            shutil.copytree(files, there)
    server.start()


def kept_files(server: EmbeddedServer, folder: Path) -> Path:
    """A copy of the server's files as they are now, as a disk would have kept them."""
    return Path(shutil.copytree(server.folder / "appendonlydir", folder))
