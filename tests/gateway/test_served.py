"""What is charged is what the answer says: the tier that served it, its tools, a reported cost."""

import json
from decimal import Decimal
from typing import Any

import pytest

from gateway.route_prices import NOT_PRICED
from gateway.routes import Route
from gateway.upstream import Origin, Upstream
from pricing import sheet_from_model_info
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import fake_route
from tests.gateway.ledger_view import charged
from tests.gateway.ledger_view import held as reserved
from tests.gateway.served import (
    COMPLETION,
    CONTAINER_NUSD,
    FILE_SEARCH_NUSD,
    IN_NUSD,
    OUT_NUSD,
    PROMPT,
    routes,
    serves,
    tokens_nusd,
    usage,
)
from tests.gateway.stack import CAP, COUNTED, GREETING, Stack
from tests.pricing.vectors import Row, model_info, rows, used

LIMITS = {"max_input_tokens": 2_000_000, "max_output_tokens": 200_000}
USD_NUSD = 10**9


def tells_all(row: Row) -> bool:
    """Whether a chat answer with this usage and tier says all that the row's cost depends on, and
    something beside tokens: a tier, or a cost."""
    if row["api"] not in ("openai-chat", "openrouter-chat"):
        return False
    facts = used(row).facts
    is_tiered = facts.service_tier not in ("", "default", "standard")
    return not {"batch", "region", "at", "output"} & row.keys() and (
        is_tiered or facts.reported_cost_nusd is not None
    )


VECTORS = {name: row for name, row in rows() if tells_all(row)}


def vector_routes(origin: Origin, upstream: Upstream) -> list[Route]:
    """A model for each row, at the row's own prices, everything else in its sheet being absurd."""
    return [
        fake_route(
            name,
            origin,
            upstream,
            sheet=sheet_from_model_info(
                row["provider"], row["model"], {**model_info(row), **LIMITS}
            ),
            biller=row["provider"],
        )
        for name, row in VECTORS.items()
    ]


@pytest.fixture
async def stack(make_stack: MakeStack) -> Stack:
    """With models that have several prices."""
    return await make_stack(more_routes=routes)


async def ended(stack: Stack, model: str, *, budget: Any = COUNTED, **fields: Any) -> Any:
    """One call, and its ending: (answer, entry, event)."""
    answer = await stack.chat(await stack.key(budget=budget), model, max_tokens=CAP, **fields)
    assert answer.status_code == 200, answer.text
    entry, event = await stack.ledger.ending()
    await stack.ledger.at_rest()
    return answer, entry, event


async def test_every_vector_is_charged_as_it_was_worked_out(make_stack: MakeStack) -> None:
    """Answers with the usage and the tier of each hand-worked row, whole and streamed by turns, are
    booked at its cost to the nano-dollar; the event has its meters, tier and reported cost."""
    assert {row["provider"] for row in VECTORS.values()} >= {
        *("openai", "mistral", "groq", "xai", "openrouter")
    }
    stack = await make_stack(more_routes=vector_routes)
    secret = await stack.key(budget=[{"usd": "100000"}])
    for at, (name, row) in enumerate(VECTORS.items()):
        stack.provider.behaviour = serves(row["usage"], row.get("service_tier"))
        answer = await stack.chat(secret, name, stream=bool(at % 2), max_tokens=CAP)
        assert answer.status_code == 200, (name, answer.text)
    for entry, (name, row) in zip(
        await stack.ledger.endings(len(VECTORS)), VECTORS.items(), strict=True
    ):
        event, facts = json.loads(entry.event), used(row).facts
        assert charged(entry) == event["charged_nusd"] == row["cost_nusd"], name
        assert event["usage_source"] == "provider"
        assert event["service_tier"] == (facts.service_tier or "default")
        assert event.get("reported_nusd") == facts.reported_cost_nusd
        assert {each: event.get(each, 0) for each in row["meters"]} == row["meters"], name
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tier", ["priority", "flex", "default"])
async def test_the_tier_that_served_is_charged(stack: Stack, tier: str, stream: bool) -> None:
    """Not the one that was asked for: `auto` may be served by any."""
    stack.provider.behaviour = serves(usage(), tier)
    answer, entry, event = await ended(stack, "tiered", stream=stream, service_tier="auto")
    assert charged(entry) == tokens_nusd(tier)
    assert (event["service_tier"], event["usage_source"]) == (tier, "provider")
    asked = json.loads((await stack.ledger.requests())[0].event)
    assert (event["price_version"] == asked["price_version"]) == (tier == "default")
    if not stream:
        assert answer.json()["usage"]["cost"] == tokens_nusd(tier) / USD_NUSD


async def test_a_stream_may_name_its_tier_in_its_first_chunk_only(stack: Stack) -> None:
    """Not everybody repeats it beside the usage."""
    stack.provider.behaviour = serves(usage(), "flex", late=False)
    _, entry, _ = await ended(stack, "tiered", stream=True)
    assert charged(entry) == tokens_nusd("flex")


async def test_an_answer_that_names_no_tier_is_a_standard_one(stack: Stack) -> None:
    """And its event says so, which tells it from events that had no such column."""
    stack.provider.behaviour = serves(usage())
    _, entry, event = await ended(stack, "tiered")
    assert charged(entry) == tokens_nusd("default")
    assert event["service_tier"] == "default"
    assert not {"reported_nusd", "computed_nusd", "detail"} & event.keys()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cost_that_the_biller_reports_wins(stack: Stack, stream: bool) -> None:
    """It is booked; the event has it, and what the meters come to."""
    stack.provider.behaviour = serves(usage(cost=0.000123), "priority")
    answer, entry, event = await ended(stack, "reported", stream=stream)
    assert charged(entry) == event["charged_nusd"] == event["reported_nusd"] == 123_000
    assert event["computed_nusd"] == tokens_nusd("priority")
    if not stream:
        assert Decimal(answer.headers["x-comptroller-cost-usd"]) == Decimal("0.000123")


async def test_a_reported_cost_of_nothing_is_nothing(stack: Stack) -> None:
    """A free model: told from one that reports none, and booked also where no price is known."""
    stack.provider.behaviour = serves(usage(cost=0), "unheard-of")
    _, entry, event = await ended(stack, "reported")
    assert (charged(entry), event["reported_nusd"]) == (0, 0)
    assert "computed_nusd" not in event
    assert event["usage_source"] == "provider"


async def test_a_cost_that_somebody_else_reports_is_not_believed(stack: Stack) -> None:
    """The same answer from a provider that reports none: any compatible server could write it."""
    stack.provider.behaviour = serves(usage(cost=0))
    _, entry, event = await ended(stack, "tiered")
    assert charged(entry) == tokens_nusd("default")
    assert "reported_nusd" not in event


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_that_the_provider_ran_are_charged_by_their_kind(
    stack: Stack, stream: bool
) -> None:
    """Each at its own fee; the event says how many there were, and of which kind."""
    calls = {"file_search_requests": 2, "code_interpreter_requests": 1}
    stack.provider.behaviour = serves(usage(server_tool_use=calls))
    _, entry, event = await ended(stack, "tiered", stream=stream)
    fees_nusd = 2 * FILE_SEARCH_NUSD + CONTAINER_NUSD
    assert charged(entry) == tokens_nusd("default") + fees_nusd > reserved(entry)
    assert (event["tool_calls"], event["overrun"]) == (3, True)
    tools = json.loads(event["detail"])["facts"]["tools"]
    assert tools == [["code_interpreter", 1], ["file_search", 2]]


UNPRICED = {
    "a tier": (usage(), "ultrafast"),
    "a tool": (usage(server_tool_use={"drawing_requests": 1}), None),
    "a search": (usage(server_tool_use={"web_search_requests": 1}), None),
    "sound": (usage(prompt_audio_seconds=3), None),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", UNPRICED)
async def test_what_has_no_price_books_the_whole_reservation(
    stack: Stack, name: str, stream: bool
) -> None:
    """Money and tokens, as where a provider does not say what it used; the event says why, and has
    all that a later price needs."""
    said, tier = UNPRICED[name]
    stack.provider.behaviour = serves(said, tier)
    answer, entry, event = await ended(stack, "tiered", stream=stream)
    assert charged(entry) == reserved(entry) == event["charged_nusd"] > 0
    assert charged(entry, 2) == reserved(entry, 2)
    assert event["usage_source"] == "reserved"
    assert event["error"].startswith(f"{NOT_PRICED}: price of openai/upstream-model") or (
        event["error"].startswith(f"{NOT_PRICED}: ") and "add it to model_info" in event["error"]
    )
    assert (event["text_input"], event["text_output"]) == (PROMPT, COMPLETION)
    assert event["service_tier"] == (tier or "default")
    assert "x-comptroller-cost-usd" not in answer.headers
    assert b'"cost"' not in answer.content


async def test_what_a_provider_wrote_is_not_recorded_where_no_payload_may_be(stack: Stack) -> None:
    """Under `hash`: neither a tier nor a tool that is no name is in the event, in any field."""
    secret = "my secret tier"
    stack.provider.behaviour = serves(
        usage(server_tool_use={"file_search_requests": 1, f"{secret}_requests": 1}), secret
    )
    await stack.set_budget("research", {"limits": [], "payloads": "hash"})
    _, entry, event = await ended(stack, "tiered")
    assert event["error"] == NOT_PRICED
    assert json.loads(event["detail"]) == {"facts": {"left_out": True}}
    assert secret.encode() not in entry.event


async def test_a_dearer_tier_than_was_reserved_for_is_an_overrun(stack: Stack) -> None:
    """The account's default tier was not declared: the truth is booked, and labelled."""
    stack.provider.behaviour = serves(usage(prompt=100, completion=CAP), "priority")
    _, entry, event = await ended(stack, "tiered")
    assert charged(entry) == tokens_nusd("priority", 100, CAP) > reserved(entry)
    assert event["overrun"] is True


FLEX_OR_STANDARD = (IN_NUSD["default"], OUT_NUSD["flex"])
STANDARD = (IN_NUSD["default"], OUT_NUSD["default"])
PRIORITY = (IN_NUSD["priority"], OUT_NUSD["priority"])


@pytest.mark.parametrize(
    ("model", "fields", "per_token"),
    [
        ("tiered", {}, STANDARD),
        ("tiered", {"service_tier": None}, STANDARD),
        ("tiered", {"service_tier": "auto"}, STANDARD),
        ("tiered", {"service_tier": "default"}, STANDARD),
        ("tiered", {"service_tier": "standard"}, STANDARD),
        ("tiered", {"service_tier": "scale"}, STANDARD),  # paid for beforehand
        ("tiered", {"service_tier": "priority"}, PRIORITY),
        ("tiered", {"service_tier": "flex"}, FLEX_OR_STANDARD),
        ("preferred", {}, PRIORITY),
        ("preferred", {"service_tier": "auto"}, PRIORITY),
        ("preferred", {"service_tier": "default"}, PRIORITY),
        ("preferred", {"service_tier": "flex"}, PRIORITY),
    ],
)
async def test_a_request_is_reserved_at_the_dearest_tier_that_can_serve_it(
    stack: Stack, model: str, fields: dict[str, Any], per_token: tuple[int, int]
) -> None:
    """The tier that it names, the account's default and the standard one: the dearest of each rate;
    the quote endpoint says the same."""
    stack.provider.behaviour = serves(usage())
    _, entry, _ = await ended(stack, model, **fields)
    quoted = await stack.quote(await stack.key(), model, max_tokens=CAP, **fields)
    in_nusd, out_nusd = per_token
    assert reserved(entry) == quoted["reserved_nusd"]
    assert quoted["reserved_nusd"] == quoted["input_tokens_max"] * in_nusd + CAP * out_nusd
    sent = stack.provider.last.json
    assert sent.get("service_tier") == fields.get("service_tier")


async def test_a_tier_without_a_price_is_refused_with_those_that_have_one(stack: Stack) -> None:
    """Before anything is reserved or sent."""
    for path in ("/v1/chat/completions", "/v1/quote"):
        for tier in ("ultrafast", "batch", "Flex"):
            document = {"model": "tiered", "messages": GREETING, "service_tier": tier}
            answer = await stack.call(await stack.key(), document, path)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (400, "model_not_priced")
            assert error["param"] == "service_tier"
            assert error["message"].endswith("use auto or default or flex or priority or standard")
    assert not stack.provider.received
    assert not await stack.ledger.requests()
