"""A part that comes and goes: begun when it is needed, ended when its last user has gone, and never
both at once. Its process is faked."""

import asyncio
import socket
from typing import Any

import pytest

from comptroller.channel import Configuration
from comptroller.on_demand import OnDemand
from comptroller.supervise import PartFailed

FIRST, SECOND = Configuration(1, None), Configuration(2, None)


class Faked:
    """Makes processes and who keeps them, and notes what happens to each."""

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.fails = False
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.listeners: list[socket.socket] = []

    def make(self, told: Configuration) -> Any:
        """See comptroller.on_demand.Make."""
        self.noted.append(f"made {told.version}")
        self.listeners.append(socket.socket())
        return self, self, self.listeners[-1]

    async def start(self) -> None:
        """See Keeper."""
        if self.fails:
            raise PartFailed("it said so")
        self.noted.append("started")

    async def stop(self) -> None:
        """See Keeper."""
        self.noted.append("stopping")
        await self.may_end.wait()
        self.noted.append("stopped")

    async def tell(self, told: Configuration) -> None:
        """See Child."""
        self.noted.append(f"told {told.version}")

    def begins_with(self, told: Configuration) -> None:
        """See Child."""
        self.noted.append(f"begins with {told.version}")


async def soon() -> None:
    """Lets everything go on that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def at_once() -> None:
    """Nobody uses it."""


async def test_it_begins_when_it_is_needed() -> None:
    """Not at a start that does not need it; with what holds then; and ends with its socket."""
    faked = Faked()
    part = OnDemand(faked.make, FIRST, needed=False)
    await part.start()
    part.leave(at_once)
    part.keep(FIRST)
    assert faked.noted == []
    await part.need(SECOND)
    await part.stop()
    assert faked.noted == ["made 2", "started", "stopping", "stopped"]
    assert [each.fileno() for each in faked.listeners] == [-1]


async def test_it_is_told_where_it_runs() -> None:
    """And told back what it is to begin with, where the new one does not come."""
    faked = Faked()
    part = OnDemand(faked.make, FIRST, needed=True)
    await part.start()
    await part.need(SECOND)
    part.keep(FIRST)
    assert faked.noted == ["made 1", "started", "told 2", "begins with 1"]
    await part.stop()


async def test_it_ends_after_its_last_user() -> None:
    """Not before."""
    faked, unused = Faked(), asyncio.Event()
    part = OnDemand(faked.make, FIRST, needed=True)
    await part.start()
    part.leave(unused.wait)
    part.leave(at_once)  # it leaves already
    await soon()
    assert faked.noted == ["made 1", "started"]
    unused.set()
    await soon()
    assert faked.noted[2:] == ["stopping", "stopped"]
    await part.need(SECOND)
    assert faked.noted[4:] == ["made 2", "started"]
    await part.stop()


async def test_who_is_needed_again_while_it_waits_stays() -> None:
    """The same process."""
    faked, unused = Faked(), asyncio.Event()
    part = OnDemand(faked.make, FIRST, needed=True)
    await part.start()
    part.leave(unused.wait)
    await soon()
    await part.need(SECOND)
    unused.set()
    await soon()
    assert faked.noted == ["made 1", "started", "told 2"]
    await part.stop()


async def test_who_is_needed_again_while_it_ends_is_another_process() -> None:
    """Which begins when the first has ended: both listen at one name."""
    faked = Faked()
    part = OnDemand(faked.make, FIRST, needed=True)
    await part.start()
    faked.may_end.clear()
    part.leave(at_once)
    await soon()
    needing = asyncio.create_task(part.need(SECOND))
    await soon()
    assert faked.noted[2:] == ["stopping"]
    faked.may_end.set()
    await needing
    assert faked.noted[2:] == ["stopping", "stopped", "made 2", "started"]
    await part.stop()


async def test_a_start_that_fails_leaves_nothing() -> None:
    """It is told, and can be tried again."""
    faked = Faked()
    part = OnDemand(faked.make, FIRST, needed=False)
    faked.fails = True
    with pytest.raises(PartFailed):
        await part.need(SECOND)
    assert [each.fileno() for each in faked.listeners] == [-1]
    faked.fails = False
    await part.need(SECOND)
    assert faked.noted[-2:] == ["made 2", "started"]
    await part.stop()
