"""kill -9 of the recorder wherever it may be: whoever comes next finishes, and nothing is there
twice or missing. The engine behind HTTP outlives the recorder; the embedded one dies with it.
"""

import asyncio
import contextlib
import dataclasses
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import msgspec
import pytest

from clickhouse.store import Store
from recorder.options import RecorderOptions
from tests.recorder.crashing import Outcome, RecordsServer, Run, one_life, paused
from tests.recorder.rig import QUICK, Caller, Stage, alarms, find, finished

CALLS = 4
POINTS_MAX = 2000
SHARES = 4
AT_ONCE_TO_DISK = RecorderOptions(
    batch_events_max=5, linger_ms=5, patience_ms=0, retry_ms=20, drain_every_ms=20
)
# A first batch is in doubt (asked for before and after), a second is not.
WRITING = (
    ("after fix", 1),
    ("after insert bodies", 1),
    ("before insert events", 1),
    ("after insert events", 1),
    ("after confirm", 2),
    ("after fix", 2),
    ("after insert events", 2),
    ("after confirm", 3),
    ("before heads append", 1),
    ("after heads append", 1),
)
SPOOLING = (
    ("before spool.put", 1),
    ("within write_new", 1),
    ("before spool sync", 1),
    ("after spool.put", 1),
    ("after spool.put", 2),  # the ledger's mark of the first must go with both
    ("after confirm", 2),
    ("after spool.load", 1),
    ("after insert events", 1),
    ("after spool.remove", 1),
    ("after spool.remove", 2),
)
EMBEDDED = (
    ("after insert bodies", 1),
    ("after insert events", 1),
    ("after insert events", 2),
)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that one engine after another is killed on."""
    return tmp_path_factory.mktemp("embedded")


@dataclass(frozen=True, slots=True)
class Lives:
    """Recorders of one ledger that die, and their successors, on the same disk or another."""

    stage: Stage
    records: Path
    url: str = ""
    refused: int = 0
    other_disk: bool = False

    def run(self, caller: Caller) -> Run:
        """A life on the organisation's first disk."""
        return Run(
            ledger=str(self.stage.server.socket_path),
            folder=str(self.stage.folder / f"{caller.organisation}-a"),
            organisation=caller.organisation,
            records=str(self.records),
            url=self.url,
            options=AT_ONCE_TO_DISK if self.refused else QUICK,
        )

    async def one_dies(self, **kill: int | str) -> str:
        """A recorder dies, and another finishes; where that was, empty if it came to its end
        before. Everything must be recorded exactly once then."""
        caller = await self.stage.caller()
        await caller.make(CALLS)
        run = self.run(caller)
        first = Path(run.folder)
        second = self.stage.folder / f"{caller.organisation}-b" if self.other_disk else first
        died = await _life(msgspec.structs.replace(run, refused=self.refused, **kill))
        await self.finish(caller, msgspec.structs.replace(run, folder=str(second)), first, second)
        return died.killed

    async def finish(self, caller: Caller, run: Run, *folders: Path) -> None:
        """The last life, which nobody kills, and the judgement."""
        await caller.lease_runs_out()
        await caller.call(0)  # the chain must go on from where it is
        finished = await _life(run)
        assert finished.found is not None
        await caller.judge(finished.found, *(each for each in folders if each.exists()))
        await self.stage.forget(caller)


async def _life(run: Run) -> Outcome:
    return await asyncio.to_thread(one_life, run)


@pytest.mark.parametrize(("name", "nth"), WRITING)
async def test_killed_while_it_writes(
    stage: Stage, records: RecordsServer, name: str, nth: int
) -> None:
    """A recorder that dies between any two of its steps leaves everything to one on another disk,
    which records it once."""
    lives = Lives(stage, records.folder, records.url, other_disk=True)
    assert await lives.one_dies(kill_name=name, kill_nth=nth) == name


@pytest.mark.parametrize(("name", "nth"), SPOOLING)
async def test_killed_while_it_spools(
    stage: Stage, records: RecordsServer, name: str, nth: int
) -> None:
    """A batch that goes over the disk is recorded once, wherever on its way the recorder dies."""
    lives = Lives(stage, records.folder, records.url, refused=3)
    assert await lives.one_dies(kill_name=name, kill_nth=nth) == name


@pytest.mark.parametrize(("name", "nth"), EMBEDDED)
async def test_killed_with_its_engine(stage: Stage, embedded: Path, name: str, nth: int) -> None:
    """An engine that dies with its recorder has what it said it has, once."""
    assert await Lives(stage, embedded).one_dies(kill_name=name, kill_nth=nth) == name


@pytest.mark.parametrize("within_us", [300, 1_500])
async def test_killed_with_its_engine_amid_an_insert(
    stage: Stage, embedded: Path, within_us: int
) -> None:
    """An insert that an engine did not come to the end of is all there or not at all, and is there
    once in the end."""
    name = "before insert events"
    died = await Lives(stage, embedded).one_dies(kill_name=name, kill_within_us=within_us)
    assert died == name


async def test_killed_after_it_spooled_and_another_recorded(
    stage: Stage, records: RecordsServer, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch on the disk of a dead recorder that the ledger was not told of: another records it,
    and goes on; the first, started again, finds it recorded, and goes on from there."""
    caller = await stage.caller()
    await caller.make(CALLS)
    lives = Lives(stage, records.folder, records.url, refused=3)
    run = msgspec.structs.replace(lives.run(caller), refused=3, kill_name="after spool.put")
    assert (await _life(run)).killed == "after spool.put"
    await caller.lease_runs_out()
    second = await stage.recorder(store, "b")
    await caller.make(CALLS)
    await caller.recorded(second.folder)
    await second.stop()
    await caller.make(CALLS)
    first = await stage.recorder(store, Path(run.folder).name)
    async with asyncio.timeout(30):
        await finished(store, caller, second, first)
    assert not alarms(caplog)


@pytest.mark.parametrize(
    ("name", "nth", "refused"),
    [
        ("after fix", 1, 0),
        ("before insert events", 2, 0),
        ("before confirm", 2, 0),
        ("before spool.put", 1, 3),
    ],
)
async def test_stopped_until_another_took_over(
    stage: Stage, records: RecordsServer, store: Store, name: str, nth: int, refused: int
) -> None:
    """SIGSTOP of a recorder's process, anywhere, until another has done its work; when it wakes,
    nothing is there twice, and it ends in peace."""
    caller = await stage.caller()
    await caller.make(CALLS)
    run = Lives(stage, records.folder, records.url, refused=refused).run(caller)
    soon_over = dataclasses.replace(run.options, owner_lease_ms=400)
    life = msgspec.structs.replace(
        run, kill_name=name, kill_nth=nth, refused=refused, options=soon_over
    )
    with await asyncio.to_thread(_entered, life) as process:
        second = await stage.recorder(store, "b", run.options)  # not so easily lost again
        await caller.recorded(second.folder)
        await caller.make(2)
        await caller.recorded(second.folder)
        process.send_signal(signal.SIGCONT)
        await caller.make(2)
        await caller.recorded(second.folder)
        await second.stop()
        assert await asyncio.to_thread(process.wait, 20) == 0
    await caller.judge(await find(store, caller.organisation), second.folder)


@contextlib.contextmanager
def _closing(stack: contextlib.ExitStack, process: Popen[bytes]) -> Iterator[Popen[bytes]]:
    with stack:
        yield process


def _entered(run: Run) -> contextlib.AbstractContextManager[Popen[bytes]]:
    """`paused`, entered in a thread."""
    stack = contextlib.ExitStack()
    return _closing(stack, stack.enter_context(paused(run)))


MODES = ("another disk", "spool", "spool, two outages", "embedded", "embedded spool")


def _lives(mode: str, stage: Stage, records: RecordsServer, embedded: Path) -> Lives:
    if mode.startswith("embedded"):
        return Lives(stage, embedded, refused=3 if "spool" in mode else 0)
    refused = {"spool": 3, "spool, two outages": 7}.get(mode, 0)
    return Lives(stage, records.folder, records.url, refused, other_disk=not refused)


@pytest.mark.kills
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("mode", MODES)
async def test_killed_at_every_point(
    stage: Stage, records: RecordsServer, embedded: Path, mode: str, share: int
) -> None:
    """The same at every point there is (a share of them each), until a run comes to its end."""
    lives = _lives(mode, stage, records, embedded)
    failed = []
    for point in range(1 + share, POINTS_MAX, SHARES):
        try:
            if not await lives.one_dies(kill_at=point):
                break
        except AssertionError as error:
            failed.append((point, str(error)[:600]))
    else:
        pytest.fail(f"no run came to its end in {POINTS_MAX} points")
    assert not failed
    assert point > len(WRITING)


@pytest.mark.kills
@pytest.mark.timeout(3600)
async def test_killed_with_its_engine_at_any_moment_of_an_insert(
    stage: Stage, embedded: Path
) -> None:
    """The same every quarter of a millisecond from the beginning of an insert."""
    for name in ("before insert bodies", "before insert events"):
        for within_us in range(100, 12_000, 250):
            lives = Lives(stage, embedded)
            assert await lives.one_dies(kill_name=name, kill_within_us=within_us) == name


@pytest.mark.kills
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("refused", [0, 2])
async def test_killed_again_and_again(stage: Stage, records: RecordsServer, refused: int) -> None:
    """A recorder whose every successor dies a little later, until one comes to its end."""
    caller = await stage.caller()
    await caller.make(CALLS)
    lives = Lives(stage, records.folder, records.url, refused)
    run = msgspec.structs.replace(lives.run(caller), options=AT_ONCE_TO_DISK, refused=refused)
    for point in range(1, POINTS_MAX):
        await caller.lease_runs_out()
        await caller.call(point)
        outcome = await _life(msgspec.structs.replace(run, kill_at=point))
        if not outcome.killed:
            break
    await lives.finish(caller, msgspec.structs.replace(run, refused=0), Path(run.folder))
