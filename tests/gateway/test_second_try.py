"""The second try: what a budget refuses by its bytes is counted, and granted if its tokens fit."""

import asyncio
import json
from typing import Any

import pytest
from splintr import Tokenizer

from bench.cookbook import messages_tokens
from budgets.ledger import Ledger
from gateway.counting import InputCounting
from gateway.options import GatewayOptions
from tests.gateway.behaviours import answers, held
from tests.gateway.conftest import MakeStack
from tests.gateway.dialects.test_chat_input import image, picture
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.stack import Stack

PROSE = "Every request is reserved at its worst possible cost before it is forwarded. " * 200
MESSAGES = [{"role": "user", "content": PROSE}]
CAP = 500
OUTPUT_COST_NUSD = CAP * OUTPUT_NUSD
# 15,400 bytes, of which OpenAI bills 2,806 tokens: the dollars of 7,000 lie between.
MIDDLE_TOKENS = 7_000
MIDDLE_USD = (MIDDLE_TOKENS * INPUT_NUSD + OUTPUT_COST_NUSD) / 10**9


def billed_tokens() -> int:
    """What OpenAI's API bills for the messages' input."""
    tokenizer = Tokenizer.from_pretrained("o200k_base")
    return messages_tokens(MESSAGES, lambda text: len(tokenizer.encode_ordinary(text)))


@pytest.fixture
def counted_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The model names of the calls that were counted."""
    names: list[str] = []
    plain = InputCounting.tokens_max

    async def noted(self: InputCounting, *arguments: Any) -> int | None:
        names.append(arguments[1].model)
        return await plain(self, *arguments)

    monkeypatch.setattr(InputCounting, "tokens_max", noted)
    return names


@pytest.mark.parametrize("on_exceed", ["refuse", "clamp"])
@pytest.mark.parametrize("limit", [{"usd": f"{MIDDLE_USD:.9f}"}, {"tokens": MIDDLE_TOKENS + CAP}])
async def test_what_fits_by_its_tokens_is_granted(
    make_stack: MakeStack, limit: dict[str, Any], on_exceed: str
) -> None:
    """In dollars and in tokens: reserved by the count, recorded so, settled below it."""
    stack = await make_stack(GatewayOptions(output_tokens_least=CAP))
    secret = await stack.key()
    await stack.set_budget("research", {"limits": [limit], "on_exceed": on_exceed})
    prompt = billed_tokens()
    stack.provider.behaviour = answers(prompt=prompt, completion=CAP)
    answer = await stack.chat(secret, "known", messages=MESSAGES, max_tokens=CAP)
    assert answer.status_code == 200, answer.text
    (asked,) = await stack.ledger.requests()
    event = json.loads(asked.event)
    reserved = int(asked.counters[2])
    unit, output = (INPUT_NUSD, OUTPUT_NUSD) if "usd" in limit else (1, 1)
    assert reserved == event["input_tokens_max"] * unit + CAP * output
    assert prompt <= event["input_tokens_max"] < prompt + 200
    _, ending = await stack.ledger.ending()
    assert not ending.get("overrun")
    assert json.loads(stack.provider.last.body)["messages"] == MESSAGES
    await stack.ledger.at_rest()


async def test_a_model_without_a_tokenizer_is_refused(stack: Stack) -> None:
    """Its bytes are the only bound."""
    secret = await stack.key(budget=[{"usd": f"{MIDDLE_USD:.9f}"}])
    answer = await stack.chat(secret, "plain", messages=MESSAGES, max_tokens=CAP)
    assert answer.status_code == 402
    assert answer.json()["error"]["reason"] == "request_too_large"
    assert stack.provider.received == []
    await stack.ledger.at_rest()


async def test_a_refusal_after_counting_speaks_of_the_count(stack: Stack) -> None:
    """Where the tokens do not fit either, the message asks for them and not for the bytes."""
    limits = {"limits": [{"tokens": 2_000}], "on_exceed": "refuse"}
    secret = await stack.key()
    await stack.set_budget("research", limits)
    answer = await stack.chat(secret, "known", messages=MESSAGES, max_tokens=CAP)
    assert answer.status_code == 402
    asked = int(answer.json()["error"]["message"].split(" tokens asked")[0].split()[-1])
    assert billed_tokens() + CAP <= asked < billed_tokens() + CAP + 200
    assert await stack.ledger.requests() == []


async def test_what_fits_by_its_bytes_is_never_counted(
    stack: Stack, counted_calls: list[str]
) -> None:
    """Most requests: no tokenizer, one call of the ledger."""
    secret = await stack.key(budget=[{"usd": "1"}])
    assert (await stack.chat(secret, "known", messages=MESSAGES)).status_code == 200
    assert counted_calls == []


async def test_nothing_is_counted_where_the_output_alone_does_not_fit(
    stack: Stack, counted_calls: list[str]
) -> None:
    """An agent that goes on asking after its budget is gone costs no counting; nor do limits of
    requests and frozen scopes."""
    secret = await stack.key(budget=[{"usd": "0.0009"}])
    for _ in range(3):
        answer = await stack.chat(secret, "known", messages=MESSAGES, max_tokens=CAP)
        assert answer.status_code == 402
    numbered = await stack.key("numbered", budget=[{"requests": 1}])
    statuses = [(await stack.chat(numbered, "known")).status_code for _ in range(2)]
    assert statuses == [200, 402]
    await stack.set_state("research", "freeze")
    assert (await stack.chat(secret, "known")).status_code == 402
    assert counted_calls == []
    await stack.ledger.at_rest()


async def test_what_is_held_by_bytes_is_granted_beside(
    stack: Stack, counted_calls: list[str]
) -> None:
    """While one request is in flight another fits beside it by its tokens: it does not wait."""
    secret = await stack.key()
    limits = {"limits": [{"tokens": 2 * 15_000}], "on_exceed": "refuse"}
    await stack.set_budget("research", limits)
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers(prompt=billed_tokens()))
    first = asyncio.create_task(stack.chat(secret, "known", messages=MESSAGES, max_tokens=CAP))
    await stack.provider.arrivals(1)
    second = asyncio.create_task(stack.chat(secret, "known", messages=MESSAGES, max_tokens=CAP))
    await stack.provider.arrivals(2)
    assert counted_calls == ["known"]
    gate.set()
    assert {(await first).status_code, (await second).status_code} == {200}
    await stack.ledger.at_rest()


async def test_a_spent_budget_is_counted_against_what_is_left(stack: Stack) -> None:
    """After one answer the next is refused by bytes and granted by tokens, until it is gone."""
    secret = await stack.key()
    tokens = billed_tokens()
    stack.provider.behaviour = answers(prompt=tokens, completion=CAP)
    room = 16_500 + 2 * (tokens + CAP)
    limits = {"limits": [{"tokens": room}], "on_exceed": "refuse"}
    await stack.set_budget("research", limits)
    statuses: list[int] = []
    while len(statuses) < 20 and 402 not in statuses:
        answer = await stack.chat(secret, "known", messages=MESSAGES, max_tokens=CAP)
        statuses.append(answer.status_code)
    assert statuses[-1] == 402
    assert len(statuses) == 1 + (room - 100) // (tokens + CAP)
    await stack.ledger.at_rest()


@pytest.mark.parametrize("dimension", ["usd", "tokens"])
async def test_a_lowered_grant_is_counted_and_asked_for_once_more(
    stack: Stack, counted_calls: list[str], dimension: str
) -> None:
    """Where the bytes would fit with less output, the count gives the caller more of it: one
    reservation. The quote says the same."""
    secret = await stack.key()
    wanted, room = 16_000, 20_000  # of tokens: 15,400 of bytes leave 4,600, the count 16,000
    limit: dict[str, Any] = {"tokens": room}
    if dimension == "usd":
        nusd = (room - wanted) * INPUT_NUSD + wanted * OUTPUT_NUSD
        limit = {"usd": f"{nusd / 10**9:.9f}"}
    await stack.set_budget("research", {"limits": [limit]})
    fields: dict[str, Any] = {"messages": MESSAGES, "max_tokens": wanted}
    quoted = await stack.quote(secret, "known", **fields)
    assert (quoted["fits"], quoted["output_tokens_max"]) == (True, wanted)
    stack.provider.behaviour = answers(prompt=billed_tokens(), completion=wanted)
    answer = await stack.chat(secret, "known", **fields)
    assert answer.status_code == 200, answer.text
    assert "x-comptroller-max-output-tokens" not in answer.headers
    assert json.loads(stack.provider.last.body)["max_tokens"] == wanted
    assert counted_calls == ["known", "known"]
    (asked,) = await stack.ledger.requests()
    assert json.loads(asked.event)["input_tokens_max"] == quoted["input_tokens_max"]
    await stack.ledger.at_rest()


async def test_a_grant_that_stays_lowered_is_asked_for_once_more_at_most(
    stack: Stack, counted_calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be counted is asked for once; what can, twice, whatever comes of it."""
    asks: list[str] = []
    plain = Ledger.reserve

    async def noted(self: Ledger, *arguments: Any) -> Any:
        asks.append(arguments[1])
        return await plain(self, *arguments)

    monkeypatch.setattr(Ledger, "reserve", noted)
    secret = await stack.key()
    await stack.set_budget("research", {"limits": [{"tokens": 18_000}]})
    lowered: dict[str, int] = {}
    for model in ("plain", "known"):
        stack.provider.behaviour = answers(prompt=0, completion=0)
        answer = await stack.chat(secret, model, messages=MESSAGES, max_tokens=16_000)
        assert answer.status_code == 200, answer.text
        lowered[model] = int(answer.headers["x-comptroller-max-output-tokens"])
    assert asks == ["plain", "known", "known"]
    assert counted_calls == ["known"]
    assert lowered["plain"] < 3_000
    assert 15_000 < lowered["known"] < 16_000
    await stack.ledger.at_rest()


async def test_a_short_input_is_not_worth_a_second_call(
    stack: Stack, counted_calls: list[str]
) -> None:
    """A grant that is lowered whatever the input is: granted at once."""
    secret = await stack.key()
    await stack.set_budget("research", {"limits": [{"usd": "0.005"}]})
    messages = [{"role": "user", "content": "hi"}]
    answer = await stack.chat(secret, "known", messages=messages, max_tokens=16_000, n=2)
    assert answer.status_code == 200
    assert int(answer.headers["x-comptroller-max-output-tokens"]) < 2_000
    assert counted_calls == []
    await stack.ledger.at_rest()


async def test_a_named_request_is_counted_under_its_name(stack: Stack) -> None:
    """The second try carries the same Idempotency-Key: one call, then its answer again."""
    secret = await stack.key()
    await stack.set_budget("research", {"limits": [{"tokens": MIDDLE_TOKENS}]})
    document = {"model": "known", "messages": MESSAGES, "max_tokens": CAP}
    headers = {"authorization": f"Bearer {secret}", "idempotency-key": "once"}
    given = [
        await stack.client.post("/v1/chat/completions", json=document, headers=headers)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in given] == [200, 200]
    assert given[1].headers["x-comptroller-replayed"] == "true"
    assert len(stack.provider.received) == 1
    await stack.ledger.at_rest()


@pytest.mark.parametrize(
    ("tokens", "fits"), [(16_500, True), (MIDDLE_TOKENS, True), (2_000, False)]
)
async def test_a_quote_says_what_the_call_would_get(
    stack: Stack, tokens: int, *, fits: bool
) -> None:
    """`POST /v1/quote` counts where the call would."""
    secret = await stack.key()
    limits = {"limits": [{"tokens": tokens}], "on_exceed": "refuse"}
    await stack.set_budget("research", limits)
    fields: dict[str, Any] = {"messages": MESSAGES, "max_tokens": CAP}
    quoted = await stack.quote(secret, "known", **fields)
    assert quoted["fits"] is fits
    assert (quoted["input_tokens_max"] < MIDDLE_TOKENS) == (tokens <= MIDDLE_TOKENS)
    answer = await stack.chat(secret, "known", **fields)
    assert (answer.status_code == 200) is fits
    if fits:
        (asked,) = await stack.ledger.requests()
        assert int(asked.counters[2]) == quoted["input_tokens_max"] + CAP


async def test_pictures_are_reserved_by_their_size(stack: Stack) -> None:
    """765 tokens and what surrounds them, not the context window; a picture elsewhere is the most
    that the model makes of one; both are recorded as reserved."""
    secret = await stack.key(budget=[{"usd": "1"}])
    for value, tokens in (
        ({"url": picture(1024, 1024)}, 765),
        ({"url": "https://example.org/a.png"}, 85 + 8 * 170),
        ({"url": picture(1024, 1024), "detail": "low"}, 85),
    ):
        quoted = await stack.quote(secret, "known", messages=image(value), max_tokens=1)
        assert tokens < quoted["input_tokens_max"] < tokens + 120
        answer = await stack.chat(secret, "known", messages=image(value), max_tokens=1)
        assert answer.status_code == 200
        asked = (await stack.ledger.requests())[-1]
        assert json.loads(asked.event)["input_tokens_max"] == quoted["input_tokens_max"]
    await stack.ledger.at_rest()
