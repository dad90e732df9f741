"""A world in one thread: processes, a clock that only the scheduler moves, and one seed.

The event loop keeps a queue for each simulated process, in the order that asyncio promises inside
one, and draws from the seed which process runs next. Nothing waits for real time: when nobody can
run, the clock jumps to the next timer. A process that is killed is never scheduled again: no
`finally` of its runs, no CancelledError is thrown into it, as after SIGKILL.
"""

import asyncio
import contextlib
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

THREAD_S_MAX = 0.02  # how long a call in a thread may take to come to its turn
TASKS_PRUNED_AT = 256
CLOSES_MAX = 200


class SimulationFailed(AssertionError):
    """An invariant does not hold, or the world has come to a stop."""


class Process:
    """What one SIGKILL ends: a queue of callbacks and the tasks behind them."""

    __slots__ = ("alive", "dies_in", "name", "on_death", "paused_until", "ready", "tasks")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.ready: deque[asyncio.Handle] = deque()
        self.paused_until = 0.0
        self.dies_in = 0  # callbacks until it is killed; 0: it is not
        self.on_death: list[Callable[[], None]] = []
        self.tasks: list[asyncio.Task[Any]] = []


WORLD = Process("world")
PROCESS: ContextVar[Process] = ContextVar("process", default=WORLD)


class SimulatedLoop(asyncio.BaseEventLoop):
    """See the module. `steps` counts callbacks that were run."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.steps = 0
        self.failure: BaseException | None = None
        self.network: Any = None
        self.ran: Callable[[Process], None] = lambda _process: None
        self.world = Process("world")
        self.processes = [self.world]
        self._dead: list[Process] = []
        self._buried = False
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Process]] = []
        self._order = itertools.count()
        self.set_exception_handler(self._failed)

    # What asyncio asks of a loop.

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now

    def call_soon(  # type: ignore[override]  # typed for *Ts
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Last in the queue of the process whose context it has."""
        handle = asyncio.Handle(callback, args, self, context)
        self._owner(context).ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there is one thread

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """When the clock gets there."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), timer, self._owner(context)))
        return timer

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: Any = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Kept here: what nobody holds any more would be closed, and its `finally` would run."""
        if self._buried:
            coro.close()
            raise SimulationFailed("the world has ended")
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        tasks = self._owner(context).tasks
        tasks.append(task)
        if len(tasks) % TASKS_PRUNED_AT == 0:
            tasks[:] = [each for each in tasks if not each.done()]
        return task

    def run_in_executor(  # type: ignore[override]
        self,
        executor: Any,  # noqa: ARG002
        func: Callable[..., Any],
        *args: Any,
    ) -> asyncio.Future[Any]:
        """Inline, a little later: a thread's work is one step."""
        future: asyncio.Future[Any] = self.create_future()
        self.call_later(self.rng.random() * THREAD_S_MAX, _run_inline, future, func, args)
        return future

    async def create_unix_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], path: str, **_: Any
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """To a server of the simulated network."""
        return await self._connected(path, protocol_factory)

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int, **_: Any
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """The same by host and port."""
        return await self._connected(f"{host}:{port}", protocol_factory)

    async def _connected(
        self, address: str, factory: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        connected: tuple[asyncio.Transport, asyncio.Protocol]
        connected = await self.network.connect(address, factory)
        return connected

    def _owner(self, context: Context | None) -> Process:
        process = PROCESS.get() if context is None else context.get(PROCESS, WORLD)
        return self.world if process is WORLD else process

    def _failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or SimulationFailed(context.get("message"))
        if self.failure is None:
            self.failure = error

    # The director's side.

    def process(self, name: str) -> Process:
        """A new one."""
        process = Process(name)
        self.processes.append(process)
        return process

    def spawn(self, process: Process, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task in that process."""
        context = copy_context()
        context.run(PROCESS.set, process)
        return self.create_task(coro, context=context)

    def kill(self, process: Process) -> None:
        """It runs no more. What it has sent is on its way."""
        if not process.alive:
            return
        process.alive = False
        process.ready.clear()
        self.processes.remove(process)
        self._dead.append(process)
        for each in process.on_death:
            each()

    def jump(self, seconds: float) -> None:
        """Time passes in which nobody runs."""
        self._now += seconds

    def drive(self, until: Callable[[], bool], steps_max: int) -> bool:
        """Steps until it is so; False where the steps do not suffice. Raises what failed."""
        asyncio._set_running_loop(self)
        try:
            for _ in range(steps_max):
                if until():
                    return True
                self._step()
                if self.failure is not None:
                    raise self.failure
        finally:
            asyncio._set_running_loop(None)
        return until()

    def _step(self) -> None:
        process = self._next()
        handle = process.ready.popleft()
        if handle.cancelled():
            return
        self.steps += 1
        self.ran(process)
        handle._run()
        if process.dies_in:
            process.dies_in -= 1
            if not process.dies_in:
                self.kill(process)

    def _next(self) -> Process:
        while True:
            self._ring()
            now = self._now
            able = [each for each in self.processes if each.ready and each.paused_until <= now]
            if len(able) > 1:
                return able[int(self.rng.random() * len(able))]
            if able:
                return able[0]
            waking = [each.paused_until for each in self.processes if each.ready]
            if self._timers:
                waking.append(self._timers[0][0])
            if not waking:
                raise SimulationFailed("nobody can run and no timer is set")
            self._now = max(now, min(waking))

    def _ring(self) -> None:
        """Timers that are due join the queues; cancelled ones and those of the dead go."""
        timers, now = self._timers, self._now
        while timers:
            when, _, timer, process = timers[0]
            gone = timer.cancelled() or not process.alive
            if when > now and not gone:
                return
            heapq.heappop(timers)
            if not gone:
                process.ready.append(timer)

    def bury(self) -> None:
        """Ends what is left of the world: after this nothing of it runs."""
        self._buried = True
        asyncio._set_running_loop(self)
        try:
            for process in (*self.processes, *self._dead):
                for task in process.tasks:
                    _dissolve(task)
                process.tasks.clear()
                process.ready.clear()
        finally:
            asyncio._set_running_loop(None)
        self._timers.clear()
        self.failure = None
        self.close()


def _run_inline(
    future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    try:
        result = func(*args)
    except Exception as error:  # noqa: BLE001  # the caller's, as from a thread
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)


def _dissolve(task: asyncio.Task[Any]) -> None:
    """A coroutine that is dropped while it waits would run its `finally` at some other time."""
    if task.done():
        with contextlib.suppress(BaseException):
            task.exception()
        return
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coro: Any = task.get_coro()
    for _ in range(CLOSES_MAX):
        if coro.cr_frame is None:
            return
        with contextlib.suppress(BaseException):
            coro.close()


def current_process(loop: SimulatedLoop) -> Process:
    """Of whoever runs now."""
    return loop._owner(None)
