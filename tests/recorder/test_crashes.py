"""kill -9 at every point of the recorder's loop: whoever comes next finishes, and nothing is there twice
or missing.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.recorder.crashing import Outcome, RecordsServer, Run, one_life
from tests.recorder.rig import Caller, Stage, staged

CALLS = 4
POINTS_MAX = 400


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordsServer]:
    """Records in a process that outlives the recorders."""
    server = RecordsServer(tmp_path_factory.mktemp("crashes"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A ledger of this test's own."""
    async with staged() as stage:
        yield stage


class Lives:
    """Recorders of one ledger that die, each on a disk of its own, and their successors."""

    def __init__(self, stage: Stage, records: Path, url: str, refused: int) -> None:
        self._stage = stage
        self._records = records
        self._url = url
        self._refused = refused

    async def killed_at(self, point: int) -> str:
        """A recorder dies at this point, and another finishes; the name of the point, empty if it
        came to its end before. Everything must be recorded exactly once then."""
        caller = await self._stage.caller()
        await caller.make(CALLS)
        folder = self._stage.folder / caller.organisation
        died = await self._life(caller, folder, point, self._refused)
        await caller.lease_runs_out()
        await caller.call(0)  # the chain must go on from where it is
        finished = await self._life(caller, folder, 0, 0)
        assert finished.found is not None
        try:
            await caller.judge(finished.found, folder)
        except AssertionError as error:
            raise AssertionError(f"killed at point {point}, {died.killed}: {error}") from error
        await self._stage.forget(caller)
        return died.killed

    async def points(self) -> list[str]:
        """All that a run passes which nobody kills."""
        caller = await self._stage.caller()
        await caller.make(CALLS)
        folder = self._stage.folder / caller.organisation
        outcome = await self._life(caller, folder, 0, self._refused)
        assert outcome.found is not None
        await caller.judge(outcome.found, folder)
        await self._stage.forget(caller)
        return outcome.points

    async def _life(self, caller: Caller, folder: Path, kill_at: int, refused: int) -> Outcome:
        run = Run(
            ledger=str(self._stage.server.socket_path),
            folder=str(folder),
            organisation=caller.organisation,
            records=str(self._records),
            url=self._url,
            kill_at=kill_at,
            refused=refused,
        )
        return await asyncio.to_thread(one_life, run)


async def test_points(stage: Stage, records: RecordsServer, tmp_path: Path) -> None:
    """x"""
    import time
    for lives in (Lives(stage, records.folder, records.url, 0), Lives(stage, records.folder, records.url, 4), Lives(stage, tmp_path, "", 0)):
        t = time.time()
        p = await lives.points()
        print(len(p), time.time() - t)
        print(p)
        for at in (5, 20, 30): print(await lives.killed_at(at), time.time() - t)
