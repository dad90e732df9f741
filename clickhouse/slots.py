"""How many reads run at once: some in all, some for each account, and a short wait for a place,
because a dashboard asks its ten questions in the same instant."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from clickhouse.errors import Code, StoreRefused


class Slots:
    """Places for reads. For one event loop."""

    def __init__(self, total_max: int, account_max: int, wait_ms_max: int) -> None:
        self._total_max = total_max
        self._account_max = account_max
        self._wait_s = wait_ms_max / 1000
        self._total = 0
        self._of: Counter[str] = Counter()
        self._freed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def place(self, account: str) -> AsyncIterator[None]:
        """Holds a place. Raises StoreRefused (202) if none comes free in time."""
        await self._take(account)
        try:
            yield
        finally:
            self._total -= 1
            self._of[account] -= 1
            self._of += Counter()  # drops names that hold nothing
            async with self._freed:
                self._freed.notify_all()

    async def _take(self, account: str) -> None:
        try:
            async with asyncio.timeout(self._wait_s), self._freed:
                await self._freed.wait_for(lambda: self._is_free(account))
                self._total += 1
                self._of[account] += 1
        except TimeoutError:
            raise StoreRefused(
                Code.TOO_MANY_SIMULTANEOUS_QUERIES,
                f"Too many simultaneous queries. Maximum: {self._account_max} for one account, "
                f"{self._total_max} in all; try again when one has ended",
            ) from None

    def _is_free(self, account: str) -> bool:
        return self._total < self._total_max and self._of[account] < self._account_max
