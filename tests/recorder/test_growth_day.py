"""A day in which hundreds of runs and keys come and go, in seconds: nothing is left behind."""

import asyncio
import random

import pytest

from bench.growth import Hurried
from budgets.answers import Truth
from budgets.keys import EXPIRED_KEPT_MS, Key, KeyRing, digest, record_key
from budgets.plan import ScopePath
from budgets.policy import parse_policy
from gateway.events import KeyEvents
from tests.budgets.harness import dollars, granted
from tests.recorder.growing import HOUR_MS, Growing

HOURS, RUNS, KEYS = 24, 40, 34
KEY_LASTS_MS = HOUR_MS // 2
AT_ONCE = 20
# A run is there for its hour and the hour of its rest, a key half an hour longer; one pass goes by
# what the last snapshot says, so that each may be there for one hour more.
HOURS_THERE_MAX = 4
FIELDS_OF_RUN, FIELDS_OF_KEY = 2, 4  # record, counter; record, counter, policy, entry


class Day:
    """What is done in it, and what was spent."""

    def __init__(self, bench: Growing) -> None:
        self.bench = bench
        self.spent: dict[str, int] = {}
        self.ring = KeyRing(bench.desk.session, bench.desk.administration, KeyEvents("test"))
        self.budget = parse_policy([{"usd": "1"}])
        self._chance = random.Random(11)

    async def run(self, number: int) -> None:
        """A run with two requests."""
        scope = self.bench.scope(f"run-{number}")
        for _ in range(2):
            await self._request(ScopePath(scope))

    async def key(self, number: int) -> Key:
        """A key that is minted, used once, and forgotten by whoever has it."""
        secret = f"ck-{number:040d}"
        made_ms = self.bench.desk.clock.at_ms
        key = Key(
            id=f"key-{number:012x}",
            name=f"key {number}",
            scope=self.bench.organisation,
            created_at_ms=made_ms,
            expires_at_ms=made_ms + KEY_LASTS_MS,
            secret_sha256=digest(secret),
        )
        await self.ring.mint(key, secret, self.budget)
        await self._request(key.path())
        return key

    async def _request(self, path: ScopePath) -> None:
        nusd = self._chance.randrange(1, 1000)
        reservation = granted(await self.bench.desk.ask(dollars(1000), path=path))
        await self.bench.desk.ledger.settle(
            self.bench.organisation, reservation.id, Truth(nusd, None), b"", b""
        )
        self.spent[path.scope] = self.spent.get(path.scope, 0) + nusd

    async def size(self) -> tuple[int, int]:
        """Fields and bytes of all that the ledger keeps for the organisation."""
        fields = size_bytes = 0
        for name in ("ledger", "policies", "keys"):
            length = await self.bench.desk.transport.command("HLEN", self.bench.desk.key(name))
            used = await self.bench.desk.transport.command(
                "MEMORY", "USAGE", self.bench.desk.key(name), "SAMPLES", "0"
            )
            assert isinstance(length, int)
            fields += length
            size_bytes += used if isinstance(used, int) else 0
        return fields, size_bytes


@pytest.fixture
def day(growing: Growing) -> Day:
    """On a disk that is not waited for."""
    growing.desk.session.transport = Hurried(growing.desk.transport)
    return Day(growing)


@pytest.mark.timeout(300)
async def test_a_day_leaves_nothing_behind(day: Day) -> None:
    """Fields and memory of the ledger are as large after a day as after its first hours, and never
    larger than what a few hours make; a run of the morning that comes back has spent what it spent,
    to the nano-dollar, and so have all together."""
    bench = day.bench
    await bench.template({"usd": "1"})
    sizes: list[tuple[int, int]] = []
    keys: list[Key] = []
    for hour in range(HOURS):
        for first in range(0, RUNS, AT_ONCE):
            numbers = range(hour * RUNS + first, hour * RUNS + first + AT_ONCE)
            await asyncio.gather(*(day.run(n) for n in numbers))
            keys += await asyncio.gather(
                *(day.key(n) for n in range(len(keys), len(keys) + KEYS * AT_ONCE // RUNS))
            )
            await bench.desk.advance(HOUR_MS * AT_ONCE // RUNS)
        await bench.rest(1)
        await bench.record()
        await bench.sweep()
        sizes.append(await day.size())
    most = HOURS_THERE_MAX * (RUNS * FIELDS_OF_RUN + KEYS * FIELDS_OF_KEY) + 100
    assert max(fields for fields, _ in sizes) <= most, sizes
    early, late = max(sizes[3:9]), max(sizes[-6:])
    assert late[0] <= early[0] * 1.05, sizes
    assert late[1] <= early[1] * 1.25, sizes
    lasts_ms = await bench.desk.transport.command("PTTL", record_key(keys[-1].secret_sha256))
    assert isinstance(lasts_ms, int)
    assert 0 < lasts_ms <= KEY_LASTS_MS + EXPIRED_KEPT_MS
    there = await bench.scopes()
    for name in (bench.scope(f"run-{n}") for n in (0, 1, RUNS, 9 * RUNS + 7)):
        assert name not in there
        assert await bench.spent(name) == [day.spent[name]]
    await bench.record()
    ((recorded,),) = await bench.store.rows(
        "SELECT sum(c.4) FROM comptroller.events ARRAY JOIN counters AS c "
        "WHERE org = {org:String} AND event_type != 'llm_request'",
        org=bench.organisation,
    )
    assert int(recorded) == sum(day.spent.values())
