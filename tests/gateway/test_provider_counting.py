"""Counting by the provider: asked where a budget refuses the bytes, once for the same input, by few
at a time, never for long; where it fails the byte bound holds, and it is said once."""

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway import provider_counting
from gateway.counting import InputCounting
from gateway.dialects import CHAT
from gateway.provider_counting import (
    ASKING_MAX,
    MARGIN_SHARE,
    MARGIN_TOKENS,
    ProviderCounting,
)
from gateway.routes import Route
from gateway.upstream import PooledUpstream
from tests.gateway.behaviours import answers, held, silent
from tests.gateway.dialects.test_chat_input import parsed
from tests.gateway.fake_routes import PROVIDER_SECRET, counted_route
from tests.gateway.provider import Behaviour, Provider, Received, Reply
from tests.gateway.stack import Stack

PROSE = "Every request is reserved at its worst possible cost before it is forwarded. "
MESSAGES = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": PROSE * 50}]
TOKENS = 900
COUNTED_MAX = TOKENS + TOKENS // MARGIN_SHARE + MARGIN_TOKENS


def counts(answer: bytes = b'{"input_tokens": %d}' % TOKENS, status: int = 200) -> Behaviour:
    """A provider that counts, and serves all else."""
    serve = answers(prompt=TOKENS)

    async def behave(received: Received, reply: Reply) -> None:
        if received.target.endswith("count_tokens"):
            reply.whole(status, answer)
        else:
            await serve(received, reply)

    return behave


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider(counts())
    await provider.start()
    yield provider
    await provider.stop()


@pytest.fixture
async def route(provider: Provider) -> AsyncIterator[Route]:
    upstream = PooledUpstream()
    yield counted_route("counted", provider.origin, upstream)
    await upstream.close()


Count = Callable[..., "asyncio.Task[int | None]"]


@pytest.fixture
def count(route: Route) -> Count:
    """Counts one user message in a worker of its own."""
    counting = InputCounting()

    def one(content: str = PROSE * 50, of: Route = route) -> "asyncio.Task[int | None]":
        call = parsed([{"role": "user", "content": content}])
        return asyncio.create_task(counting.tokens_max(CHAT, call, of))

    return one


async def test_the_provider_s_count_bounds_the_input(
    count: Count, route: Route, provider: Provider
) -> None:
    """A margin on top, and what surrounds the texts; far below the bytes. The question has the
    texts and the key, and goes where the counter is."""
    tokens = await count()
    assert tokens is not None
    assert COUNTED_MAX < tokens < COUNTED_MAX + 150
    asked = provider.last
    assert (asked.method, asked.target) == ("POST", "/base/v1/messages/count_tokens")
    assert asked.headers["x-api-key"] == PROVIDER_SECRET
    assert asked.json["model"] == "claude-x"
    assert asked.json["messages"] == [{"role": "user", "content": f"user\n{PROSE * 50}"}]
    assert PROVIDER_SECRET not in repr(route)


async def test_the_same_input_is_asked_for_once(
    count: Count, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are remembered by what was asked, the last ones only."""
    monkeypatch.setattr(provider_counting, "KEPT_MAX", 2)
    first = [await count(text) for text in ("a", "b", "a")]
    assert first[0] == first[2]
    assert len(provider.received) == 2
    for text in ("c", "a", "b"):  # b is the one that was longest unused
        await count(text)
    assert len(provider.received) == 4


async def test_a_route_of_the_counter_s_own_format_is_asked_about_as_it_is(
    route: Route, count: Count, provider: Provider
) -> None:
    """The request's own fields, not its texts; nothing is added for what stands around."""
    assert route.counter is not None
    native = dataclasses.replace(
        route, counter=dataclasses.replace(route.counter, counts_request=True)
    )
    assert await count(of=native) == COUNTED_MAX
    assert provider.last.json["messages"] == [{"role": "user", "content": PROSE * 50}]


FAILURES = {
    "refused": counts(status=401),
    "broken": counts(status=500, answer=b"<html>"),
    "negative": counts(answer=b'{"input_tokens": -1}'),
    "endless": counts(answer=b'{"input_tokens": 1}' + b" " * 20_000),
    "silent": silent(),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_counter_that_fails_is_as_if_there_was_none(
    name: str, route: Route, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, without the key; and once more when it answers again."""
    provider.behaviour = FAILURES[name]
    counting = ProviderCounting(answer_s_max=0.1, pause_s=0)
    call = parsed(MESSAGES)
    with caplog.at_level(logging.WARNING):
        assert [await counting.tokens_max(CHAT, call, route) for _ in range(2)] == [None, None]
        provider.behaviour = counts()
        assert await counting.tokens_max(CHAT, call, route) is not None
    assert [each.getMessage().split(" (")[0] for each in caplog.records] == [
        "the input counter of counted fails",
        "the input counter of counted answers again",
    ]
    assert PROVIDER_SECRET not in caplog.text
    assert len(provider.received) == 3


async def test_a_counter_that_has_failed_is_left_alone_for_a_while(
    route: Route, provider: Provider
) -> None:
    """Requests do not wait for it one after the other."""
    provider.behaviour = FAILURES["broken"]
    counting = ProviderCounting()
    call = parsed(MESSAGES)
    assert await counting.tokens_max(CHAT, call, route) is None
    assert not counting.asks(route)
    assert await counting.tokens_max(CHAT, call, route) is None
    assert len(provider.received) == 1
    other = dataclasses.replace(route, name="another")
    assert counting.asks(other)


async def test_where_the_provider_does_not_count_its_tokenizer_does(
    route: Route, count: Count, provider: Provider
) -> None:
    """A model whose tokenizer is known has a second bound, below its bytes."""
    provider.behaviour = FAILURES["broken"]
    known = dataclasses.replace(route, model="gpt-4o")
    tokens = await count(of=known)
    assert tokens is not None
    assert tokens < len(PROSE * 50) / 3


async def test_few_are_asked_at_a_time(count: Count, provider: Provider) -> None:
    """Who comes while as many as may be are asked keeps the byte bound, and does not wait."""
    gate = asyncio.Event()
    provider.behaviour = held(gate, counts())
    first = [count(f"text {n}") for n in range(ASKING_MAX)]
    await provider.arrivals(ASKING_MAX)
    assert await count("one more") is None
    gate.set()
    assert None not in await asyncio.gather(*first)
    assert await count("one more") is not None


async def test_a_budget_that_refuses_the_bytes_grants_the_provider_s_count(stack: Stack) -> None:
    """The whole way: counted, reserved by the count, forwarded, settled below it; a quote says the
    same, and the answer of the counter is asked for once."""
    secret = await stack.key()
    await stack.set_budget("research", {"limits": [{"tokens": 2_000}], "on_exceed": "refuse"})
    stack.provider.behaviour = counts()
    fields: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 500}
    quoted = await stack.quote(secret, "counted", **fields)
    assert quoted["fits"] is True
    answer = await stack.chat(secret, "counted", **fields)
    assert answer.status_code == 200, answer.text
    (asked,) = await stack.ledger.requests()
    reserved = json.loads(asked.event)["input_tokens_max"]
    assert COUNTED_MAX < reserved == quoted["input_tokens_max"] < COUNTED_MAX + 200
    assert [each.target.rpartition("/")[2] for each in stack.provider.received] == [
        "count_tokens",
        "completions",
    ]
    await stack.ledger.at_rest()


async def test_what_fits_by_its_bytes_or_cannot_be_seen_is_not_asked_about(stack: Stack) -> None:
    """Most requests cost the provider no question; a file counts as the window, whatever a counter
    says of the text beside it."""
    secret = await stack.key(budget=[{"tokens": 100_000}])
    stack.provider.behaviour = counts()
    assert (await stack.chat(secret, "counted", messages=MESSAGES)).status_code == 200
    file = {"type": "file", "file": {"file_id": "file-1"}}
    unseen = [*MESSAGES, {"role": "user", "content": [file]}]
    assert (await stack.chat(secret, "counted", messages=unseen)).status_code == 402
    assert len(stack.provider.received) == 1
    await stack.ledger.at_rest()


async def test_a_budget_refuses_what_a_failing_counter_cannot_help(stack: Stack) -> None:
    """The byte bound holds, and nothing is forwarded."""
    secret = await stack.key(budget=[{"tokens": 2_000}])
    stack.provider.behaviour = counts(status=503)
    answer = await stack.chat(secret, "counted", messages=MESSAGES, max_tokens=500)
    assert answer.status_code == 402
    assert [each.target for each in stack.provider.received] == ["/base/v1/messages/count_tokens"]
    assert await stack.ledger.requests() == []
