"""What was written is asked for.

An engine whose disk or memory is full can take rows, say nothing and lose them; and after a crash
it can know a token whose block it has lost, and drop the block that comes again with it.
"""

import asyncio
from collections.abc import Awaitable, Callable

TRIES_MAX = 3
LATE_S = (0.05, 0.2, 0.5, 1.0)
Asks = Callable[[], Awaitable[bool]]


async def inserted(insert: Callable[[str], Awaitable[None]], there: Asks, token: str) -> bool:
    """Inserts under the token, and under others of its name where that did not help; whether the
    rows are there. They must be such that it does no harm where they come twice."""
    for attempt in range(TRIES_MAX):
        await insert(f"{token}#{attempt}" if attempt else token)
        if await appears(there):
            return True
    return False


async def appears(there: Asks) -> bool:
    """Whether it is there, soon: in a cluster the replica that is asked may be behind the one that
    was written to, and what is merely late must not be written again."""
    for pause_s in (*LATE_S, None):
        if await there():
            return True
        if pause_s is not None:
            await asyncio.sleep(pause_s)  # a replica does not call when it has caught up
    return False
