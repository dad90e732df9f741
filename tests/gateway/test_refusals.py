"""What a caller reads when a budget says no, and that it is told once and for the right reason."""

import asyncio
import json
import os
import re
import signal
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from budgets.embedded import EmbeddedServer
from gateway.options import GatewayOptions
from tests.gateway.behaviours import answers, echoes_cap, held
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.stack import Stack, running_stack


def refused(
    answer: httpx.Response, status: int, reason: str, code: str = "budget_exceeded"
) -> dict[str, Any]:
    """The error of a refusal for good."""
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert (error["code"], error["reason"]) == (code, reason)
    if code == "budget_exceeded":
        assert answer.headers["x-should-retry"] == "false"
        assert "retry-after" not in answer.headers
    return error


def retry_after_s(answer: httpx.Response, reason: str) -> int:
    """The seconds of a refusal for now, which SDKs may obey."""
    error = refused(answer, 429, reason, "rate_limit_exceeded")
    assert error["type"] == "rate_limit_error"
    assert answer.headers.get("x-should-retry") != "false"
    seconds = answer.headers["retry-after"]
    assert seconds.isdigit()
    return int(seconds)


def amounts(message: str) -> list[Decimal]:
    """The dollars that a message names."""
    return [Decimal(each) for each in re.findall(r"\$(\d+\.\d+)", message)]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_exhausted_budget_says_which_and_what_now(stack: Stack, stream: bool) -> None:
    """402 that no SDK retries, naming scope, limit, free, asked, what would fit, the reset, and
    the command that raises it."""
    secret = await stack.key("research/nightly", [{"usd": "5"}])
    await stack.set_budget("research", [{"usd": "0.01", "window": "month"}])
    stack.provider.behaviour = answers(prompt=0, completion=4_000)
    assert (await stack.chat(secret, max_tokens=4_000)).status_code == 200
    forwarded = len(stack.provider.received)
    before = await stack.ledger.state()
    answer = await stack.chat(secret, max_tokens=4_000, stream=stream)
    error = refused(answer, 402, "exhausted")
    message = error["message"]
    assert stack.scope("research") in message
    assert stack.scope("research/nightly") not in message
    limit, free, asked = amounts(message)
    assert (limit, free) == (Decimal("0.01"), Decimal("0.002"))
    assert asked > free
    fits = re.search(r"(\d+) output tokens would fit", message)
    assert fits is not None
    assert 1 <= int(fits[1]) * OUTPUT_NUSD <= 2_000_000
    now = datetime.now(UTC)
    reset = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    assert reset.strftime("%Y-%m-%dT%H:%M:%S") in message
    assert error["scope"] == stack.scope("research")
    assert error["resets_at"] == int(reset.timestamp()) * 1000
    assert f"comptroller budget set {stack.scope('research')}" in message
    assert len(stack.provider.received) == forwarded
    after = await stack.ledger.state()
    assert after["ledger"] == before["ledger"]
    assert after["leases"] == {}


async def test_what_a_refusal_says_would_fit_fits(stack: Stack) -> None:
    """A caller that asks for the cap that the refusal names is served."""
    secret = await stack.key()
    await stack.set_budget("research", {"limits": [{"usd": "0.01"}], "on_exceed": "refuse"})
    answer = await stack.chat(secret, max_tokens=10_000)
    message = refused(answer, 402, "request_too_large")["message"]
    fits = re.search(r"(\d+) output tokens", message)
    assert fits is not None
    assert (await stack.chat(secret, max_tokens=int(fits[1]) + 1)).status_code == 402
    assert (await stack.chat(secret, max_tokens=int(fits[1]))).status_code == 200
    await stack.ledger.at_rest()


async def test_the_status_of_a_refusal_is_a_setting(make_stack: MakeStack) -> None:
    """With `refusal_status: 400` the same answer comes with 400, for every reason."""
    stack = await make_stack(GatewayOptions(refusal_status=400))
    secret = await stack.key(budget=[{"usd": "0.0001"}])
    refused(await stack.chat(secret, n=50), 400, "request_too_large")
    await stack.set_state("research", "freeze")
    refused(await stack.chat(secret), 400, "frozen")


async def test_a_request_beyond_the_whole_limit_is_too_large(stack: Stack) -> None:
    """What could never fit is told apart from what no longer fits."""
    secret = await stack.key(budget=[{"usd": "0.001"}])
    messages = [{"role": "user", "content": "x" * 2_000}]
    error = refused(await stack.chat(secret, messages=messages), 402, "request_too_large")
    assert "input" in error["message"]
    tokens = await stack.key(budget=[{"tokens": 1_000}])
    error = refused(await stack.chat(tokens, messages=messages), 402, "request_too_large")
    assert "1000 tokens" in error["message"]
    none = await stack.key(budget=[{"requests": 0}])
    refused(await stack.chat(none), 402, "request_too_large")
    assert stack.provider.received == []


async def test_a_minute_limit_is_for_now(stack: Stack) -> None:
    """429 with the seconds to the end of the ledger's minute, and not a second more."""
    secret = await stack.key(budget=[{"requests": 2, "window": "minute"}])
    served = [(await stack.chat(secret)).status_code for _ in range(2)]
    answer = await stack.chat(secret)
    seconds_left = 60 - datetime.now(UTC).second
    if served == [200, 200] and answer.status_code == 429:
        assert abs(retry_after_s(answer, "exhausted") - seconds_left) <= 1
    else:  # the minute ended in the middle
        assert answer.status_code == 200
        assert [(await stack.chat(secret)).status_code for _ in range(2)] == [200, 429]
    await stack.ledger.at_rest()


async def test_an_hour_is_not_for_now(stack: Stack) -> None:
    """Nobody waits for an hour inside a request: longer windows are 402, with the reset."""
    secret = await stack.key(budget=[{"requests": 1, "window": "hour"}])
    assert (await stack.chat(secret)).status_code == 200
    error = refused(await stack.chat(secret), 402, "exhausted")
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:00:00Z", error["message"])


async def test_a_frozen_scope_is_named_and_never_resets(stack: Stack) -> None:
    """Somebody has to thaw it."""
    secret = await stack.key("research/nightly", [{"usd": "5"}])
    await stack.set_state("research", "freeze")
    error = refused(await stack.chat(secret), 402, "frozen")
    assert error["scope"] == stack.scope("research")
    assert "resets_at" not in error


async def test_concurrency_is_for_now_and_comes_back(make_stack: MakeStack) -> None:
    """A place in flight that is taken is 429 with a Retry-After; when it is free again, so is the
    next request."""
    stack = await make_stack(GatewayOptions(wait_ms=50))
    secret = await stack.key(budget=[{"concurrency": 1}])
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    first = asyncio.create_task(stack.chat(secret))
    await stack.provider.arrivals(1)
    assert 1 <= retry_after_s(await stack.chat(secret), "held") <= 60
    gate.set()
    assert (await first).status_code == 200
    assert (await stack.chat(secret)).status_code == 200
    await stack.ledger.at_rest()


async def test_money_in_flight_is_for_now(make_stack: MakeStack) -> None:
    """What others have reserved but not spent may come back: 429, never 402."""
    stack = await make_stack(GatewayOptions(wait_ms=50))
    secret = await stack.key()
    await stack.set_budget("research", {"limits": [{"usd": "0.01"}], "on_exceed": "refuse"})
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    first = asyncio.create_task(stack.chat(secret, max_tokens=4_000))
    await stack.provider.arrivals(1)
    assert 1 <= retry_after_s(await stack.chat(secret, max_tokens=4_000), "held") <= 60
    gate.set()
    assert (await first).status_code == 200
    assert (await stack.chat(secret, max_tokens=4_000)).status_code == 200
    await stack.ledger.at_rest()


async def test_a_frozen_scope_stops_all_below_and_thaws(stack: Stack) -> None:
    """Freezing counts at the next call, names the scope and the way back; thawing ends it."""
    secret = await stack.key("research/nightly")
    other = await stack.key("sales")
    assert (await stack.chat(secret)).status_code == 200
    await stack.set_state("research", "freeze")
    error = refused(await stack.chat(secret), 402, "frozen")
    assert stack.scope("research") in error["message"]
    assert "thaw" in error["message"]
    assert (await stack.chat(other)).status_code == 200
    await stack.set_state("research", "thaw")
    assert (await stack.chat(secret)).status_code == 200
    await stack.ledger.at_rest()


async def test_a_closed_scope_is_a_halted_run(stack: Stack) -> None:
    """A run whose scope was closed is refused for good, with its reason."""
    secret = await stack.key("research/run-1")
    assert (await stack.chat(secret)).status_code == 200
    await stack.set_state("research/run-1", "close")
    error = refused(await stack.chat(secret), 402, "run_halted")
    assert stack.scope("research/run-1") in error["message"]
    await stack.ledger.at_rest()


async def test_the_budget_that_lasts_longest_is_named(stack: Stack) -> None:
    """Of two budgets that are gone the caller reads of the one that resets last."""
    secret = await stack.key(budget=[{"requests": 1, "window": "minute"}])
    await stack.set_budget("research", [{"requests": 1, "window": "day"}])
    assert (await stack.chat(secret)).status_code == 200
    error = refused(await stack.chat(secret), 402, "exhausted")
    assert stack.scope("research") in error["message"]


async def test_refusals_are_not_charged_and_cost_no_request(stack: Stack) -> None:
    """A hundred refusals leave the counters as they were."""
    secret = await stack.key(budget=[{"usd": "0.0005"}, {"requests": 1_000}])
    before = await stack.ledger.state()
    for _ in range(100):
        assert (await stack.chat(secret)).status_code == 402
    after = await stack.ledger.state()
    assert after["ledger"] == before["ledger"]
    assert stack.provider.received == []


async def test_an_overrun_stops_what_comes_after(stack: Stack) -> None:
    """A provider that bills more than was reserved is booked in full; then the budget refuses."""
    secret = await stack.key(budget=[{"usd": "0.01"}])
    stack.provider.behaviour = answers(prompt=10, completion=20_000)
    assert (await stack.chat(secret, max_tokens=10)).status_code == 200
    _, event = await stack.ledger.ending()
    assert event["overrun"] is True
    assert await stack.ledger.spent() == 10 * INPUT_NUSD + 20_000 * OUTPUT_NUSD
    message = refused(await stack.chat(secret, max_tokens=10), 402, "exhausted")["message"]
    assert amounts(message)[1] == 0
    await stack.ledger.at_rest()


async def test_wrong_methods_and_paths(stack: Stack) -> None:
    """405 where the path exists with another method, 404 elsewhere, both in the error shape."""
    secret = await stack.key()
    wrong = await stack.get(secret, "/v1/chat/completions")
    assert wrong.status_code == 405
    assert wrong.json()["error"]["message"]
    for method in ("PUT", "DELETE", "PATCH"):
        answer = await stack.client.request(method, "/v1/models", headers={"x-api-key": secret})
        assert answer.status_code == 405


async def test_without_its_ledger_the_gateway_forwards_nothing_and_comes_back() -> None:
    """Redis killed: 503 with Retry-After on calls and on /readyz, nothing forwarded; Redis back:
    ready and serving again, with all that was spent before, and a request that was in flight
    meanwhile is booked."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            async with running_stack(server.socket_path, call_timeout_ms=300) as stack:
                secret = await stack.key(budget=[{"usd": "1"}])
                assert (await stack.chat(secret)).status_code == 200
                gate = asyncio.Event()
                stack.provider.behaviour = held(gate, answers())
                in_flight = asyncio.create_task(stack.chat(secret))
                await stack.provider.arrivals(2)
                os.kill(server.pid, signal.SIGKILL)
                server.stop()
                for answer in (
                    await stack.chat(secret),
                    await stack.chat(secret, stream=True),
                    await stack.get(secret, "/v1/budget"),
                    await stack.client.get("/readyz"),
                ):
                    assert answer.status_code == 503
                    assert answer.json()["error"]["code"] == "ledger_unavailable"
                    assert int(answer.headers["retry-after"]) >= 1
                assert (await stack.client.get("/healthz")).status_code == 200
                assert len(stack.provider.received) == 2
                gate.set()
                assert (await in_flight).status_code == 200
                server.start()
                assert (await stack.client.get("/readyz")).status_code == 200
                assert (await stack.chat(secret)).status_code == 200
                await stack.ledger.endings(3)
                await stack.ledger.until_at_rest()
                assert await stack.ledger.spent() == 3 * (11 * INPUT_NUSD + 7 * OUTPUT_NUSD)
        finally:
            server.stop()


async def test_every_error_has_one_shape(stack: Stack) -> None:
    """message, type, param, code: in every error there is, as JSON with its length."""
    secret = await stack.key(budget=[{"requests": 1, "window": "day"}])
    stack.provider.behaviour = echoes_cap(1)
    found = [
        await stack.chat("ck-nobody"),
        await stack.chat(secret, "nobody"),
        await stack.chat(secret, max_tokens=0),
        await stack.chat(secret, "absent"),
        await stack.chat(secret, max_tokens=5),
        await stack.chat(secret, max_tokens=5),
        await stack.client.get("/nothing"),
    ]
    assert [each.status_code for each in found] == [401, 404, 400, 502, 200, 402, 404]
    for answer in found:
        if answer.status_code != 200:
            error = json.loads(answer.content)["error"]
            assert {"message", "type", "param", "code"} <= set(error)
            assert all(isinstance(error[name], str) for name in ("message", "type", "code"))
            assert answer.headers["content-type"].startswith("application/json")


async def test_a_refusal_names_the_whole_command_that_raises_it(stack: Stack) -> None:
    """With all that the budget says, also what binds other models only, and a template's limits
    where the scope that refuses has none of its own."""
    secret = await stack.key("research/nightly")
    scope = stack.scope("research")
    usd, requests = {"usd": "0.001", "window": "month"}, {"requests": 50, "window": "day"}
    await stack.set_budget("research", {"limits": [usd, requests], "on_exceed": "refuse"})
    message = refused(await stack.chat(secret, max_tokens=4_000), 402, "request_too_large")[
        "message"
    ]
    command = f"`comptroller budget set {scope} 0.01/month requests=50/day --on-exceed refuse`"
    assert command in message
    await stack.set_budget("research", [usd, {**requests, "models": ["another"]}])
    answer = await stack.chat(secret, n=50, max_tokens=4_000)
    message = refused(answer, 402, "request_too_large")["message"]
    assert f"`comptroller budget show {scope}`" in message
    await stack.set_budget("research", {"limits": [], "per_child": [{"tokens": 10}]})
    answer = await stack.chat(secret, max_tokens=4_000)
    message = refused(answer, 402, "request_too_large")["message"]
    assert re.search(rf"`comptroller budget set {scope}/nightly tokens=\d+`", message), message
