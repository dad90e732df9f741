"""POST /v1/messages from end to end: money, headers, errors and endings, on real sockets."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from budgets.embedded import EmbeddedServer
from tests.gateway.behaviours import says
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD, PROVIDER_SECRET
from tests.gateway.ledger_view import charged, held
from tests.gateway.messages_provider import (
    OVERLOADED,
    USAGE_NUSD,
    WORDS,
    event,
    messages_routes,
    says_message,
    start,
    streams,
    text_block,
    uses_cap,
)
from tests.gateway.stack import Stack, running_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v1/messages"
HELLO = [{"role": "user", "content": "hello there"}]
GOOD: dict[str, Any] = {"model": "claude", "max_tokens": 50, "messages": HELLO}


class Shared(NamedTuple):
    """The gateway of this module and a key with money."""

    stack: Stack
    secret: str


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(valkey: EmbeddedServer) -> AsyncIterator[Shared]:
    """One gateway for all; every test leaves it at rest."""
    async with running_stack(valkey.socket_path, more_routes=messages_routes) as stack:
        stack.provider.behaviour = says_message()
        yield Shared(stack, await stack.key(budget=[{"usd": "1000"}]))
        await stack.ledger.at_rest()


async def ask(stack: Stack, secret: str, path: str = PATH, **fields: object) -> Any:
    """One call."""
    return await stack.call(secret, {**GOOD, **fields}, path)


async def newest(stack: Stack) -> tuple[Any, dict[str, Any]]:
    """The booking of the newest request, and its event."""
    count = len(await stack.ledger.requests())
    entry = (await stack.ledger.endings(count))[-1]
    return entry, json.loads(entry.event)


async def test_only_our_own_headers_reach_the_provider(shared: Shared) -> None:
    """The key of the gateway stays here, wherever the client puts it, and so does every header that
    nobody knows; version and betas are passed on."""
    stack, secret = shared
    stack.provider.behaviour = says_message()
    for name, value in (("x-api-key", secret), ("authorization", f"Bearer {secret}")):
        headers = {
            name: value,
            "anthropic-version": "2026-10-21",
            "anthropic-beta": "interleaved-thinking-2025-05-14,newer-2027-01-01",
            "anthropic-user-profile-id": "somebody",
            "anthropic-workspace-id": "wrkspc_1",
            "anthropic-dangerous-direct-browser-access": "true",
            "x-stainless-lang": "python",
            "cookie": "a=b",
        }
        answer = await stack.client.post(PATH, params={"beta": "true"}, json=GOOD, headers=headers)
        assert answer.status_code == 200
        received = stack.provider.last
        assert received.target == "/base/v1/messages"
        assert secret not in received.head.decode()
        assert received.headers["x-api-key"] == PROVIDER_SECRET
        assert set(received.headers) <= {
            *("host", "content-length", "content-type", "x-api-key"),
            *("anthropic-version", "anthropic-beta"),
        }
        assert received.headers["anthropic-version"] == "2026-10-21"
        assert received.headers["anthropic-beta"] == headers["anthropic-beta"]


async def test_the_answer_is_the_provider_s_but_for_its_cost(shared: Shared) -> None:
    """Byte for byte, streamed and not."""
    stack, secret = shared
    stack.provider.behaviour = says_message()
    whole = await ask(stack, secret)
    cost = b',"cost":0.000025'
    assert whole.content.count(cost) == 1
    assert json.loads(whole.content)["usage"]["cost"] == USAGE_NUSD / 10**9
    assert b'"model":"served-model"' in whole.content
    assert whole.headers["x-comptroller-cost-usd"] == "0.000025"
    streamed = await ask(stack, secret, stream=True)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.content.startswith(start())
    assert streamed.content.endswith(b'data: {"type": "message_stop"}\n\n')
    assert streamed.content.count(b'"cost":0.000025,') == 1
    _, booked = await newest(stack)
    assert (booked["usage_source"], booked["charged_nusd"]) == ("provider", USAGE_NUSD)
    assert (booked["endpoint"], booked["finish_reason"]) == (PATH, "end_turn")


async def test_a_quote_is_what_the_call_then_reserves(shared: Shared) -> None:
    """To the nano-dollar, with tools, pictures and cache marks."""
    stack, secret = shared
    stack.provider.behaviour = says_message()
    mark = {"type": "ephemeral", "ttl": "1h"}
    for fields in (
        {},
        {"stream": True, "max_tokens": 7},
        {"tools": [{"name": "f", "input_schema": {}}]},
        {"system": [{"type": "text", "text": "brief", "cache_control": mark}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
    ):
        quoted = (await ask(stack, secret, f"/v1/quote?endpoint={PATH}", **fields)).json()
        answer = await ask(stack, secret, **fields)
        assert answer.status_code == 200, answer.text
        reserved = Decimal(answer.headers["x-comptroller-reserved-usd"])
        assert reserved == Decimal(str(quoted["reserved_usd"]))
        assert stack.provider.last.cap == quoted["output_tokens_max"]


async def test_the_cap_is_lowered_to_what_a_budget_allows_but_not_below_its_thinking(
    shared: Shared,
) -> None:
    """A key with room for 3,000 tokens of output grants them; where thinking alone needs more, the
    request is refused instead of sent to be refused."""
    stack, _ = shared
    stack.provider.behaviour = uses_cap(20)
    usd = Decimal(3_000 * OUTPUT_NUSD + 500 * INPUT_NUSD) / 10**9
    thinking = {"type": "enabled", "budget_tokens": 2_000}
    small = await stack.key("small", [{"usd": str(usd)}])
    answer = await ask(stack, small, max_tokens=9_000, thinking=thinking)
    assert answer.status_code == 200
    assert 2_000 < stack.provider.last.cap < 9_000
    before = len(stack.provider.received)
    large = {"type": "enabled", "budget_tokens": 8_000}
    other = await stack.key("other", [{"usd": str(usd)}])
    refused = await ask(stack, other, max_tokens=9_000, thinking=large)
    assert refused.status_code == 402
    assert refused.json()["error"]["type"] == "billing_error"
    assert refused.json()["error"]["scope"].startswith(stack.scope("other"))
    assert len(stack.provider.received) == before


async def test_a_window_that_the_price_does_not_know_is_not_opened(shared: Shared) -> None:
    """With the beta of long contexts, only what fits into the priced window is sent."""
    stack, secret = shared
    stack.provider.behaviour = says_message()
    headers = {"x-api-key": secret, "anthropic-beta": "context-1m-2025-08-07"}

    async def call(content: object) -> Any:
        document = {**GOOD, "messages": [{"role": "user", "content": content}]}
        return await stack.client.post(PATH, json=document, headers=headers)

    assert (await call("short")).status_code == 200
    for content in ("x" * 200_000, [{"type": "document", "source": {"type": "url"}}]):
        refused = await call(content)
        assert refused.status_code == 400
        assert "max_input_tokens" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("GET", "/v1/messages/batches/1/results", 404, "not_found_error"),
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("GET", "/v1/messages/count_tokens", 405, "invalid_request_error"),
    ],
)
async def test_what_is_not_served_below_is_told_in_its_shape(
    shared: Shared, method: str, path: str, status: int, kind: str
) -> None:
    """A client of Anthropic's reads Anthropic's errors."""
    stack, secret = shared
    answer = await stack.client.request(method, path, headers={"x-api-key": secret})
    assert answer.status_code == status
    body = answer.json()
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    assert path in body["error"]["message"]


async def test_errors_have_anthropic_s_shape(shared: Shared) -> None:
    """Bad keys, models, fields and sizes; each with its own type, none of them forwarded."""
    stack, secret = shared
    before = len(stack.provider.received)
    cases: list[tuple[str, dict[str, Any], int, str]] = [
        ("ck-nobody", {}, 401, "authentication_error"),
        (secret, {"model": "gpt-9"}, 404, "not_found_error"),
        (secret, {"model": "plain"}, 404, "not_found_error"),
        (secret, {"max_tokens": "many"}, 400, "invalid_request_error"),
        (secret, {"tools": [{"type": "web_search_20250305"}]}, 400, "invalid_request_error"),
        (await stack.key(models=("demo/*",)), {}, 403, "permission_error"),
        (secret, {"system": "x" * (9 * 1024 * 1024)}, 413, "request_too_large"),
    ]
    for key, fields, status, kind in cases:
        answer = await ask(stack, key, **fields)
        assert answer.status_code == status, answer.text[:300]
        body = answer.json()
        assert (body["type"], body["error"]["type"]) == ("error", kind)
        assert answer.headers["x-should-retry"] == "false"
    assert len(stack.provider.received) == before


async def test_the_provider_s_own_refusal_costs_nothing(shared: Shared) -> None:
    """Passed on as it is, but for the operator's key in it."""
    stack, secret = shared
    said = b'{"type":"error","error":{"type":"invalid_request_error","message":"%b"}}'
    stack.provider.behaviour = says(said % PROVIDER_SECRET.encode(), status=400)
    answer = await ask(stack, secret)
    assert (answer.status_code, answer.content) == (400, said % b"[redacted]")
    entry, booked = await newest(stack)
    assert (charged(entry), booked["usage_source"]) == (0, "none")


@pytest.mark.parametrize(
    ("model", "source"), [("claude", "counted"), ("claude-thinker", "reserved")]
)
async def test_an_error_after_output_is_charged_by_what_came(
    shared: Shared, model: str, source: str
) -> None:
    """Where all that is billed is streamed, its text bounds it; where thinking is not, nothing does
    but the reservation. The client reads the provider's error, once."""
    stack, secret = shared
    stack.provider.behaviour = streams([start(), *text_block(), event(OVERLOADED)])
    answer = await ask(stack, secret, model=model, stream=True, max_tokens=2_000)
    assert answer.content.endswith(event(OVERLOADED))
    assert answer.content.count(b"event: error") == 1
    entry, booked = await newest(stack)
    assert booked["usage_source"] == source
    least = sum(len(word.encode()) for word in WORDS) * OUTPUT_NUSD
    if source == "counted":
        assert least < charged(entry) < held(entry)
    else:
        assert charged(entry) == held(entry)


async def test_a_stream_without_its_end_says_so(shared: Shared) -> None:
    """The client reads an error event in Anthropic's shape, not a message that looks whole."""
    stack, secret = shared
    stack.provider.behaviour = streams([start(), *text_block()])
    answer = await ask(stack, secret, stream=True)
    last = answer.content.split(b"\n\n")[-2]
    assert last.startswith(b"event: error\ndata: ")
    assert json.loads(last.partition(b"data: ")[2])["error"]["type"] == "api_error"


async def test_the_demo_answers_every_shape(shared: Shared) -> None:
    """What the gateway lets through never breaks it, it obeys its cap, and bills what it says."""
    stack, secret = shared
    picture: Any = {"type": "image", "source": {"type": "base64", "data": "x" * 100_000}}
    shapes: list[dict[str, Any]] = [
        {},
        {"max_tokens": 0},
        {"max_tokens": 3, "stream": True},
        {"model": "demo/reasoner", "system": [{"type": "text", "text": "brief"}]},
        {"tools": [{"type": "bash_20250124", "name": "bash"}], "tool_choice": {"type": "auto"}},
        {"tools": [{"name": "f", "input_schema": 5}], "tool_choice": {"type": "none"}},
        {"tools": [{}], "max_tokens": 0},
        {"messages": [{"role": "user", "content": [picture]}]},
        {"messages": [{"role": "user", "content": []}]},
    ]
    for fields in shapes:
        answer = await stack.call(secret, {**GOOD, "model": "demo/small", **fields}, PATH)
        assert answer.status_code == 200, (fields, answer.text)
        _, booked = await newest(stack)
        assert booked["usage_source"] == "provider"
        assert not booked.get("overrun")


async def test_counting_is_bounded_and_told_in_its_shape(shared: Shared) -> None:
    """Hostile bodies, unknown models, and a provider that refuses us: nobody learns our key, and
    nothing is booked."""
    stack, secret = shared
    path = f"{PATH}/count_tokens"
    before = await stack.ledger.state()

    async def count(status: int, body: bytes = b"", key: str = secret, **fields: object) -> Any:
        headers = {"x-api-key": key, "content-type": "application/json", "cookie": "a=b"}
        content = body or json.dumps({"model": "claude", "messages": HELLO, **fields}).encode()
        answer = await stack.client.post(path, content=content, headers=headers)
        assert answer.status_code == status, answer.text
        if status != 200:
            assert answer.json()["type"] == "error"
        assert PROVIDER_SECRET not in answer.text
        return answer

    forwarded = len(stack.provider.received)
    await count(400, b"[]")
    await count(400, b'{"model": 5}')
    for name in ("api_base", "max_tokens", "anything"):
        more: dict[str, Any] = {name: "http://evil.example"}
        refused = (await count(400, **more)).json()["error"]
        assert refused["message"].startswith(f"{name} is no field of {path}")
    await count(404, model="gpt-9")
    await count(404, model="plain")
    await count(401, key="ck-nobody")
    assert len(stack.provider.received) == forwarded
    stack.provider.behaviour = says(b'{"input_tokens": 5}')
    assert (await count(200)).json() == {"input_tokens": 5}
    head = stack.provider.last.head.decode()
    assert secret not in head
    assert "cookie" not in head
    assert stack.provider.last.headers["anthropic-version"] == "2023-06-01"
    said = b'{"type":"error","error":{"message":"%b"}}' % PROVIDER_SECRET.encode()
    stack.provider.behaviour = says(said, status=400)
    await count(400)
    stack.provider.behaviour = says(said, status=401)
    assert (await count(401)).json()["error"]["code"] == "upstream_error"
    stack.provider.behaviour = says(b"<html>", status=503, content_type="text/html")
    await count(502)
    assert await stack.ledger.state() == before


async def test_counting_needs_an_open_path(shared: Shared) -> None:
    """A frozen scope counts nothing, also one that the request names, and an exhausted one still
    does; a key without subscopes names none."""
    stack, plain = shared
    stack.provider.behaviour = says(b'{"input_tokens": 5}')
    secret = await stack.key("runs", [{"usd": "0"}], subscopes=("any",))

    async def count(key: str, run: str) -> tuple[int, str]:
        headers = {"x-api-key": key, "x-comptroller-scope": run}
        body = {"model": "claude", "messages": HELLO}
        answer = await stack.client.post(f"{PATH}/count_tokens", json=body, headers=headers)
        return answer.status_code, answer.json().get("error", {}).get("reason", "")

    assert await count(secret, "first") == (200, "")
    await stack.set_state("runs/first", "freeze")
    assert await count(secret, "first") == (402, "frozen")
    assert await count(secret, "second") == (200, "")
    await stack.set_state("runs", "freeze")
    assert await count(secret, "second") == (402, "frozen")
    assert (await count(plain, "first"))[0] == 403


async def test_models_are_told_in_the_shape_of_the_client(shared: Shared) -> None:
    """Errors too; a key sees its own models only."""
    stack, _ = shared
    secret = await stack.key(models=("demo/*", "claude"))
    version = {"anthropic-version": "2023-06-01"}
    bearer = {"authorization": f"Bearer {secret}"}
    listed = (await stack.client.get("/v1/models", headers={**bearer, **version})).json()
    names = [each["id"] for each in listed["data"]]
    assert "claude-thinker" not in names
    assert "claude" in names
    assert (listed["first_id"], listed["last_id"]) == (names[0], names[-1])
    assert listed["has_more"] is False
    one = (await stack.client.get("/v1/models/demo/small", headers={**bearer, **version})).json()
    assert one == next(each for each in listed["data"] if each["id"] == "demo/small")
    plain = (await stack.client.get("/v1/models/claude", headers=bearer)).json()
    assert (plain["object"], plain["owned_by"]) == ("model", "anthropic")
    for headers in ({}, version):
        told = await stack.client.get("/v1/models/claude-thinker", headers={**bearer, **headers})
        assert told.status_code == 403
        assert (told.json().get("type") == "error") is bool(headers)
        absent = await stack.client.get("/v1/models/demo/x", headers={**bearer, **headers})
        assert absent.status_code == 404
    nothing = await stack.key(models=("gpt-*",))
    empty = await stack.client.get("/v1/models", headers={"x-api-key": nothing, **version})
    assert empty.json() == {"data": [], "has_more": False, "first_id": None, "last_id": None}


async def test_an_answer_from_between_is_an_unknown_outcome(shared: Shared) -> None:
    """Nothing of this surface changes what an unknown outcome costs: all that was reserved."""
    stack, secret = shared
    stack.provider.behaviour = says(b"<html>", status=503, content_type="text/html")
    answer = await ask(stack, secret)
    assert answer.status_code == 503
    entry, booked = await newest(stack)
    assert booked["usage_source"] == "reserved"
    assert charged(entry) == held(entry)
