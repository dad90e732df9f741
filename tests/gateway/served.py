"""Answers that say how they were served: a model with several prices, and its provider's words."""

import json
from collections.abc import Mapping
from typing import Any

from gateway.routes import Route
from gateway.upstream import Origin, Upstream
from pricing import PriceSheet, sheet_from_model_info
from tests.gateway.behaviours import DONE, word_events
from tests.gateway.fake_routes import fake_route
from tests.gateway.provider import Behaviour, Received, Reply

# Flex is cheap in input and dear in output, so that neither it nor the standard price is dearest.
INFO: dict[str, object] = {
    "input_cost_per_token": "0.000001",
    "output_cost_per_token": "0.000002",
    "input_cost_per_token_priority": "0.000002",
    "output_cost_per_token_priority": "0.000004",
    "input_cost_per_token_flex": "0.0000005",
    "output_cost_per_token_flex": "0.0000025",
    "file_search_cost_per_1k_calls": "2.5",
    "code_interpreter_cost_per_session": "0.03",
    "max_input_tokens": 10_000,
    "max_output_tokens": 1_000,
}
IN_NUSD = {"default": 1_000, "priority": 2_000, "flex": 500}
OUT_NUSD = {"default": 2_000, "priority": 4_000, "flex": 2_500}
FILE_SEARCH_NUSD, CONTAINER_NUSD = 2_500_000, 30_000_000
PROMPT, COMPLETION = 11, 7


def sheet(changes: Mapping[str, object] | None = None, provider: str = "openai") -> PriceSheet:
    """INFO's, with changes."""
    return sheet_from_model_info(provider, "upstream-model", {**INFO, **(changes or {})})


def routes(origin: Origin, upstream: Upstream) -> list[Route]:
    """`tiered`; `preferred`, whose account has priority for a default; `reported`, whose biller
    says what it bills."""
    return [
        fake_route("tiered", origin, upstream, sheet=sheet()),
        fake_route("preferred", origin, upstream, sheet=sheet(), default_tier="priority"),
        fake_route("reported", origin, upstream, sheet=sheet(), biller="openrouter"),
    ]


def tokens_nusd(tier: str, prompt: int = PROMPT, completion: int = COMPLETION) -> int:
    """What these tokens cost in a tier."""
    return prompt * IN_NUSD[tier] + completion * OUT_NUSD[tier]


def usage(prompt: int = PROMPT, completion: int = COMPLETION, **more: Any) -> dict[str, Any]:
    """A usage object."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        **more,
    }


def serves(said: Mapping[str, Any], tier: str | None = None, *, late: bool = True) -> Behaviour:
    """An answer with this usage, and its tier beside it as OpenAI has it; in a stream in the chunk
    with the usage, or, not `late`, in the first one."""

    async def behave(received: Received, reply: Reply) -> None:
        named = {} if tier is None else {"service_tier": tier}
        if not received.json.get("stream"):
            message = {"role": "assistant", "content": "hello"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = {"id": "chatcmpl-1", "model": "served-model", "choices": [choice]}
            reply.whole(200, json.dumps({**whole, "usage": said, **named}).encode())
            return
        first, *events = word_events()
        if not late:
            head = json.loads(first.removeprefix(b"data: "))
            first = b"data: " + json.dumps({**head, **named}).encode() + b"\n\n"
        last = {"model": "served-model", "choices": [], "usage": said, **(named if late else {})}
        reply.begin()
        for event in (first, *events, b"data: " + json.dumps(last).encode() + b"\n\n", DONE):
            reply.chunk(event)
        reply.end()

    return behave
