"""Simulated clients: ASGI straight into a worker, as uvicorn would, with all their bad manners."""

import asyncio
import json
import random
from dataclasses import dataclass
from typing import Any

from tests.simulation.workers import Worker
from tests.simulation.world import KINDS, Received, World

AGAIN = (429, 503, 502)
TRIES_MAX = 3
NAMED = 0.25  # of requests have an Idempotency-Key


@dataclass(frozen=True, slots=True)
class Manners:
    """How a client behaves: chances, and seconds."""

    think_s: float
    hangs_up: float
    reads_slowly: float
    burst: float


class Crowd:
    """Every client of an episode. `workers` and `secrets` are looked up at each call, `secrets`
    being (organisation, secret)."""

    def __init__(
        self, world: World, workers: list[Worker], secrets: list[tuple[str, str]], manners: Manners
    ) -> None:
        self.busy = True
        self.in_flight = 0
        self._world = world
        self._workers = workers
        self._secrets = secrets
        self._manners = manners

    async def client(self, seed: int) -> None:
        """One client, until the crowd goes home."""
        rng, manners = random.Random(seed), self._manners
        while self.busy:
            await asyncio.sleep(rng.expovariate(1 / manners.think_s))
            if not self.busy or not self._secrets:
                return
            count = rng.randint(2, 6) if rng.random() < manners.burst else 1
            await asyncio.gather(*(self._tries(rng.getrandbits(48)) for _ in range(count)))

    async def _tries(self, seed: int) -> None:
        """One wish: each try is a call of its own, unless the client has named it. Then all are the
        same one, and sometimes two at the same time."""
        rng = random.Random(seed)
        who = rng.choice(self._secrets)
        named = rng.random() < NAMED
        call = next(self._world.calls)
        body = _body(rng, call)
        if named and rng.random() < 0.3:
            twin = self._call(random.Random(seed + 1), *who, call, body, named=True)
            self._world.loop.spawn(self._world.loop.world, twin)
        for _ in range(rng.randint(1, TRIES_MAX)):
            received = await self._call(rng, *who, call, body, named=named)
            if not named:
                call = next(self._world.calls)
                body = _body(rng, call)
            if received is None or received.status not in AGAIN or not self.busy:
                return
            self._world.tally["client:tries again"] += 1
            await asyncio.sleep(rng.random())

    async def _call(
        self,
        rng: random.Random,
        organisation: str,
        secret: str,
        call: int,
        body: bytes,
        *,
        named: bool,
    ) -> Received | None:
        ready = [each for each in self._workers if each.ready and each.process.alive]
        if not ready:
            return None
        world, worker = self._world, rng.choice(ready)
        world.organisation_of[call] = organisation
        received = Received(call, organisation)
        if not named:
            world.received[call] = received
        exchange = _Exchange(world, received, body, self._slowness_s(rng))
        scope = _scope(secret, f"call-{call}" if named else "")
        self.in_flight += 1
        try:
            task = worker.serve(scope, exchange.receive, exchange.send, call)
            task.add_done_callback(lambda _: exchange.done.set())
            worker.process.on_death.append(exchange.done.set)
            await self._waits(rng, exchange)
        finally:
            self.in_flight -= 1
        world.tally[f"status:{received.status}"] += 1
        again = b"x-comptroller-replayed" in received.headers
        world.tally["rare:answered again, for nothing"] += again
        world.trace.note("client", "call %d: %d", call, received.status)
        return received

    async def _waits(self, rng: random.Random, exchange: "_Exchange") -> None:
        patience_s = None
        if rng.random() < self._manners.hangs_up:
            patience_s = rng.random() * rng.choice((0.02, 0.3, 3.0))
        try:
            await asyncio.wait_for(exchange.done.wait(), patience_s)
        except TimeoutError:
            self._world.tally["fault:client hangs up"] += 1
            self._world.trace.note("client", "call %d hangs up", exchange.received.call)
            exchange.received.hung_up = True
            exchange.gone.set()

    def _slowness_s(self, rng: random.Random) -> float:
        return 0.4 if rng.random() < self._manners.reads_slowly else 0.0


class _Exchange:
    """One request between a client and an application, as an ASGI server has it."""

    def __init__(self, world: World, received: Received, body: bytes, slowness_s: float) -> None:
        self.received = received
        self.gone = asyncio.Event()
        self.done = asyncio.Event()
        self._world = world
        self._pieces = [body] if len(body) % 3 else [body[:10], body[10:]]
        self._slowness_s = slowness_s

    async def receive(self) -> dict[str, Any]:
        """The body, then nothing until somebody goes."""
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """What the client reads, if it is still there."""
        if self._slowness_s and not self.gone.is_set():
            await asyncio.sleep(self._world.loop.rng.random() * self._slowness_s)
        received = self.received
        if received.hung_up:
            return
        if message["type"] == "http.response.start":
            received.status = message["status"]
            received.headers = dict(message["headers"])
        else:
            received.bytes_received += len(message.get("body", b""))
            if not message.get("more_body", False):
                received.complete = True
                self.gone.set()


def _body(rng: random.Random, call: int) -> bytes:
    document: dict[str, Any] = {
        "model": rng.choice(KINDS),
        "messages": [{"role": "user", "content": f"call {call} " + "x" * rng.randint(0, 60)}],
        "stream": rng.random() < 0.5,
    }
    if rng.random() < 0.8:
        document["max_tokens"] = rng.choice((1, 5, 20, 60, 400))
    if rng.random() < 0.15:
        document["n"] = rng.randint(1, 3)
    if document["stream"] and rng.random() < 0.5:
        document["stream_options"] = {"include_usage": True}
    return json.dumps(document).encode()


def _scope(secret: str, name: str) -> dict[str, Any]:
    headers = [(b"authorization", b"Bearer " + secret.encode())]
    if name:
        headers.append((b"idempotency-key", name.encode()))
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "query_string": b"",
        "headers": headers,
    }
