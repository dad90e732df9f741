"""Keys that mint keys, at the ledger: what is left after a crash between any two writes, how many
there may be, and that nobody reaches beyond what it minted."""

import asyncio

import msgspec
import pytest

from budgets.keys import Key, KeyRing, new_secret
from budgets.minting import (
    MayNotMint,
    Minting,
    ScopeUnusable,
    TooManyKeys,
)
from budgets.overview import Overview
from budgets.places import COUNTS_AFTER_END_MS, TRIAL_MS
from budgets.policy import Policy, parse_policy
from budgets.transport import LedgerSilent
from tests.budgets.conftest import MakeDesk
from tests.budgets.harness import Desk, TimedDesk, dollars, granted, refused
from tests.budgets.minting import MANY, ONE_CENT, DiesAt, below, minted, minter_of, minting_of
from tests.budgets.test_keys import key_for, ring_of


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 6))
async def test_a_minting_that_is_killed_leaves_nothing_usable_and_forgotten(
    make_desk: MakeDesk, write: int, done: bool
) -> None:
    """At each of its five writes: a secret that works is one whose key is in its minter's list, to
    be revoked there; and but for the last write, none works. Nobody was told the secret."""
    killed, desk = await make_desk(), await make_desk()
    minter, secret = await minter_of(desk), new_secret()
    key = below(minter, secret)
    killed.session.transport = DiesAt(killed.transport, write, done=done)
    with pytest.raises(LedgerSilent):
        await minting_of(killed).mint(minter, key, secret, ONE_CENT, MANY)
    works = await ring_of(desk).find(secret.encode())
    assert (works is not None) == (write == 5 and done)
    listed = [each.id for each, _ in await minting_of(desk).keys(minter, "", MANY)]
    assert listed == ([key.id] if write >= 4 or (write == 3 and done) else [])
    if works:
        await minting_of(desk).revoke(minter, key)
        refused(await desk.ask(dollars(1), path=works[1]), "CLOSED")


async def test_there_is_no_sixth_write(make_desk: MakeDesk) -> None:
    """The test before kills at every write."""
    desk = await make_desk()
    minter, secret = await minter_of(desk), new_secret()
    desk.session.transport = DiesAt(desk.transport, 6, done=False)
    await minting_of(desk).mint(minter, below(minter, secret), secret, ONE_CENT, MANY)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 8))
async def test_a_revocation_that_is_killed_is_whole_or_can_be_repeated(
    make_desk: MakeDesk, write: int, done: bool
) -> None:
    """From the first write that is done on, the key and those below it are dead, although their
    records are still there; revoking again takes those away."""
    killed, desk = await make_desk(), await make_desk()
    minter = await minter_of(desk)
    key, path = await minted(desk, minter, delegates=True)
    _, low_path = await minted(desk, key)
    killed.session.transport = DiesAt(killed.transport, write, done=done)
    await revoked_or_killed(minting_of(killed), minter, key)
    for each in (path, low_path):
        if write > 1 or done:
            assert refused(await desk.ask(dollars(1), path=each), "CLOSED").scope == key.key_scope
        else:
            granted(await desk.ask(dollars(1), path=each))
    await minting_of(desk).revoke(minter, key)
    assert [state for _, state in await minting_of(desk).keys(minter, "", MANY)] == ["closed"] * 2
    kinds = [each.kind for each in await desk.outbox()]
    assert kinds.count("key_revoked") == 1
    assert await desk.transport.command("KEYS", f"comptroller:key:{key.secret_sha256}") == []


async def revoked_or_killed(minting: Minting, minter: Key, key: Key) -> None:
    """As far as it comes."""
    try:
        await minting.revoke(minter, key)
    except LedgerSilent:
        return


async def test_a_family_has_as_many_keys_as_it_may(desk: Desk) -> None:
    """Whoever of the family mints: the operator's key, and keys that come from it. Another family
    has places of its own."""
    minter, other = await minter_of(desk), key_for(desk, "key-2", delegates=True)
    key, _ = await minted(desk, minter, 3, delegates=True)
    low, _ = await minted(desk, key, 3, delegates=True)
    await minted(desk, low, 3)
    for each in (minter, key, low):
        with pytest.raises(TooManyKeys, match="key-1"):
            await minted(desk, each, 3)
    await minted(desk, other, 3)
    assert len(await minting_of(desk).keys(minter, "", MANY)) == 3


async def test_many_at_once_never_get_more_places_than_there_are(make_desk: MakeDesk) -> None:
    """Forty mintings on four workers at once, for the last five places."""
    desks = [await make_desk() for _ in range(4)]
    minter = await minter_of(desks[0])
    answers = await asyncio.gather(
        *(minted(desk, minter, 5) for desk in desks for _ in range(10)), return_exceptions=True
    )
    assert all(isinstance(each, tuple | TooManyKeys) for each in answers)
    got = sum(isinstance(each, tuple) for each in answers)
    assert got <= 5
    for _ in range(5 - got):
        await minted(desks[0], minter, 5)
    with pytest.raises(TooManyKeys):
        await minted(desks[0], minter, 5)


async def test_a_key_that_has_ended_counts_for_an_hour_more(timed: TimedDesk) -> None:
    """Revoked by its minter or by an operator, or expired: minting and ending in a loop is bounded
    too."""
    minter = await minter_of(timed)
    first, _ = await minted(timed, minter, 3)
    second, _ = await minted(timed, minter, 3)
    ends_ms = timed.session.clock.now_ms() + 1_000
    await minted(timed, minter, 3, expires_at_ms=ends_ms)
    await minting_of(timed).revoke(minter, first)
    await ring_of(timed).revoke(second)
    await timed.advance(COUNTS_AFTER_END_MS - 1_000)
    with pytest.raises(TooManyKeys):
        await minted(timed, minter, 3)
    await timed.advance(2_001)
    for _ in range(3):
        await minted(timed, minter, 3)
    with pytest.raises(TooManyKeys):
        await minted(timed, minter, 3)


async def test_revoking_what_has_expired_takes_its_place_no_longer(timed: TimedDesk) -> None:
    """Its hour has begun with its end."""
    minter = await minter_of(timed)
    ends_ms = timed.session.clock.now_ms() + 1_000
    key, _ = await minted(timed, minter, 1, expires_at_ms=ends_ms)
    await timed.advance(COUNTS_AFTER_END_MS)
    await minting_of(timed).revoke(minter, key)
    await timed.advance(1_001)
    await minted(timed, minter, 1)


async def test_a_minting_that_broke_off_gives_its_place_back(timed: TimedDesk) -> None:
    """Its place was taken on trial; that of a key that is there stays."""
    minter, secret = await minter_of(timed), new_secret()
    await minted(timed, minter, 2)
    inner = timed.session.transport
    timed.session.transport = DiesAt(inner, 2, done=False)
    with pytest.raises(LedgerSilent):
        await minting_of(timed).mint(minter, below(minter, secret), secret, Policy(), 2)
    timed.session.transport = inner
    with pytest.raises(TooManyKeys):
        await minted(timed, minter, 2)
    await timed.advance(TRIAL_MS + 1)
    await minted(timed, minter, 2)
    with pytest.raises(TooManyKeys):
        await minted(timed, minter, 2)


async def test_nobody_reaches_what_it_did_not_mint(desk: Desk) -> None:
    """Its own key, its minter, a sibling and what that minted, a key that an operator made in its
    scope, one of another organisation: none is found or listed."""
    minter = await minter_of(desk)
    ann, _ = await minted(desk, minter, delegates=True)
    bob, _ = await minted(desk, minter, delegates=True)
    low, _ = await minted(desk, bob)
    placed = key_for(desk, "key-placed", scope=ann.key_scope)
    await ring_of(desk).mint(placed, new_secret(), Policy())
    minting = minting_of(desk)
    for each in (minter, ann, bob, low, placed):
        assert await minting.find(ann, each.id) is None
    assert await minting.keys(ann, "", MANY) == []
    listed = {each.id for each, _ in await minting.keys(minter, "", MANY)}
    assert listed == {ann.id, bob.id, low.id}
    assert [each.id for each, _ in await minting.keys(bob, "", MANY)] == [low.id]


async def test_the_permission_is_that_of_now(desk: Desk) -> None:
    """A worker has the key in its cache; the file takes the permission, or narrows its models: the
    next minting sees it. The secret keeps its own end and its fence."""
    minter = await minter_of(desk)
    cached = msgspec.structs.replace(minter, expires_at_ms=50, attempts=(("x", 3),))
    now = msgspec.structs.replace(minter, models=("a",), expires_at_ms=99)
    await ring_of(desk).mint(now, desk.organisation, ONE_CENT, replaces=minter)
    found = await minting_of(desk).minter(cached)
    assert (found.models, found.expires_at_ms, found.attempts) == (("a",), 50, (("x", 3),))
    without = msgspec.structs.replace(now, delegates=False)
    await ring_of(desk).mint(without, desk.organisation, ONE_CENT, replaces=now)
    with pytest.raises(MayNotMint):
        await minting_of(desk).minter(cached)
    moved = msgspec.structs.replace(now, scope=f"{desk.organisation}/elsewhere")
    await ring_of(desk).mint(moved, desk.organisation, ONE_CENT, replaces=without)
    with pytest.raises(MayNotMint):
        await minting_of(desk).minter(cached)


async def test_rotating_a_minter_at_once_ends_what_it_minted(desk: Desk) -> None:
    """The fence on its scope is above them, and they have its earlier attempt; with an overlap they
    live. What it mints afterwards has the new attempt."""
    minter = await minter_of(desk)
    key, path = await minted(desk, minter, delegates=True)
    _, low_path = await minted(desk, key)
    slowly = await ring_of(desk).rotate(minter, new_secret(), 60_000)
    granted(await desk.ask(dollars(1), path=path))
    at_once = await ring_of(desk).rotate(slowly, new_secret(), 0)
    for each in (path, low_path):
        assert refused(await desk.ask(dollars(1), path=each), "FENCED").scope == minter.key_scope
    assert [state for _, state in await minting_of(desk).keys(minter, "", MANY)] == ["closed"] * 2
    _, later_path = await minted(desk, at_once)
    granted(await desk.ask(dollars(1), path=later_path))
    with pytest.raises(ScopeUnusable):  # with the attempt of a secret that is dead
        await minted(desk, minter)


async def test_nothing_is_minted_below_a_closed_scope(desk: Desk) -> None:
    """It could never be used."""
    minter = await minter_of(desk)
    closed = f"{minter.key_scope}/run"
    await desk.administration.set_state(closed, "close", "budget_changed", b"{}")
    before = len(await desk.outbox())
    with pytest.raises(ScopeUnusable, match="run"):
        await minted(desk, minter, scope=f"{closed}/deeper")
    assert len(await desk.outbox()) == before


async def test_a_template_on_a_keys_scope_binds_each_key_that_it_mints(desk: Desk) -> None:
    """And one on the scope that the key works in binds neither the key nor what it minted."""
    team = f"{desk.organisation}/team"
    await desk.set_budget(team, {"per_child": [{"requests": 1}]})
    minter = key_for(desk, delegates=True)
    template = parse_policy({"per_child": [{"requests": 2}]})
    await ring_of(desk).mint(minter, new_secret(), template)
    for _ in range(2):
        _, path = await minted(desk, minter)
        for _ in range(2):
            granted(await desk.ask(dollars(1), path=path))
        assert refused(await desk.ask(dollars(1), path=path), "HELD").scope == path.scope
        (standing,) = await Overview(desk.session).standings(desk.organisation, [path.scope])
        assert [each.spent + each.reserved for each in standing.standings] == [2]
    for _ in range(3):
        granted(await desk.ask(dollars(1), path=minter.path()))


async def test_an_operator_sees_the_state_of_a_whole_line_of_keys(desk: Desk) -> None:
    """A key whose minter is frozen or closed is so itself, in the operator's list too."""
    minter = await minter_of(desk)
    key, _ = await minted(desk, minter, delegates=True)
    low, _ = await minted(desk, key)
    overview = Overview(desk.session)
    assert await overview.key_states(desk.organisation, [low]) == {low.id: "open"}
    await desk.administration.set_state(minter.key_scope, "freeze", "budget_changed", b"{}")
    assert await overview.key_states(desk.organisation, [low]) == {low.id: "frozen"}
    await desk.administration.set_state(key.key_scope, "close", "key_revoked", b"{}")
    states = await overview.key_states(desk.organisation, [minter, key, low])
    assert states == {minter.id: "frozen", key.id: "closed", low.id: "closed"}


def test_a_key_knows_its_line() -> None:
    """Scopes that are no keys' can lie between."""
    key = Key("low", "n", "o/team/top/run-1/mid", 1, minters=("top", "mid"))
    assert key.root == "top"
    assert key.minter_scopes == ("o/team/top", "o/team/top/run-1/mid")
    assert key.own_scopes == (
        *("o/team/top", "o/team/top/run-1", "o/team/top/run-1/mid"),
        "o/team/top/run-1/mid/low",
    )
    alone = Key("top", "n", "o/team", 1)
    assert (alone.root, alone.minter_scopes, alone.own_scopes) == ("top", (), ("o/team/top",))


def test_keys_of_before_are_read(desk: Desk) -> None:
    """A record without the new fields is an operator's key that does not delegate."""
    key = msgspec.json.decode(b'{"id":"a","name":"a","scope":"o","created_at_ms":1}', type=Key)
    assert (key.delegates, key.minters) == (False, ())
    assert isinstance(ring_of(desk), KeyRing)
