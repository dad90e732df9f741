"""`bound: calibrated` on the way of a request: reserved, quoted and recorded by what was learned,
labelled so, an overrun where it does not hold, and never used for what is no text."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from budgets.calibration import bound_of, share_thousandths
from budgets.learning import Learning
from gateway.options import GatewayOptions
from tests.gateway import fake_routes
from tests.gateway.behaviours import answers
from tests.gateway.conftest import MakeStack
from tests.gateway.dialects.test_chat_input import image, parsed, picture
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.ledger_view import charged, held
from tests.gateway.stack import CAP, Stack
from tests.gateway.test_learning import learning_routes

PROSE = "Every request is reserved at its worst possible cost before it is forwarded. " * 40
MESSAGES = [{"role": "user", "content": PROSE}]
BYTES = parsed(MESSAGES).input_tokens_max
BILLED = BYTES // 5
AFTER = 3


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A bound is learned of few requests, and of every route."""
    monkeypatch.setattr(Learning.__init__, "__defaults__", (AFTER,))
    plain = fake_routes.all_routes
    monkeypatch.setattr(
        fake_routes,
        "all_routes",
        lambda *of: [dataclasses.replace(each, calibrated=True) for each in plain(*of)],
    )
    with learning_routes(monkeypatch):
        yield


@pytest.fixture
async def stack(few: None, make_stack: MakeStack) -> Stack:
    """One whose routes are calibrated; nothing is counted or on probation."""
    stack = await make_stack(GatewayOptions(probation_concurrency=0))
    await stack.set_budget("", [{"usd": "100"}, {"tokens": 10**7}])
    return stack


async def learned(stack: Stack, secret: str) -> None:
    """So many requests that a bound follows."""
    stack.provider.behaviour = answers(BILLED, CAP)
    for _ in range(AFTER):
        assert (await stack.chat(secret, messages=MESSAGES, max_tokens=CAP)).status_code == 200


async def test_what_was_learned_is_reserved_quoted_and_recorded(stack: Stack) -> None:
    """By bytes at first, without a label; then by the share that was seen, with its margin."""
    secret = await stack.key()
    fields: dict[str, Any] = {"messages": MESSAGES, "max_tokens": CAP}
    before = await stack.quote(secret, **fields)
    assert (before["input_tokens_max"], before.get("bound")) == (BYTES, None)
    await learned(stack, secret)
    after = await stack.quote(secret, **fields)
    bound = -(-BYTES * bound_of(share_thousandths(BILLED, BYTES)) // 1_000)
    assert (after["input_tokens_max"], after["bound"]) == (bound, "calibrated")
    assert after["reserved_nusd"] == bound * INPUT_NUSD + CAP * OUTPUT_NUSD
    await stack.chat(secret, **fields)
    events = [json.loads(each.event) for each in await stack.ledger.requests()]
    assert [each["input_tokens_max"] for each in events] == [BYTES] * AFTER + [bound]
    await stack.ledger.at_rest()


async def test_a_bill_beyond_it_is_an_overrun_and_the_bytes_hold_again(stack: Stack) -> None:
    """Booked whole; the next request reserves its bytes; the factor is untouched."""
    secret = await stack.key()
    await learned(stack, secret)
    stack.provider.behaviour = answers(BYTES // 2, CAP)
    assert (await stack.chat(secret, messages=MESSAGES, max_tokens=CAP)).status_code == 200
    ending = (await stack.ledger.endings(AFTER + 1))[-1]
    assert charged(ending) == BYTES // 2 * INPUT_NUSD + CAP * OUTPUT_NUSD > held(ending)
    quoted = await stack.quote(secret, messages=MESSAGES, max_tokens=CAP)
    assert (quoted["input_tokens_max"], quoted.get("bound")) == (BYTES, None)
    actions = [each["action"] for each in await stack.ledger.route_events()]
    assert actions == ["probation_began", "bound_calibrated", "bound_given_up"]
    await stack.ledger.at_rest()


async def test_what_is_no_text_is_neither_learned_from_nor_bounded_so(stack: Stack) -> None:
    """A picture has its own rule, a file the whole window."""
    secret = await stack.key()
    shown = image({"url": picture(64, 64)})
    file = [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]
    before = [await stack.quote(secret, messages=each, max_tokens=CAP) for each in (shown, file)]
    stack.provider.behaviour = answers(1, CAP)
    for _ in range(AFTER + 1):
        await stack.chat(secret, messages=shown, max_tokens=CAP)
        await stack.chat(secret, messages=file, max_tokens=CAP)
    assert [each["action"] for each in await stack.ledger.route_events()] == ["probation_began"]
    await learned(stack, secret)
    after = [await stack.quote(secret, messages=each, max_tokens=CAP) for each in (shown, file)]
    assert after == before
    await stack.ledger.at_rest()
