"""Eyes into the ledger of a chaos run, around the code under test: while it runs, and at rest."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import redis.asyncio
import redis.exceptions

from budgets.policy import decode_policy
from tests.budgets.harness import Head, counters_of, head_of
from tests.chaos.stage import ORGANISATIONS

LOOK_EVERY_S = 0.2
_ABSENT = (redis.exceptions.RedisError, OSError, TimeoutError)
_ARRAY_OF_4 = b"\x94"
_decode_mark = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw, str, int]).decode
Counters = dict[str, tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class Look:
    """One organisation's ledger at one moment: counters are (spent, reserved, allotted) by field,
    limits are amounts by limit id."""

    head: Head
    counters: Counters
    limits: dict[str, int]
    leases: int
    expiries: int
    outbox: int
    bodies: int

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is open and nothing waits to be recorded."""
        return not (self.leases or self.expiries or self.outbox or self.bodies)

    def excesses(self) -> dict[str, int]:
        """By how much counters are above their limit."""
        found = {}
        for name, values in self.counters.items():
            above = sum(values) - self.limits.get(limit_of(name), 2**62)
            if above > 0:
                found[name] = above
        return found


def marked(packed: bytes) -> tuple[str, str]:
    """(id, state) of a mark as chunks/marks.lua writes it; the hash in it is no text."""
    id_, _, state, _ = _decode_mark(_ARRAY_OF_4 + packed)
    return id_, state


def limit_of(counter: str) -> str:
    """The id of a counter's limit."""
    return counter.split(":", 2)[1]


@dataclass(slots=True)
class Seen:
    """What was seen while it ran: the most by which each counter was above its limit, and what may
    never be."""

    looks: int = 0
    excesses: dict[str, dict[str, int]] = field(
        default_factory=lambda: {each: {} for each in ORGANISATIONS}
    )
    wrong: list[str] = field(default_factory=list)


class Eyes:
    """Looks at all organisations."""

    def __init__(self, socket_path: Path) -> None:
        self.seen = Seen()
        self._redis = redis.asyncio.Redis(
            unix_socket_path=str(socket_path), socket_timeout=1, socket_connect_timeout=1
        )
        self._heads: dict[str, tuple[int, int, int]] = {}

    async def close(self) -> None:
        """Lets go of the connection."""
        await self._redis.aclose()

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            for organisation in ORGANISATIONS:
                with contextlib.suppress(*_ABSENT):
                    look = await self.look(organisation)
                    if look is not None:
                        self._note(organisation, look)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self, organisation: str) -> Look | None:
        """Now, all at one moment; None before its first request."""
        key = f"{{{organisation}}}:"
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(key + "ledger")
            pipe.hgetall(key + "policies")
            pipe.hlen(key + "leases")
            pipe.zcard(key + "expiry")
            pipe.xlen(key + "outbox")
            pipe.xlen(key + "bodies")
            found = await pipe.execute()
        ledger, policies, *counts = found
        if b"meta" not in ledger:
            return None
        limits = {
            limit.id: limit.amount
            for packed in policies.values()
            for policy in (decode_policy(packed),)
            for limit in (*policy.limits, *policy.per_child)
        }
        return Look(head_of(ledger), counters_of(ledger), limits, *counts)

    async def running_names(self, organisation: str) -> list[str]:
        """Requests whose `Idempotency-Key` the ledger still holds for one that runs, by id."""
        pattern, running = f"{{{organisation}}}:idempotency:*", []
        async for key in self._redis.scan_iter(match=pattern, count=1_000):
            packed = await self._redis.get(key)
            if isinstance(packed, bytes):
                id_, state = marked(packed)
                running += [id_] if state == "running" else []
        return running

    async def until_at_rest(self, within_s: float) -> dict[str, Look]:
        """Waits until nothing is open and nothing waits; the last look, at rest or not."""
        give_up_s = time.monotonic() + within_s
        while True:
            looks = {}
            with contextlib.suppress(*_ABSENT):
                for organisation in ORGANISATIONS:
                    look = await self.look(organisation)
                    if look is not None:
                        looks[organisation] = look
                if looks.keys() == set(ORGANISATIONS):
                    rest = all(look.is_at_rest for look in looks.values())
                    if rest or time.monotonic() > give_up_s:
                        return looks
            if time.monotonic() > give_up_s + within_s:
                raise AssertionError("the ledger does not answer at rest")
            await asyncio.sleep(LOOK_EVERY_S)

    def _note(self, organisation: str, look: Look) -> None:
        seen, head = self.seen, look.head
        seen.looks += 1
        # A negative epoch is one that is being recovered: its counters come piece by piece.
        place = (abs(head.epoch), head.seq, head.time_ms)
        before = self._heads.get(organisation, place)
        if place < before or head.time_ms < before[2]:
            seen.wrong.append(f"{organisation}: the head went from {before} to {place}")
        self._heads[organisation] = place
        if head.epoch < 0:
            return
        for name, values in look.counters.items():
            if min(values) < 0:
                seen.wrong.append(f"{organisation}: {name} is {values} at seq {head.seq}")
        worst = seen.excesses[organisation]
        for name, above in look.excesses().items():
            worst[name] = max(above, worst.get(name, 0))
