"""Simulated providers: they speak HTTP over simulated wires, misbehave in every known way, and
count what they really served, whoever is told what.
"""

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.gateway.behaviours import (
    DONE,
    ERROR_BODY,
    HTML_BODY,
    chunk_event,
    plain_body,
    usage_event,
    usage_text,
)
from tests.gateway.fake_routes import DEAR_OUTPUT_NUSD, INPUT_NUSD, OUTPUT_NUSD
from tests.simulation.clockwork import SimulatedLoop
from tests.simulation.network import Wire
from tests.simulation.trace import Trace
from tests.simulation.weather import Weather

INVENTED = (
    b'{"prompt_tokens": -5, "completion_tokens": 3, "total_tokens": -2}',
    b'{"prompt_tokens": "many", "completion_tokens": []}',
    b'{"prompt_tokens": 1e400, "completion_tokens": 2}',
    b"{}",
    b'{"prompt_tokens": 9007199254740993, "completion_tokens": 9007199254740993}',
)
ERRORS = (400, 401, 429, 500)
# Bills what was asked for, whatever it was that came back.
DISOBEDIENT = frozenset(("lies", "ignores the cap"))
STREAMED = frozenset(("stalls", "drips", "resets", "ends early", "ignores the cap"))
HTML = "is cut off by HTML"
MOODS = (
    *("answers", "answers", "is slow", "says no usage", "invents usage", "lies"),
    *("resets", "is silent", "stalls", "drips", "ignores the cap", "says an error"),
    *(HTML, "closes", "ends early", "says an error in 200"),
)


@dataclass(slots=True)
class Served:
    """One request as the provider has it. `output_tokens` were produced; `sent` says how many of
    them are in how many bytes of a stream; `is_beyond_bound`: a bound that was learned was wrong.
    """

    call: int
    kind: str
    mood: str
    stream: bool
    cap: int
    n: int
    input_tokens: int
    output_tokens: int = 0
    sent: list[tuple[int, int]] = field(default_factory=list)
    reported: tuple[int, int] | None = None
    is_error: bool = False
    gone: bool = False
    is_beyond_bound: bool = False

    @property
    def obedient(self) -> bool:
        """Whether it kept to the cap."""
        return self.mood not in DISOBEDIENT

    def cost_nusd(self, tokens: tuple[int, int]) -> int:
        """At the route's prices."""
        output_nusd = DEAR_OUTPUT_NUSD if self.kind == "dear" else OUTPUT_NUSD
        return tokens[0] * INPUT_NUSD + tokens[1] * output_nusd

    @property
    def stops(self) -> bool:
        """Whether what was streamed is all that a request costs that is cut off."""
        return self.stream and self.kind in ("plain", "dear") and self.mood != HTML

    @property
    def billed_nusd(self) -> int:
        """What the invoice will say; an error costs nothing."""
        return 0 if self.is_error else self.cost_nusd((self.input_tokens, self.output_tokens))

    def least_nusd(self, bytes_read: int) -> int:
        """What must be charged by one who read so much of a stream that broke off, and counts. What
        was on its way then is billed as well, and nobody there can know of it."""
        tokens = max((tokens for size, tokens in self.sent if size <= bytes_read), default=0)
        return self.cost_nusd((self.input_tokens, tokens))


class Provider:
    """A `network.Server`: `kind` is plain, dear, thinker (reasons unseen) or biller (bills after
    a cancel). `asked` is told of each request before anything is served."""

    def __init__(
        self,
        loop: SimulatedLoop,
        kind: str,
        weather: Weather,
        trace: Trace,
        asked: Callable[[Served], None],
    ) -> None:
        self.served: list[Served] = []
        self._loop = loop
        self._kind = kind
        self._weather = weather
        self._trace = trace
        self._asked = asked
        self._buffers: dict[int, bytes] = {}
        self._current: dict[int, Served] = {}

    def accepts(self, wire: Wire) -> bool:  # noqa: ARG002
        """Unless it is down."""
        return not self._weather.provider_refuses

    def lost(self, wire: Wire) -> None:
        """The client is gone: what is under way is cancelled, if it can be."""
        served = self._current.get(wire.number)
        if served is not None:
            served.gone = True

    def received(self, wire: Wire, data: bytes) -> None:
        """A whole request is served; half of one is not."""
        buffer = self._buffers.pop(wire.number, b"") + data
        head, found, rest = buffer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if not found or len(rest) < length:
            self._buffers[wire.number] = buffer
            return
        body = json.loads(rest[:length])
        content = body["messages"][0]["content"]
        rng = random.Random(self._loop.rng.getrandbits(64))
        moods = self._weather.moods
        mood = rng.choices(tuple(moods), tuple(moods.values()))[0]
        served = Served(
            call=int(content.split()[1]),
            kind=self._kind,
            mood=mood,
            stream=bool(body.get("stream")),
            cap=body["max_tokens"],
            n=body.get("n") or 1,
            input_tokens=3 + len(content.encode()) // 4,
        )
        served.gone = not wire.server_open
        self.served.append(served)
        self._current[wire.number] = served
        self._weather.tally[f"provider:{mood}"] += 1
        self._trace.note(self._kind, "serves call %d: %s, cap %d", served.call, mood, served.cap)
        self._asked(served)
        self._loop.spawn(self._loop.world, _Serving(served, wire, rng, body).serve())


class _Serving:
    """One request being served."""

    def __init__(self, served: Served, wire: Wire, rng: random.Random, body: Any) -> None:
        self._served = served
        self._wire = wire
        self._rng = rng
        self._usage_asked = (body.get("stream_options") or {}).get("include_usage") is True

    async def serve(self) -> None:
        served, rng, mood = self._served, self._rng, self._served.mood
        await asyncio.sleep(rng.random() * 0.05)
        if mood in STREAMED and not served.stream:
            mood = served.mood = "closes" if mood != "stalls" else "is silent"
        if mood == "is slow":
            await asyncio.sleep(rng.random() * rng.choice((0.5, 4, 25)))
        if served.gone and served.stops:
            return  # cancelled before it had begun
        if mood == "is silent":
            served.output_tokens = 0 if served.stops else rng.randint(0, served.cap * served.n)
        elif mood == "closes":
            served.output_tokens = served.cap * served.n
            self._wire.cut() if rng.random() < 0.5 else self._wire.hang_up()
        elif mood in ("says an error", "says an error in 200"):
            served.is_error = True
            status = 200 if mood.endswith("200") else rng.choice(ERRORS)
            self._whole(status, ERROR_BODY, b"application/json")
        elif mood == HTML:
            served.output_tokens = served.cap * served.n
            self._whole(rng.choice((200, 502, 503, 504)), HTML_BODY, b"text/html")
        elif served.stream:
            await self._stream(mood)
        else:
            self._answer(mood)

    def _answer(self, mood: str) -> None:
        served = self._served
        served.output_tokens = self._rng.randint(0, served.cap * served.n)
        if mood == "lies":
            served.output_tokens = served.cap * served.n + self._rng.randint(1, 300)
        self._whole(200, plain_body(self._usage(mood)), b"application/json")

    def _usage(self, mood: str) -> bytes | None:
        served = self._served
        if mood == "says no usage":
            return None
        if mood == "invents usage":
            return self._rng.choice(INVENTED)
        served.reported = (served.input_tokens, served.output_tokens)
        return usage_text(*served.reported)

    async def _stream(self, mood: str) -> None:
        served, rng = self._served, self._rng
        self._begin()
        tokens = rng.randint(0, min(served.cap * served.n, 40))
        if mood == "ignores the cap":
            tokens = 2 * served.cap * served.n + 256 + rng.randint(0, 200)
        if served.kind == "thinker" and tokens:
            served.output_tokens = rng.randint(0, max(0, served.cap * served.n - tokens))
        at_once = max(1, tokens // rng.randint(1, 8))
        stop_at = rng.randint(0, tokens) if mood in ("resets", "stalls", "ends early") else -1
        self._chunk(chunk_event({"role": "assistant", "content": ""}))
        for number in range(0, tokens, at_once):
            pause_s = rng.choice((0.1, 1.0)) if mood == "drips" else 0.02
            await asyncio.sleep(rng.random() * pause_s)
            if served.gone and served.kind != "biller":
                return
            if 0 <= stop_at <= number:
                break
            count = min(at_once, tokens - number)
            served.output_tokens += count
            self._chunk(b"".join(chunk_event({"content": " word"}) for _ in range(count)))
        if mood == "resets":
            self._wire.cut()
        elif mood == "stalls":
            await asyncio.sleep(120)
        elif mood == "ends early":
            self._wire.reply(b"0\r\n\r\n")
        else:
            self._end(mood)

    def _end(self, mood: str) -> None:
        if mood == "lies":
            self._served.output_tokens = self._served.cap * self._served.n + 50
        self._chunk(chunk_event({}, "stop"))
        usage = self._usage(mood)
        if usage is not None and self._usage_asked:
            self._chunk(usage_event(usage))
        self._chunk(DONE)
        self._wire.reply(b"0\r\n\r\n")

    def _whole(self, status: int, body: bytes, content_type: bytes) -> None:
        head = b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
        self._wire.reply(head % (status, content_type, len(body)) + body)

    def _begin(self) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        self._wire.reply(head + b"transfer-encoding: chunked\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        served = self._served
        sent = served.sent[-1][0] if served.sent else 0
        served.sent.append((sent + len(data), served.output_tokens))
        self._wire.reply(b"%x\r\n%b\r\n" % (len(data), data))
