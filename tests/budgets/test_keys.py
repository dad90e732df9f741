"""Scoped keys: found by their whole secret only, never stored in clear, dead at the next call
after they were revoked."""

import hashlib

import msgspec
import pytest

from budgets.administration import ScopeClosed
from budgets.keys import CACHED_KEY_MS, Key, KeyRing, digest, new_key_id, new_secret
from budgets.plan import ScopePath
from budgets.policy import Policy, PolicyInvalid, parse_policy
from budgets.transport import Argument, LedgerSilent
from tests.budgets.conftest import MakeDesk
from tests.budgets.harness import Desk, TimedDesk, dollars, granted, refused

ONE_CENT = parse_policy([{"usd": "0.01"}])


class Events:
    """Events as short bytes."""

    def minted(self, key: Key) -> bytes:
        """Names the key."""
        return b"minted " + key.id.encode()

    def budget_changed(self, key: Key) -> bytes:
        """Names the key."""
        return b"budget of " + key.id.encode()

    def revoked(self, key: Key) -> bytes:
        """Names the key."""
        return b"revoked " + key.id.encode()


def ring_of(desk: Desk) -> KeyRing:
    """A worker's key ring, with a cache of its own."""
    return KeyRing(desk.session, desk.administration, Events())


def key_for(desk: Desk, key_id: str = "key-1", **fields: object) -> Key:
    """A key that works in the organisation's team."""
    scope = f"{desk.organisation}/team"
    return msgspec.structs.replace(Key(key_id, "ci", scope, 1), **fields)


async def test_a_minted_key_is_found_by_its_secret(desk: Desk) -> None:
    """The record comes back whole, with the path that its requests count on."""
    ring, secret = ring_of(desk), new_secret()
    team = f"{desk.organisation}/team"
    key = key_for(
        desk,
        expires_at_ms=desk.session.clock.now_ms() + 60_000,
        models=("gpt-5*",),
        endpoints=("chat*",),
        agent="bot",
        tags={"who": "ann"},
        attempts=((team, 3),),
    )
    await ring.mint(key, secret, ONE_CENT)
    found = await ring_of(desk).find(secret.encode())
    assert found == (key, ScopePath(f"{team}/key-1", f"{team}/key-1", ((team, 3),)))
    assert await ring.named(desk.organisation, "key-1") == key
    assert (key.organisation, key.key_scope) == (desk.organisation, f"{team}/key-1")


async def test_only_the_whole_secret_finds_a_key(desk: Desk) -> None:
    """A prefix, an extension, another case or nothing finds nobody (as CVE-2026-35030 did), also
    not after the right secret was cached."""
    ring, secret = ring_of(desk), new_secret()
    await ring.mint(key_for(desk), secret, Policy())
    assert await ring.find(secret.encode()) is not None
    for wrong in (secret[:-1], secret + "a", secret.swapcase(), "", "ck-", new_secret()):
        assert await ring.find(wrong.encode()) is None
    assert await ring.find(b"\xff\x00") is None


async def test_no_secret_is_stored(desk: Desk) -> None:
    """Neither the secret nor a part of it is in any key or value of the server, whatever its type;
    only its SHA-256 is."""
    ring, secret = ring_of(desk), new_secret()
    await ring.mint(key_for(desk), secret, ONE_CENT)
    found = await ring.find(secret.encode())
    assert found is not None
    granted(await desk.ask(dollars(1), path=found[1]))
    keys = await desk.transport.command("KEYS", "*")
    assert isinstance(keys, list)
    dump = [*keys]
    for key in keys:
        dump.append(await desk.transport.command("DUMP", key))
        dump.append(await _plain(desk, key))
    stored = b"\n".join(each for each in dump if isinstance(each, bytes))
    body = secret.removeprefix("ck-").encode()
    assert all(body[at : at + 12] not in stored for at in range(len(body) - 12))
    assert hashlib.sha256(secret.encode()).hexdigest().encode() in stored


async def _plain(desk: Desk, key: bytes) -> bytes:
    """A value uncompressed: DUMP may hold it compressed."""
    readers: tuple[tuple[Argument, ...], ...] = (
        ("GET", key),
        ("HGETALL", key),
        ("XRANGE", key, "-", "+"),
        ("ZRANGE", key, "0", "-1"),
        ("SMEMBERS", key),
        ("LRANGE", key, "0", "-1"),
    )
    kind = await desk.transport.command("TYPE", key)
    if kind == b"none":  # one that lives a second only
        return b""
    names = {"string": 0, "hash": 1, "stream": 2, "zset": 3, "set": 4, "list": 5}
    value = await desk.transport.command(*readers[names[str(kind.decode())]])  # type: ignore[attr-defined]  # a status is bytes
    return repr(value).encode()


def test_secrets_are_long_and_never_the_same() -> None:
    """256 bits each, with a prefix that scanners can know; ids are distinct too."""
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(each.startswith("ck-") and len(each) >= 3 + 43 for each in secrets)
    assert len({new_key_id() for _ in range(100)}) == 100
    assert digest("abc") == hashlib.sha256(b"abc").hexdigest()


async def test_a_revocation_counts_at_the_next_call_although_the_key_is_cached(
    desk: Desk, make_desk: MakeDesk
) -> None:
    """Another worker has key, path and policy cached: its very next reserve and check refuse."""
    secret, key = new_secret(), key_for(desk)
    other = await make_desk()
    ring, far = ring_of(desk), ring_of(other)
    await ring.mint(key, secret, ONE_CENT)
    found = await far.find(secret.encode())
    assert found is not None
    granted(await other.ask(dollars(1), path=found[1]))
    await ring.revoke(key)
    cached = await far.find(secret.encode())
    assert cached == found
    answer = refused(await other.ask(dollars(1), path=found[1]), "CLOSED")
    assert answer.scope == key.key_scope
    checked = await other.ledger.check(found[1])
    assert checked.refusal is not None
    assert [each.kind for each in await desk.outbox()][-1] == "key_revoked"
    assert [each.event for each in await desk.outbox()][-1] == b"revoked key-1"


async def test_a_revoked_key_refuses_under_every_subscope(desk: Desk) -> None:
    """A key that names the children it works for is revoked for all of them, and its siblings
    are not."""
    ring, key = ring_of(desk), key_for(desk)
    other = key_for(desk, "key-2")
    for each in (key, other):
        await ring.mint(each, new_secret(), Policy())
    await ring.revoke(key)
    child = f"{key.scope}/run-1"
    refused(await desk.ask(dollars(1), path=ScopePath(child, key.key_scope)), "CLOSED")
    granted(await desk.ask(dollars(1), path=ScopePath(child, other.key_scope)))


async def test_a_revoked_key_cannot_be_minted_again(desk: Desk) -> None:
    """Its scope is closed for good: the id has to be another one."""
    ring, key = ring_of(desk), key_for(desk)
    await ring.mint(key, new_secret(), Policy())
    await ring.revoke(key)
    with pytest.raises(ScopeClosed):
        await ring.mint(key, new_secret(), Policy())


async def test_a_keys_budget_limits_its_scope(desk: Desk) -> None:
    """The budget of a key is the limits of the scope below the one that it works in."""
    ring, secret = ring_of(desk), new_secret()
    await ring.mint(key_for(desk), secret, parse_policy([{"requests": 1}]))
    found = await ring.find(secret.encode())
    assert found is not None
    granted(await desk.ask(dollars(1), path=found[1]))
    assert refused(await desk.ask(dollars(1), path=found[1]), "HELD").scope == found[0].key_scope


async def test_a_replaced_secret_is_useless_and_the_new_one_works(desk: Desk) -> None:
    """Rotation keeps the key, its scope and what it has spent; workers let go of the old secret
    when their cache ends."""
    ring, old, new = ring_of(desk), new_secret(), new_secret()
    key = key_for(desk, secret_sha256=digest(old))
    await ring.mint(key, old, ONE_CENT)
    rotated = msgspec.structs.replace(key, secret_sha256=digest(new))
    await ring.mint(rotated, new, ONE_CENT, replaces=key)
    fresh = ring_of(desk)
    assert await fresh.find(old.encode()) is None
    found = await fresh.find(new.encode())
    assert found is not None
    assert found[0] == rotated
    await ring.mint(rotated, new, ONE_CENT, replaces=rotated)
    assert await ring_of(desk).find(new.encode()) is not None


async def test_a_found_key_is_looked_up_again_after_its_time(timed: TimedDesk) -> None:
    """A record that changed or went is seen when the cached one is too old, and not found is
    never remembered."""
    ring, secret = ring_of(timed), new_secret()
    assert await ring.find(secret.encode()) is None
    key = key_for(timed)
    await ring.mint(key, secret, Policy())
    assert await ring.find(secret.encode()) is not None
    await timed.transport.command("DEL", f"comptroller:key:{digest(secret)}")
    await timed.advance(CACHED_KEY_MS - 1)
    assert await ring.find(secret.encode()) is not None
    await timed.advance(1)
    assert await ring.find(secret.encode()) is None


async def test_expiry_is_in_what_is_found(timed: TimedDesk) -> None:
    """An expired key is found with its time, so that the caller can say that it has expired."""
    ring, secret = ring_of(timed), new_secret()
    await ring.mint(key_for(timed, expires_at_ms=timed.clock.at_ms - 1), secret, Policy())
    found = await ring.find(secret.encode())
    assert found is not None
    assert found[0].expires_at_ms == timed.clock.at_ms - 1


async def test_a_key_needs_a_scope_that_is_one(desk: Desk) -> None:
    """A scope or an id that no path can hold is refused before anything is written."""
    granted(await desk.ask(dollars(1)))
    before = await desk.everything()
    for fields in ({"scope": "a//b"}, {"scope": "/".join("a" * 16)}, {"id": "key 1"}, {"id": ""}):
        with pytest.raises(PolicyInvalid):
            await ring_of(desk).mint(key_for(desk, **fields), new_secret(), Policy())
    assert await desk.everything() == before


class ForgetsSet:
    """A server that is lost between two writes."""

    def __init__(self, desk: Desk) -> None:
        self._inner = desk.transport
        self.call = desk.transport.call
        self.call_durably = desk.transport.call_durably
        self.close = desk.transport.close

    @property
    def generation(self) -> int:
        """As LedgerTransport."""
        return self._inner.generation

    async def command(self, *args: Argument) -> object:
        """Writes nothing any more."""
        if args[0] == "SET":
            raise LedgerSilent("gone")
        return await self._inner.command(*args)

    async def command_durably(self, *args: Argument) -> object:
        """Writes nothing any more."""
        if args[0] == "SET":
            raise LedgerSilent("gone")
        return await self._inner.command_durably(*args)


async def test_a_mint_that_was_interrupted_leaves_no_key_without_its_scope(desk: Desk) -> None:
    """The record by secret is written last: whoever finds it finds a scope that can refuse. Minting
    again completes it."""
    key, secret = key_for(desk), new_secret()
    desk.session.transport = ForgetsSet(desk)
    with pytest.raises(LedgerSilent):
        await ring_of(desk).mint(key, secret, ONE_CENT)
    desk.session.transport = desk.transport
    assert await ring_of(desk).find(secret.encode()) is None
    records = await desk.session.load([key.key_scope], create=False)
    assert records[key.key_scope].packed
    await ring_of(desk).mint(key, secret, ONE_CENT)
    assert await ring_of(desk).find(secret.encode()) is not None


async def test_minting_and_revoking_are_one_event_each(desk: Desk) -> None:
    """What the records say of a key's life is one `key_minted` and one `key_revoked`, each with
    the bytes that its writer made for it."""
    ring, key = ring_of(desk), key_for(desk)
    await ring.mint(key, new_secret(), ONE_CENT)
    await ring.revoke(key)
    events = [(each.kind, each.event) for each in await desk.outbox()]
    assert [kind for kind, event in events if event == b"minted key-1"] == ["key_minted"]
    assert [kind for kind, event in events if event == b"revoked key-1"] == ["key_revoked"]
