"""What is measured: the matrix of requests, and the scopes whose budgets each of them passes.

One place, so that the gateway and the reference can only be given the same work.
"""

import json
from dataclasses import dataclass

MODEL = "bench-model"
PROVIDER_MODEL = "gpt-5-mini"
PROVIDER_KEY = "sk-bench-provider"
CLIENT_SECRET = "ck-bench-0123456789abcdef0123456789abcdef"
ORGANISATION = "acme"
KEY_NAME = "bench"
RUN_SCOPE = "acme/research/nightly/run-42"
KEY_SCOPE = f"{RUN_SCOPE}/key-{KEY_NAME}"
# Five scopes, one budget each, so large that nothing is ever refused.
KEY_BUDGET = [{"usd": "1000000.00"}]
BUDGETS: dict[str, list[dict[str, str]]] = {
    "acme": [{"usd": "8000000.00", "window": "month"}],
    "acme/research": [{"usd": "4000000.00"}],
    "acme/research/nightly": [{"usd": "4000000.00"}],
    RUN_SCOPE: [{"usd": "2000000.00"}],
}
INPUT_NUSD_PER_TOKEN = 1_000
OUTPUT_NUSD_PER_TOKEN = 2_000
INPUT_TOKENS_MAX = 400_000
OUTPUT_TOKENS_DEFAULT = 8_192
OUTPUT_TOKENS_LEAST = 1_024

STREAM_CHUNKS = 200
STREAM_CHUNK_BYTES = 200
# Slow enough that a loaded gateway reads the chunks of a stream one by one, as they come from a
# model, and does not find several in its socket.
STREAM_PACE_MS = 5
MESSAGE_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the matrix. `body_bytes` is the whole request body; numbers of requests are for
    one measurement, after `warm_up` unmeasured ones."""

    name: str
    body_bytes: int
    streamed: bool
    concurrency: int
    requests: int
    warm_up: int

    def scaled(self, divisor: int) -> "Case":
        """The same case with fewer requests, but one for every connection at least."""
        fewer = max(self.requests // divisor, self.concurrency)
        warm_up = max(self.warm_up // divisor, self.concurrency)
        return Case(self.name, self.body_bytes, self.streamed, self.concurrency, fewer, warm_up)

    def body(self) -> bytes:
        """A chat request without an output cap, as almost all agents send it."""
        return request_body(self.body_bytes, streamed=self.streamed)


CASES = (
    Case("1 KB, c=1", 1_000, streamed=False, concurrency=1, requests=1_500, warm_up=300),
    Case("1 KB, c=64", 1_000, streamed=False, concurrency=64, requests=6_000, warm_up=1_500),
    Case("100 KB, c=64", 100_000, streamed=False, concurrency=64, requests=1_500, warm_up=300),
    Case("stream, c=1", 1_000, streamed=True, concurrency=1, requests=3, warm_up=1),
    Case("stream, c=64", 1_000, streamed=True, concurrency=64, requests=192, warm_up=64),
)


def request_body(body_bytes: int, *, streamed: bool) -> bytes:
    """A conversation of alternating messages with exactly this many bytes of JSON."""
    options = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
    document: dict[str, object] = {"model": MODEL, **options, "messages": []}
    messages: list[dict[str, str]] = []
    document["messages"] = messages
    left = body_bytes - len(_compact(document))
    while left > 0:
        role = ("system", "user", "assistant")[len(messages) % 3]
        frame = len(_compact({"role": role, "content": ""})) + bool(messages)
        text = min(left - frame, MESSAGE_BYTES)
        if left - frame - text < 2 * MESSAGE_BYTES // 10:  # no room for another: this takes it all
            text = left - frame
        messages.append({"role": role, "content": _text(text)})
        left -= frame + text
    body = _compact(document)
    assert len(body) == body_bytes
    return body


def _text(length: int) -> str:
    words = "the quick brown fox jumps over the lazy dog and reads the report again "
    return (words * (length // len(words) + 1))[:length]


def _compact(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
