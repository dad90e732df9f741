"""Requests that must not be served: told clearly, never forwarded, never booked."""

import contextlib
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings

from budgets.embedded import EmbeddedServer
from tests.gateway.bad_requests import (
    BODY_BYTES_MAX,
    CASES,
    GOOD,
    GOOD_BODY,
    WRONG_TYPES,
    Case,
    raw_field,
)
from tests.gateway.behaviours import answers
from tests.gateway.stack import GREETING, Stack, running_stack
from tests.gateway.wire import Answer, Wire, request_bytes

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Shared(NamedTuple):
    """The gateway of this module and a key with money."""

    stack: Stack
    secret: str


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(valkey: EmbeddedServer) -> AsyncIterator[Shared]:
    """One gateway for all cases; one good call, so that the scopes exist."""
    async with running_stack(valkey.socket_path) as stack:
        secret = await stack.key(budget=[{"usd": "1000"}, {"requests": 10**6}])
        assert (await stack.chat(secret)).status_code == 200
        yield Shared(stack, secret)
        await stack.ledger.at_rest()


@contextlib.asynccontextmanager
async def nothing_happens(stack: Stack) -> AsyncIterator[None]:
    """Nothing reaches the provider, and the ledger stays as it is."""
    before, forwarded = await stack.ledger.state(), len(stack.provider.received)
    yield
    assert len(stack.provider.received) == forwarded
    assert await stack.ledger.state() == before


def refused(answer: Answer, case: Case) -> dict[str, Any]:
    """The error of a clear refusal."""
    assert answer.status == case.status, (answer.status, answer.body[:300])
    error = answer.error
    assert error["code"] == case.code, error
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert answer.headers["content-type"].startswith("application/json")
    assert isinstance(error["message"], str)
    assert 5 < len(error["message"]) < 1_000
    return error


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_bad_request_is_refused_clearly(shared: Shared, case: Case) -> None:
    """Each is a 4xx in OpenAI's shape that asks not to be retried; nothing reaches the provider
    and nothing is booked."""
    stack, secret = shared
    async with nothing_happens(stack), Wire(stack.port) as wire:
        headers = [f"{name}: {value}" for name, value in case.headers]
        request = request_bytes(secret, case.body, *headers)
        await wire.send(request.replace(b"connection: close\r\n", b"", 1))
        refused(await wire.answer(), case)


@pytest.mark.parametrize("case", CASES[:60:7], ids=lambda case: case.name)
async def test_a_quote_refuses_what_a_call_would(shared: Shared, case: Case) -> None:
    """`POST /v1/quote` takes the same bodies and refuses the same ones."""
    stack, secret = shared
    async with nothing_happens(stack), Wire(stack.port) as wire:
        await wire.send(request_bytes(secret, case.body, path="/v1/quote"))
        refused(await wire.answer(), case)


@pytest.mark.parametrize("name", ["tools", "response_format", "messages", "functions"])
async def test_no_depth_of_nesting_breaks_the_gateway(shared: Shared, name: str) -> None:
    """From shallow to too deep there is no depth at which the answer is not a clear one."""
    stack, secret = shared
    for depth in range(880, 1_010):
        inner = b'{"a":' * depth + b"1" + b"}" * depth
        value = {
            "tools": b'[{"type": "function", "function": %b}]' % inner,
            "messages": b'[{"role": "user", "content": %b}]' % inner,
        }.get(name, inner)
        async with Wire(stack.port) as wire:
            await wire.send(request_bytes(secret, raw_field(name, value)))
            answer = await wire.answer()
        assert answer.status in (200, 400), (depth, answer.status)
    await stack.ledger.at_rest()


@pytest.mark.parametrize(
    "value", [b"10000000000000000000000000", b"-9223372036854775809", b"1e400", b"1e-400", b"1E5"]
)
async def test_odd_numbers_inside_are_no_reason_to_fail(shared: Shared, value: bytes) -> None:
    """Numbers that no machine integer holds, inside tools or messages, are refused or forwarded."""
    stack, secret = shared
    for body in (
        raw_field("tools", b'[{"type": "function", "function": {"x": %b}}]' % value),
        raw_field("messages", b'[{"role": "user", "content": "x", "x": %b}]' % value),
        raw_field("messages", b'[{"role": "user", "content": %b}]' % value),
        raw_field("response_format", b'{"x": %b}' % value),
        raw_field("seed", value),
    ):
        async with Wire(stack.port) as wire:
            await wire.send(request_bytes(secret, body))
            assert (await wire.answer()).status in (200, 400), body


async def test_what_costs_nothing_is_the_providers_to_judge(shared: Shared) -> None:
    """Values that no price depends on are forwarded as they were written."""
    stack, secret = shared
    odd: dict[str, Any] = {
        "temperature": "hot",
        "stop": {"x": 1},
        "seed": "a",
        "logit_bias": [],
        "user": 5,
    }
    answer = await stack.chat(secret, max_tokens=5, **odd)
    assert answer.status_code == 200
    forwarded = stack.provider.last.json
    assert {name: forwarded[name] for name in odd} == odd


async def test_good_compressed_bodies_are_served(shared: Shared) -> None:
    """gzip, deflate and identity are understood, and the provider gets plain JSON."""
    stack, secret = shared
    encoded = {
        "gzip": gzip.compress(GOOD_BODY),
        "deflate": zlib.compress(GOOD_BODY),
        "identity": GOOD_BODY,
    }
    for encoding, body in encoded.items():
        async with Wire(stack.port) as wire:
            await wire.send(request_bytes(secret, body, f"content-encoding: {encoding}"))
            assert (await wire.answer()).status == 200, encoding
        assert stack.provider.last.json["messages"] == GREETING
        assert "content-encoding" not in stack.provider.last.headers


async def test_a_chunked_body_is_bounded_as_it_comes(shared: Shared) -> None:
    """A body without a length is refused when it passes the bound, not when it ends."""
    stack, secret = shared
    head = request_bytes(secret, b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    piece = b" " * 65_536
    async with nothing_happens(stack), Wire(stack.port) as wire:
        await wire.send(head)
        for _ in range(BODY_BYTES_MAX // len(piece) + 1):
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        status = await wire.until(b"\r\n")
        assert b" 413 " in status
        body = await wire.until(b"}}")
        assert b"invalid_request_error" in body
        assert b"x-should-retry: false" in body


async def test_a_promised_length_above_the_bound_is_refused_at_once(shared: Shared) -> None:
    """Nobody has to send eight megabytes to learn that they are too many."""
    stack, secret = shared
    head = request_bytes(secret, b"").replace(
        b"content-length: 0", b"content-length: %d" % (BODY_BYTES_MAX + 1)
    )
    async with nothing_happens(stack), Wire(stack.port) as wire:
        await wire.send(head)
        refused(await wire.answer(), Case("", b"", status=413))


@pytest.mark.parametrize(
    "lines",
    [
        ["content-length: 5", "transfer-encoding: chunked"],
        ["transfer-encoding: chunked", "content-length: 5"],
        ["content-length: 5", "content-length: 6"],
        ["content-length: +5"],
        ["content-length: 5, 5"],
        ["content-length: -1"],
        ["transfer-encoding: chunked, identity"],
    ],
    ids=" and ".join,
)
async def test_ambiguous_framing_is_refused(shared: Shared, lines: list[str]) -> None:
    """Where two readers could see two ends of a request (RFC 9112, 6.3), it is a 4xx, the
    connection ends, and what follows is not taken for a request."""
    stack, secret = shared
    head = request_bytes(secret, b"").replace(b"connection: close\r\n", b"")
    head = head.replace(b"content-length: 0", "\r\n".join(lines).encode())
    smuggled = request_bytes(secret, json.dumps(GOOD).encode())
    async with nothing_happens(stack), Wire(stack.port) as wire:
        await wire.send(head + b"0\r\n\r\n" + smuggled)
        raw = await wire.until(b"\r\n")
        assert b" 400 " in raw


NAMES = st.sampled_from(
    [
        *(*WRONG_TYPES, "stream_options", "service_tier", "tool_choice", "response_format"),
        *("audio", "functions", "prediction", "user", "stop", "metadata", "cache_control", "x"),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["plain", "user", "text", "function", "image_url", "input_audio", "file"]),
)
KEYS = st.one_of(
    st.sampled_from(["role", "content", "type", "text", "name", "function", "image_url", "url"]),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "tool"])}, optional={"content": VALUES}
    ),
    min_size=1,
    max_size=3,
)
DOCUMENTS = st.one_of(
    VALUES,
    st.dictionaries(NAMES, VALUES),
    st.fixed_dictionaries(
        {"model": st.just("plain"), "messages": MESSAGES},
        optional={"tools": VALUES, "stream": st.booleans(), "n": VALUES, "audio": VALUES}
        | {"max_tokens": VALUES, "response_format": VALUES, "modalities": VALUES},
    ),
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    document=DOCUMENTS, mangle=st.sampled_from(["", "", "", "cut", "flip"]), at=st.integers(0, 400)
)
async def test_no_body_breaks_the_gateway(
    shared: Shared, document: object, mangle: str, at: int
) -> None:
    """Whatever JSON, or nearly JSON, a client sends: never a 5xx, and the books stay in order."""
    stack, secret = shared
    stack.provider.behaviour = answers()
    body = json.dumps(document, separators=(",", ":")).encode()
    at %= len(body)
    if mangle == "cut":
        body = body[:at]
    elif mangle == "flip":
        body = body[:at] + bytes([body[at] ^ 0x80]) + body[at + 1 :]
    answer = await stack.client.post(
        "/v1/chat/completions", content=body, headers={"authorization": f"Bearer {secret}"}
    )
    assert answer.status_code < 500, (answer.status_code, body)
    if answer.status_code != 200:
        assert answer.json()["error"]["message"]
