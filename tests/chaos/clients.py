"""The clients of a chaos run: they ask for answers streamed and not, hang up, name their requests
and send them again, and remember what they were told.
"""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.chaos.stage import KEYS, MODELS, Options, Stack, secret_of
from tests.gateway.behaviours import ERROR_BODY
from tests.gateway.wire import Answer, parsed, request_bytes

ANSWER_S_MAX = 30.0
TRIES_MAX = 4
NO_CONNECTION, BROKEN_OFF, HUNG_UP, SILENT = "no connection", "broken off", "hung up", "silent"


@dataclass(frozen=True, slots=True)
class Told:
    """What one try got: `label` is the status, or what came instead of one. `id` is the gateway's
    name for the request, where it said one."""

    label: str
    id: str = ""
    cost_nusd: int | None = None
    replayed: bool = False


@dataclass(slots=True)
class Sent:
    """One body of a client: its number is in it, and nobody else sends it. `name` is its
    Idempotency-Key, empty for none; `tries` is how often it was sent."""

    number: int
    key: str
    name: str
    tries: int = 0
    told: list[Told] = field(default_factory=list)


class Crowd:
    """All clients. `sent` is in the order of their numbers, which begin at 0."""

    def __init__(self, options: Options, stack: Stack) -> None:
        self.sent: list[Sent] = []
        self.labels: Counter[str] = Counter()
        self.longest_s = self.longest_at_s = 0.0
        self._options = options
        self._stack = stack
        self._began_s = self._answered_at_s = time.monotonic()
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Until `stop`."""
        self._began_s = self._answered_at_s = time.monotonic()
        for number in range(self._options.callers):
            self._tasks.append(asyncio.create_task(self._call_on(number)))

    async def stop(self) -> None:
        """Lets all come to their end. Raises what a client has raised."""
        self._over.set()
        await asyncio.gather(*self._tasks)

    async def _call_on(self, caller: int) -> None:
        rng = random.Random(f"{self._options.seed}:client {caller}")
        while not self._over.is_set():
            if rng.random() < 0.15:
                await self._named(rng)
            else:
                sent = self._next(rng.choice(KEYS), "")
                await self._once(sent, _document(rng, sent.number), rng)
            await asyncio.sleep(rng.random() * 0.08)

    def _next(self, key: str, name: str) -> Sent:
        sent = Sent(len(self.sent), key, name)
        self.sent.append(sent)
        return sent

    async def _named(self, rng: random.Random) -> None:
        """A request with a name: sent again until it is answered, now and then twice at a time, or
        with another body under the same name."""
        key = rng.choice(KEYS)
        sent = self._next(key, f"name-{len(self.sent)}")
        document = _document(rng, sent.number)
        if rng.random() < 0.3:
            await asyncio.gather(*(self._once(sent, document, rng) for _ in range(2)))
        for _ in range(rng.randint(1, TRIES_MAX)):
            if await self._once(sent, document, rng) == "200" and rng.random() < 0.7:
                break
            await asyncio.sleep(rng.random() * 0.3)
        if rng.random() < 0.2:
            other = self._next(key, sent.name)
            await self._once(other, _document(rng, other.number), rng)

    async def _once(self, sent: Sent, document: dict[str, Any], rng: random.Random) -> str:
        patience_s = rng.random() * 1.5 if rng.random() < 0.1 else ANSWER_S_MAX
        named = (f"idempotency-key: {sent.name}",) if sent.name else ()
        data = request_bytes(secret_of(sent.key), json.dumps(document).encode(), *named)
        sent.tries += 1
        told = await self._exchange(data, patience_s)
        sent.told.append(told)
        self.labels[told.label] += 1
        if told.label[0].isdigit():
            self._answered()
        elif told.label == NO_CONNECTION:
            await asyncio.sleep(0.1)
        return told.label

    def _answered(self) -> None:
        now_s = time.monotonic()
        if now_s - self._answered_at_s > self.longest_s:
            self.longest_s = now_s - self._answered_at_s
            self.longest_at_s = now_s - self._began_s
        self._answered_at_s = now_s

    async def _exchange(self, data: bytes, patience_s: float) -> Told:
        """One try on a connection of its own, for at most so long."""
        raw = bytearray()
        try:
            async with asyncio.timeout(patience_s):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._stack.port)
                try:
                    writer.write(data)
                    while piece := await reader.read(65536):
                        raw += piece
                finally:
                    writer.transport.abort()
        except TimeoutError:
            label = SILENT if patience_s == ANSWER_S_MAX else HUNG_UP
            return _told(bytes(raw), label)
        except OSError:
            return _told(bytes(raw), BROKEN_OFF if raw else NO_CONNECTION)
        return _told(bytes(raw), "" if raw else NO_CONNECTION)


def _told(raw: bytes, label: str) -> Told:
    """What has arrived; `label` says what ended it, where that was not the gateway."""
    head, found, _ = raw.partition(b"\r\n\r\n")
    if not found:
        return Told(label or BROKEN_OFF)
    if not label:
        try:
            label = _label(parsed(raw))
        except AssertionError:
            label = BROKEN_OFF
    first, *lines = head.decode("latin-1").lower().split("\r\n")
    headers = {name: value.strip() for name, _, value in (each.partition(":") for each in lines)}
    served = first.split(" ")[1] == "200"
    cost = headers.get("x-comptroller-cost-usd") if served else None
    return Told(
        label,
        headers.get("x-comptroller-request-id", "") if served else "",
        None if cost is None else int(Decimal(cost) * 10**9),
        "x-comptroller-replayed" in headers,
    )


def _label(answer: Answer) -> str:
    return f"{answer.status} of the provider" if answer.body == ERROR_BODY else str(answer.status)


def _document(rng: random.Random, number: int) -> dict[str, Any]:
    content = f"call-{number}. {'x' * rng.randint(0, 400)}"
    document: dict[str, Any] = {
        "model": rng.choice(MODELS),
        "messages": [{"role": "user", "content": content}],
    }
    if rng.random() < 0.9:
        document["max_tokens"] = rng.choice((64, 300, 1_000, 2_500))
    if rng.random() < 0.5:
        document["stream"] = True
        if rng.random() < 0.5:
            document["stream_options"] = {"include_usage": True}
    return document
