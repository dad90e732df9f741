"""Quotes of parsed calls: what a request can cost, and when counting it is worth the time."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.answers import Refusal, RefusalCode
from budgets.plan import Bound
from budgets.policy import Dimension, Limit
from gateway.counting import InputCounting
from gateway.demo import DemoUpstream
from gateway.dialects.chat import ChatDialect
from gateway.options import GatewayOptions
from gateway.quoting import Quoting
from gateway.routes import Route
from gateway.upstream import Origin
from pricing import DEMO_PRICES, Meters, Price, cost_nusd, quote
from pricing.rates import complete_rates, rate_from_usd_per_token
from tests.gateway.dialects.test_chat_input import image, parsed, picture
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD, fake_route

VECTORS = Path(__file__).parent.parent / "vectors"
OPTIONS = GatewayOptions()
PROSE = "Every request is reserved at its worst possible cost before it is forwarded. "
CONTEXT = 128_000


def route(model: str = "gpt-4o") -> Route:
    return fake_route("known", Origin("http", "127.0.0.1", 1), DemoUpstream(), model=model)


def quoting(messages: object = None, model: str = "gpt-4o", **fields: object) -> Quoting:
    said = messages or [{"role": "user", "content": PROSE * 100}]
    return Quoting.by_bytes(parsed(said, **fields), route(model), OPTIONS)


def refusal(
    code: RefusalCode, dimension: Dimension, amount: int, asked: int, **amounts: Any
) -> Refusal:
    limit = Limit("1.1", dimension, "total", str(amount))
    return Refusal(code, "acme", Bound("acme", limit, 0), asked=asked, **amounts)


# Keys of the vectors' prices that a Price of one tier has rates for, in its words.
RATES = {
    "input": "input_nusd_per_mtok",
    "output": "output_nusd_per_mtok",
    "cached_input": "cached_input_nusd_per_mtok",
    "cache_write_5m": "cache_write_5m_nusd_per_mtok",
    "cache_write_1h": "cache_write_1h_nusd_per_mtok",
    "audio_input": "audio_input_nusd_per_mtok",
    "audio_output": "audio_output_nusd_per_mtok",
    "image_input": "image_input_nusd_per_mtok",
}


def comparable_vectors() -> list[dict[str, Any]]:
    """Rows whose prices and meters are those of one tier of tokens."""
    rows = [row for path in sorted(VECTORS.glob("*.json")) for row in json.loads(path.read_text())]
    return [
        row
        for row in rows
        if {"input", "output"} <= row["prices"].keys() <= RATES.keys()
        and row["meters"].keys() <= set(Meters.__slots__)
    ]


@pytest.mark.parametrize("row", comparable_vectors(), ids=lambda row: str(row["name"]))
def test_no_vector_costs_more_than_its_quote(row: dict[str, Any]) -> None:
    """Hand-worked costs are at most the quote of a request with that input and output."""
    known = {
        RATES[key]: rate_from_usd_per_token(str(Decimal(value) / 10**6), key)
        for key, value in row["prices"].items()
    }
    price = Price("p", "m", complete_rates(known, {}), 10**7, 10**7)
    meters = Meters(**row["meters"])
    quoted = quote(
        price,
        meters.input_tokens,
        output_tokens_wanted=meters.output_tokens,
        output_tokens_least=0,
        n=1,
        cache_write="1h" if meters.cache_write_1h else "5m" if meters.cache_write_5m else "none",
        audio_input=meters.audio_input > 0,
        audio_output=meters.audio_output > 0,
        image_input=meters.image_input > 0,
    )
    ceiling = quoted.ceiling_nusd(meters.output_tokens)
    assert cost_nusd(price, meters) <= ceiling
    assert row["cost_nusd"] <= ceiling


def test_there_are_vectors() -> None:
    """Most of the hand-worked rows are compared."""
    assert len(comparable_vectors()) > 120


async def test_a_counted_quote_is_lower_and_still_above_the_truth() -> None:
    """English has a quarter of the tokens that it has bytes."""
    by_bytes = quoting()
    counted = await by_bytes.counted(ChatDialect(), InputCounting())
    assert counted.is_counted
    assert 1_400 <= counted.input_tokens_max < by_bytes.input_tokens_max / 3


async def test_a_count_is_never_above_the_bytes() -> None:
    """Of the two bounds the smaller one holds: gpt-oss has more framing than a short text bytes."""
    short = quoting([{"role": "user", "content": "hi"}], "openai/gpt-oss-20b")
    counted = await short.counted(ChatDialect(), InputCounting())
    assert counted.input_tokens_max == short.input_tokens_max


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("upstream-model", {}),
        ("gpt-4o-search-preview", {}),
        ("gpt-4o", {"tools": [{"type": "web_search"}]}),
        ("gpt-4o", {"a_field_of_tomorrow": 1}),
    ],
)
async def test_what_cannot_be_counted_keeps_its_bound(model: str, fields: dict[str, Any]) -> None:
    """A tokenizer that is not known, and content that nobody has seen; it is not tried again."""
    by_bytes = quoting(model=model, **fields)
    counted = await by_bytes.counted(ChatDialect(), InputCounting())
    assert counted.input_tokens_max == by_bytes.input_tokens_max
    assert counted.is_counted
    assert await counted.counted(ChatDialect(), InputCounting()) is counted


async def test_pictures_count_by_the_rule_of_the_model() -> None:
    """The same picture, by bytes and counted: 765 tokens of gpt-4o, the context window where no
    rule is known; one that is elsewhere is the most that gpt-4o makes of one."""
    messages = image({"url": picture(1024, 1024)})
    plain = quoting([{"role": "user", "content": []}])
    known = quoting(messages)
    assert known.input_tokens_max == plain.input_tokens_max + 765 + 4
    elsewhere = quoting(image({"url": "https://example.org/a.png"}))
    assert elsewhere.input_tokens_max == plain.input_tokens_max + 85 + 8 * 170 + 4
    assert quoting(messages, "upstream-model").input_tokens_max == CONTEXT
    counted = await known.counted(ChatDialect(), InputCounting())
    assert 765 < counted.input_tokens_max < known.input_tokens_max


def test_the_context_window_bounds_it_all() -> None:
    """A thousand pictures are no more than the model takes."""
    parts = image({"url": picture(1024, 1024)})[0]["content"] * 1_000
    assert quoting([{"role": "user", "content": parts}]).input_tokens_max == CONTEXT


def test_what_the_provider_adds_is_counted_once() -> None:
    """Framing of a price, and that of tools where there are some."""
    base = DEMO_PRICES["demo/large"]
    price = Price(
        base.provider,
        base.model,
        base.rates,
        base.max_input_tokens,
        base.max_output_tokens,
        framing_tokens=100,
        tool_framing_tokens=1_000,
    )
    framed = fake_route("x", Origin("http", "127.0.0.1", 1), DemoUpstream(), model="gpt-4o")
    framed = replace(framed, price=price)
    call = parsed([{"role": "user", "content": "hello"}])
    with_tools = parsed([{"role": "user", "content": "hello"}], tools=[{"type": "function"}])
    quoted = Quoting.by_bytes(call, framed, OPTIONS).input_tokens_max
    assert quoted == call.input_tokens_max + 100
    quoted = Quoting.by_bytes(with_tools, framed, OPTIONS).input_tokens_max
    assert quoted == with_tools.input_tokens_max + 1_100


CODES = st.sampled_from(["TOO_LARGE", "EXHAUSTED", "HELD"])
AMOUNTS = st.integers(0, 10**8)


@given(
    code=CODES,
    is_usd=st.booleans(),
    spent=AMOUNTS,
    reserved=AMOUNTS,
    allotted=AMOUNTS,
    room=st.integers(-(10**7), 2 * 10**7),
)
def test_it_is_counted_only_where_the_output_alone_would_fit(
    code: RefusalCode, is_usd: bool, spent: int, reserved: int, allotted: int, room: int
) -> None:
    """For any refusal: worth it exactly if the request without any input had fitted where the
    ledger looked (the whole limit, what is not spent, what is free)."""
    bounded = quoting()
    tokens, output = bounded.input_tokens_max, OPTIONS.output_tokens_least
    unit, per = (INPUT_NUSD, OUTPUT_NUSD) if is_usd else (1, 1)
    asked = tokens * unit + output * per
    taken = {"TOO_LARGE": 0, "EXHAUSTED": spent, "HELD": spent + reserved + allotted}[code]
    amount = max(0, room + taken)
    refused = refusal(
        code,
        "usd" if is_usd else "tokens",
        amount,
        asked,
        spent=spent,
        reserved=reserved,
        allotted=allotted,
    )
    assert bounded.counts(refused) == (output * per <= amount - taken)


@pytest.mark.parametrize("dimension", ["requests", "concurrency"])
def test_other_dimensions_are_not_counted_for(dimension: Dimension) -> None:
    """Neither are refusals by a state, which name no limit."""
    assert not quoting().counts(refusal("EXHAUSTED", dimension, 10**9, 1))
    assert not quoting().counts(Refusal("FROZEN", "acme"))


async def test_it_is_counted_once() -> None:
    """A counted quote is never worth counting again."""
    counted = await quoting().counted(ChatDialect(), InputCounting())
    assert not counted.counts(refusal("EXHAUSTED", "usd", 10**15, 1))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "video_url", "video_url": {"url": "https://example.com/film.mp4"}},
        {"type": "not_known_here", "value": 1},
    ],
    ids=lambda part: str(part["type"]),
)
@pytest.mark.parametrize("dear", ["audio_input", "image_input", "video_input"])
def test_what_nobody_has_seen_is_priced_as_the_dearest_that_it_can_be(
    part: dict[str, Any], dear: str
) -> None:
    """A file or a film can be sound and pictures, whatever it is called: its window is reserved at
    the dearest rate of input, not at that of text."""
    rate = 100 * INPUT_NUSD * 10**6
    plain = route()
    price = replace(
        plain.price, rates=replace(plain.price.rates, **{f"{dear}_nusd_per_mtok": rate})
    )
    call = parsed([{"role": "user", "content": [part]}])
    quoted = Quoting.by_bytes(call, replace(plain, price=price), OPTIONS).quote_of(1)
    assert quoted.fixed_nusd == price.max_input_tokens * 100 * INPUT_NUSD
