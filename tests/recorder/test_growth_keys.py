"""Keys that leave, and whatever happens: what was spent stays spent."""

import asyncio
import random

import pytest

from budgets.administration import ScopeClosed
from budgets.answers import Reservation, Truth
from budgets.embedded import EmbeddedServer
from budgets.keys import Key, KeyRing, digest, record_key
from budgets.memory import MemoryAway
from budgets.policy import parse_policy
from budgets.transport import LedgerUnavailable
from comptroller.remembering import RecordsMemory
from gateway.events import KeyEvents
from recorder.compaction import Compaction
from tests.budgets.harness import TimedDesk, dollars, granted, refused
from tests.recorder.growing import DAY_MS, HOUR_MS, Growing
from tests.recorder.test_compaction import REST_MS
from tests.recorder.workbench import NOON_MS, desk_at


async def _minted(growing: Growing, lasts_ms: int | None, secret: str = "s" * 40) -> Key:
    key = Key(
        id="key-writer",
        name="writer",
        scope=growing.organisation,
        created_at_ms=growing.desk.clock.at_ms,
        expires_at_ms=None if lasts_ms is None else growing.desk.clock.at_ms + lasts_ms,
        secret_sha256=digest(secret),
    )
    budget = parse_policy([{"usd": "0.000000100"}])
    await _ring(growing).mint(key, secret, budget)
    return key


def _ring(growing: Growing) -> KeyRing:
    return KeyRing(growing.desk.session, growing.desk.administration, KeyEvents("test"))


async def test_an_expired_key_leaves_with_its_scope_and_comes_back_with_its_budget(
    growing: Growing,
) -> None:
    """Its record by secret by itself, the entry of the index with the scope. Minted again it has
    spent what it had; the records know when it was first made."""
    key = await _minted(growing, HOUR_MS)
    left_ms = await growing.desk.transport.command("PTTL", record_key(key.secret_sha256))
    assert isinstance(left_ms, int)
    assert 0 < left_ms <= 2 * HOUR_MS
    reservation = granted(await growing.desk.ask(dollars(70), path=key.path()))
    await growing.desk.ledger.settle(
        growing.organisation, reservation.id, Truth(70, None), b"", b""
    )
    await growing.pass_by()
    assert await growing.has(key.key_scope)
    await growing.pass_by()
    assert await growing.scopes() == {growing.organisation}
    assert await _ring(growing).named(growing.organisation, key.id) is None
    assert await _ring(growing).made_before(growing.organisation, key.id) == key
    assert await _ring(growing).made_before(growing.organisation, "key-other") is None
    again = await _minted(growing, HOUR_MS, "t" * 40)
    refused(await growing.desk.ask(dollars(31), path=again.path()), "EXHAUSTED")
    granted(await growing.desk.ask(dollars(30), path=again.path()))


async def test_a_key_that_works_stays(growing: Growing) -> None:
    """However long nobody has used it."""
    key = await _minted(growing, None)
    await growing.pass_by(90 * DAY_MS)
    assert await growing.has(key.key_scope)
    assert await _ring(growing).named(growing.organisation, key.id) == key


async def test_a_revoked_key_leaves_and_stays_revoked(growing: Growing) -> None:
    """Its entry too; to mint it again under its name is refused as ever."""
    key = await _minted(growing, None)
    await _ring(growing).revoke(key)
    assert await growing.pass_by() == 1
    assert await _ring(growing).named(growing.organisation, key.id) is None
    with pytest.raises(ScopeClosed):
        await _minted(growing, None)
    refused(await growing.desk.ask(dollars(1), path=key.path()), "CLOSED")


async def test_whatever_happens_a_child_has_spent_what_it_spent(growing: Growing) -> None:
    """A model: children spend, rest, come back; truth comes late; the recorder lags and compacts at
    any time. What a worker that knows nothing finds is what was spent, to the nano-dollar."""
    chance = random.Random(7)
    await growing.template({"usd": "1"}, {"usd": "1", "window": "month"})
    children = [growing.scope(f"run-{n}") for n in range(6)]
    truth = dict.fromkeys(children, 0)
    expired: list[tuple[str, str]] = []
    came_back = 0
    for _ in range(220):
        act = chance.random()
        child = chance.choice(children)
        try:
            if act < 0.35:
                came_back += not await growing.has(child)
                nusd = chance.randrange(100)
                await growing.spend(nusd, child)
                truth[child] += nusd
            elif act < 0.45:
                reservation = await growing.reserve(50, child)
                await growing.desk.advance(60_001)
                await growing.desk.ledger.sweep(growing.organisation)
                truth[child] += 50
                expired.append((reservation.id, child))
            elif act < 0.6 and expired:
                id_, of = expired.pop(chance.randrange(len(expired)))
                nusd = chance.randrange(120)
                answer = await growing.desk.ledger.settle(
                    growing.organisation, id_, Truth(nusd, None), b"", b""
                )
                truth[of] += nusd - 50 if answer == "CORRECTED" else 0
            elif act < 0.75:
                await growing.record()
            elif act < 0.9:
                await growing.record()
                await growing.sweep()
            else:
                await growing.rest(chance.choice((REST_MS // 2, REST_MS + 1)))
        except MemoryAway:
            await growing.record()
    await growing.record()
    for child in children:
        assert await growing.spent(child) == [truth[child]] * 2, child
    assert came_back > 15


async def test_a_ledger_that_forgets_all_the_time_grants_exactly_what_there_is(
    growing: Growing, valkey: EmbeddedServer
) -> None:
    """Three workers spend the budgets of some children at once, while a recorder that knows no
    rest lets each of them go as soon as it can: whatever meets whatever, each child is granted its
    budget, to the nano-dollar."""
    budget_nusd, gone_least = 40, 30
    await growing.template({"usd": f"0.{budget_nusd:09d}"}, {"requests": 1000})
    children = [growing.scope(f"run-{n}") for n in range(12)]
    snapshots = growing.compaction.snapshots
    growing.compaction = Compaction(growing.recording, growing.store, snapshots, rest_ms=0)
    spent_nusd = dict.fromkeys(children, 0)
    enough = asyncio.Event()

    async def spends(desk: TimedDesk, child: str) -> bool:
        """One nano-dollar, if there is one left."""
        try:
            answer = await desk.ask(dollars(1), child)
        except LedgerUnavailable:  # the records are behind: not now
            return True
        if isinstance(answer, Reservation):
            await desk.ledger.settle(desk.organisation, answer.id, Truth(1, None), b"", b"")
            spent_nusd[child] += 1
        return isinstance(answer, Reservation)

    async def works(desk: TimedDesk, chance: random.Random) -> None:
        while not enough.is_set():
            await spends(desk, chance.choice(children))
            await asyncio.sleep(0.1)

    async def forgets() -> None:
        gone = 0
        while gone < gone_least:
            await growing.rest(1)
            await growing.record()
            gone += await growing.sweep()
        enough.set()

    async with (
        desk_at(
            valkey, NOON_MS, growing.organisation, RecordsMemory(growing.store.select)
        ) as second,
        desk_at(
            valkey, NOON_MS, growing.organisation, RecordsMemory(growing.store.select)
        ) as third,
    ):
        desks = (growing.desk, second, third)
        works_on = (works(desk, random.Random(n)) for n, desk in enumerate(desks))
        await asyncio.gather(forgets(), *works_on)
    await growing.record()
    for child in children:
        while await spends(growing.desk, child):
            pass
    assert spent_nusd == dict.fromkeys(children, budget_nusd)
