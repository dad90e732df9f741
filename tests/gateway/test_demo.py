"""The demo provider: valid requests of every shape are answered, and answered alike."""

import msgspec
import pytest

from gateway.demo import DemoUpstream
from gateway.upstream import NO_HEADERS, Origin, Timeouts, UpstreamRequest

TIMES = Timeouts(1, 1, 1)


async def ask(**fields: object) -> bytes:
    """The whole answer to a request with these fields beside model and messages."""
    document = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}], **fields}
    body = msgspec.json.encode(document)
    origin = Origin("http", "demo", 80)
    request = UpstreamRequest(origin, "POST", b"/", NO_HEADERS, body, TIMES)
    response = await DemoUpstream(chunk_delay_ms=0).send(request)
    return await response.read_all(10**6)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": None},
        {"tools": [{"type": "function", "function": 5}]},
        {"tools": [{"type": "function", "function": {"parameters": {"properties": []}}}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}], "stream": True},
        {"stream": True, "stream_options": None},
    ],
)
async def test_odd_but_valid_requests_are_answered_the_same_way_twice(
    fields: dict[str, object],
) -> None:
    """What the gateway lets through never breaks the demo, and the same request has one answer."""
    assert await ask(**fields) == await ask(**fields) != b""


async def test_it_obeys_its_cap_and_bills_every_choice() -> None:
    """The output cap bounds each choice, and the usage counts all of them."""
    answer = msgspec.json.decode(await ask(n=3, max_tokens=5))
    assert len(answer["choices"]) == 3
    assert answer["usage"]["completion_tokens"] == 15
    assert all(choice["finish_reason"] == "length" for choice in answer["choices"])
