"""How requests end (the ledger's contract, section 4): one booking each, and the right one.

Prices are $1 and $2 per million tokens, so a token of input is 1,000 nano-dollars and one of output
2,000; each test knows what the provider would bill.
"""

import asyncio

import pytest

from budgets.ledger import LedgerOptions
from tests.gateway.behaviours import (
    DONE,
    ERROR_BODY,
    HTML_BODY,
    answers,
    held,
    plain_body,
    says,
    silent,
    streams,
    usage_text,
)
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.ledger_view import charged
from tests.gateway.ledger_view import held as reserved
from tests.gateway.provider import Behaviour, Received, Reply
from tests.gateway.stack import CAP, COUNTED, USAGE_NUSD, Stack


async def whole_reservation(stack: Stack) -> None:
    """The one ending charged all that was reserved, in every dimension."""
    entry, event = await stack.ledger.ending()
    assert event["usage_source"] == "reserved"
    for dimension in (1, 2, 3):
        assert charged(entry, dimension) == reserved(entry, dimension) > 0
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_was_not_reached_costs_nothing(stack: Stack, stream: bool) -> None:
    """Nothing listens there: 502, all given back, not even the request counts."""
    answer = await stack.chat(await stack.key(budget=COUNTED), "absent", stream=stream)
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_error"
    entry, event = await stack.ledger.ending()
    assert event["usage_source"] == "released"
    assert [charged(entry, dimension) for dimension in (1, 2, 3)] == [0, 0, 0]
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 404, 413, 422, 429, 500, 529])
async def test_the_providers_own_error_costs_nothing_but_a_request(
    stack: Stack, status: int, stream: bool
) -> None:
    """Its status and body pass; zero is booked and the request counts."""
    stack.provider.behaviour = says(ERROR_BODY, status)
    answer = await stack.chat(await stack.key(budget=COUNTED), stream=stream)
    assert answer.status_code == status
    assert answer.content == ERROR_BODY
    entry, _ = await stack.ledger.ending()
    assert answer.headers["x-comptroller-request-id"] == entry.id
    assert [charged(entry, dimension) for dimension in (1, 2, 3)] == [0, 0, 1]
    await stack.ledger.at_rest()


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_the_operators_trouble_with_the_provider_is_not_the_callers(
    stack: Stack, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A provider that refuses the gateway's own key costs nothing; its body, which may name that
    key, is passed on and recorded nowhere, and the caller is told that it is not about theirs."""
    stack.provider.behaviour = says(b'{"error": {"message": "bad key sk-provider-1"}}', status)
    answer = await stack.chat(await stack.key(budget=COUNTED))
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == "upstream_error"
    assert b"sk-provider-1" not in answer.content
    assert str(status) in caplog.text
    assert "sk-provider-1" not in caplog.text
    entry, _ = await stack.ledger.ending()
    assert [charged(entry, dimension) for dimension in (1, 2, 3)] == [0, 0, 1]
    assert not any(b"sk-provider-1" in body for body in (await stack.ledger.bodies()).values())
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_body_before_any_output_costs_nothing(stack: Stack, stream: bool) -> None:
    """Some providers say 200 first and then send their error: without output before it, it is
    passed on and booked as any error of theirs, zero and one request."""
    error = b'{"error":{"message":"overloaded","code":502}}'
    stack.provider.behaviour = (
        streams([b"data: " + error + b"\n\n", DONE]) if stream else says(error)
    )
    answer = await stack.chat(await stack.key(budget=COUNTED), stream=stream)
    assert b'"overloaded"' in answer.content
    entry, _ = await stack.ledger.ending()
    assert [charged(entry, dimension) for dimension in (1, 2, 3)] == [0, 0, 1]
    await stack.ledger.at_rest()


async def test_the_providers_advice_to_wait_passes(stack: Stack) -> None:
    """Retry-After of a provider's 429 reaches the client; other headers of its do not."""

    async def limits(_received: Received, reply: Reply) -> None:
        reply.whole(429, ERROR_BODY, ("retry-after", "17"), ("set-cookie", "a=b"), ("x-org", "o"))

    stack.provider.behaviour = limits
    answer = await stack.chat(await stack.key(budget=COUNTED))
    assert answer.headers["retry-after"] == "17"
    assert "set-cookie" not in answer.headers
    assert "x-org" not in answer.headers
    await stack.ledger.at_rest()


@pytest.mark.parametrize(
    ("status", "content", "content_type"),
    [
        (502, ERROR_BODY, "application/json"),
        (503, ERROR_BODY, "application/json"),
        (504, ERROR_BODY, "application/json"),
        (503, HTML_BODY, "text/html"),
        (500, HTML_BODY, "text/html"),
        (403, HTML_BODY, "text/html; charset=utf-8"),
        (301, b"", "text/plain"),
    ],
)
@pytest.mark.parametrize("model", ["plain", "thinker"])
async def test_something_in_between_leaves_the_outcome_unknown(
    stack: Stack, status: int, content: bytes, content_type: str, model: str
) -> None:
    """What a proxy answers says nothing of the provider: the whole reservation is booked, and the
    page is not passed on."""
    stack.provider.behaviour = says(content, status, content_type)
    answer = await stack.chat(await stack.key(budget=COUNTED), model)
    assert answer.status_code == (status if status >= 400 else 502)
    assert answer.json()["error"]["code"] == "upstream_error"
    assert b"Service Unavailable" not in answer.content
    await whole_reservation(stack)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        b"null",
        b"{}",
        b'{"prompt_tokens": 5}',
        b'{"prompt_tokens": 5, "completion_tokens": -1}',
        b'{"prompt_tokens": 5, "completion_tokens": "7"}',
        b'{"prompt_tokens": 5, "completion_tokens": 1e3}',
        b'{"prompt_tokens": true, "completion_tokens": 7}',
        b'{"prompt_tokens": 99999999999999999999, "completion_tokens": 7}',
        b"[5, 7]",
        b'"5"',
    ],
    ids=str,
)
async def test_an_answer_without_a_believable_usage_is_booked_whole(
    stack: Stack, usage: bytes | None
) -> None:
    """The client has its answer as it came; the books take the ceiling."""
    stack.provider.behaviour = says(plain_body(usage))
    answer = await stack.chat(await stack.key(budget=COUNTED))
    assert answer.status_code == 200
    assert answer.content == plain_body(usage)
    assert "x-comptroller-cost-usd" not in answer.headers
    await whole_reservation(stack)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_page_instead_of_an_answer_is_booked_whole(stack: Stack, stream: bool) -> None:
    """200 with a page of a portal in between: nobody knows what the provider did."""
    stack.provider.behaviour = says(HTML_BODY, 200, "text/html")
    await stack.chat(await stack.key(budget=COUNTED), stream=stream)
    await whole_reservation(stack)


async def test_a_whole_answer_that_breaks_off_is_booked_whole(stack: Stack) -> None:
    """Reset or closed in the middle of a body with a length: 502, and the reservation is spent."""

    def breaks(how: str) -> Behaviour:
        async def behave(_received: Received, reply: Reply) -> None:
            content = plain_body(usage_text(11, 7))
            reply.begin(len(content), "application/json")
            reply.raw(content[:-5])
            await asyncio.sleep(0.01)
            getattr(reply, how)()

        return behave

    secret = await stack.key(budget=COUNTED)
    for number, how in enumerate(("reset", "close"), start=1):
        stack.provider.behaviour = breaks(how)
        answer = await stack.chat(secret)
        assert answer.status_code == 502
        entry = (await stack.ledger.endings(number))[-1]
        assert charged(entry) == reserved(entry) > 0
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_is_reset_unanswered_is_booked_whole_and_never_sent_again(
    stack: Stack, stream: bool
) -> None:
    """The provider took it and died: it may have billed it, so it is neither free nor repeated."""

    async def dies(_received: Received, reply: Reply) -> None:
        reply.reset()

    stack.provider.behaviour = dies
    answer = await stack.chat(await stack.key(budget=COUNTED), "thinker", stream=stream)
    assert answer.status_code == 502
    assert len(stack.provider.received) == 1
    await whole_reservation(stack)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_never_answers_times_out(stack: Stack, stream: bool) -> None:
    """504 after the route's timeout, the provider's connection is closed, the money is spent."""
    stack.provider.behaviour = silent()
    answer = await stack.chat(await stack.key(budget=COUNTED), "hasty", stream=stream)
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "upstream_error"
    await asyncio.wait_for(stack.provider.last.gone.wait(), 30)
    entry, _ = await stack.ledger.ending()
    assert 0 < charged(entry) <= reserved(entry)
    assert stream or charged(entry) == reserved(entry)
    await stack.ledger.at_rest()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_overrun_is_booked_and_labelled(stack: Stack, stream: bool) -> None:
    """The truth is booked even above the reservation, and the event says so."""
    stack.provider.behaviour = answers(prompt=10, completion=5_000)
    await stack.chat(await stack.key(budget=COUNTED), stream=stream, max_tokens=CAP)
    entry, event = await stack.ledger.ending()
    assert charged(entry) == 10 * INPUT_NUSD + 5_000 * OUTPUT_NUSD > reserved(entry)
    assert charged(entry, 2) == 5_010
    assert event["overrun"] is True
    await stack.ledger.at_rest()


async def test_a_long_answer_outlives_its_first_lease(make_stack: MakeStack) -> None:
    """A request that runs for longer than a lease keeps its reservation and is settled by its
    truth."""
    # A third of it passes between beats: with the rest a busy machine may stand for two seconds.
    stack = await make_stack(ledger_options=LedgerOptions(lease_ms=3_500))
    secret = await stack.key(budget=COUNTED)
    gate = asyncio.Event()
    stack.provider.behaviour = held(gate, answers())
    call = asyncio.create_task(stack.chat(secret))
    await stack.provider.arrivals(1)
    await asyncio.sleep(3.7)  # more than a lease: nothing happens that could be awaited
    gate.set()
    assert (await call).status_code == 200
    entry, event = await stack.ledger.ending()
    assert (entry.kind, charged(entry)) == ("llm_response", USAGE_NUSD)
    assert event["usage_source"] == "provider"
    await stack.ledger.at_rest()
