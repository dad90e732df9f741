"""Eyes of the tests' own into the ledger: reads Redis directly, without the code under test.

`at_rest` is the end of every test about money: nothing is reserved, every request ended once, and
the counters equal the sum of the records.
"""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any, cast

import redis.asyncio

from tests.budgets.harness import Entry, counters_of, entry_of, head_of

ENDING_KINDS = ("llm_response", "reservation_expired")
WAIT_S_MAX = 15


class LedgerView:
    """One organisation's ledger, read only."""

    def __init__(self, socket_path: Path, organisation: str) -> None:
        self.organisation = organisation
        self._redis = redis.asyncio.Redis(unix_socket_path=str(socket_path))

    async def close(self) -> None:
        """Lets go of the connection."""
        await self._redis.aclose()

    async def outbox(self) -> list[Entry]:
        """All events, oldest first."""
        return _entries(await self._redis.xrange(self._key("outbox")))

    async def bodies(self) -> dict[int, bytes]:
        """The payloads that wait for the recorder, by the seq of their event."""
        entries: Any = await self._redis.xrange(self._key("bodies"))
        return {int(id_.split(b"-")[1]): fields[b"body"] for id_, fields in entries}

    async def requests(self) -> list[Entry]:
        """The reservations that were made."""
        return [entry for entry in await self.outbox() if entry.kind == "llm_request"]

    async def endings(self, count: int) -> list[Entry]:
        """Waits for this many endings; exactly so many there are."""
        async with asyncio.timeout(WAIT_S_MAX):
            while True:
                entries = await self.outbox()
                found = [entry for entry in entries if entry.kind in ENDING_KINDS]
                if len(found) >= count:
                    assert len(found) == count, found
                    return found
                last = f"{entries[-1].epoch}-{entries[-1].seq}" if entries else "0-0"
                await self._redis.xread({self._key("outbox"): last}, count=1, block=5_000)

    async def ending(self) -> tuple[Entry, dict[str, Any]]:
        """The only ending, and the worker's event in it."""
        (entry,) = await self.endings(1)
        event = json.loads(entry.event) if entry.event else {}
        assert isinstance(event, dict)
        return entry, event

    async def refusals(self, count: int) -> list[dict[str, Any]]:
        """Waits until events tell of so many refusals, and gives them with `detail` decoded;
        exactly so many there are."""
        async with asyncio.timeout(WAIT_S_MAX):
            while True:
                entries = await self.outbox()
                found = [refusal_of(each) for each in entries if each.kind == "budget_exceeded"]
                told = sum(event["detail"]["count"] for event in found)
                if told >= count:
                    assert told == count, found
                    return found
                last = f"{entries[-1].epoch}-{entries[-1].seq}" if entries else "0-0"
                await self._redis.xread({self._key("outbox"): last}, count=1, block=5_000)

    async def counters(self) -> dict[str, tuple[int, int, int]]:
        """(spent, reserved, allotted) by field."""
        return counters_of(await self._hash("ledger"))

    async def minted_keys(self) -> set[str]:
        """The ids of the keys that others minted and whose secrets are known to the server."""
        names = [name async for name in self._redis.scan_iter("comptroller:key:*")]
        records = [json.loads(each) for each in await self._redis.mget(names) if each]
        return {each["id"] for each in records if each.get("minters")}

    async def spent(self) -> int:
        """What is spent in the only counter in which anything is."""
        spent = [each[0] for each in (await self.counters()).values() if each[0]]
        assert len(spent) <= 1, spent
        return spent[0] if spent else 0

    async def route_events(self) -> list[dict[str, Any]]:
        """What became known of routes, oldest first: each event, and its `seq`."""
        found = []
        for entry in await self.outbox():
            event = json.loads(entry.event) if entry.kind == "budget_changed" else {}
            if "/~route/" in event.get("scope", ""):
                found.append({**event, "seq": entry.seq})
        return found

    async def spent_in(self, dimension: int) -> int:
        """What all endings booked in a dimension."""
        ended = [entry for entry in await self.outbox() if entry.kind in ENDING_KINDS]
        return sum(charged(entry, dimension) for entry in ended)

    async def state(self) -> dict[str, object]:
        """All that a request may change, but for the creation of scopes."""
        ledger = await self._hash("ledger")
        meta = ledger.pop(b"meta", b"")
        return {
            "seq": head_of({b"meta": meta}).seq if meta else 0,
            "ledger": {field: ledger[field] for field in ledger if not field.startswith(b"s:")},
            "leases": await self._hash("leases"),
            "outbox": await self._redis.xlen(self._key("outbox")),
            "bodies": await self._redis.xlen(self._key("bodies")),
        }

    async def at_rest(self) -> None:
        """Asserts that every reservation has ended once and the books agree."""
        ledger, entries = await self._snapshot()
        assert await self._hash("leases") == {}
        assert await self._redis.zcard(self._key("expiry")) == 0
        head = head_of(ledger)
        assert [entry.seq for entry in entries] == list(range(1, head.seq + 1))
        booked: Counter[str] = Counter()
        open_: Counter[str] = Counter()
        for entry in entries:
            for field, (spent, reserved) in entry.changes().items():
                booked[field] += spent
                open_[field] += reserved
        assert not any(open_.values()), open_
        for field, (spent, reserved, allotted) in counters_of(ledger).items():
            assert (reserved, allotted) == (0, 0), (field, reserved, allotted)
            assert spent == booked.pop(field, 0), field
        assert not any(booked.values()), booked
        asked = [entry.id for entry in entries if entry.kind == "llm_request"]
        ended = [entry.id for entry in entries if entry.kind in ENDING_KINDS]
        assert sorted(asked) == sorted(set(ended)), (
            "a request without an ending, or without a start"
        )

    async def _snapshot(self) -> tuple[dict[bytes, bytes], list[Entry]]:
        """Head, counters and events of one moment: refusals are written at any time."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(self._key("ledger"))
            pipe.xrange(self._key("outbox"))
            ledger, entries = await pipe.execute()
        return ledger, _entries(entries)

    async def until_at_rest(self, leases_left: int = 0) -> None:
        """Waits until all leases are gone, then asserts `at_rest`."""
        async with asyncio.timeout(WAIT_S_MAX):
            while len(await self._hash("leases")) > leases_left:
                entries = await self.outbox()
                last = f"{entries[-1].epoch}-{entries[-1].seq}" if entries else "0-0"
                await self._redis.xread({self._key("outbox"): last}, count=1, block=1_000)
        await self.at_rest()

    def _key(self, name: str) -> str:
        return f"{{{self.organisation}}}:{name}"

    async def _hash(self, name: str) -> dict[bytes, bytes]:
        found = await cast("Any", self._redis.hgetall(self._key(name)))
        return cast("dict[bytes, bytes]", found)


def refusal_of(entry: Entry) -> dict[str, Any]:
    """A `budget_exceeded` event, which touches no counter."""
    assert entry.counters == (), entry
    event: dict[str, Any] = json.loads(entry.event)
    return {**event, "detail": json.loads(event["detail"])}


def _entries(found: Any) -> list[Entry]:
    return [
        entry_of(id_, [each for pair in fields.items() for each in pair]) for id_, fields in found
    ]


def charged(entry: Entry, dimension: int = 1) -> int:
    """What an ending booked in the first counter of a dimension (1 usd, 2 tokens, 3 requests)."""
    flat = entry.counters
    return next(int(flat[at + 3]) for at in range(0, len(flat), 4) if flat[at + 1] == dimension)


def held(entry: Entry, dimension: int = 1) -> int:
    """What an ending gave back of that."""
    flat = entry.counters
    return next(int(flat[at + 2]) for at in range(0, len(flat), 4) if flat[at + 1] == dimension)
