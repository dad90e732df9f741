"""An event loop whose clock jumps: where nothing is ready it is at once the time of the next timer.
For what waits long and does nothing else; its tasks must not wait for a thread or a process."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Never waits; says how long it should have."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits, and for no timer"
            self.now_s += timeout
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """See the module; `time()` begins at 0."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """See asyncio."""
        return self._jumping.now_s


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Runs it to its end in such a loop."""

    async def worked() -> T:
        return await work()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(worked())
