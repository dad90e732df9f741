"""A child process: when it serves, how its end is noticed, what it said last, and what it is told
while it runs."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from comptroller.channel import Configuration
from comptroller.children import Child
from comptroller.document import Written
from comptroller.supervise import PartFailed

RELEASED_S_MAX = 5
SAYS_READY = "from comptroller.process import say_ready\nsay_ready()\n"
WAITS = "import signal\nsignal.pause()\n"
HEARS = """
import asyncio
from comptroller.hearing import Hearing
from comptroller.process import _configuration, say_ready
first = _configuration()
async def apply(settings):
    print(first.text if first else "defaults", "then", settings.port, flush=True)
    {apply}
async def main():
    say_ready()
    await Hearing(apply).run()
asyncio.run(main())
"""
SECOND = Configuration(2, Written("comptroller.yaml", "port: 5"))
Make = Callable[[str], Child]


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes a child that runs this program; none is left at the end."""
    children: list[Child] = []

    def make(program: str) -> Child:
        (tmp_path / "program.py").write_text(program)
        path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path}
        children.append(Child("part", "program", environment, tmp_path / "part.log"))
        return children[-1]

    yield make
    for child in children:
        child.kill()
        await child.ended()


async def test_it_serves_when_it_says_so(made: Make) -> None:
    """Whatever a library prints before; then it ends when it is asked."""
    child = made(f"print('a library of the year')\nprint()\n{SAYS_READY}{WAITS}")
    await child.begin()
    child.terminate()
    assert await child.ended() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys\nsys.exit('comptroller: the port is taken')\n", "part: the port is taken"),
        ("raise KeyError('a mistake')\n", "KeyError: 'a mistake'"),
        ("import os\nos._exit(0)\n", "it said nothing"),
        ("print('not the word', flush=True)\n", "it said nothing"),
    ],
)
async def test_who_ends_before_has_failed_and_said_why(
    made: Make, program: str, words: str
) -> None:
    """With its last words, not those of an earlier life, and where to read on."""
    failed = made("import sys\nsys.exit('the words of an earlier life')\n")
    with pytest.raises(PartFailed, match="of an earlier life"):
        await failed.begin()
    child = made(program)
    with pytest.raises(PartFailed, match=r"part\.log") as told:
        await child.begin()
    assert words in str(told.value)
    await child.ended()


async def test_what_is_printed_later_is_in_the_log_and_stops_nobody(
    made: Make, tmp_path: Path
) -> None:
    """More than a pipe takes, with nobody at its other end."""
    child = made(f"{SAYS_READY}print('printed ' * 100_000, flush=True)\n")
    await child.begin()
    assert await child.ended() == 0
    assert "printed printed" in (tmp_path / "part.log").read_text()


async def test_a_helper_that_outlives_it_does_not_hide_its_end(made: Make) -> None:
    """A process of the child's own keeps its files open; the child's death is seen all the same."""
    helper = "import subprocess\nprint(subprocess.Popen(['sleep', '60']).pid, flush=True)\n"
    child = made(f"{SAYS_READY}{helper}{WAITS}")
    await child.begin()
    child.kill()
    assert await child.ended() == -signal.SIGKILL


async def test_it_can_be_begun_again(made: Make) -> None:
    """One process at a time; signals reach the one that runs, and nobody where none does."""
    child = made(f"{SAYS_READY}{WAITS}")
    child.terminate()
    assert await child.ended() == 0
    for _ in range(2):
        await child.begin()
        child.kill()
        assert await child.ended() == -signal.SIGKILL
    child.terminate()


async def test_it_begins_with_what_it_was_given_and_takes_what_it_is_told(
    made: Make, tmp_path: Path
) -> None:
    """In its next life it begins with the last of that, so that nothing in it is older."""
    child = made(HEARS.format(apply="pass"))
    await child.begin()
    await child.tell(SECOND)
    await child.released(2)
    assert "defaults then 5" in (tmp_path / "part.log").read_text()
    child.kill()
    await child.ended()
    await child.begin()
    async with asyncio.timeout(RELEASED_S_MAX):
        await child.released(2)
    await child.tell(Configuration(3, None))
    assert "port: 5 then 4000" in (tmp_path / "part.log").read_text()


async def test_who_cannot_take_it_is_ended(made: Make) -> None:
    """Asked to: requests that it has may end."""
    child = made(HEARS.format(apply="raise KeyError(settings.port)"))
    await child.begin()
    await child.tell(SECOND)
    assert await child.ended() == -signal.SIGTERM


async def test_who_does_not_answer_is_killed(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """So nobody serves by what was, once it has been told."""
    monkeypatch.setattr("comptroller.children.APPLY_S_MAX", 0.05)
    child = made(f"{SAYS_READY}{WAITS}")
    await child.begin()
    await child.tell(SECOND)
    assert await child.ended() == -signal.SIGKILL


async def test_who_dies_of_it_has_taken_it(made: Make) -> None:
    """Its next life begins with it: nobody waits."""
    child = made(HEARS.format(apply="import os; os._exit(3)"))
    await child.begin()
    await child.tell(SECOND)
    await child.released(2)
    assert await child.ended() == 3
