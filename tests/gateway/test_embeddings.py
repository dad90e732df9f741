"""POST /v1/embeddings through a whole gateway: what is read is reserved, booked and told; nothing
else is added, and a small budget is never crossed."""

import asyncio
import json
from typing import Any

import pytest

from budgets.embedded import EmbeddedServer
from gateway.options import GatewayOptions
from tests.gateway.behaviours import ERROR_BODY, held, says
from tests.gateway.fake_routes import INPUT_NUSD
from tests.gateway.provider_text import (
    EMBEDDED_NUSD,
    EMBEDDINGS,
    embedding_body,
    embeds,
    spent,
    text_routes,
)
from tests.gateway.stack import Stack, running_stack
from tests.gateway.wire import post

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCUMENT: dict[str, Any] = {"model": "embed", "input": ["one", "two"]}
BOUND_NUSD = (3 + 3 + 2 * 4) * INPUT_NUSD
PROSE = "Every request is reserved at its worst possible cost before it is forwarded. "


@pytest.fixture
def stack(text_stack: Stack) -> Stack:
    """Its provider answers well, unless a test says otherwise; each test has a key of its own."""
    text_stack.provider.behaviour = embeds()
    return text_stack


async def quoted(stack: Stack, secret: str, **fields: object) -> dict[str, Any]:
    return await stack.quoted(secret, DOCUMENT | fields, EMBEDDINGS)


async def test_an_answer_passes_byte_for_byte_with_its_cost(stack: Stack) -> None:
    """The request goes out without a cap, and the charge is what the provider read."""
    secret = await stack.key("passes", [{"usd": "1"}])
    for encoding in ("float", "base64"):
        before = await spent(stack)
        answer = await stack.call(secret, DOCUMENT | {"encoding_format": encoding}, EMBEDDINGS)
        assert answer.status_code == 200
        sent = stack.provider.last
        assert sent.target == "/base/v1/embeddings"
        expected = DOCUMENT | {"model": "upstream-model", "encoding_format": encoding}
        assert sent.json == expected
        plain = embedding_body(sent.json)
        assert answer.content == plain.replace(b":11 }", b':11 ,"cost":0.000011}')
        assert await spent(stack) - before == EMBEDDED_NUSD


async def test_a_quote_is_the_bytes_of_all_inputs(stack: Stack) -> None:
    """Not of one window: many inputs may each be as long as that, and longer ones are cut in pieces
    by some servers and billed whole."""
    secret = await stack.key("quotes", [{"usd": "1"}])
    assert (await quoted(stack, secret))["reserved_nusd"] == BOUND_NUSD
    long = ["x" * 100] * 10
    found = await quoted(stack, secret, model="thin", input=long)
    assert found["input_tokens_max"] == 10 * (100 + 4)
    assert found["output_tokens_max"] == 0
    assert (await quoted(stack, secret, model="thin", input="x" * 1_000))[
        "input_tokens_max"
    ] == 1004


async def test_what_does_not_fit_by_its_bytes_is_counted(stack: Stack) -> None:
    """Where the tokenizer is published; tokens need no counting."""
    text = PROSE * 20
    secret = await stack.key("counts", [{"usd": f"0.{len(text) * INPUT_NUSD // 3:09d}"}])
    refused = await stack.call(secret, {"model": "embed", "input": text}, EMBEDDINGS)
    assert refused.status_code == 402
    answer = await stack.call(secret, {"model": "known", "input": text}, EMBEDDINGS)
    assert answer.status_code == 200, answer.text
    found = await quoted(stack, secret, model="embed", input=[1] * 100)
    assert found["input_tokens_max"] == 104


async def test_a_refusal_names_what_is_missing_and_nothing_is_sent(stack: Stack) -> None:
    """In OpenAI's shape."""
    secret = await stack.key("refuses", [{"usd": f"0.{BOUND_NUSD - 1:09d}"}])
    forwarded = len(stack.provider.received)
    answer = await stack.call(secret, DOCUMENT, EMBEDDINGS)
    assert answer.status_code == 402
    assert answer.json()["error"]["code"] == "budget_exceeded"
    assert answer.headers["x-should-retry"] == "false"
    assert len(stack.provider.received) == forwarded


async def test_fifty_at_once_never_cross_a_small_budget(stack: Stack) -> None:
    """Exactly as many are forwarded as the budget is worth at what they can cost."""
    worth = 7
    await stack.set_budget(
        "burst", {"limits": [{"usd": f"0.{worth * BOUND_NUSD:09d}"}], "on_exceed": "refuse"}
    )
    secret = await stack.key("burst")
    forwarded = len(stack.provider.received)
    before = await spent(stack)
    usage = b'{"prompt_tokens":14,"total_tokens":14}'  # all that was reserved
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, embeds(usage))
    calls = asyncio.gather(
        *(post(stack.port, secret, DOCUMENT, path=EMBEDDINGS) for _ in range(50))
    )
    await stack.provider.arrivals(forwarded + worth)
    gate.set()
    statuses = [answer.status for answer in await calls]
    assert statuses.count(200) == worth
    assert set(statuses) <= {200, 402, 429}
    assert len(stack.provider.received) == forwarded + worth
    assert await spent(stack) - before == worth * BOUND_NUSD


@pytest.mark.parametrize("usage", [None, b"{}", b'{"prompt_tokens": null}'])
async def test_an_answer_without_usage_costs_what_was_reserved(
    stack: Stack, usage: bytes | None
) -> None:
    """It passes as it came."""
    secret = await stack.key("silent", [{"usd": "1"}])
    stack.provider.behaviour = embeds(usage)
    before = await spent(stack)
    answer = await stack.call(secret, DOCUMENT, EMBEDDINGS)
    assert answer.content == embedding_body(DOCUMENT, usage)
    assert await spent(stack) - before == BOUND_NUSD


async def test_the_provider_s_refusal_costs_nothing(stack: Stack) -> None:
    """An input too long for the model, say; passed on as it is."""
    secret = await stack.key("denied", [{"usd": "1"}])
    stack.provider.behaviour = says(ERROR_BODY, 400)
    before = await spent(stack)
    answer = await stack.call(secret, DOCUMENT, EMBEDDINGS)
    assert (answer.status_code, answer.content) == (400, ERROR_BODY)
    assert await spent(stack) == before


async def test_a_batch_of_many_is_one_request(stack: Stack) -> None:
    """2,048 texts, one reservation; one more is refused with what to do."""
    secret = await stack.key("batch", [{"usd": "1"}, {"requests": 1}])
    texts = [f"text {number}" for number in range(2_048)]
    answer = await stack.call(secret, DOCUMENT | {"input": texts}, EMBEDDINGS)
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 2_048
    assert stack.provider.last.json["input"] == texts
    refused = await stack.call(secret, DOCUMENT | {"input": [*texts, "x"]}, EMBEDDINGS)
    assert refused.status_code == 400
    assert "send several requests" in refused.json()["error"]["message"]


async def test_vectors_that_are_too_many_are_said_to_be(valkey: EmbeddedServer) -> None:
    """Of an answer that does not fit the caller learns why and what helps; what it cost is not
    known, so all that was reserved is booked."""
    options = GatewayOptions(answer_bytes_max=1_000)
    running = running_stack(valkey.socket_path, options=options, more_routes=text_routes)
    async with running as stack:
        secret = await stack.key("large", [{"usd": "1"}])
        stack.provider.behaviour = embeds()
        answer = await stack.call(secret, DOCUMENT | {"input": ["x"] * 100}, EMBEDDINGS)
        assert answer.status_code == 502
        message = answer.json()["error"]["message"]
        assert "1000 bytes" in message
        assert "encoding_format base64" in message
        assert await spent(stack) == 100 * (1 + 4) * INPUT_NUSD
        await stack.ledger.at_rest()


async def test_chat_models_are_not_embedders(stack: Stack) -> None:
    """Who asks at the wrong endpoint is told the right one, both ways."""
    secret = await stack.key("lost", [{"usd": "1"}])
    answer = await stack.call(secret, DOCUMENT | {"model": "plain"}, EMBEDDINGS)
    assert answer.status_code == 404
    assert "at /v1/chat/completions" in answer.json()["error"]["message"]
    answer = await stack.chat(secret, "embed")
    assert answer.status_code == 404
    assert f"at {EMBEDDINGS}" in answer.json()["error"]["message"]


HOSTILE: list[Any] = [None, True, 1, 1.5, "", "x", [], {}, [None], [{}], [[]], {"a": 1}, "x" * 1000]


@pytest.mark.parametrize("name", ["model", "input", "encoding_format", "dimensions", "user", "n"])
async def test_every_wrong_type_is_answered_clearly(stack: Stack, name: str) -> None:
    """A 200 or a 4xx that is JSON; never a 500."""
    secret = await stack.key("hostile", [{"usd": "1"}])
    for value in HOSTILE:
        answer = await stack.call(secret, DOCUMENT | {name: value}, EMBEDDINGS)
        assert answer.status_code == 200 or 400 <= answer.status_code < 500, (name, value)
        json.loads(answer.content)
