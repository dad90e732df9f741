"""Chat completions end to end: what the client gets, what the provider gets, what is booked."""

import json
from decimal import Decimal
from typing import Any

import pytest

from gateway.options import GatewayOptions
from tests.gateway.behaviours import (
    DONE,
    answers,
    calls_tool,
    plain_body,
    streams,
    usage_event,
    usage_text,
    word_events,
)
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD, PROVIDER_SECRET
from tests.gateway.ledger_view import charged, held
from tests.gateway.stack import GREETING, Stack

COST_NUSD = 11 * INPUT_NUSD + 7 * OUTPUT_NUSD
COST_USD = Decimal("0.000025")
CHUNK_SIZES = [1, 7, 64, 10**6]


def inserted(got: bytes, served: bytes) -> bytes:
    """What was put into the served bytes at one place; fails where anything else differs."""
    pairs = zip(got, served, strict=False)
    before = next((at for at, (one, other) in enumerate(pairs) if one != other), len(served))
    after = len(served) - before
    assert got[len(got) - after :] == served[before:], "bytes of the provider were changed"
    return got[before : len(got) - after]


def cut_up(stream: bytes, size: int) -> list[bytes]:
    """A stream in pieces of `size` bytes."""
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def usage_of(stream: bytes) -> list[dict[str, object]]:
    """The usage objects in a stream, money as Decimal."""
    found = []
    for event in stream.split(b"\n\n"):
        if event.startswith(b"data: {"):
            usage = json.loads(event[6:], parse_float=Decimal).get("usage")
            found += [usage] if usage else []
    return found


async def test_a_plain_answer_passes_byte_exact_but_for_its_cost(stack: Stack) -> None:
    """The client gets the provider's bytes, with `usage.cost` and nothing else put in."""
    secret = await stack.key(budget=[{"usd": "1"}])
    answer = await stack.chat(secret)
    assert answer.status_code == 200
    assert b'"cost"' in inserted(answer.content, plain_body(usage_text(11, 7)))
    usage = json.loads(answer.content, parse_float=Decimal)["usage"]
    assert usage["cost"] == COST_USD
    assert answer.headers["content-type"].startswith("application/json")
    assert await stack.ledger.spent() == COST_NUSD
    await stack.ledger.at_rest()


async def test_usage_cost_can_be_turned_off(make_stack: MakeStack) -> None:
    """With `usage_cost: false` the client gets the provider's bytes, and the cost in a header."""
    stack = await make_stack(GatewayOptions(usage_cost=False))
    secret = await stack.key(budget=[{"usd": "1"}])
    answer = await stack.chat(secret)
    assert answer.content == plain_body(usage_text(11, 7))
    assert Decimal(answer.headers["x-comptroller-cost-usd"]) == COST_USD
    streamed = await stack.chat(secret, stream=True, stream_options={"include_usage": True})
    assert streamed.content == b"".join([*word_events(), usage_event(usage_text(11, 7)), DONE])
    await stack.ledger.at_rest()


@pytest.mark.parametrize("size", CHUNK_SIZES)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
async def test_a_client_that_did_not_ask_for_usage_sees_none(
    stack: Stack, size: int, line_end: bytes
) -> None:
    """Whatever the chunks are, the stream is the provider's without the usage chunk, and is
    settled by that chunk."""
    secret = await stack.key(budget=[{"usd": "1"}])
    whole = b"".join([*word_events(), usage_event(usage_text(11, 7)), DONE])
    shown = b"".join([*word_events(), DONE])
    stack.provider.behaviour = streams(cut_up(whole.replace(b"\n", line_end), size))
    answer = await stack.chat(secret, stream=True)
    assert answer.content == shown.replace(b"\n", line_end)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert await stack.ledger.spent() == COST_NUSD
    await stack.ledger.at_rest()


@pytest.mark.parametrize("size", CHUNK_SIZES)
async def test_a_client_that_asked_for_usage_gets_its_cost_in_the_last_chunk(
    stack: Stack, size: int
) -> None:
    """The stream is the provider's, with the cost in the usage of its last chunk."""
    secret = await stack.key(budget=[{"usd": "1"}])
    whole = b"".join([*word_events(), usage_event(usage_text(11, 7)), DONE])
    stack.provider.behaviour = streams(cut_up(whole, size))
    answer = await stack.chat(secret, stream=True, stream_options={"include_usage": True})
    assert b'"cost"' in inserted(answer.content, whole)
    (usage,) = usage_of(answer.content)
    assert usage["cost"] == COST_USD
    assert usage["completion_tokens"] == 7
    await stack.ledger.at_rest()


async def test_usage_in_the_chunk_that_finishes_is_priced_too(stack: Stack) -> None:
    """Servers that write the usage into the finishing chunk are settled by it, and a client that
    asked for usage finds its cost there."""
    secret = await stack.key(budget=[{"usd": "1"}])
    usage = usage_text(11, 7).replace(b"\n", b"")
    last = word_events()[-1].replace(b'"usage": null', b'"usage": ' + usage)
    stack.provider.behaviour = streams([*word_events()[:-1], last, DONE])
    answer = await stack.chat(secret, stream=True, stream_options={"include_usage": True})
    assert await stack.ledger.spent() == COST_NUSD
    assert usage_of(answer.content)[-1].get("cost") == COST_USD
    await stack.ledger.at_rest()


@pytest.mark.parametrize(
    "before",
    [b": ping\n", b"event: message\n", b"id: 7\nretry: 1\n"],
    ids=["comment", "event", "id"],
)
@pytest.mark.parametrize("asked", [False, True])
async def test_events_may_have_other_fields(stack: Stack, before: bytes, asked: bool) -> None:
    """Comments, `event`, `id` and `retry` lines are part of the format (WHATWG HTML, 9.2.6): the
    usage beside them is found, booked, and hidden or shown as anywhere."""
    secret = await stack.key(budget=[{"usd": "1"}])
    events = [before + event for event in (*word_events(), usage_event(usage_text(11, 7)), DONE)]
    stack.provider.behaviour = streams(events)
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
    answer = await stack.chat(secret, stream=True, **options)
    assert await stack.ledger.spent() == COST_NUSD
    assert answer.content.count(b'"prompt_tokens"') == asked
    assert answer.content.count(b'"cost"') == asked
    assert b"upstream_error" not in answer.content
    await stack.ledger.at_rest()


async def test_a_comment_behind_the_end_is_no_broken_stream(stack: Stack) -> None:
    """What a server still says after `[DONE]` does not make a whole answer look broken."""
    secret = await stack.key(budget=[{"usd": "1"}])
    events = [*word_events(), usage_event(usage_text(11, 7))]
    stack.provider.behaviour = streams([*events, DONE + b": goodbye" * 8 + b"\n\n"])
    answer = await stack.chat(secret, stream=True)
    assert b"upstream_error" not in answer.content
    assert await stack.ledger.spent() == COST_NUSD
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
async def test_the_provider_gets_the_granted_cap_and_nothing_of_ours(
    stack: Stack, stream: bool
) -> None:
    """What is forwarded is what was priced: the upstream's model name, the cap, the request for
    usage, all other values as they were; no key, scope or header of the client's."""
    secret = await stack.key(budget=[{"usd": "1"}])
    document = {
        "model": "plain",
        "messages": GREETING,
        "stream": stream,
        "max_completion_tokens": 900,
        "max_tokens": 800,
        "temperature": 0.3,
        "metadata": {"a": [1, 2.50, None]},
        "logit_bias": {"50256": -100},
    }
    headers = {
        "x-api-key": secret,
        "x-private": "mine",
        "cookie": "a=b",
        "openai-organization": "o",
    }
    answer = await stack.client.post("/v1/chat/completions", json=document, headers=headers)
    assert answer.status_code == 200
    got = stack.provider.last
    forwarded = got.json
    assert forwarded.pop("model") == "upstream-model"
    assert forwarded.pop("max_tokens") == 800
    assert "max_completion_tokens" not in forwarded
    expected = {"include_usage": True} if stream else None
    assert forwarded.pop("stream_options", None) == expected
    assert forwarded == {k: v for k, v in document.items() if k in forwarded}
    assert set(forwarded) == {"messages", "stream", "temperature", "metadata", "logit_bias"}
    assert got.target == "/base/v1/chat/completions"
    assert got.headers["authorization"] == f"Bearer {PROVIDER_SECRET}"
    allowed = {"host", "content-type", "content-length", "authorization", "accept-encoding"}
    assert set(got.headers) <= allowed
    everything = got.head + got.body
    for ours in (secret, stack.organisation, "comptroller", "mine"):
        assert ours.encode() not in everything
    await stack.ledger.at_rest()


async def test_other_stream_options_stay(stack: Stack) -> None:
    """Only `include_usage` is written; a client's other stream options reach the provider."""
    secret = await stack.key(budget=[{"usd": "1"}])
    asked = {"include_usage": False, "include_obfuscation": False}
    await stack.chat(secret, stream=True, stream_options=asked)
    options = stack.provider.last.json["stream_options"]
    assert options == {"include_usage": True, "include_obfuscation": False}
    await stack.ledger.at_rest()


async def test_a_newer_model_gets_its_own_name_of_the_cap(stack: Stack) -> None:
    """A provider that obeys `max_completion_tokens` gets the grant under that name, alone."""
    secret = await stack.key(budget=[{"usd": "1"}])
    await stack.chat(secret, "newer", max_tokens=77)
    forwarded = stack.provider.last.json
    assert forwarded["max_completion_tokens"] == 77
    assert "max_tokens" not in forwarded
    await stack.ledger.at_rest()


async def test_without_a_cap_the_default_is_granted_not_the_models_maximum(stack: Stack) -> None:
    """A client that sends no cap gets 8,192 tokens, or what its budget says."""
    secret = await stack.key(budget=[{"usd": "1"}])
    await stack.chat(secret)
    assert stack.provider.last.cap == 8_192
    document = {"limits": [{"usd": "1"}], "output_tokens_default": 300}
    await stack.set_budget("research", document)
    await stack.chat(secret)
    assert stack.provider.last.cap == 300
    await stack.ledger.at_rest()


async def test_the_headers_say_what_was_reserved_booked_and_left(stack: Stack) -> None:
    """Each header of an answer has the exact value that the ledger has."""
    secret = await stack.key(budget=[{"usd": "0.5"}, {"requests": 10, "window": "minute"}])
    await stack.set_budget("research", [{"usd": "0.25"}, {"tokens": 100_000}])
    answer = await stack.chat(secret, max_tokens=100)
    headers = answer.headers
    entry, event = await stack.ledger.ending()
    assert headers["x-comptroller-request-id"] == entry.id == event["request_id"]
    assert Decimal(headers["x-comptroller-reserved-usd"]) * 10**9 == held(entry)
    assert Decimal(headers["x-comptroller-cost-usd"]) == COST_USD
    assert headers["x-comptroller-scope"] == stack.scope("research")
    assert Decimal(headers["x-comptroller-remaining-usd"]) == Decimal("0.25") - COST_USD
    assert "x-comptroller-max-output-tokens" not in headers
    assert headers["x-ratelimit-limit-requests"] == "10"
    assert headers["x-ratelimit-remaining-requests"] == "9"
    assert 0 <= int(headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 60
    assert headers["x-ratelimit-limit-tokens"] == "100000"
    assert charged(entry) == COST_NUSD
    await stack.ledger.at_rest()


async def test_remaining_tokens_include_what_came_back(stack: Stack) -> None:
    """`x-ratelimit-remaining-tokens` of a whole answer is what the budget then has free."""
    secret = await stack.key(budget=[{"tokens": 100_000}])
    answer = await stack.chat(secret, max_tokens=1_000)
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(100_000 - 18)
    await stack.ledger.at_rest()


async def test_a_streams_headers_come_before_its_cost_is_known(stack: Stack) -> None:
    """A stream's head names the reservation and what is left beside it, and no cost."""
    secret = await stack.key(budget=[{"usd": "0.25"}])
    answer = await stack.chat(secret, stream=True, max_tokens=100)
    entry, _ = await stack.ledger.ending()
    reserved = Decimal(held(entry)) / 10**9
    assert "x-comptroller-cost-usd" not in answer.headers
    assert Decimal(answer.headers["x-comptroller-reserved-usd"]) == reserved
    assert Decimal(answer.headers["x-comptroller-remaining-usd"]) == Decimal("0.25") - reserved
    assert answer.headers["x-comptroller-request-id"] == entry.id
    await stack.ledger.at_rest()


async def test_a_lowered_grant_is_told(stack: Stack) -> None:
    """Where the budget allows less than was asked, the provider's cap is the header's."""
    secret = await stack.key(budget=[{"usd": "0.01"}])
    answer = await stack.chat(secret, max_tokens=16_000)
    lowered = int(answer.headers["x-comptroller-max-output-tokens"])
    assert 1_024 <= lowered < 5_000
    assert stack.provider.last.cap == lowered
    await stack.ledger.at_rest()


async def test_each_choice_is_reserved(stack: Stack) -> None:
    """`n` choices reserve n times the output cap."""
    secret = await stack.key(budget=[{"usd": "1"}])
    one = await stack.quote(secret, max_tokens=1_000)
    await stack.chat(secret, max_tokens=1_000, n=3)
    entry, _ = await stack.ledger.ending()
    assert held(entry) == one["reserved_nusd"] + 2 * 1_000 * OUTPUT_NUSD
    await stack.ledger.at_rest()


async def test_the_reservation_bounds_the_input_by_its_bytes(stack: Stack) -> None:
    """Input is reserved at one token for each UTF-8 byte at least, also of its NFKC form."""
    secret = await stack.key(budget=[{"usd": "1"}])
    ligature = "\ufdfa" * 100  # one character of 3 bytes, 33 bytes after NFKC
    for text in ("a" * 5_000, "\u2603" * 2_000, ligature):
        messages = [{"role": "user", "content": text}]
        quoted = await stack.quote(secret, max_tokens=1, messages=messages)
        bytes_max = {5_000: 5_000, 2_000: 6_000, 100: 3_300}[len(text)]
        assert quoted["reserved_nusd"] >= bytes_max * INPUT_NUSD
        assert quoted["input_tokens_max"] >= bytes_max
    await stack.ledger.at_rest()


async def test_tool_calls_pass_streamed_and_plain(stack: Stack) -> None:
    """An answer that calls a tool reaches the client whole, and is booked."""
    secret = await stack.key(budget=[{"usd": "1"}])
    stack.provider.behaviour = calls_tool()
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    plain = await stack.chat(secret, tools=tools, tool_choice="auto")
    assert plain.json()["choices"][0]["message"]["tool_calls"][0]["id"] == "call_1"
    assert stack.provider.last.json["tools"] == tools
    streamed = await stack.chat(secret, tools=tools, stream=True)
    assert streamed.content.count(b'"tool_calls"') >= 3
    assert await stack.ledger.spent() == 2 * (30 * INPUT_NUSD + 9 * OUTPUT_NUSD)
    await stack.ledger.at_rest()


async def test_a_surface_that_is_not_metered_is_refused(stack: Stack) -> None:
    """`/v1/batches` and other routes that nobody prices are 404 with a body that says what is
    served, and are not forwarded."""
    secret = await stack.key(budget=[{"usd": "1"}])
    for path in ("/v1/batches", "/v1/audio/speech", "/v1/images", "/chat/completions", "/"):
        answer = await stack.call(secret, {"model": "plain", "messages": GREETING}, path)
        assert answer.status_code == 404, path
        assert answer.headers["x-should-retry"] == "false"
        assert "/v1/chat/completions" in answer.json()["error"]["message"]
    assert stack.provider.received == []


async def test_many_answers_book_the_sum_of_what_was_billed(stack: Stack) -> None:
    """Over many calls the books hold exactly what the provider would put on its bill."""
    secret = await stack.key(budget=[{"usd": "1"}])
    for n in range(30):
        stack.provider.behaviour = answers(prompt=n, completion=3 * n)
        answer = await stack.chat(secret, stream=bool(n % 2))
        assert answer.status_code == 200
    billed = [received.billed for received in stack.provider.received]
    owed = sum(prompt * INPUT_NUSD + output * OUTPUT_NUSD for prompt, output in billed)
    assert await stack.ledger.spent() == owed
    await stack.ledger.at_rest()


async def test_what_is_priced_inside_a_message_is_what_is_forwarded(stack: Stack) -> None:
    """A key that is there twice inside a message reaches the provider once, as it was priced:
    parsers disagree on which of two counts."""
    secret = await stack.key(budget=[{"usd": "1"}])
    long = "y" * 5_000
    body = (
        b'{"model":"plain","messages":[{"role":"user","content":"'
        + long.encode()
        + b'","content":"x"}]}'
    )
    answer = await stack.client.post(
        "/v1/chat/completions", content=body, headers={"authorization": f"Bearer {secret}"}
    )
    assert answer.status_code == 200
    assert long not in stack.provider.last.body.decode()
    await stack.ledger.at_rest()


@pytest.mark.parametrize("number", ["1e999", "9" * 5_000])
async def test_numbers_out_of_range_are_no_fault_of_ours(stack: Stack, number: str) -> None:
    """A number that no double holds, beside an escape or a cache mark, is forwarded or refused,
    never a 500."""
    secret = await stack.key(budget=[{"usd": "1"}])
    body = (
        '{"model":"plain","metadata":{"n":%s},"messages":[{"role":"user","content":"\\u00e9"}],'
        '"cache_control":{"type":"ephemeral"}}'
    ).replace("%s", number)
    answer = await stack.client.post(
        "/v1/chat/completions", content=body, headers={"authorization": f"Bearer {secret}"}
    )
    assert answer.status_code in (200, 400)
    await stack.ledger.at_rest()


async def test_unknown_fields_count_as_the_context_window(stack: Stack) -> None:
    """A field that this version does not know may bring content that nobody has seen."""
    secret = await stack.key(budget=[{"usd": "1"}])
    assert (await stack.chat(secret, max_tokens=1)).status_code == 200
    assert (await stack.chat(secret, max_tokens=1, unheard_of=True)).status_code == 200
    plain, unknown = await stack.ledger.requests()
    assert int(unknown.counters[2]) > 100 * int(plain.counters[2])
    await stack.ledger.at_rest()
