"""What the supervisor does with a configuration: the translator serves who began with
it, also where the configuration that would have kept it does not come. Its parts are faked."""

import asyncio
from pathlib import Path

import pytest

from budgets.transport import LedgerUnavailable
from comptroller.channel import Configuration
from comptroller.children import Child
from comptroller.on_demand import OnDemand
from comptroller.settings import load_settings
from comptroller.up import _Stack
from tests.comptroller.test_on_demand import FIRST, Faked, soon

SETTINGS = load_settings(None, {})


class Worker(Child):
    """Has released what began before a version when the test says so."""

    def __init__(self) -> None:
        super().__init__("gateway-1", "", {}, Path("/nowhere"))
        self.version = 1
        self._news = asyncio.Condition()

    async def tell(self, configuration: Configuration) -> None:
        """See Child."""

    async def released(self, version: int) -> None:
        """See Child."""
        async with self._news:
            await self._news.wait_for(lambda: self.version >= version)

    async def release(self, version: int) -> None:
        """What began before this version has ended."""
        async with self._news:
            self.version = version
            self._news.notify_all()


class Stack(_Stack):
    """With one worker, a recorder that says nothing, and a ledger that may be away."""

    def __init__(self, folder: Path) -> None:
        super().__init__(SETTINGS, None, {}, folder)
        self.faked = Faked()
        self.worker = Worker()
        recorder = Worker()
        recorder.version = 0
        self._children = {"gateway-1": self.worker, "recorder": recorder}
        self._translator = OnDemand(self.faked.make, FIRST, needed=False)
        self.is_away = False

    async def _declare_soon(self, *_: object) -> None:
        if self.is_away:
            raise LedgerUnavailable("away")

    async def become(self, version: int) -> None:
        """As a reload, which notes what has come of it."""
        told = Configuration(version, None)
        await self._become(SETTINGS, told, "first")
        self._reloads.configuration = told


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """Of version 1."""
    return Stack(tmp_path)


def needs(monkeypatch: pytest.MonkeyPatch, *answers: bool) -> None:
    """Whether the settings that are asked about need the translator, one after the other."""
    left = list(answers)
    monkeypatch.setattr("comptroller.up._needs_translator", lambda _: left.pop(0))


async def test_who_still_serves_is_not_ended_by_a_reload_that_fails(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of version 2 is in flight; version 3 needs the translator no more; version 4 would,
    and does not come. It ends when the request has."""
    needs(monkeypatch, True, True)
    await stack.become(2)
    await stack.worker.release(2)
    needs(monkeypatch, False, False)
    await stack.become(3)
    stack.is_away = True
    needs(monkeypatch, True, False)
    with pytest.raises(LedgerUnavailable):
        await stack.become(4)
    await soon()
    assert stack.faked.noted == ["made 2", "started", "told 4", "begins with 3"]
    await stack.worker.release(3)
    await soon()
    assert stack.faked.noted[4:] == ["stopping", "stopped"]


async def test_who_was_begun_for_a_reload_that_fails_is_ended(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: nobody has begun with it."""
    stack.is_away = True
    needs(monkeypatch, True, False)
    with pytest.raises(LedgerUnavailable):
        await stack.become(2)
    await soon()
    assert stack.faked.noted == ["made 2", "started", "begins with 1", "stopping", "stopped"]
