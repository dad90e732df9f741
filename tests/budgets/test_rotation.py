"""A key gets another secret: what the old one may do, and what is left after a crash in between."""

import msgspec
import pytest

from budgets.keys import (
    CACHED_KEY_MS,
    EARLIER_SECRETS_MAX,
    OVERLAP_MS_MAX,
    Key,
    KeyChanged,
    KeyRing,
    TooManySecrets,
    digest,
    new_secret,
    record_key,
)
from budgets.policy import Policy
from budgets.transport import Argument, LedgerSilent
from tests.budgets.harness import Desk, dollars, granted, refused
from tests.budgets.test_keys import ForgetsSet, key_for, ring_of


async def minted(ring: KeyRing, desk: Desk, secret: str) -> Key:
    """A key that knows its secret's hash."""
    key = key_for(desk, secret_sha256=digest(secret))
    await ring.mint(key, secret, Policy())
    return key


async def test_a_declared_key_goes_on_after_its_secrets_were_ended(desk: Desk) -> None:
    """What the file declares wins at the next start: minting over the key keeps it behind the fence
    that a rotation has raised, else it would be dead for good."""
    ring, first = ring_of(desk), new_secret()
    key = await minted(ring, desk, first)
    rotated = await ring.rotate(key, new_secret(), 0)
    assert (key.generation, rotated.generation) == (0, 1)
    await ring.mint(key, first, Policy(), replaces=rotated)
    found = await ring_of(desk).find(first.encode())
    assert found is not None
    granted(await desk.ask(dollars(1), path=found[1]))


async def test_fences_of_other_scopes_are_kept(desk: Desk) -> None:
    """A step's key is fenced by its attempt besides; rotation raises the fence of its own scope
    only."""
    ring, secret = ring_of(desk), new_secret()
    team = f"{desk.organisation}/team"
    key = key_for(desk, secret_sha256=digest(secret), attempts=((team, 3),))
    await ring.mint(key, secret, Policy())
    rotated = await ring.rotate(key, new_secret(), 0)
    assert dict(rotated.attempts) == {team: 3, key.key_scope: 1}
    await desk.administration.set_state(team, "fence", "step_started", b"{}", attempt=4)
    assert refused(await desk.ask(dollars(1), path=rotated.path()), "FENCED").scope == team


async def test_a_stale_key_cannot_be_rotated(desk: Desk) -> None:
    """Whoever looked before somebody else rotated is told, and its secret finds nobody."""
    ring, late = ring_of(desk), new_secret()
    key = await minted(ring, desk, new_secret())
    await ring.rotate(key, new_secret(), CACHED_KEY_MS)
    with pytest.raises(KeyChanged):
        await ring.rotate(key, late, CACHED_KEY_MS)
    assert await ring_of(desk).find(late.encode()) is None


@pytest.mark.parametrize("overlap_ms", [0, CACHED_KEY_MS])
async def test_a_rotation_that_was_interrupted_can_be_made_again(
    desk: Desk, overlap_ms: int
) -> None:
    """No old secret is left that works without an end; the next rotation gives one that works."""
    ring, first, last = ring_of(desk), new_secret(), new_secret()
    key = await minted(ring, desk, first)
    whole = desk.session.transport

    class LosesNewRecord(ForgetsSet):
        """Lost where the new secret is written."""

        async def command_durably(self, *args: Argument) -> object:
            """The old secret's end is still written."""
            if args[0] == "SET" and "XX" not in args:
                raise LedgerSilent("gone")
            return await self._inner.command_durably(*args)

    desk.session.transport = LosesNewRecord(desk)
    with pytest.raises(LedgerSilent):
        await ring_of(desk).rotate(key, new_secret(), overlap_ms)
    desk.session.transport = whole
    found = await ring_of(desk).find(first.encode())
    assert (found is None) == (overlap_ms == 0)
    assert found is None or found[0].expires_at_ms is not None
    known = await ring.named(desk.organisation, key.id)
    assert known is not None
    await ring.rotate(known, last, overlap_ms)
    found = await ring_of(desk).find(last.encode())
    assert found is not None
    granted(await desk.ask(dollars(1), path=found[1]))


async def test_an_overlap_never_lengthens_a_keys_life(desk: Desk) -> None:
    """A key that ends soon ends then, with its old secret."""
    ring, secret = ring_of(desk), new_secret()
    ends_ms = desk.session.clock.now_ms() + 1_000
    key = await minted(ring, desk, secret)
    key = msgspec.structs.replace(key, expires_at_ms=ends_ms)
    await ring.rotate(key, new_secret(), CACHED_KEY_MS)
    found = await ring_of(desk).find(secret.encode())
    assert found is not None
    assert found[0].expires_at_ms == ends_ms


class LosesAnySet(ForgetsSet):
    """A server that is lost where the new secret would be written."""

    async def command_durably(self, *args: Argument) -> object:
        """What ends the old secret is still written."""
        if args[0] == "SET" and "XX" not in args:
            raise LedgerSilent("gone")
        return await self._inner.command_durably(*args)


async def test_after_an_interrupted_end_of_all_secrets_an_overlap_gives_one_that_works(
    desk: Desk,
) -> None:
    """The fence that was raised is known to whoever rotates next, in whatever way, and to whoever
    declares the key anew: a secret behind it would be handed out dead."""
    ring, first, last = ring_of(desk), new_secret(), new_secret()
    key = await minted(ring, desk, first)
    desk.session.transport = LosesAnySet(desk)
    with pytest.raises(LedgerSilent):
        await ring_of(desk).rotate(key, new_secret(), 0)
    desk.session.transport = desk.transport
    known = await ring.named(desk.organisation, key.id)
    assert known is not None
    await ring.rotate(known, last, CACHED_KEY_MS)
    await ring.mint(key, first, Policy(), replaces=known)
    for secret in (last, first):
        found = await ring_of(desk).find(secret.encode())
        assert found is not None
        granted(await desk.ask(dollars(1), path=found[1]))


async def test_a_rotation_that_lost_shuts_nobody_out(desk: Desk) -> None:
    """Of two at the same time, one with an overlap and one without, the first one's secret works:
    the other one, which is told that it lost, has raised no fence."""
    ring, won = ring_of(desk), new_secret()
    key = await minted(ring, desk, new_secret())
    await ring.rotate(key, won, CACHED_KEY_MS)
    with pytest.raises(KeyChanged):
        await ring.rotate(key, new_secret(), 0)
    found = await ring_of(desk).find(won.encode())
    assert found is not None
    granted(await desk.ask(dollars(1), path=found[1]))


async def test_an_overlap_bounds_all_earlier_secrets(desk: Desk) -> None:
    """One that was promised a longer time ends with this overlap, too: it may be the one that
    leaked. One that ends sooner ends then."""
    ring, first, second = ring_of(desk), new_secret(), new_secret()
    key = await minted(ring, desk, first)
    key = await ring.rotate(key, second, OVERLAP_MS_MAX)
    key = await ring.rotate(key, new_secret(), 2 * CACHED_KEY_MS)
    key = await ring.rotate(key, new_secret(), 2 * OVERLAP_MS_MAX // 3)
    now_ms = desk.session.clock.now_ms()
    for secret in (first, second):
        found = await ring_of(desk).find(secret.encode())
        assert found is not None
        assert found[0].expires_at_ms is not None
        assert found[0].expires_at_ms - now_ms <= 2 * CACHED_KEY_MS
        left_ms = await desk.transport.command("PTTL", record_key(digest(secret)))
        assert isinstance(left_ms, int)
        assert 0 < left_ms <= 2 * CACHED_KEY_MS


async def test_earlier_secrets_are_bounded(desk: Desk) -> None:
    """Beyond the bound nothing is changed, and ending all of them makes room."""
    ring, secret = ring_of(desk), new_secret()
    key = await minted(ring, desk, new_secret())
    for _ in range(EARLIER_SECRETS_MAX):
        secret = new_secret()
        key = await ring.rotate(key, secret, CACHED_KEY_MS)
    with pytest.raises(TooManySecrets):
        await ring.rotate(key, new_secret(), CACHED_KEY_MS)
    found = await ring_of(desk).find(secret.encode())
    assert found is not None
    granted(await desk.ask(dollars(1), path=found[1]))
    key = await ring.rotate(key, new_secret(), 0)
    assert await ring.rotate(key, new_secret(), CACHED_KEY_MS)


async def test_a_revoked_key_is_not_rotated(desk: Desk) -> None:
    """Also where it was revoked after it was looked at."""
    ring = ring_of(desk)
    key = await minted(ring, desk, new_secret())
    await ring.revoke(key)
    with pytest.raises(KeyChanged):
        await ring.rotate(key, new_secret(), 0)
