"""Scoped gateway keys: minted with a secret that is shown once, looked up by its SHA-256.

Every key has a scope of its own below the scope that it works in; its budget limits that scope, and
closing it is what revokes the key: the ledger reads the state on every call, so no cache of a
worker can keep a revoked key alive. Minting writes the scope first and the record last, revoking
closes the scope first: at no moment does a record point at a scope that does not refuse for it.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from budgets.administration import Administration, Fence
from budgets.places import Places
from budgets.plan import KIND_OF_KEYS, ScopePath
from budgets.policy import Policy, ancestors, parse_scope
from budgets.session import Session

SECRET_PREFIX = "ck-"  # noqa: S105  (what marks a secret of ours, not one)
SECRET_BYTES = 32
CACHED_KEYS_MAX = 20_000
CACHED_KEY_MS = 30_000
OVERLAP_MS_MAX = 90 * 86_400_000
EXPIRED_KEPT_MS = 3_600_000
"""How long the record of a key that has expired stays, for workers that say why they refuse."""
EARLIER_SECRETS_MAX = 16


class Work(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a key was minted for: an attempt (from 1) at a step of a run. `step_id` as people read
    it: `search[3]`."""

    workflow: str
    workflow_version: int
    run_id: str
    step_id: str
    attempt: int


class Key(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a key may do. `models` and `endpoints` are shell patterns, empty for all;
    `secret_sha256` finds its record again, for rotation, and `earlier` those of the secrets before
    it that still work, each with the time in milliseconds at which it ends. A key that `delegates`
    may mint others below its own scope; `minters` are the ids of those that this one comes from,
    first to last, empty for a key that an operator made. `subscopes`: see budgets.subscopes. `work`
    is what the events of its calls bear, and those of keys that it mints."""

    id: str
    name: str
    scope: str
    created_at_ms: int
    expires_at_ms: int | None = None
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    agent: str = ""
    tags: dict[str, str] = {}
    secret_sha256: str = ""
    attempts: tuple[tuple[str, int], ...] = ()
    earlier: tuple[tuple[str, int], ...] = ()
    delegates: bool = False
    minters: tuple[str, ...] = ()
    subscopes: tuple[str, ...] = ()
    work: Work | None = None

    @property
    def key_scope(self) -> str:
        """The key's own scope: its budget and its state."""
        return f"{self.scope}/{self.id}"

    @property
    def organisation(self) -> str:
        """The first segment of its scope."""
        return self.scope.split("/", 1)[0]

    @property
    def root(self) -> str:
        """The id of the operator's key that this one comes from, or is."""
        return self.minters[0] if self.minters else self.id

    @property
    def own_scopes(self) -> tuple[str, ...]:
        """From the own scope of its first minter down to its own: each of them can end it."""
        if not self.minters:
            return (self.key_scope,)
        path = ancestors(self.key_scope)
        return path[path.index(self.minter_scopes[0]) :]

    @property
    def minter_scopes(self) -> tuple[str, ...]:
        """The own scopes of its minters."""
        return tuple(
            each for each in ancestors(self.scope) if each.rpartition("/")[2] in self.minters
        )

    @property
    def generation(self) -> int:
        """How often all of its secrets were replaced at once: the fence of its own scope."""
        return dict(self.attempts).get(self.key_scope, 0)

    def in_generation(self, generation: int) -> "Key":
        """The same key behind that fence."""
        others = tuple(each for each in self.attempts if each[0] != self.key_scope)
        own = ((self.key_scope, generation),) if generation else ()
        return msgspec.structs.replace(self, attempts=(*others, *own))

    def path(self) -> ScopePath:
        """Where requests of this key count."""
        return ScopePath(self.key_scope, self.key_scope, self.attempts, self.minter_scopes)


class KeyChanged(Exception):
    """Somebody else has replaced the key's record meanwhile, or revoked the key."""


class TooManySecrets(Exception):
    """As many earlier secrets of the key still work as may."""


class KeyEvents(Protocol):
    """Writes the events of key life; the bytes go into the outbox as they are."""

    def minted(self, key: Key) -> bytes:
        """A `key_minted` event."""
        ...

    def budget_changed(self, key: Key) -> bytes:
        """A `budget_changed` event of the key's own scope."""
        ...

    def revoked(self, key: Key) -> bytes:
        """A `key_revoked` event."""
        ...


def new_secret() -> str:
    """A fresh secret of 256 bits."""
    return SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def new_key_id() -> str:
    """A fresh id for a key that has no declared name."""
    return f"key-{secrets.token_hex(6)}"


class KeyRing:
    """Mints, finds and revokes keys. Found keys are cached for a bounded time and number."""

    def __init__(self, session: Session, administration: Administration, events: KeyEvents) -> None:
        self._session = session
        self._transport = session.transport
        self._clock = session.clock
        self._administration = administration
        self._events = events
        self._places = Places(session)
        self._found: dict[bytes, tuple[int, Key, ScopePath]] = {}

    async def mint(
        self,
        key: Key,
        secret: str,
        budget: Policy,
        *,
        replaces: Key | None = None,
        before_use: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Makes a key usable, and the secret of the one that it replaces useless; `before_use` is
        awaited when all is written but what makes the secret work."""
        parse_scope(key.key_scope)
        if replaces is not None:
            key = key.in_generation(max(key.generation, replaces.generation))
            key = msgspec.structs.replace(key, earlier=_others(replaces.earlier, digest(secret)))
        policy = msgspec.structs.replace(budget, kind=KIND_OF_KEYS)
        changed = self._events.budget_changed(key)
        await self._administration.set_policy(key.key_scope, policy, changed)
        if replaces is not None and replaces.secret_sha256 not in ("", digest(secret)):
            # First: a crash in between must not leave the old secret valid and forgotten.
            await self._transport.command_durably("DEL", record_key(replaces.secret_sha256))
        event = self._events.minted(key)
        record = msgspec.json.encode(key)
        await self._administration.record_key(key.organisation, key.id, record, "key_minted", event)
        if before_use is not None:
            await before_use()
        await self._put(record_key(digest(secret)), key)

    async def rotate(self, key: Key, secret: str, overlap_ms: int) -> Key:
        """Gives the key a new secret, and answers the key as it is then. Secrets that it had work
        for at most `overlap_ms` more, which is 0 or at least CACHED_KEY_MS, so that no worker's
        cache outlives it; with 0, a fence on the key's scope ends all of them at the next call.
        Interrupted, it leaves no secret in anybody's hands that is valid and forgotten. Raises
        KeyChanged, TooManySecrets."""
        assert overlap_ms == 0 or CACHED_KEY_MS <= overlap_ms <= OVERLAP_MS_MAX, overlap_ms
        rotated = msgspec.structs.replace(key, secret_sha256=digest(secret), earlier=())
        if overlap_ms and key.secret_sha256:
            return await self._rotate_slowly(key, rotated, overlap_ms)
        rotated = rotated.in_generation(key.generation + 1)
        fence = Fence(key.key_scope, rotated.generation, self._events.budget_changed(rotated))
        await self._index(rotated, key, fence)
        for sha256 in (key.secret_sha256, *(each for each, _ in key.earlier)):
            if sha256:  # dead by the fence: it only makes room
                await self._transport.command_durably("DEL", record_key(sha256))
        await self._put(record_key(rotated.secret_sha256), rotated)
        return rotated

    async def _put(self, name: str, key: Key) -> None:
        """The record by which a secret finds its key; it leaves some time after the key expires."""
        lasting: tuple[str, ...] = ()
        if key.expires_at_ms is not None:
            left_ms = key.expires_at_ms - self._clock.now_ms() + EXPIRED_KEPT_MS
            lasting = ("PX", str(max(1, left_ms)))
        await self._transport.command_durably("SET", name, msgspec.json.encode(key), *lasting)

    async def _rotate_slowly(self, key: Key, rotated: Key, overlap_ms: int) -> Key:
        """With an overlap."""
        rotated = msgspec.structs.replace(rotated, earlier=await self._expire(key, overlap_ms))
        name = record_key(rotated.secret_sha256)
        # Before the index: whoever rotates next must find the record that it has to end.
        await self._put(name, rotated)
        try:
            await self._index(rotated, key)
        except KeyChanged:
            await self._transport.command_durably("DEL", name)
            raise
        return rotated

    async def _index(self, rotated: Key, key: Key, fence: Fence | None = None) -> None:
        """Puts the new record in the place of the one that was looked at. Raises KeyChanged."""
        event, record = self._events.minted(rotated), msgspec.json.encode(rotated)
        # With its name: the hash alone is among the earlier ones of whoever replaced it.
        held = f'"secret_sha256":"{key.secret_sha256}"' if key.secret_sha256 else ""
        code = await self._administration.record_key(
            *(key.organisation, key.id, record, "key_minted", event),
            replaces=held,
            fence=fence,
        )
        if code in ("STALE", "CLOSED"):
            raise KeyChanged(f"key {key.id} was changed at the same time: look at it and try again")

    async def _expire(self, key: Key, overlap_ms: int) -> tuple[tuple[str, int], ...]:
        """All secrets that the key has now end after this time, or when they would have: in their
        records, for workers that say why they refuse, and at the server. Raises TooManySecrets."""
        now_ms = self._clock.now_ms()
        ends_ms = now_ms + overlap_ms
        if key.expires_at_ms is not None:
            ends_ms = min(ends_ms, key.expires_at_ms)
        working = [each for each in key.earlier if each[1] > now_ms]
        if len(working) >= EARLIER_SECRETS_MAX:
            raise TooManySecrets(
                f"{EARLIER_SECRETS_MAX} earlier secrets of key {key.id} still work, which is the "
                "most: rotate it with an overlap of 0s, which ends them"
            )
        longer = [sha256 for sha256, until_ms in working if until_ms > ends_ms]
        for sha256 in (key.secret_sha256, *longer):
            record = msgspec.structs.replace(
                key, secret_sha256=sha256, expires_at_ms=ends_ms, earlier=()
            )
            await self._transport.command_durably(
                *("SET", record_key(sha256), msgspec.json.encode(record)),
                *("PX", str(overlap_ms), "XX"),
            )
        earlier = ((sha256, min(until_ms, ends_ms)) for sha256, until_ms in working)
        return (*earlier, (key.secret_sha256, ends_ms))

    async def find(self, secret: bytes) -> tuple[Key, ScopePath] | None:
        """The key of this secret with its path, or None; expiry and state are for the caller."""
        hashed = hashlib.sha256(secret).digest()
        now_ms = self._clock.now_ms()
        cached = self._found.get(hashed)
        if cached is not None and now_ms < cached[0]:
            return cached[1], cached[2]
        record = await self._transport.command("GET", record_key(hashed.hex()))
        if not isinstance(record, bytes):
            self._found.pop(hashed, None)
            return None
        key = msgspec.json.decode(record, type=Key)
        if len(self._found) >= CACHED_KEYS_MAX:
            del self._found[next(iter(self._found))]
        self._found[hashed] = (now_ms + CACHED_KEY_MS, key, key.path())
        return key, key.path()

    async def named(self, organisation: str, key_id: str) -> Key | None:
        """A key by its id, from the organisation's index."""
        index = f"{{{organisation}}}:keys"
        record = await self._transport.command("HGET", index, key_id)
        return msgspec.json.decode(record, type=Key) if isinstance(record, bytes) else None

    async def made_before(self, organisation: str, key_id: str) -> Key | None:
        """The same, also where the key has expired or was revoked and has left the index: from the
        records. Raises MemoryAway."""
        key = await self.named(organisation, key_id)
        if key is not None:
            return key
        record = await self._session.remembered_key(organisation, key_id)
        return msgspec.json.decode(record, type=Key) if record else None

    async def revoke(self, key: Key) -> None:
        """Closes the key's scope, durably: it counts at the very next call on every worker."""
        event = self._events.revoked(key)
        await self._administration.set_state(key.key_scope, "close", "key_revoked", event)
        await self.tidy(key)

    async def tidy(self, key: Key) -> None:
        """Takes away what a revoked key has left. It refuses without that; this makes room."""
        if key.secret_sha256:
            await self._transport.command("DEL", record_key(key.secret_sha256))
        if key.minters:
            await self._places.leave(key.organisation, key.root, key.id)


def _others(
    secrets_ending: tuple[tuple[str, int], ...], sha256: str
) -> tuple[tuple[str, int], ...]:
    return tuple(each for each in secrets_ending if each[0] != sha256)


def digest(secret: str) -> str:
    """SHA-256 of the whole secret, hex. A prefix would let one key answer for another."""
    return hashlib.sha256(secret.encode()).hexdigest()


def record_key(secret_sha256: str) -> str:
    """The Redis key of a key's record, found by the hash before its organisation is known."""
    return f"comptroller:key:{secret_sha256}"
