"""The path of responses: what the provider gets is what was priced, what the client gets is what
the provider said and what it cost, and a budget holds whatever is asked."""

import asyncio
import json
from typing import Any

import pytest

from gateway.dialects import RESPONSES
from gateway.dialects.responses import OUTPUT_TOKENS_LEAST
from tests.gateway.behaviours import says, streams
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.provider_responses import (
    event,
    first_events,
    last_event,
    message_item,
    responds,
    response_text,
    search_item,
    usage_text,
    uses_all,
    word_events,
)
from tests.gateway.stack import USAGE_NUSD, Stack

PATH = RESPONSES.endpoint
SEARCH = [{"type": "web_search"}]
USD = [{"usd": "1"}]
SEARCH_NUSD = 10_000_000


async def respond(stack: Stack, secret: str, model: str = "plain", **fields: Any) -> Any:
    """One call with a greeting, unless `input` says otherwise."""
    return await stack.call(secret, {"model": model, "input": "hello there", **fields}, PATH)


@pytest.fixture
async def served(stack: Stack) -> Stack:
    """A stack whose provider speaks responses."""
    stack.provider.behaviour = responds()
    return stack


async def test_a_whole_answer_is_the_providers_with_its_cost(served: Stack) -> None:
    """Byte for byte, but for `usage.cost`; the cap that was granted is in the request."""
    secret = await served.key(budget=USD)
    answer = await respond(served, secret, instructions="be brief", max_output_tokens=50)
    assert answer.status_code == 200
    said = answer.json()
    assert said["usage"].pop("cost") == USAGE_NUSD / 10**9
    assert said == json.loads(response_text([message_item()], usage_text(11, 7)))
    received = served.provider.last
    assert received.target == "/base/v1/responses"
    assert received.json == {
        "model": "upstream-model",
        "input": "hello there",
        "instructions": "be brief",
        "max_output_tokens": 50,
    }
    await served.ledger.at_rest()
    assert await served.ledger.spent() == USAGE_NUSD


async def test_a_stream_is_the_providers_with_its_cost_at_the_end(served: Stack) -> None:
    """All events in their bytes; the cost is in the last one, and is booked before it leaves."""
    secret = await served.key(budget=USD)
    answer = await respond(served, secret, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    last = last_event("response.completed", response_text([message_item()], usage_text(11, 7)))
    before = b"".join((*first_events(), *word_events()))
    assert answer.content.startswith(before)
    tail = json.loads(answer.content[len(before) :].partition(b"data: ")[2])
    assert tail["response"]["usage"].pop("cost") == USAGE_NUSD / 10**9
    assert tail == json.loads(last.partition(b"data: ")[2])
    assert await served.ledger.spent() == USAGE_NUSD
    assert served.provider.last.json["stream"] is True
    await served.ledger.at_rest()


async def test_without_a_cap_the_gateway_writes_one(served: Stack) -> None:
    """And never one below what OpenAI's API takes."""
    secret = await served.key(budget=[{"usd": "1"}])
    await respond(served, secret)
    assert served.provider.last.json["max_output_tokens"] >= OUTPUT_TOKENS_LEAST
    least_nusd = INPUT_NUSD * 90 + OUTPUT_NUSD * OUTPUT_TOKENS_LEAST
    await served.set_budget("poor", {"limits": [{"usd": f"0.000{least_nusd // 1000}"}]})
    poor = await served.key("poor")
    answer = await respond(served, poor, max_output_tokens=OUTPUT_TOKENS_LEAST)
    assert answer.status_code == 200
    assert served.provider.last.json["max_output_tokens"] == OUTPUT_TOKENS_LEAST
    await served.set_budget("poor", {"limits": [{"usd": "0.00009"}], "on_exceed": "clamp"})
    assert (await respond(served, poor, max_output_tokens=1_000)).status_code == 402
    await served.ledger.at_rest()


@pytest.mark.parametrize(
    ("last", "charged"),
    [
        (last_event("response.incomplete", response_text([], usage_text(2, 3), "incomplete")), 8),
        (last_event("response.failed", response_text([], usage_text(2, 3), "failed")), 8),
    ],
)
async def test_what_ends_badly_is_charged_by_its_usage(
    served: Stack, last: bytes, charged: int
) -> None:
    """Incomplete and failed responses say what they used."""
    served.provider.behaviour = streams([*first_events(), *word_events(), last])
    secret = await served.key(budget=USD)
    answer = await respond(served, secret, stream=True)
    assert b'"cost":0.000008' in answer.content
    assert await served.ledger.spent() == charged * 1_000
    await served.ledger.at_rest()


@pytest.mark.parametrize("end", ["whole", "close", "reset"])
async def test_a_stream_that_breaks_off_ends_with_an_error_event(served: Stack, end: str) -> None:
    """Never a clean end: the last event is an error in this surface's shape, and what was streamed
    is charged, not nothing and not all."""
    served.provider.behaviour = streams([*first_events(), *word_events()], end=end)
    secret = await served.key(budget=USD)
    answer = await respond(served, secret, stream=True, max_output_tokens=1_000)
    events = answer.content.split(b"\n\n")
    assert events[-2].startswith(b"event: error\ndata: ")
    said = json.loads(events[-2].partition(b"data: ")[2])
    assert said["type"] == "error"
    assert said["error"]["code"] == said["code"] == "upstream_error"
    spent = await served.ledger.spent()
    assert 0 < spent < 1_000 * OUTPUT_NUSD
    await served.ledger.at_rest()


@pytest.mark.parametrize("streamed", [True, False])
async def test_the_providers_own_error_costs_nothing(served: Stack, streamed: bool) -> None:
    """With its status, or with status 200 before any output; it is passed on as it is."""
    secret = await served.key(budget=USD)
    body = b'{"error":  {"message": "no", "type": "x", "param": null, "code": null}}'
    served.provider.behaviour = says(body, 400)
    answer = await respond(served, secret, stream=streamed)
    assert (answer.status_code, answer.content) == (400, body)
    failed = response_text([], None, "failed", error={"code": "server_error", "message": "no"})
    if streamed:
        failure = event("error", 2, {"code": "server_error", "message": "no", "param": None})
        served.provider.behaviour = streams([*first_events(), failure])
    else:
        served.provider.behaviour = says(failed)
    answer = await respond(served, secret, stream=streamed)
    assert answer.status_code == 200
    assert b"server_error" in answer.content
    assert await served.ledger.spent() == 0
    await served.ledger.at_rest()


async def test_fifty_at_once_never_cross_a_small_budget(served: Stack) -> None:
    """Each uses all that it was granted; together they stay below the limit, and some pass."""
    served.provider.behaviour = uses_all(20)
    limit_nusd = 2_000_000
    secret = await served.key(budget=[{"usd": "0.002"}])
    calls = [respond(served, secret, max_output_tokens=100) for _ in range(50)]
    answers = await asyncio.gather(*calls)
    statuses = {answer.status_code for answer in answers}
    assert statuses <= {200, 402, 429}
    assert 200 in statuses
    assert statuses & {402, 429}
    billed = sum(
        each.billed[0] * INPUT_NUSD + each.billed[1] * OUTPUT_NUSD
        for each in served.provider.received
    )
    assert billed <= limit_nusd
    assert await served.ledger.spent() == billed
    await served.ledger.at_rest()


async def test_a_search_is_reserved_for_and_billed_by_its_fee(served: Stack) -> None:
    """The reservation holds a reading of the context for each call and the fees; the charge is what
    was used."""
    served.provider.behaviour = responds([search_item(), message_item()])
    secret = await served.key(budget=[{"usd": "10"}])
    quoted = await served.call(
        secret,
        {"model": "searching", "input": "x", "tools": SEARCH, "max_output_tokens": 100},
        f"/v1/quote?endpoint={PATH}",
    )
    reserved = quoted.json()["reserved_nusd"]
    assert reserved == 3 * 128_000 * INPUT_NUSD + 2 * SEARCH_NUSD + 100 * OUTPUT_NUSD
    answer = await respond(served, secret, "searching", tools=SEARCH)
    assert answer.json()["usage"]["cost"] == (USAGE_NUSD + SEARCH_NUSD) / 10**9
    assert served.provider.last.json["max_tool_calls"] == 2
    await served.ledger.at_rest()


async def test_a_search_without_a_fee_is_refused_and_says_what_to_do(served: Stack) -> None:
    """A model whose price has no fee for searches takes no search tool."""
    secret = await served.key(budget=[{"usd": "10"}])
    answer = await respond(served, secret, tools=SEARCH)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "model_not_priced"
    assert "search_context_cost_per_query" in error["message"]
    assert "disabled" in error["message"]
    assert served.provider.received == []


async def test_a_refusal_has_the_shape_of_the_surface(served: Stack) -> None:
    """OpenAI's error object, which names the budget."""
    secret = await served.key(budget=[{"usd": "0.000001"}])
    answer = await respond(served, secret)
    assert answer.status_code == 402
    assert answer.headers["x-should-retry"] == "false"
    error = answer.json()["error"]
    assert error["code"] == "budget_exceeded"
    assert "research" in error["message"]
    background = await respond(served, secret, background=True)
    assert background.status_code == 400
    assert "stream" in background.json()["error"]["message"]
    assert served.provider.received == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"),
        ("POST", "/v1/responses/compact"),
    ],
)
async def test_stored_responses_are_not_served_and_the_error_says_why(
    served: Stack, method: str, path: str
) -> None:
    """All keys share the provider's account."""
    secret = await served.key(budget=[{"usd": "1"}])
    headers = {"authorization": f"Bearer {secret}"}
    answer = await served.client.request(method, path, headers=headers)
    assert answer.status_code == 404
    assert "not served" in answer.json()["error"]["message"]
    assert served.provider.received == []


async def test_a_model_of_another_surface_is_named_with_where_it_is_served(served: Stack) -> None:
    """`newer` is served at chat alone."""
    secret = await served.key(budget=[{"usd": "1"}])
    answer = await respond(served, secret, "newer")
    assert answer.status_code == 404
    assert "/v1/chat/completions" in answer.json()["error"]["message"]


async def test_input_tokens_are_counted_by_the_provider_and_cost_nothing(served: Stack) -> None:
    """Forwarded with the provider's name of the model and the operator's key; not billed."""
    body = b'{"object": "response.input_tokens", "input_tokens": 11}'
    served.provider.behaviour = says(body)
    secret = await served.key(budget=[{"usd": "0.000001"}])
    path = f"{PATH}/input_tokens"
    document = {"model": "plain", "input": "hello there", "tools": [{"type": "file_search"}]}
    answer = await served.call(secret, document, path)
    assert (answer.status_code, answer.content) == (200, body)
    assert served.provider.last.target == "/base/v1/responses/input_tokens"
    assert served.provider.last.json == {**document, "model": "upstream-model"}
    assert secret not in str(served.provider.last.headers)
    demo = await served.call(secret, {"model": "demo/small", "input": "hello there"}, path)
    assert demo.json()["object"] == "response.input_tokens"
    assert demo.json()["input_tokens"] > 0
    assert await served.ledger.spent() == 0
    await served.ledger.at_rest()


async def test_input_tokens_are_for_keys_and_for_their_models(served: Stack) -> None:
    """No key, another's model, unknown fields and wrong values get no provider's time; what the
    provider says about the operator's account is not passed on."""
    path = f"{PATH}/input_tokens"
    secret = await served.key(models=("plain",))
    assert (await served.call("ck-nobody", {"model": "plain"}, path)).status_code == 401
    assert (await served.call(secret, {"model": "demo/small"}, path)).status_code == 403
    for fields in ({"api_base": "http://evil.example"}, {"stream": True}, {"tools": "x"}):
        answer = await served.call(secret, {"model": "plain", **fields}, path)
        assert answer.status_code == 400
    assert served.provider.received == []
    served.provider.behaviour = says(b'{"error": "sk-provider-secret-0123456789"}', 401)
    answer = await served.call(secret, {"model": "plain"}, path)
    assert answer.status_code == 401
    assert b"sk-provider" not in answer.content
    served.provider.behaviour = says(b"<html>", 200, "text/html")
    assert (await served.call(secret, {"model": "plain"}, path)).status_code == 502
    headers = {"authorization": f"Bearer {secret}", "x-comptroller-scope": "run-1"}
    named = await served.client.post(path, json={"model": "plain"}, headers=headers)
    assert named.status_code == 403  # the key has no subscopes
    await served.set_state("research", "freeze")
    assert (await served.call(secret, {"model": "plain"}, path)).status_code == 402
