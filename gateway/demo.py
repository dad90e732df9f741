"""The built-in provider: answers without a key, a network or chance, so that budgets can be tried.

It speaks the upstream side of chat completions: it gets the very bytes that a provider would get
and answers with the bytes that a provider would send. The same request gets the same answer; tokens
are counted by words; it obeys the output cap and streams at a pace. It calls each of the tools that
it is given once, in their order, then it answers: an agent's loop comes to an end.
"""

import asyncio
import re
from typing import Any

import msgspec

from gateway.upstream import UpstreamAborted, UpstreamRequest, UpstreamUnknown

CHUNK_DELAY_MS = 15
WORDS_PER_CHUNK = 4
CHARS_PER_TOKEN = 4
ANSWER_WORDS_MAX = 120
REASONING_TOKENS = 64
_JSON = [(b"content-type", b"application/json")]
_STREAM = [(b"content-type", b"text/event-stream")]
_QUOTED = re.compile(r'"([^"]{1,200})"')
_NUMBER = re.compile(r"\d{1,15}")


class DemoUpstream:
    """An Upstream (see gateway.upstream) without a network."""

    def __init__(self, chunk_delay_ms: int = CHUNK_DELAY_MS) -> None:
        self._chunk_delay_ms = chunk_delay_ms

    async def send(self, request: UpstreamRequest) -> "DemoResponse":
        """See Upstream."""
        asked = msgspec.json.decode(request.body)
        pieces = _Answer(asked).pieces()
        delay_ms = self._chunk_delay_ms if asked.get("stream") else 0
        return DemoResponse(_STREAM if asked.get("stream") else _JSON, pieces, delay_ms)


class DemoResponse:
    """An UpstreamResponse whose bytes are known."""

    status = 200

    def __init__(
        self, headers: list[tuple[bytes, bytes]], pieces: list[bytes], delay_ms: int
    ) -> None:
        self.headers = headers
        self._pieces = iter(pieces)
        self._delay_ms = delay_ms
        self._aborted = asyncio.Event()

    async def read(self) -> bytes:
        """See UpstreamResponse."""
        if self._delay_ms:
            try:
                await asyncio.wait_for(self._aborted.wait(), self._delay_ms / 1000)
            except TimeoutError:
                return next(self._pieces, b"")
        if self._aborted.is_set():
            raise UpstreamAborted("the answer was given up")
        return next(self._pieces, b"")

    async def read_all(self, bytes_max: int) -> bytes:
        """See UpstreamResponse."""
        body = b"".join(self._pieces)
        if len(body) > bytes_max:
            raise UpstreamUnknown("the answer is too large", bytes_received=True)
        return body

    def abort(self) -> bool:
        """See UpstreamResponse."""
        self._aborted.set()
        return False


class _Answer:
    """One deterministic answer to one request."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._asked = asked
        self._n: int = asked.get("n") or 1
        self._model = str(asked.get("model", ""))
        caps = [asked[name] for name in ("max_tokens", "max_completion_tokens") if name in asked]
        self._cap = min(caps, default=ANSWER_WORDS_MAX)
        self._reasoning = 0
        if "reasoner" in self._model:
            self._reasoning = min(REASONING_TOKENS, self._cap // 2)
        self._tool = self._tool_call()
        words = self._text().split()
        self._words = words[: self._cap - self._reasoning]
        self._finish = "stop" if len(self._words) == len(words) else "length"

    def pieces(self) -> list[bytes]:
        """The body, or the events of the stream."""
        if not self._asked.get("stream"):
            return [msgspec.json.encode(self._whole())]
        return [b"data: " + msgspec.json.encode(each) + b"\n\n" for each in self._chunks()] + [
            b"data: [DONE]\n\n"
        ]

    def _text(self) -> str:
        last = self._asked["messages"][-1]
        about = " ".join(_text(last).split()[:12]) or "nothing"
        if last.get("role") == "tool":
            return f"Using the tool's result ({about}), the demo model is done."
        return (
            f"This is the demo model. You asked about: {about}. "
            "It answers the same way every time, it costs what its price says, and it stops at the "
            "cap that your budget allows. Point this key at a real model when you are ready."
        )

    def _tool_call(self) -> dict[str, Any] | None:
        tools = self._asked.get("tools") or []
        called = self._results()
        if called >= len(tools) or self._asked.get("tool_choice") == "none":
            return None
        function = _object(tools[called].get("function"))
        properties = _object(_object(function.get("parameters")).get("properties"))
        said = _text(self._asked["messages"][-1])
        arguments = {name: _example(schema, said) for name, schema in properties.items()}
        return {
            "id": f"call_{len(self._asked['messages'])}",
            "type": "function",
            "function": {
                "name": str(function.get("name", "")),
                "arguments": msgspec.json.encode(arguments).decode(),
            },
        }

    def _results(self) -> int:
        """How many tools were called for the newest question."""
        count = 0
        for message in reversed(self._asked["messages"]):
            if message.get("role") == "user":
                break
            count += message.get("role") == "tool"
        return count

    def _usage(self) -> dict[str, Any]:
        prompt = len(msgspec.json.encode(self._asked["messages"])) // CHARS_PER_TOKEN + 1
        choice = self._reasoning + (1 if self._tool else len(self._words))
        completion = choice * self._n
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self._reasoning * self._n},
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-demo", "object": kind, "created": 0, "model": self._model}

    def _whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": " ".join(self._words)}
        finish = self._finish
        if self._tool:
            message = {"role": "assistant", "content": None, "tool_calls": [self._tool]}
            finish = "tool_calls"
        choices = [
            {"index": n, "message": message, "finish_reason": finish, "logprobs": None}
            for n in range(self._n)
        ]
        usage = self._usage()
        return self._head("chat.completion") | {"choices": choices, "usage": usage}

    def _chunks(self) -> list[dict[str, Any]]:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        if self._tool:
            deltas.append({"tool_calls": [{"index": 0, **self._tool}]})
        else:
            for at in range(0, len(self._words), WORDS_PER_CHUNK):
                text = " ".join(self._words[at : at + WORDS_PER_CHUNK])
                deltas.append({"content": (" " if at else "") + text})
        finish = "tool_calls" if self._tool else self._finish
        head = self._head("chat.completion.chunk")
        chunks = [
            head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
            for delta in deltas
        ]
        chunks.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if (self._asked.get("stream_options") or {}).get("include_usage"):
            chunks.append(head | {"choices": [], "usage": self._usage()})
        return chunks


def _object(value: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON value
    return value if isinstance(value, dict) else {}


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else "that"


def _example(schema: Any, said: str) -> Any:  # noqa: ANN401  # any JSON value
    """A value of the schema's type: of an enum the first, else what was said in quotes, or the
    first number in it."""
    schema = _object(schema)
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    kind = str(schema.get("type"))
    quoted, number = _QUOTED.search(said), _NUMBER.search(said)
    if kind == "string":
        return quoted[1] if quoted else "demo"
    if kind in ("integer", "number"):
        return int(number[0]) if number else 1
    return {"boolean": True, "array": []}.get(kind, {})
