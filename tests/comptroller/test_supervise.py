"""What keeps a part running: pauses that grow, a stop at any moment. A part is faked, and time."""

import asyncio
import time
from collections.abc import Iterable

import pytest

from comptroller.supervise import (
    PAUSE_S_LEAST,
    PAUSE_S_MOST,
    SETTLED_S,
    STOP_S_MAX,
    Keeper,
    PartFailed,
)
from tests.comptroller.skipping import run


class FakePart:
    """Begins as it is told: `lives_s` are how long each life lasts (-1: its start fails by
    PartFailed, -2: by OSError), the last one for ever. What it is asked is written down."""

    name = "part"

    def __init__(self, lives_s: Iterable[float] = (), begin_s: float = 0.0) -> None:
        self._lives_s = iter(lives_s)
        self._begin_s = begin_s
        self._over = asyncio.Event()
        self._over.set()
        self.obeys = True
        self.begins_s: list[float] = []
        self.ends_s: list[float] = []
        self.asked: list[str] = []

    @property
    def runs(self) -> bool:
        """Whether a process is there."""
        return not self._over.is_set()

    async def begin(self) -> None:
        """See Part."""
        self.begins_s.append(now_s())
        life_s = next(self._lives_s, 10.0**9)
        if life_s == -2:
            raise OSError("the machine has no processes left")
        self._over = over = asyncio.Event()
        await asyncio.sleep(self._begin_s)
        if life_s == -1 or over.is_set():
            self._end(over)
            raise PartFailed("it said so")
        asyncio.get_running_loop().call_later(life_s, self._end, over)

    def _end(self, over: asyncio.Event) -> None:
        if not over.is_set():
            self.ends_s.append(now_s())
            over.set()

    async def ended(self) -> int:
        """See Part."""
        await self._over.wait()
        return 1

    def terminate(self) -> None:
        """See Part."""
        self.asked.append("terminate")
        if self.obeys:
            self._end(self._over)

    def kill(self) -> None:
        """See Part."""
        self.asked.append("kill")
        self._end(self._over)

    def pauses_s(self) -> list[float]:
        """From each end to the next begin."""
        pairs = zip(self.ends_s, self.begins_s[1:], strict=False)
        return [round(begin - end, 3) for end, begin in pairs]


def now_s() -> float:
    """The loop's time, which is the only one here."""
    return asyncio.get_running_loop().time()


@pytest.fixture(autouse=True)
def _one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock that a life is measured by is the loop's."""
    real = time.monotonic

    def monotonic() -> float:
        try:
            return now_s()
        except RuntimeError:  # no loop runs
            return real()

    monkeypatch.setattr("comptroller.supervise.time.monotonic", monotonic)


def test_pauses_grow_to_a_bound_while_it_keeps_dying() -> None:
    """A part that dies at once is begun again after pauses that double, up to the longest."""

    async def work() -> None:
        part = FakePart([0.0] * 12)
        keeper = Keeper(part)
        await keeper.start()
        await asyncio.sleep(100)
        expected = [min(PAUSE_S_LEAST * 2**n, PAUSE_S_MOST) for n in range(12)]
        assert part.pauses_s() == expected
        assert expected[-1] == PAUSE_S_MOST
        await keeper.stop()

    run(work)


def test_who_has_lived_is_begun_again_quickly() -> None:
    """After a life that was long enough the pause is the shortest again; after a shorter one it
    goes on growing."""

    async def work() -> None:
        part = FakePart([0.0, 0.0, 0.0, SETTLED_S + 1, 0.0, SETTLED_S - 1])
        keeper = Keeper(part)
        await keeper.start()
        await asyncio.sleep(3 * SETTLED_S)
        assert part.pauses_s() == [0.1, 0.2, 0.4, 0.1, 0.2, 0.4]
        await keeper.stop()

    run(work)


@pytest.mark.parametrize("failure", [-1, -2])
def test_a_start_that_fails_later_is_tried_again(failure: float) -> None:
    """A part that was running and does not come back is tried until it does, whether it ends before
    it serves or the machine cannot even begin it; the pauses grow all the same."""

    async def work() -> None:
        part = FakePart([0.0, failure, failure, failure])
        keeper = Keeper(part)
        await keeper.start()
        await asyncio.sleep(30)
        assert part.runs
        gaps = [round(b - a, 3) for a, b in zip(part.begins_s, part.begins_s[1:], strict=False)]
        assert gaps == [0.1, 0.2, 0.4, 0.8]
        await keeper.stop()
        assert not part.runs

    run(work)


@pytest.mark.parametrize(("failure", "error"), [(-1, PartFailed), (-2, OSError)])
def test_a_first_start_that_fails_is_told(failure: float, error: type[Exception]) -> None:
    """It raises and is not tried again; a stop after it has nothing to wait for."""

    async def work() -> None:
        part = FakePart([failure])
        keeper = Keeper(part)
        with pytest.raises(error):
            await keeper.start()
        await keeper.stop()
        await asyncio.sleep(100)
        assert len(part.begins_s) == 1
        assert not part.runs

    run(work)


def test_a_stop_during_the_pause_begins_nothing() -> None:
    """Whoever stops does not wait for the pause, and no process comes after it."""

    async def work() -> None:
        part = FakePart([0.0] * 10)
        keeper = Keeper(part)
        await keeper.start()
        await asyncio.sleep(10)  # within the pause of 6.4 s
        begun, at_s = len(part.begins_s), now_s()
        await keeper.stop()
        assert now_s() == at_s
        await asyncio.sleep(100)
        assert len(part.begins_s) == begun

    run(work)


@pytest.mark.parametrize("obeys", [True, False])
def test_a_stop_during_a_later_start_ends_what_was_begun(obeys: bool) -> None:
    """A process that does not serve yet is asked to end, and asked again once it serves, in case it
    was deaf; nothing is begun after it."""

    async def work() -> None:
        part = FakePart([0.0], begin_s=5.0)
        keeper = Keeper(part)
        await keeper.start()
        await asyncio.sleep(2.0)
        assert len(part.begins_s) == 2
        part.obeys = obeys
        stopping = asyncio.create_task(keeper.stop())
        await asyncio.sleep(1.0)
        part.obeys = True
        await stopping
        assert not part.runs
        assert "kill" not in part.asked
        await asyncio.sleep(100)
        assert len(part.begins_s) == 2

    run(work)


def test_a_stop_during_the_first_start_ends_it() -> None:
    """A start that is given up leaves a process, which the stop ends."""

    async def work() -> None:
        part = FakePart(begin_s=5.0)
        keeper = Keeper(part)
        starting = asyncio.create_task(keeper.start())
        await asyncio.sleep(1.0)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert part.runs
        await keeper.stop()
        assert not part.runs

    run(work)


@pytest.mark.parametrize("stop_s_max", [STOP_S_MAX, 3.0])
def test_who_does_not_end_is_killed(stop_s_max: float) -> None:
    """A part that ignores the request has its time, and then none: exactly that long."""

    async def work() -> None:
        part = FakePart()
        part.obeys = False
        keeper = Keeper(part, stop_s_max)
        await keeper.start()
        at_s = now_s()
        await keeper.stop()
        assert part.asked == ["terminate", "kill"]
        assert now_s() - at_s == pytest.approx(stop_s_max)
        assert not part.runs

    run(work)


def test_a_part_that_was_never_begun_has_nothing_to_stop() -> None:
    """A stop before the start returns."""

    async def work() -> None:
        part = FakePart()
        await Keeper(part).stop()
        assert part.begins_s == []

    run(work)
