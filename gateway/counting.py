"""Counting the input of requests whose byte bound is too much for a budget.

A route that has a counter of its provider's asks that (`gateway.provider_counting`); where it has
none, or that one does not answer, the model's own tokenizer counts. That takes milliseconds where a
quote takes microseconds, so it happens beside the loop, in one thread: callers who are refused
again and again take one core at most, and wait for each other.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from gateway.dialects.contract import Call, Dialect
from gateway.provider_counting import ProviderCounting
from gateway.routes import Route
from pricing import COUNTED_BYTES_MAX, Family, Texts, Tokenizers, family_of

WAITING_MAX = 16
"""Requests that are counted or wait for it at a time; what comes on top keeps its byte bound."""


class InputCounting:
    """One of a worker. Tokenizers are loaded when they are first needed."""

    def __init__(self) -> None:
        self._tokenizers = Tokenizers()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="counting")
        self._waiting = 0
        self._provider = ProviderCounting()
        self._families: dict[tuple[str, str], Family | None] = {}

    def knows(self, call: Call, route: Route) -> bool:
        """Whether `tokens_max` may answer: not where content is unseen, or too long."""
        if call.unseen_content or call.input_tokens_max > COUNTED_BYTES_MAX:
            return False
        return self._provider.asks(route) or self._family(route) is not None

    def _family(self, route: Route) -> Family | None:
        """Looked up once for each route: most requests are only asked whether."""
        names = route.provider, route.model
        if names not in self._families:
            self._families[names] = family_of(*names)
        return self._families[names]

    async def tokens_max(self, dialect: Dialect, call: Call, route: Route) -> int | None:
        """The counted bound of all but the pictures; None where nobody can count, the request is
        too long to be counted, or too many wait. Only without unseen content."""
        is_long = call.input_tokens_max > COUNTED_BYTES_MAX
        if route.counter is not None and not is_long:
            tokens = await self._provider.tokens_max(dialect, call, route)
            if tokens is not None:
                return tokens
        family = self._family(route)
        if family is None or is_long or self._waiting >= WAITING_MAX:
            return None
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._count, dialect, call, family)
        finally:
            self._waiting -= 1

    def _count(self, dialect: Dialect, call: Call, family: Family) -> int:
        texts = Texts()
        beside = dialect.input_tokens_max(call, texts)
        counted = self._tokenizers.count(family.encoding, texts.pieces)
        return beside + counted + family.framing_tokens
