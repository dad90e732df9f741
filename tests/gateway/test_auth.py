"""Keys: where they may be sent, what makes them useless, and that they are never shown."""

import logging
import time

import pytest

from tests.gateway.behaviours import ERROR_BODY, says
from tests.gateway.fake_routes import PROVIDER_SECRET
from tests.gateway.stack import GREETING, Stack
from tests.gateway.wire import Wire

CHAT = {"model": "plain", "messages": GREETING}
ENDPOINTS = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/quote"),
    ("GET", "/v1/models"),
    ("GET", "/v1/budget"),
]
FOR_DELEGATES = [("POST", "/v1/keys"), ("GET", "/v1/keys"), ("DELETE", "/v1/keys/key-1")]


async def statuses(stack: Stack, headers: dict[str, str], query: str = "") -> set[int]:
    """The statuses of all endpoints with these headers."""
    found = set()
    for method, path in ENDPOINTS:
        document = CHAT if method == "POST" else None
        answer = await stack.client.request(method, path + query, json=document, headers=headers)
        found.add(answer.status_code)
    return found


async def test_every_place_of_a_key_works_and_none_is_forwarded(stack: Stack) -> None:
    """Authorization: Bearer, x-api-key, x-goog-api-key and ?key= are one and the same."""
    secret = await stack.key()
    assert await statuses(stack, {"authorization": f"Bearer {secret}"}) == {200}
    assert await statuses(stack, {"authorization": f"bearer {secret}"}) == {200}
    assert await statuses(stack, {"x-api-key": secret}) == {200}
    assert await statuses(stack, {"x-goog-api-key": secret}) == {200}
    assert await statuses(stack, {}, f"?key={secret}") == {200}
    assert await statuses(stack, {}, f"?alt=sse&key={secret}") == {200}
    for received in stack.provider.received:
        assert secret.encode() not in received.head + received.body
        assert "?" not in received.target
    await stack.ledger.at_rest()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Basic Y2s6Y2s="},
        {"authorization": "Bearer ck-unknown"},
        {"x-api-key": ""},
        {"x-api-key": "ck-unknown"},
        {"authorization": "Bearer " + "x" * 5_000},
        {"authorization": "Bearer caf\u00e9"},
        {"authorization": f"Bearer {PROVIDER_SECRET}"},
    ],
    ids=str,
)
@pytest.mark.parametrize(("method", "path"), [*ENDPOINTS, *FOR_DELEGATES])
async def test_without_a_known_key_every_endpoint_is_shut(
    stack: Stack, headers: dict[str, str], method: str, path: str
) -> None:
    """401 in OpenAI's shape, not to be retried; nothing is forwarded or recorded."""
    before = await stack.ledger.state()
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = await stack.client.request(method, path, headers=encoded, content=b"{")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["x-should-retry"] == "false"
    assert stack.provider.received == []
    assert await stack.ledger.state() == before


async def test_a_part_of_a_secret_is_no_secret(stack: Stack) -> None:
    """A key is found by the whole of its secret, warm cache or not."""
    secret = await stack.key()
    assert await statuses(stack, {"x-api-key": secret}) == {200}
    for near in (secret[:-1], secret + "0", secret.upper(), secret[:20], secret[3:]):
        assert await statuses(stack, {"x-api-key": near}) == {401}


async def test_an_expired_key_is_refused(stack: Stack) -> None:
    """From its expiry on a key is 401, before that it works."""
    now_ms = time.time_ns() // 1_000_000
    expired = await stack.key(expires_at_ms=now_ms)
    valid = await stack.key(expires_at_ms=now_ms + 3_600_000)
    assert await statuses(stack, {"x-api-key": expired}) == {401}
    assert await statuses(stack, {"x-api-key": valid}) == {200}
    await stack.ledger.at_rest()


async def test_a_revocation_counts_at_the_next_call(stack: Stack) -> None:
    """A worker whose caches know the key refuses it at once when it was revoked; its neighbour in
    the same scope goes on."""
    secret, neighbour = await stack.key(), await stack.key()
    assert await statuses(stack, {"x-api-key": secret}) == {200}
    await stack.keyring.revoke(stack.keys[secret])
    forwarded = len(stack.provider.received)
    assert await statuses(stack, {"x-api-key": secret}) == {401}
    assert len(stack.provider.received) == forwarded
    answer = await stack.chat(secret)
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["x-should-retry"] == "false"
    assert await statuses(stack, {"x-api-key": neighbour}) == {200}
    await stack.ledger.at_rest()


async def test_a_key_uses_only_its_models(stack: Stack) -> None:
    """A model outside the list is 403, known or not; patterns match whole names."""
    secret = await stack.key(models=("pla*", "demo/small"))
    assert (await stack.chat(secret, "plain")).status_code == 200
    assert (await stack.chat(secret, "demo/small")).status_code == 200
    for model in ("dear", "demo/large", "gpt-9", "xplain"):
        answer = await stack.chat(secret, model)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "model_not_allowed"
        assert answer.headers["x-should-retry"] == "false"
        quoted = await stack.call(secret, {"model": model, "messages": GREETING}, "/v1/quote")
        assert quoted.status_code == 403
    assert len(stack.provider.received) == 1
    await stack.ledger.at_rest()


async def test_a_key_uses_only_its_endpoints(stack: Stack) -> None:
    """An endpoint outside the list is 403, and nothing is forwarded."""
    secret = await stack.key(endpoints=("/v1/models", "/v1/quo*"))
    assert (await stack.get(secret, "/v1/models")).status_code == 200
    assert (await stack.call(secret, CHAT, "/v1/quote")).status_code == 200
    for answer in (await stack.chat(secret), await stack.get(secret, "/v1/budget")):
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "model_not_allowed"
        assert answer.headers["x-should-retry"] == "false"
    assert stack.provider.received == []


async def test_secrets_are_never_shown(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a key's secret nor the provider's is in any answer, header, event or log line."""
    caplog.set_level(logging.DEBUG)
    secret = await stack.key(budget=[{"usd": "0.1"}])
    answers = [
        await stack.chat(secret),
        await stack.chat(secret, stream=True),
        await stack.chat(secret, "absent"),
        await stack.chat(secret, "nobody"),
        await stack.chat(secret, max_tokens=0),
        await stack.chat(secret, n=100, max_tokens=16_000),
        await stack.get(secret, "/v1/budget"),
        await stack.get(secret, f"/v1/models?key={secret}"),
        await stack.client.get(f"/v1/nothing?key={secret}"),
        await stack.client.get(f"/v1/models?key={secret}x"),
    ]
    stack.provider.behaviour = says(ERROR_BODY, 401)
    answers.append(await stack.chat(secret))
    stack.provider.behaviour = says(b"no", 502, "text/html")
    answers.append(await stack.chat(secret))
    events = b"".join(entry.event for entry in await stack.ledger.outbox())
    shown = b"".join(answer.content + repr(answer.headers).encode() for answer in answers)
    logged = "\n".join(
        record.getMessage() for record in caplog.records if not record.name.startswith("http")
    )
    for private in (secret, PROVIDER_SECRET):
        assert private.encode() not in shown + events
        assert private not in logged
    await stack.ledger.at_rest()


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/chat/completions", "/v1/models"])
async def test_a_websocket_is_refused(stack: Stack, path: str) -> None:
    """No connection is upgraded: what runs inside would not be metered."""
    secret = await stack.key()
    lines = [
        f"GET {path} HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {secret}",
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    async with Wire(stack.port) as wire:
        await wire.send("\r\n".join(lines).encode() + b"\r\n\r\n")
        first = await wire.until(b"\r\n")
    assert b" 101 " not in first
    assert path == "/v1/models" or b" 426 " in first
    assert stack.provider.received == []


async def test_health_needs_no_key(stack: Stack) -> None:
    """What supervises the process has no key; it learns nothing but the state."""
    for path in ("/healthz", "/readyz"):
        answer = await stack.client.get(path)
        assert answer.status_code == 200
        assert len(answer.content) < 10
