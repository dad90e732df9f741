"""A simulated process leaves the machine as a killed one does."""

import tempfile
from collections import Counter
from pathlib import Path

from budgets.answers import Truth
from budgets.endingdisk import Waiting
from budgets.endingfile import EndingFile, files_in
from budgets.endingrecords import Ending
from budgets.scripts import load_scripts
from tests.simulation.ledger_server import NOW_CHUNK, RUN_CHUNK, Line, MemoryServer
from tests.simulation.workers import Worker
from tests.simulation.world import World

STEPS_MAX = 10_000


def test_a_killed_worker_lets_go_of_a_file_that_its_thread_has_just_made(tmp_path: Path) -> None:
    """Also where its loop has not heard of the file yet: others can take it up."""
    with tempfile.TemporaryDirectory(prefix="ct-sim-") as folder:
        server = MemoryServer(Path(folder))
        server.start()
        line = Line(server.socket_path)
        try:
            world = World(1, line, tmp_path, load_scripts(NOW_CHUNK, RUN_CHUNK), 10**12, Counter())
            _kill_between_thread_and_loop(world)
            (left,) = files_in(world.endings_folder)
            taken = EndingFile.take_up(left)
            assert taken is not None
            taken[0].close()
            world.close()
        finally:
            line.close()
            server.stop()


def _kill_between_thread_and_loop(world: World) -> None:
    made: list[Worker] = []

    async def begin() -> None:
        made.append(Worker(world, 1))

    async def keep() -> None:
        endings = made[0].endings
        assert endings is not None
        assert endings._disk is not None
        ending = Ending("acme", "0" * 32, Truth(1, 1), b"{}", b"", "")
        endings._disk.keep(Waiting(ending))

    world.weather.ledger_refuses = True
    world.loop.spawn(world.loop.world, begin())
    assert world.loop.drive(lambda: bool(made and made[0].endings), STEPS_MAX)
    world.loop.spawn(made[0].process, keep())
    assert world.loop.drive(lambda: bool(files_in(world.endings_folder)), STEPS_MAX)
    world.loop.kill(made[0].process)
