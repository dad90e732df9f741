"""What one episode is made of: the server, the records, the providers, and who is told of what."""

import itertools
import random
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from budgets.scripts import Script
from tests.simulation.accounts import Account, is_calibrated
from tests.simulation.aftermath import Recorded
from tests.simulation.books import Books
from tests.simulation.clockwork import Process, SimulatedLoop
from tests.simulation.ledger_server import LedgerServer, Line
from tests.simulation.network import Network
from tests.simulation.provider import Provider, Served
from tests.simulation.records import MemoryStore
from tests.simulation.trace import Trace
from tests.simulation.weather import Weather

CALL: ContextVar[int] = ContextVar("call", default=0)
LEDGER = "ledger.sock"
KINDS = ("plain", "dear", "thinker", "biller")
ORGANISATIONS = ("acme", "zoo")
LEASE_MS = 6_000


@dataclass(frozen=True, slots=True)
class ProcessClock:
    """A process's own clock, wrong by `skew_ms`."""

    loop: SimulatedLoop
    start_ms: int
    skew_ms: int = 0

    def now_ms(self) -> int:
        """Milliseconds since 1970, as this process believes."""
        return self.start_ms + self.skew_ms + int(self.loop.time() * 1000)


@dataclass(slots=True)
class Received:
    """What a client was told by one call."""

    call: int
    organisation: str
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    bytes_received: int = 0
    complete: bool = False
    hung_up: bool = False


class World:
    """Everything that the director and the verdict look at."""

    def __init__(
        self,
        seed: int,
        line: Line,
        folder: Path,
        scripts: dict[str, Script],
        start_ms: int,
        tally: Counter[str],
    ) -> None:
        self.rng = random.Random(seed)
        self.loop = SimulatedLoop(random.Random(self.rng.getrandbits(64)))
        self.loop.network = self.network = Network(self.loop)
        self.trace = Trace(self.loop.time)
        self.loop.ran = self.trace.ran
        self.tally = tally
        self.weather = Weather(random.Random(self.rng.getrandbits(64)), tally)
        self.weather.fine()
        self.folder = folder
        self.endings_folder = folder / "endings"
        self.scripts = scripts
        self.start_ms = start_ms
        self.books = Books(tally, line.ask)
        self.store = MemoryStore(self.loop, self.weather, self.trace)
        self.server = LedgerServer(
            self.loop, line, scripts, start_ms, self.books, self.weather, self.trace
        )
        self.network.servers[LEDGER] = self.server
        self.providers = {
            kind: Provider(self.loop, kind, self.weather, self.trace, self._asked) for kind in KINDS
        }
        for kind, provider in self.providers.items():
            self.network.servers[f"{kind}.test:80"] = provider
        self.books.is_kept = self._is_kept
        self.books.recorded = self._recorded
        self.ids: dict[int, list[str]] = {}
        self.organisation_of: dict[int, str] = {}
        self.received: dict[int, Received] = {}
        self.served: dict[str, Served] = {}
        self.calls = itertools.count(1)
        self.nodes: dict[str, Path] = {}
        self.answered: dict[str, Process] = {}  # who was granted what
        self.left_on_disk: dict[str, str] = {}  # endings of dead workers, by id

    def clock(self, skew_ms: int = 0) -> ProcessClock:
        """For one process."""
        return ProcessClock(self.loop, self.start_ms, skew_ms)

    def tracked(self, new_id: Callable[[], str]) -> Callable[[], str]:
        """The same, remembering which call an id was made for."""

        def make() -> str:
            id_ = new_id()
            call = CALL.get()
            if call:
                self.ids.setdefault(call, []).append(id_)
            return id_

        return make

    def reservations(self, call: int) -> list[str]:
        """The ids under which this call was granted something."""
        account = self.books.accounts[self.organisation_of[call]]
        return [id_ for id_ in self.ids.get(call, []) if id_ in account.granted]

    def _asked(self, served: Served) -> None:
        """Invariants 4 and 6, at the moment in which a provider gets a request."""
        books, call = self.books, served.call
        account = books.accounts[self.organisation_of[call]]
        granted = [id_ for id_ in self.reservations(call) if not _used_nothing(account, id_)]
        if account.rolled_back:
            books.must(bool(granted), "call %d is forwarded without a reservation", call)
            return
        if account.recoveries and len(granted) > 1:  # its name was lost with the ledger
            books.tally["rare:forwarded again after a recovery"] += 1
            granted = [each for each in granted if each not in self.served][-1:]
        books.must(len(granted) == 1, "call %d is forwarded under %s", call, granted)
        books.must(granted[0] not in self.served, "%s reaches a provider twice", granted[0])
        self.served[granted[0]] = served
        held = account.held.get(granted[0]) or account.lost[granted[0]]
        books.must(held.usage_source != "release", "call %d: %s was released", call, held.id)
        books.must(
            served.cap <= held.output, "call %d: cap %d of %d", call, served.cap, held.output
        )
        most_nusd = served.cost_nusd((served.input_tokens, served.cap * served.n))
        over = most_nusd > held.reserved_nusd
        served.is_beyond_bound = over
        books.tally["rare:beyond a learned bound"] += over
        books.must(
            not over or is_calibrated(account, served.kind),
            "call %d may cost %d, and %d are reserved",
            *(call, most_nusd, held.reserved_nusd),
        )

    def _recorded(self, organisation: str) -> Recorded:
        return self.store.in_order(organisation), set(self.store.bodies.get(organisation, ()))

    def _is_kept(self, organisation: str, place: tuple[int, int], spooler: str) -> bool:
        """Whether an event is in the records, or on that recorder's disk."""
        epoch, seq = place
        if place in self.store.seqs.get(organisation, ()):
            return True
        folder = self.nodes.get(spooler)
        if folder is None:
            return False
        for path in (folder / "spool" / organisation).glob("*.batch"):
            of_epoch, first, last = map(int, path.stem.split("-"))
            if of_epoch == epoch and first <= seq <= last:
                return True
        return False

    def close(self) -> None:
        """Ends it: the coroutines that are left are dropped, and nothing they do is seen."""
        self.server.received = lambda *_: None  # type: ignore[method-assign]
        self.loop.bury()
        self.network.close()


def seeded(world: World, thing: Any) -> None:
    """Makes the ids of a Session the seed's."""
    thing._random = random.Random(world.rng.getrandbits(64))


def _used_nothing(account: Account, id_: str) -> bool:
    """Whether it has ended without a charge: a request with this name may come again."""
    held = account.held.get(id_)
    return held is not None and held.state == "ended" and not held.charged_nusd
