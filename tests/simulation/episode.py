"""One episode: a world from one seed, played, brought to rest and judged. The same seed gives the
same episode, step by step.
"""

import asyncio
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import recorder.organisation
from budgets.scripts import Script, load_scripts
from recorder.heads import SigningKey
from tests.simulation.clockwork import SimulationFailed
from tests.simulation.director import Director, Plot
from tests.simulation.ledger_server import NOW_CHUNK, RUN_CHUNK, Line
from tests.simulation.verdict import judge, what_waits
from tests.simulation.world import ORGANISATIONS, World

STARTS = (
    *("2027-12-31T23:58:30", "2028-02-29T23:59:10"),
    *("2028-03-05T22:59:40", "2028-07-14T12:00:00"),
)
PLAY_S = (10, 25, 60)
STEPS_MAX = 400_000
GHOSTS_GONE_S = 14
ANYTHING = Plot()
REST_S_MAX = 240.0
EXPECTED_ALARMS = (
    *("settlements were not taken", "is this machine's clock right", "refuses this gateway"),
    *("refusals were not recorded", "must drain its spool"),
    "bills more than its bound",
)


LOST_WITH_ITS_WORKER = "the ledger does not know reservation"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of an episode that held: its steps, virtual seconds, and the digest of its trace."""

    seed: int
    steps: int
    virtual_s: float
    digest: str


class EpisodeFailed(AssertionError):
    """With the seed and the end of the trace."""

    def __init__(self, seed: int, world: World, error: BaseException) -> None:
        name = "" if isinstance(error, SimulationFailed) else f"{type(error).__name__}: "
        self.reason = f"{name}{error}"
        self.steps = world.loop.steps
        super().__init__(
            f"{world.trace.text()}\n\nseed {seed}, step {self.steps}: {self.reason}\n"
            f"python -m tests.simulation --seed {seed} --episodes 1 shows it again"
        )


class Theatre:
    """What episodes share: the server, a disk in memory, and what they are about."""

    def __init__(
        self, socket_path: Path, scripts: dict[str, Script] | None = None, plot: Plot = ANYTHING
    ) -> None:
        self.line = Line(socket_path)
        self._plot = plot
        self.scripts = scripts or load_scripts(NOW_CHUNK, RUN_CHUNK)
        self._disk = _memory_disk()
        SigningKey.load_or_create(self._disk / "signing-key")

    def close(self) -> None:
        """Lets go of both."""
        self.line.close()
        _empty(self._disk)
        self._disk.rmdir()

    def play(self, seed: int, tally: Counter[str]) -> Outcome:
        """One episode. Raises EpisodeFailed."""
        rng = random.Random(seed)
        start = datetime.fromisoformat(rng.choice(STARTS)).replace(tzinfo=UTC)
        with tempfile.TemporaryDirectory(dir=self._disk) as name:
            folder = Path(name)
            (folder / "signing-key").write_bytes((self._disk / "signing-key").read_bytes())
            start_ms = int(start.timestamp()) * 1000
            world = World(seed, self.line, folder, self.scripts, start_ms, tally)
            with _virtual_time(world), _alarms(world):
                try:
                    _play(world, rng, self._plot)
                except Exception as error:
                    raise EpisodeFailed(seed, world, error) from error
                finally:
                    outcome = Outcome(
                        seed, world.loop.steps, world.loop.time(), world.trace.digest()
                    )
                    world.close()
        return outcome


def _play(world: World, rng: random.Random, plot: Plot) -> None:
    organisations = ORGANISATIONS[: rng.choice((1, 1, 2))]
    director = _begun(world, organisations, plot)
    loop = world.loop
    playing = loop.spawn(loop.world, director.play(rng.choice(PLAY_S)))
    rolls_back = rng.random() < plot.rolls_back
    if rolls_back:
        loop.spawn(loop.world, _roll_back(world, director, rng))
    _drive(world, lambda: director.over)
    playing.result()
    if rolls_back and any(each.rolled_back for each in world.books.accounts.values()):
        return
    director.settle_down()
    for _ in range(2):  # what was sent long ago may still arrive
        _come_to_rest(world, director)
        over_s = loop.time() + GHOSTS_GONE_S
        _drive(world, lambda over_s=over_s: loop.time() >= over_s)  # type: ignore[misc]
    _come_to_rest(world, director)
    judge(world, organisations)
    _stop(world, director)
    judge(world, organisations)


def _begun(world: World, organisations: tuple[str, ...], plot: Plot) -> Director:
    """Made inside the loop, as whatever connects must be."""
    made: list[Director] = []

    async def begin() -> None:
        made.append(Director(world, organisations, plot))

    world.loop.spawn(world.loop.world, begin())
    _drive(world, lambda: bool(made))
    return made[0]


async def _roll_back(world: World, director: Director, rng: random.Random) -> None:
    """The server is an older one from one command to the next: only who knows more can tell."""
    await asyncio.sleep(2 + rng.random() * 5)
    copy = world.server.copied()
    await asyncio.sleep(rng.random() * rng.choice((0.2, 2.0, 6.0)))
    if director.over:
        return
    world.tally["fault:ledger rolled back"] += 1
    world.trace.note("director", "rolls the ledger back")
    world.server.roll_back(copy)
    for account in world.books.accounts.values():
        account.rolled_back = True
        world.books.shake(account, may_lose=True)


def _come_to_rest(world: World, director: Director) -> None:
    loop, deadline_s = world.loop, world.loop.time() + REST_S_MAX
    looked = 0

    def at_rest() -> bool:
        nonlocal looked
        looked += 1
        if looked % 25:
            return False
        if loop.time() > deadline_s:
            waits = what_waits(world, director.organisations, director)
            raise SimulationFailed(f"does not come to rest: {waits}")
        return director.rests()

    _drive(world, at_rest)


def _stop(world: World, director: Director) -> None:
    """Everybody ends in good order."""
    processes = director.stop_everybody()
    _drive(world, lambda: not any(each.alive for each in processes))


def _drive(world: World, until: Callable[[], bool]) -> None:
    if not world.loop.drive(until, STEPS_MAX):
        raise SimulationFailed(f"not over after {STEPS_MAX} steps")


@contextmanager
def _virtual_time(world: World) -> Iterator[None]:
    """The recorder's intervals are the loop's: the one clock that is not passed in."""
    names = vars(recorder.organisation)
    real = names["time"]
    names["time"] = SimpleNamespace(monotonic=world.loop.time)
    try:
        yield
    finally:
        names["time"] = real


class _Alarms(logging.Handler):
    """What the product says only a person can mend is a failure here, where nobody has meddled."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        text = record.getMessage()
        self._world.tally[f"alarm:{record.msg[:60]}"] += 1
        accounts = self._world.books.accounts.values()
        rolled_back = any(each.rolled_back for each in accounts)
        expected: tuple[str, ...] = EXPECTED_ALARMS
        if any(each.recoveries for each in accounts):  # its worker died, and others end it
            expected = (*expected, LOST_WITH_ITS_WORKER)
        if rolled_back or any(each in text for each in expected):
            return
        error: Any = record.exc_info[1] if record.exc_info else None
        failure = SimulationFailed(f"alarm: {text} {error or ''}")
        failure.__cause__ = error
        self._world.loop.failure = self._world.loop.failure or failure


@contextmanager
def _alarms(world: World) -> Iterator[None]:
    log, handler = logging.getLogger("comptroller"), _Alarms(world)
    before = log.propagate, log.level
    log.propagate, log.level = False, logging.ERROR
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate, log.level = before


def _memory_disk() -> Path:
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="ct-sim-", dir=memory if memory.is_dir() else None))


def _empty(folder: Path) -> None:
    for each in folder.iterdir():
        each.unlink()
