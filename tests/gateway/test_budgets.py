"""Budgets hold under parallel calls, at every depth and in every dimension, and starve nobody."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from budgets.keys import Key
from budgets.policy import parse_policy
from gateway.options import GatewayOptions
from tests.gateway.behaviours import answers, echoes_cap, held
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import DEAR_OUTPUT_NUSD, INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.provider import Behaviour
from tests.gateway.stack import GREETING, Stack
from tests.gateway.wire import Answer, burst

CALLS, WORTH, CAP = 500, 100, 200


def documents(count: int, **fields: object) -> list[dict[str, object]]:
    """Chat requests, all alike."""
    return [{"model": "plain", "messages": GREETING, **fields} for _ in range(count)]


def counted(answers_: list[Answer]) -> dict[int, int]:
    """How many of each status."""
    statuses = [answer.status for answer in answers_]
    return {status: statuses.count(status) for status in set(statuses)}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dimension", ["usd", "tokens", "requests"])
async def test_five_hundred_at_once_on_a_budget_of_one_hundred(
    stack: Stack, dimension: str, stream: bool
) -> None:
    """Exactly as many as the budget is worth reach the provider; the others are refused; the
    budget is spent to its last nano-dollar and not above."""
    secret = await stack.key()
    quoted = await stack.quote(secret, max_tokens=CAP)
    tokens, nusd = quoted["input_tokens_max"] + CAP, quoted["reserved_nusd"]
    limits: dict[str, object] = {
        "usd": f"{WORTH * nusd // 10**9}.{WORTH * nusd % 10**9:09d}",
        "tokens": WORTH * tokens,
        "requests": WORTH,
    }
    document = {"limits": [{dimension: limits[dimension]}], "on_exceed": "refuse"}
    await stack.set_budget("research", document)
    stack.provider.behaviour = echoes_cap(quoted["input_tokens_max"])
    found = counted(
        await burst(stack.port, secret, documents(CALLS, max_tokens=CAP, stream=stream))
    )
    assert found[200] == WORTH
    assert set(found) <= {200, 402, 429}
    assert len(stack.provider.received) == WORTH
    assert await stack.ledger.spent() == WORTH * {"usd": nusd, "tokens": tokens}.get(dimension, 1)
    await stack.ledger.at_rest()
    assert (await stack.chat(secret, max_tokens=CAP)).status_code == 402


@pytest.fixture
async def hurried(make_stack: MakeStack) -> Stack:
    """A gateway whose callers wait for others only shortly."""
    return await make_stack(GatewayOptions(wait_ms=200))


async def test_concurrency_is_never_above_its_limit(hurried: Stack) -> None:
    """Of a hundred at once exactly five are in flight; when they have ended others may."""
    stack = hurried
    secret = await stack.key(budget=[{"concurrency": 5}])
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    calls = [asyncio.create_task(stack.chat(secret)) for _ in range(100)]
    await stack.provider.arrivals(5)
    await _all_decided(stack, calls, len(calls))
    assert len(stack.provider.received) == 5
    gate.set()
    statuses = [(await call).status_code for call in calls]
    assert statuses.count(200) >= 5
    assert set(statuses) == {200, 429}
    await stack.ledger.at_rest()


async def _all_decided(
    stack: Stack, calls: Sequence[asyncio.Task[httpx.Response]], count: int
) -> None:
    """Waits until every call has reached the provider or has its answer."""
    changed = asyncio.Event()
    for call in calls:
        call.add_done_callback(lambda _: changed.set())

    def decided() -> int:
        return len(stack.provider.received) + sum(call.done() for call in calls)

    async with asyncio.timeout(15):
        while decided() < count:
            seen = len(stack.provider.received)
            arrival = asyncio.create_task(stack.provider.arrivals(seen + 1))
            change = asyncio.create_task(changed.wait())
            done, pending = await asyncio.wait({arrival, change}, return_when="FIRST_COMPLETED")
            for task in pending:
                task.cancel()
            await asyncio.gather(*done, *pending, return_exceptions=True)
            changed.clear()


async def _fifty_without_a_cap(stack: Stack, then: Behaviour) -> list[int]:
    """Fifty calls without a cap on one dollar, of which the first would take half at face value;
    nobody is answered by the provider before all were decided on."""
    secret = await stack.key(budget=[{"usd": "1"}])
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, then)
    calls = [asyncio.create_task(stack.chat(secret, "dear")) for _ in range(50)]
    await _all_decided(stack, calls, len(calls))
    assert 402 not in {call.result().status_code for call in calls if call.done()}
    gate.set()
    return [(await call).status_code for call in calls]


async def test_a_burst_without_caps_uses_its_budget(hurried: Stack) -> None:
    """Almost no client sends a cap. Fifty at once on one dollar, served by a provider that uses all
    it is granted, spend at least half of it, and more than a few get something."""
    stack = hurried
    statuses = await _fifty_without_a_cap(stack, echoes_cap(1))
    spent = await stack.ledger.spent()
    assert 5 * 10**8 <= spent <= 10**9
    assert statuses.count(200) >= 4
    first = stack.provider.received[0]
    assert first.cap * DEAR_OUTPUT_NUSD <= 10**9
    assert all(received.cap >= 1_024 for received in stack.provider.received)
    await stack.ledger.at_rest()


async def test_nobody_is_refused_for_good_while_money_is_free(hurried: Stack) -> None:
    """The same burst with small true costs: none is 402, and those told to come back are served."""
    stack = hurried
    statuses = await _fifty_without_a_cap(stack, answers(prompt=10, completion=50))
    assert set(statuses) <= {200, 429}
    (secret,) = stack.keys
    for _ in range(statuses.count(429)):
        assert (await stack.chat(secret, "dear")).status_code == 200
    assert await stack.ledger.spent() == 50 * (10 * INPUT_NUSD + 50 * DEAR_OUTPUT_NUSD)
    await stack.ledger.at_rest()


async def test_a_call_that_would_fit_when_another_ends_waits_for_it(make_stack: MakeStack) -> None:
    """What is only held is waited for, in order, before anybody is told to come back: the second
    call is served as soon as the first has settled."""
    stack = await make_stack(GatewayOptions(wait_ms=60_000))
    secret = await stack.key(budget=[{"concurrency": 1}])
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    first = asyncio.create_task(stack.chat(secret))
    await stack.provider.arrivals(1)
    second = asyncio.create_task(stack.chat(secret))
    await stack.until_waiting(1)
    assert not second.done()
    gate.set()
    assert (await first).status_code == 200
    assert (await second).status_code == 200
    await stack.ledger.at_rest()


async def test_each_limit_stops_exactly_what_is_below_it(stack: Stack) -> None:
    """Limits of several depths and windows: the one that is gone stops its subtree, the rest goes
    on, and each counts only its own."""
    await stack.set_budget("", [{"requests": 9}])
    await stack.set_budget("a", [{"requests": 5, "window": "day"}])
    # The one that is gone for longest is named, of two the higher: a week may end with its day.
    await stack.set_budget("a/b", [{"requests": 2}, {"usd": "1", "window": "week"}])
    deep = await stack.key("a/b/c", [{"requests": 100}])
    side = await stack.key("a/x")
    other = await stack.key("z")

    async def served(secret: str, most: int) -> int:
        statuses = [(await stack.chat(secret)).status_code for _ in range(most)]
        assert set(statuses) <= {200, 402}
        assert sorted(statuses) == statuses, "served after it was refused"
        return statuses.count(200)

    assert await served(deep, 4) == 2
    assert await served(side, 5) == 3
    assert await served(other, 6) == 4
    refusals = [
        (await stack.chat(secret)).json()["error"]["message"] for secret in (deep, side, other)
    ]
    for message in refusals:
        assert message.startswith(f"budget of {stack.organisation} ")
    await stack.set_budget("", [{"requests": 20}])
    named = [(await stack.chat(secret)).json() for secret in (deep, side)]
    assert stack.scope("a/b") in named[0]["error"]["message"]
    assert f"{stack.scope('a')} " in named[1]["error"]["message"]
    assert (await stack.chat(other)).status_code == 200
    await stack.ledger.at_rest()


async def test_a_limit_for_models_counts_only_them(stack: Stack) -> None:
    """A limit with `models` stops what its patterns match and nothing else."""
    secret = await stack.key(
        budget=[{"requests": 2, "models": ["dea*", "demo/large"]}, {"requests": 5}]
    )
    assert [(await stack.chat(secret, "dear")).status_code for _ in range(3)] == [200, 200, 402]
    assert (await stack.chat(secret, "demo/large")).status_code == 402
    assert [(await stack.chat(secret)).status_code for _ in range(4)] == [200, 200, 200, 402]
    await stack.ledger.at_rest()


async def test_a_template_binds_each_child_by_itself(stack: Stack) -> None:
    """`per_child` gives every child of a scope its own counter; a child with limits of its own has
    those instead, and a change of the template counts at the next call."""
    template = {"limits": [{"requests": 100}], "per_child": [{"requests": 2, "window": "day"}]}
    await stack.set_budget("users", template)
    await stack.set_budget("users/vip", [{"requests": 5}])
    keys = {name: await stack.key(f"users/{name}") for name in ("ann", "bob", "vip")}
    for name, served in (("ann", 2), ("bob", 2), ("vip", 5)):
        statuses = [(await stack.chat(keys[name])).status_code for _ in range(served + 1)]
        assert statuses == [200] * served + [402], name
    refusal = (await stack.chat(keys["ann"])).json()["error"]["message"]
    assert stack.scope("users/ann") in refusal
    await stack.set_budget("users", {**template, "per_child": [{"requests": 3, "window": "day"}]})
    assert (await stack.chat(keys["ann"])).status_code == 200
    assert (await stack.chat(keys["ann"])).status_code == 402
    await stack.ledger.at_rest()


async def test_two_keys_of_one_scope_share_its_budget(stack: Stack) -> None:
    """A key's budget is its own, the scope's is everybody's."""
    await stack.set_budget("research", [{"requests": 3}])
    one, two = await stack.key(budget=[{"requests": 2}]), await stack.key()
    assert [(await stack.chat(one)).status_code for _ in range(3)] == [200, 200, 402]
    assert [(await stack.chat(two)).status_code for _ in range(2)] == [200, 402]
    await stack.ledger.at_rest()


async def test_organisations_do_not_see_each_other(stack: Stack) -> None:
    """The same scope names in two organisations are two budgets."""
    secret = await stack.key(budget=[{"requests": 1}])
    other = f"{stack.organisation}-2"
    await stack.administration._session.open_organisation(other, create=True)
    second = f"ck-{secrets.token_hex(16)}"
    key = Key("key-1", "key-1", f"{other}/research", 1)
    await stack.keyring.mint(key, second, parse_policy([{"requests": 1}]))
    for each in (secret, second):
        assert [(await stack.chat(each)).status_code for _ in range(2)] == [200, 402]
    await stack.ledger.at_rest()


async def test_a_raised_budget_keeps_what_was_spent(stack: Stack) -> None:
    """Changing the amount of a limit keeps its counter; the next call sees the new amount."""
    secret = await stack.key()
    await stack.set_budget("research", [{"requests": 1}])
    assert [(await stack.chat(secret)).status_code for _ in range(2)] == [200, 402]
    await stack.set_budget("research", [{"requests": 2}])
    assert [(await stack.chat(secret)).status_code for _ in range(2)] == [200, 402]
    await stack.set_budget("research", [{"requests": 1}])
    assert (await stack.chat(secret)).status_code == 402
    await stack.ledger.at_rest()


async def test_clamp_and_refuse(stack: Stack) -> None:
    """`clamp` grants the largest output that fits, `refuse` what was asked or nothing."""
    secret = await stack.key()
    limits = [{"usd": "0.01"}]
    await stack.set_budget("research", {"limits": limits, "on_exceed": "refuse"})
    assert (await stack.chat(secret, max_tokens=10_000)).status_code == 402
    await stack.set_budget("research", {"limits": limits, "on_exceed": "clamp"})
    stack.provider.behaviour = echoes_cap(1)
    assert (await stack.chat(secret, max_tokens=10_000)).status_code == 200
    cap = stack.provider.last.cap
    free = 10**7 - (await stack.ledger.spent())
    assert cap < 5_000
    assert free < 200 * INPUT_NUSD + OUTPUT_NUSD, "the largest that fits was not granted"
    await stack.ledger.at_rest()


@pytest.mark.parametrize(
    "mark", [{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}], ids=["5m", "1h"]
)
@pytest.mark.parametrize("place", ["part", "message", "tool", "top"])
async def test_asked_for_cache_writes_are_reserved_at_their_rate(
    stack: Stack, mark: dict[str, str], place: str
) -> None:
    """A request with `cache_control` can be billed at the cache-write rate, so that is what it
    reserves: the bill for writing its whole input does not exceed the reservation."""
    secret = await stack.key(budget=[{"usd": "1"}])
    text = "x" * 4_000
    message: dict[str, object] = {"role": "user", "content": text}
    extra: dict[str, Any] = {}
    if place == "part":
        message["content"] = [{"type": "text", "text": text, "cache_control": mark}]
    elif place == "message":
        message["cache_control"] = mark
    elif place == "tool":
        tool = {"type": "function", "function": {"name": "f"}, "cache_control": mark}
        extra["tools"] = [tool]
    else:
        extra["cache_control"] = mark
    answer = await stack.chat(secret, messages=[message], max_tokens=1, **extra)
    if answer.status_code == 400:
        return  # refusing what is not priced is as good
    (asked,) = await stack.ledger.requests()
    rate = 2_000 if "ttl" in mark else 1_250
    assert int(asked.counters[2]) >= 4_000 * rate
    await stack.ledger.at_rest()


async def test_unseen_content_reserves_the_context_window(stack: Stack) -> None:
    """An image, audio, a file or a server tool is as much input as the model can take."""
    secret = await stack.key(budget=[{"usd": "1"}])
    url = {"url": "https://example.org/a.png"}
    parts: list[dict[str, object]] = [
        {"type": "image_url", "image_url": url},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "a_kind_of_tomorrow"},
        {"type": "text", "text": "x", "image_url": url},
    ]
    for part in parts:
        quoted = await stack.quote(secret, messages=[{"role": "user", "content": [part]}])
        assert quoted["reserved_nusd"] >= 128_000 * INPUT_NUSD, part
    quoted = await stack.quote(secret, tools=[{"type": "web_search"}])
    assert quoted["reserved_nusd"] >= 128_000 * INPUT_NUSD
