"""Requests that would fit as soon as another one ends: they wait a little, in order.

Refusing at once would make agents retry in a storm, and let whoever retries fastest win. So a
request that is HELD joins the line of the limit that holds it. Only the first of a line asks the
ledger again: when a request of this worker has ended, and now and then for those of other workers.
"""

import asyncio
from collections.abc import Awaitable, Callable

from budgets.answers import Refusal, Reservation
from gateway.request import ClientGone, Request

WAITING_MAX = 10_000
# How often the first of a line asks although nothing ended here: another worker may have settled.
ASK_EVERY_MS = 100

Answer = Reservation | Refusal


class _Line:
    __slots__ = ("first", "length", "settled")

    def __init__(self) -> None:
        self.first = asyncio.Lock()  # fair: first come, first served
        self.settled = asyncio.Event()
        self.length = 0


class WaitingLines:
    """One line for each limit that holds somebody, in this process."""

    def __init__(self, wait_ms: int) -> None:
        self._wait_s = wait_ms / 1000
        self._lines: dict[tuple[str, str], _Line] = {}
        self._waiting = 0

    def follow(self, wait_ms: int) -> None:
        """For who begins to wait from now on."""
        self._wait_s = wait_ms / 1000

    def settled(self) -> None:
        """A request has ended: something may be free."""
        for line in self._lines.values():
            line.settled.set()

    async def wait(
        self, held: Refusal, ask: Callable[[], Awaitable[Answer]], request: Request
    ) -> Answer:
        """Asks again in its turn until the answer is another one or the time is up. What only
        allotments hold is not waited for: nobody's ending frees it. Raises ClientGone."""
        bound = held.bound
        if bound is None or not held.until_ms or self._waiting >= WAITING_MAX:
            return held
        name = (bound.scope, bound.limit.id)
        line = self._lines.setdefault(name, _Line())
        line.length += 1
        self._waiting += 1
        deadline = asyncio.get_running_loop().time() + self._wait_s
        try:
            async with asyncio.timeout_at(deadline):
                await line.first.acquire()
        except TimeoutError:
            return held
        else:
            try:
                return await _asked_again(held, ask, line.settled, deadline, request.watched())
            finally:
                line.first.release()
        finally:
            line.length -= 1
            self._waiting -= 1
            if not line.length:
                del self._lines[name]


async def _asked_again(
    held: Refusal,
    ask: Callable[[], Awaitable[Answer]],
    settled: asyncio.Event,
    deadline: float,
    client: "asyncio.Task[None]",
) -> Answer:
    """The first of a line. No timeout interrupts `ask`: a reserve that is cut off may have been
    granted."""
    answer: Answer = held
    now = asyncio.get_running_loop().time
    while now() < deadline:
        if client.done():
            raise ClientGone
        settled.clear()
        answer = await ask()
        if not isinstance(answer, Refusal) or answer.code != "HELD":
            break
        try:
            async with asyncio.timeout_at(min(deadline, now() + ASK_EVERY_MS / 1000)):
                await settled.wait()
        except TimeoutError:
            continue
    return answer
