"""The provider of a chaos run, in a process of its own that nobody kills: it misbehaves at random,
and writes down what it really served, whoever was told what.

    python -m tests.chaos.upstream <seed> <file>

It prints its port and appends one JSON line to the file for each call that has ended. SIGTERM ends
it, after the calls that are under way are written down.
"""

import asyncio
import json
import random
import re
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec

from budgets.embedded import die_with_parent
from tests.gateway.behaviours import (
    DONE,
    ERROR_BODY,
    HTML_BODY,
    chunk_event,
    plain_body,
    usage_event,
    usage_text,
)
from tests.gateway.provider import Provider, Received, Reply

MOODS = {
    "answers": 46,
    "is slow": 8,
    "drips": 8,
    "resets": 6,
    "resets at once": 3,
    "ends early": 3,
    "says its own error": 6,
    "says it is busy": 2,
    "is cut off by HTML": 4,
    "says no usage": 6,
    "bills more than the cap": 3,
    "is silent": 1,
}
WORD_TOKENS_MAX = 60
NUMBER = re.compile(rb"call-(\d+)\.")
_ROLE = chunk_event({"role": "assistant", "content": ""})
_WORD = chunk_event({"content": "w"})
_STOP = chunk_event({}, "stop")


class Served(msgspec.Struct):
    """One call as the provider has it. `number` is the client's; `tokens` are those of input and
    output that it bills; `reported` those that it said; `words` of the output were streamed, the
    first behind `lead` bytes, each in `each` bytes. `cut`: the gateway closed the connection."""

    number: int
    mood: str
    model: str
    stream: bool
    cap: int
    begun_ms: int
    tokens: tuple[int, int] = (0, 0)
    reported: tuple[int, int] | None = None
    words: int = 0
    lead: int = len(_ROLE)
    each: int = len(_WORD)
    sent_bytes: int = 0
    is_error: bool = False
    cut: bool = False
    ended_ms: int = 0

    def words_within(self, read_bytes: int) -> int:
        """How many of the streamed words are in the first bytes of the answer."""
        return min(self.words, max(0, read_bytes - self.lead) // self.each)


class Upstream:
    """Serves, and keeps the book."""

    def __init__(self, seed: int, file: Path) -> None:
        self.provider = Provider(self.serve)
        self._seed = seed
        self._file = file.open("ab", buffering=0)
        self._nth: Counter[int] = Counter()
        self._open: dict[int, Served] = {}

    async def serve(self, received: Received, reply: Reply) -> None:
        """One request: how is drawn from the seed and the client's number of the call."""
        document = received.json
        text = document["messages"][0]["content"].encode()
        match = NUMBER.search(text)
        assert match is not None
        number = int(match[1])
        rng = random.Random(f"{self._seed}:{number}:{self._nth[number]}")
        self._nth[number] += 1
        served = Served(
            number=number,
            mood=rng.choices(tuple(MOODS), tuple(MOODS.values()))[0],
            model=document["model"],
            stream=bool(document.get("stream")),
            cap=received.cap,
            begun_ms=time.time_ns() // 10**6,
            tokens=(len(text), 0),
        )
        self._open[id(served)] = served
        try:
            await _Serving(served, reply, rng, document).serve()
        except asyncio.CancelledError:
            served.cut = not reply.complete
            raise
        finally:
            self._write_down(served)

    def _write_down(self, served: Served) -> None:
        if self._open.pop(id(served), None) is not None:
            served.ended_ms = time.time_ns() // 10**6
            self._file.write(msgspec.json.encode(served) + b"\n")

    def close(self) -> None:
        """What is under way is over."""
        for served in list(self._open.values()):
            served.cut = True
            self._write_down(served)


class _Serving:
    """One call being served."""

    def __init__(
        self, served: Served, reply: Reply, rng: random.Random, document: dict[str, object]
    ) -> None:
        self._served = served
        self._reply = reply
        self._rng = rng
        options = document.get("stream_options")
        self._says_usage = isinstance(options, dict) and options.get("include_usage") is True

    async def serve(self) -> None:
        served, rng, mood = self._served, self._rng, self._served.mood
        await asyncio.sleep(rng.random() * 0.05)
        if mood == "is slow":
            await asyncio.sleep(rng.random() * 4)
        if mood in ("says its own error", "says it is busy"):
            served.is_error = True
            self._whole(500 if mood == "says its own error" else 429, ERROR_BODY)
        elif mood == "is cut off by HTML":
            self._bill(rng.randint(0, served.cap))
            self._whole(rng.choice((502, 503, 504)), HTML_BODY, "text/html")
        elif mood == "resets at once":
            self._bill(0 if served.stream else rng.randint(0, served.cap))
            self._reply.reset()
        elif mood == "is silent":
            self._bill(0 if served.stream else rng.randint(0, served.cap))
            await asyncio.Event().wait()
        elif served.stream:
            await self._stream()
        else:
            await self._answer()

    def _bill(self, output: int) -> None:
        self._served.tokens = (self._served.tokens[0], output)

    def _whole(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        self._served.sent_bytes = len(body)
        self._reply.whole(status, body, ("content-type", content_type))

    async def _answer(self) -> None:
        served, rng, mood = self._served, self._rng, self._served.mood
        more = rng.randint(1, 300) if mood == "bills more than the cap" else 0
        used = rng.choice((rng.randint(0, served.cap), served.cap))
        self._bill(served.cap + more if more else used)
        body = plain_body(self._usage())
        if mood not in ("drips", "resets", "ends early"):
            self._whole(200, body)
            return
        self._reply.begin(len(body), "application/json")
        pieces = [body[at : at + 40] for at in range(0, len(body), 40)]
        last = len(pieces) if mood == "drips" else rng.randrange(len(pieces))
        for piece in pieces[:last]:
            await asyncio.sleep(rng.random() * 0.2)
            self._reply.raw(piece)
            served.sent_bytes += len(piece)
        if mood == "drips":
            self._reply.complete = True
        else:
            self._break_off()

    def _break_off(self) -> None:
        self._served.reported = None  # it did not get so far
        if self._served.mood == "resets":
            self._reply.reset()
        else:
            self._reply.close()

    def _usage(self) -> bytes | None:
        if self._served.mood == "says no usage":
            return None
        self._served.reported = self._served.tokens
        return usage_text(*self._served.tokens)

    async def _stream(self) -> None:
        served, rng, mood = self._served, self._rng, self._served.mood
        words = rng.randint(0, min(served.cap, WORD_TOKENS_MAX))
        unseen = 0
        if served.model == "thinker":
            unseen = rng.randint(0, served.cap - words)
            self._bill(unseen)
        stop_at = rng.randint(0, words) if mood in ("resets", "ends early") else words
        self._reply.begin()
        self._chunk(_ROLE)
        pause_s = 0.1 if mood == "drips" else rng.choice((0.0, 0.005, 0.02))
        for _ in range(stop_at):
            await asyncio.sleep(rng.random() * pause_s)
            served.words += 1
            self._bill(unseen + served.words)
            self._chunk(_WORD)
        if mood in ("resets", "ends early"):
            self._break_off()
            return
        self._chunk(_STOP)
        if mood == "bills more than the cap":
            self._bill(served.cap + rng.randint(1, 300))
        usage = self._usage()
        if usage is not None and self._says_usage:
            self._chunk(usage_event(usage))
        self._chunk(DONE)
        self._reply.end()

    def _chunk(self, data: bytes) -> None:
        self._served.sent_bytes += len(data)
        self._reply.chunk(data)


def read_served(file: Path) -> list[Served]:
    """The book."""
    return [msgspec.json.decode(line, type=Served) for line in file.read_bytes().splitlines()]


async def _main(seed: int, file: Path) -> None:
    upstream, told = Upstream(seed, file), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await upstream.provider.start()
    print(json.dumps({"port": upstream.provider.port}), flush=True)  # noqa: T201  # is read
    await told.wait()
    upstream.close()
    await upstream.provider.stop()


if __name__ == "__main__":
    die_with_parent()
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2])))
