"""Counting beside the loop: bounded in length, in number and in threads."""

import asyncio
import threading

import pytest

from gateway.counting import WAITING_MAX, InputCounting
from gateway.dialects.chat import ChatDialect
from gateway.dialects.contract import Call
from pricing import COUNTED_BYTES_MAX, Measure
from tests.gateway.dialects.test_chat_input import parsed
from tests.gateway.test_quoting import route

SHORT = [{"role": "user", "content": "hello there"}]


class Gated(ChatDialect):
    """A dialect whose counting waits, and notes in which threads it runs."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.threads: list[str] = []

    def input_tokens_max(self, call: Call, measure: Measure) -> int:
        self.threads.append(threading.current_thread().name)
        assert self.gate.wait(20)
        return super().input_tokens_max(call, measure)


async def test_too_many_at_once_keep_their_byte_bound() -> None:
    """Who comes when WAITING_MAX are counted or wait is not kept waiting; all others are counted,
    one after the other in one thread, and later ones again."""
    dialect, counting, call = Gated(), InputCounting(), parsed(SHORT)

    async def tokens() -> int | None:
        return await counting.tokens_max(dialect, call, route())

    first = [asyncio.create_task(tokens()) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(30):
            assert await tokens() is None
    finally:
        dialect.gate.set()  # whatever comes of it, no thread is left waiting
    counted = set(await asyncio.gather(*first))
    assert len(counted) == 1
    assert await tokens() in counted
    assert set(dialect.threads) == {"counting_0"}


async def test_what_is_too_long_is_not_counted() -> None:
    """Megabytes keep their byte bound."""
    long = parsed([{"role": "user", "content": "x" * COUNTED_BYTES_MAX}])
    assert await InputCounting().tokens_max(ChatDialect(), long, route()) is None


async def test_the_loop_goes_on_meanwhile() -> None:
    """While a tokenizer is loaded, and while letters without a space are counted, for tens of
    milliseconds each, other tasks run."""
    counting = InputCounting()
    for content in ("hello", "aBcDeFgHxYz" * 90_000):
        call = parsed([{"role": "user", "content": content}])
        task = asyncio.create_task(counting.tokens_max(ChatDialect(), call, route()))
        turns = 0
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
        assert task.result() is not None
        assert turns > 100


async def test_a_failure_leaves_no_trace() -> None:
    """A call that cannot be counted fails alone: whoever waits is counted down."""

    class Failing(ChatDialect):
        def input_tokens_max(self, call: Call, measure: Measure) -> int:
            raise ValueError(f"no {measure} for {call.model}")

    counting = InputCounting()
    for _ in range(WAITING_MAX + 1):
        with pytest.raises(ValueError, match="for m"):
            await counting.tokens_max(Failing(), parsed(SHORT), route())
    assert await counting.tokens_max(ChatDialect(), parsed(SHORT), route()) is not None
