"""What goes wrong with the processes of a chaos run, drawn from its seed before it begins: kill -9
and SIGSTOP of every part, the supervisor too; and who starts the stack again when it has ended.
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.stage import LEASE_MS, WORKERS, Options, Stack, config, this_tree
from tests.gateway.processes import Running, started

PARTS = {
    "worker": "comptroller.work",
    "recorder": "comptroller.record",
    "admin": "comptroller.administer",
    "ledger": "valkey-server",
}
SUPERVISOR = "supervisor"
KILL, STOP, STOP_LONG = "kill -9", "stop", "stop for longer than a lease"
# How often each is in a bag that is drawn empty before it is filled again: all come up.
_BAG = {
    (KILL, "worker"): 5,
    (STOP, "worker"): 3,
    (STOP_LONG, "worker"): 4,
    (KILL, "recorder"): 3,
    (STOP, "recorder"): 1,
    (STOP_LONG, "recorder"): 1,
    (KILL, "admin"): 1,
    (STOP, "admin"): 1,
    (KILL, "ledger"): 3,
    (STOP, "ledger"): 2,
    (STOP_LONG, "ledger"): 2,
    (STOP, SUPERVISOR): 1,
    (KILL, SUPERVISOR): 1,
}
FIRST_AFTER_S = 1.0
BACK_S_MAX = 60.0
GIVE_UP_S = 90.0
_LOOK_S = 0.05


class StackStaysDown(AssertionError):
    """The stack could not be started again, whatever was tried."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, so many seconds after the beginning. `pick` chooses among several processes of
    the part; a stop lasts `for_s`."""

    at_s: float
    kind: str
    part: str
    pick: float
    for_s: float


def planned(options: Options) -> list[Fault]:
    """All faults of a run, in order."""
    rng = random.Random(f"{options.seed}:faults")
    faults: list[Fault] = []
    bag: list[tuple[str, str]] = []
    at_s = FIRST_AFTER_S
    while at_s < options.seconds:
        if not bag:
            bag = [each for each, count in _BAG.items() for _ in range(count)]
            rng.shuffle(bag)
        kind, part = bag.pop()
        lease_s = LEASE_MS / 1000
        for_s = rng.uniform(1.2, 2.5) * lease_s if kind == STOP_LONG else rng.uniform(0.1, 1.0)
        faults.append(Fault(at_s, kind, part, rng.random(), for_s))
        at_s += rng.uniform(0.1, options.pause_s)
    return faults


class Operator:
    """Keeps the stack started, as a service manager does: when the command has ended, whatever
    ended it, it is begun again on the same folder."""

    def __init__(self, folder: Path, provider_port: int, stack: Stack) -> None:
        self._folder = folder
        self._config = config(provider_port)
        self._stack = stack
        self._serves = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Until `stop`."""
        self._task = asyncio.create_task(self._keep())

    async def until_serving(self) -> Running:
        """Waits for a stack that has said that all of its parts serve."""
        assert self._task is not None
        waiting = asyncio.create_task(self._serves.wait())
        await asyncio.wait((waiting, self._task), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task.done():
            self._task.result()
        assert self._stack.running is not None
        return self._stack.running

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self._task is not None
        running = await self.until_serving()
        self._stopping = True
        running.terminate()
        await self._task
        assert running.process.returncode is not None
        return running.process.returncode

    async def _keep(self) -> None:
        down_since_s = time.monotonic()
        while not self._stopping:
            running = self._stack.running = await started(
                self._folder,
                config=self._config,
                workers=WORKERS,
                port=self._stack.port,
                record=True,
                admin=True,
                environment=this_tree(),
            )
            self._stack.starts += 1
            if await _greets(running):
                self._stack.failed_in_a_row = 0
                self._serves.set()
                await running.process.wait()
                self._serves.clear()
                down_since_s = time.monotonic()
                continue
            await running.process.wait()
            self._stack.starts_that_failed += 1
            self._stack.failed_in_a_row += 1
            if time.monotonic() - down_since_s > GIVE_UP_S:
                raise StackStaysDown(running.output[-2_000:])
            await asyncio.sleep(0.3)


async def _greets(running: Running) -> bool:
    """Whether it comes to say that it serves, before it ends."""
    while running.process.returncode is None:
        if "base URL" in running.output[running.printed_before :]:
            return True
        await asyncio.sleep(_LOOK_S)
    return False


class Director:
    """Does what was planned. `done` counts faults by kind and part; `back_s` has for each kill how
    long its part was away, `lost` the kills that nobody came back from."""

    def __init__(self, faults: list[Fault], stack: Stack) -> None:
        self.done: Counter[tuple[str, str]] = Counter()
        self.back_s: dict[str, list[float]] = {}
        self.lost: list[str] = []
        self._faults = faults
        self._stack = stack
        self._paused: dict[int, asyncio.TimerHandle] = {}
        self._watches: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Until the last fault is done, and what was stopped goes on."""
        began_s, waited_s = time.monotonic(), 0.0
        for fault in self._faults:
            await asyncio.sleep(max(0.0, began_s + waited_s + fault.at_s - time.monotonic()))
            waited_s += await self._until_it_may()
            if time.monotonic() - began_s > self._faults[-1].at_s:
                break
            await self._do(fault)
        self.resume()

    async def _until_it_may(self) -> float:
        """A start may be killed in its middle, but not one after the other: nobody would see what
        the stack does. How long that took."""
        began_s = time.monotonic()
        if self._stack.failed_in_a_row:
            self.resume()
            while self._stack.failed_in_a_row:
                await asyncio.sleep(_LOOK_S)
                if time.monotonic() - began_s > GIVE_UP_S:
                    raise StackStaysDown("it does not start, and nobody kills it")
        return time.monotonic() - began_s

    def resume(self) -> None:
        """Nobody is stopped any more."""
        for pid in list(self._paused):
            self._go_on(pid)

    async def until_back(self) -> None:
        """Waits for the parts of all kills."""
        await asyncio.gather(*self._watches)

    async def _do(self, fault: Fault) -> None:
        pids = await self._found(fault.part)
        if not pids:
            self.done["found nobody", fault.part] += 1
            return
        pid = pids[int(fault.pick * len(pids))]
        with contextlib.suppress(ProcessLookupError):
            if fault.kind == KILL:
                os.kill(pid, signal.SIGKILL)
                self._watches.append(asyncio.create_task(self._watch(fault.part, pid)))
            elif pid in self._paused:
                return
            else:
                os.kill(pid, signal.SIGSTOP)
                loop = asyncio.get_running_loop()
                self._paused[pid] = loop.call_later(fault.for_s, self._go_on, pid)
            self.done[fault.kind, fault.part] += 1

    async def _found(self, part: str) -> list[int]:
        """Processes of a part now, or in a moment: one that starts may be hit as well."""
        for _ in range(20):
            pids = sorted(self._pids(part))
            if pids:
                return pids
            await asyncio.sleep(_LOOK_S)
        return []

    def _pids(self, part: str) -> set[int]:
        running = self._stack.running
        if running is None or running.process.returncode is not None:
            return set()
        return {running.process.pid} if part == SUPERVISOR else running.parts(PARTS[part])

    def _go_on(self, pid: int) -> None:
        handle = self._paused.pop(pid, None)
        if handle is not None:
            handle.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def _watch(self, part: str, gone: int) -> None:
        """Until there are as many processes of the part as there should be, this one not among
        them."""
        began_s = time.monotonic()
        count = WORKERS if part == "worker" else 1
        while time.monotonic() - began_s < BACK_S_MAX:
            pids = self._pids(part)
            if len(pids) >= count and gone not in pids:
                self.back_s.setdefault(part, []).append(time.monotonic() - began_s)
                return
            await asyncio.sleep(_LOOK_S)
        self.lost.append(part)
