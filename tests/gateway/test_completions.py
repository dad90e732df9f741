"""POST /v1/completions through a whole gateway: a batch is reserved for every answer that it has
made, streams pass as they come, and a small budget is never crossed."""

import asyncio
import json
from typing import Any

import pytest

from tests.gateway.behaviours import DONE, held, streams, usage_text
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.provider_text import (
    COMPLETED_NUSD,
    COMPLETIONS,
    TEXTS,
    completes,
    completion_body,
    spent,
    text_event,
    text_usage_event,
    uses_all,
)
from tests.gateway.stack import Stack
from tests.gateway.wire import Wire, post, request_bytes

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCUMENT: dict[str, Any] = {"model": "complete", "prompt": "Once", "max_tokens": 50}
INPUT_BOUND = 4 + 4
BOUND_NUSD = INPUT_BOUND * INPUT_NUSD + 50 * OUTPUT_NUSD
WORDS = b"".join(map(text_event, TEXTS)) + text_event("", "stop")


@pytest.fixture
def stack(text_stack: Stack) -> Stack:
    """Its provider answers well, unless a test says otherwise; each test has a key of its own."""
    text_stack.provider.behaviour = completes()
    return text_stack


async def quoted(stack: Stack, secret: str, **fields: object) -> dict[str, Any]:
    return await stack.quoted(secret, DOCUMENT | fields, COMPLETIONS)


async def test_an_answer_passes_byte_for_byte_with_its_cost(stack: Stack) -> None:
    """And is booked at what the provider says."""
    secret = await stack.key("passes", [{"usd": "1"}])
    before = await spent(stack)
    answer = await stack.call(secret, DOCUMENT, COMPLETIONS)
    usage = usage_text(11, 7)
    priced = usage[:-1] + b',"cost":0.000025}'
    assert answer.content == completion_body(usage).replace(usage, priced)
    assert stack.provider.last.target == "/base/v1/completions"
    assert stack.provider.last.json == DOCUMENT | {"model": "upstream-model"}
    assert await spent(stack) - before == COMPLETED_NUSD


@pytest.mark.parametrize("wants_usage", [False, True])
async def test_a_stream_passes_as_it_comes(stack: Stack, wants_usage: bool) -> None:
    """The usage, which the gateway always asks for, only to who asked, with the cost in it."""
    secret = await stack.key("streams", [{"usd": "1"}])
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    before = await spent(stack)
    answer = await stack.call(secret, DOCUMENT | {"stream": True} | options, COMPLETIONS)
    usage = text_usage_event(usage_text(11, 7)) if wants_usage else b""
    priced = usage.replace(b'"usage": {', b'"usage": {"cost":0.000025,')
    assert answer.content == WORDS + priced + DONE
    assert stack.provider.last.json["stream_options"] == {"include_usage": True}
    assert await spent(stack) - before == COMPLETED_NUSD


async def test_a_batch_is_reserved_for_all_that_it_makes(stack: Stack) -> None:
    """Each prompt once, and of each as many answers as are made; each prompt has a window of its
    own, and the model's limit bounds each."""
    secret = await stack.key("batch", [{"usd": "1"}])
    prompts, made = ["one", "two", "three"], 4
    fields = {"prompt": prompts, "n": 2, "best_of": made, "max_tokens": 10}
    found = await quoted(stack, secret, **fields)
    reserved = (11 + 3 * 4) * INPUT_NUSD + 3 * made * 10 * OUTPUT_NUSD
    assert found["reserved_nusd"] == reserved
    stack.provider.behaviour = uses_all(11 + 3 * 4)
    before = await spent(stack)
    assert (await stack.call(secret, DOCUMENT | fields, COMPLETIONS)).status_code == 200
    assert await spent(stack) - before == reserved
    long = await quoted(stack, secret, model="thin", prompt=["x" * 1_000] * 3, max_tokens=1_000)
    assert (long["input_tokens_max"], long["output_tokens_max"]) == (3 * 64, 64)
    unseen = await quoted(stack, secret, model="thin", prompt=["x", "y"], tomorrow=1)
    assert unseen["input_tokens_max"] == 2 * 64


async def test_without_a_cap_it_is_that_of_the_interface(stack: Stack) -> None:
    """The provider is sent what it would have assumed."""
    secret = await stack.key("default", [{"usd": "1"}])
    document = {"model": "complete", "prompt": "Once"}
    assert (await stack.call(secret, document, COMPLETIONS)).status_code == 200
    assert stack.provider.last.cap == 16
    assert (await stack.call(secret, DOCUMENT | {"max_tokens": 0}, COMPLETIONS)).status_code == 200
    assert stack.provider.last.cap == 0


async def test_an_echo_is_no_output_beyond_the_grant(stack: Stack) -> None:
    """A server that streams the prompt token by token is not cut for it."""
    secret = await stack.key("echo", [{"usd": "1"}])
    prompt = "x" * 1_000
    usage = text_usage_event(usage_text(1_000, 1))
    events = [*(text_event("x") for _ in range(1_000)), text_event("y", "length"), usage, DONE]
    stack.provider.behaviour = streams(events)
    fields = {"prompt": prompt, "echo": True, "stream": True, "max_tokens": 1}
    answer = await stack.call(secret, DOCUMENT | fields, COMPLETIONS)
    assert answer.content.endswith(DONE)
    assert b"beyond" not in answer.content
    assert answer.content.count(b'"x"') == 1_000


async def test_fifty_at_once_never_cross_a_small_budget(stack: Stack) -> None:
    """Exactly as many are forwarded as the budget is worth at what they can cost."""
    worth = 7
    await stack.set_budget(
        "burst", {"limits": [{"usd": f"0.{worth * BOUND_NUSD:09d}"}], "on_exceed": "refuse"}
    )
    secret = await stack.key("burst")
    forwarded, before = len(stack.provider.received), await spent(stack)
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, uses_all(INPUT_BOUND))
    calls = asyncio.gather(
        *(
            post(stack.port, secret, DOCUMENT | {"stream": number % 2 == 0}, path=COMPLETIONS)
            for number in range(50)
        )
    )
    await stack.provider.arrivals(forwarded + worth)
    gate.set()
    statuses = [answer.status for answer in await calls]
    assert statuses.count(200) == worth
    assert set(statuses) <= {200, 402, 429}
    assert len(stack.provider.received) == forwarded + worth
    assert await spent(stack) - before == worth * BOUND_NUSD


async def test_a_client_that_hangs_up_pays_for_what_was_streamed(stack: Stack) -> None:
    """By its bytes, as in chat: the provider streams what it bills."""
    secret = await stack.key("gone", [{"usd": "1"}])
    forwarded, before = len(stack.provider.received), await spent(stack)
    stack.provider.behaviour = streams([text_event("four"), text_event("more")], end="silence")
    body = json.dumps(DOCUMENT | {"stream": True}).encode()
    async with Wire(stack.port) as wire:
        await wire.send(request_bytes(secret, body, path=COMPLETIONS))
        await wire.until(b"more")
    await asyncio.wait_for(stack.provider.received[forwarded].gone.wait(), 20)
    await stack.ledger.until_at_rest()
    assert await spent(stack) - before == INPUT_BOUND * INPUT_NUSD + 8 * OUTPUT_NUSD


@pytest.mark.parametrize("end", ["whole", "close", "reset"])
async def test_a_stream_without_its_end_is_an_error_to_the_client(stack: Stack, end: str) -> None:
    """Never taken for a whole answer."""
    secret = await stack.key("broken", [{"usd": "1"}])
    stack.provider.behaviour = streams([text_event("four")], end=end)
    answer = await stack.call(secret, DOCUMENT | {"stream": True}, COMPLETIONS)
    assert DONE not in answer.content
    assert b'data: {"error"' in answer.content


HOSTILE: list[Any] = [None, True, 1, 1.5, -1, "", "x", [], {}, [None], [{}], [[]], {"a": 1}]


@pytest.mark.parametrize(
    "name",
    [
        *("model", "prompt", "suffix", "stream", "stream_options", "n", "best_of", "max_tokens"),
        *("echo", "logprobs", "stop", "tomorrow"),
    ],
)
async def test_every_wrong_type_is_answered_clearly(stack: Stack, name: str) -> None:
    """A 200 or a 4xx; never a 500."""
    secret = await stack.key("hostile", [{"usd": "100"}])
    for value in HOSTILE:
        answer = await stack.call(secret, DOCUMENT | {name: value}, COMPLETIONS)
        assert answer.status_code == 200 or 400 <= answer.status_code < 500, (name, value)
