"""Scoped gateway keys: minted with a secret that is shown once, looked up by its SHA-256.

Every key has a scope of its own below the scope that it works in; its budget limits that scope, and
closing it is what revokes the key: the ledger reads the state on every call, so no cache of a
worker can keep a revoked key alive. Minting writes the scope first and the record last, revoking
closes the scope first: at no moment does a record point at a scope that does not refuse for it.
"""

import hashlib
import secrets
from typing import Protocol

import msgspec

from budgets.administration import Administration
from budgets.plan import ScopePath
from budgets.policy import Policy, parse_scope
from budgets.session import Session

SECRET_PREFIX = "ck-"  # noqa: S105  (what marks a secret of ours, not one)
SECRET_BYTES = 32
CACHED_KEYS_MAX = 20_000
CACHED_KEY_MS = 30_000


class Key(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a key may do. `models` and `endpoints` are shell patterns, empty for all;
    `secret_sha256` finds its record again, for rotation."""

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

    @property
    def key_scope(self) -> str:
        """The key's own scope: its budget and its state."""
        return f"{self.scope}/{self.id}"

    @property
    def organisation(self) -> str:
        """The first segment of its scope."""
        return self.scope.split("/", 1)[0]

    def path(self) -> ScopePath:
        """Where requests of this key count."""
        return ScopePath(self.key_scope, self.key_scope, self.attempts)


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
        self._transport = session.transport
        self._clock = session.clock
        self._administration = administration
        self._events = events
        self._found: dict[bytes, tuple[int, Key, ScopePath]] = {}

    async def mint(
        self, key: Key, secret: str, budget: Policy, *, replaces: Key | None = None
    ) -> None:
        """Makes a key usable, and the secret of the one that it replaces useless."""
        parse_scope(key.key_scope)
        policy = msgspec.structs.replace(budget, kind="key")
        changed = self._events.budget_changed(key)
        await self._administration.set_policy(key.key_scope, policy, changed)
        if replaces is not None and replaces.secret_sha256 not in ("", digest(secret)):
            # First: a crash in between must not leave the old secret valid and forgotten.
            await self._transport.command_durably("DEL", record_key(replaces.secret_sha256))
        event = self._events.minted(key)
        record = msgspec.json.encode(key)
        await self._administration.record_key(key.organisation, key.id, record, "key_minted", event)
        await self._transport.command_durably("SET", record_key(digest(secret)), record)

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

    async def revoke(self, key: Key) -> None:
        """Closes the key's scope, durably: it counts at the very next call on every worker."""
        event = self._events.revoked(key)
        await self._administration.set_state(key.key_scope, "close", "key_revoked", event)
        if key.secret_sha256:
            await self._transport.command_durably("DEL", record_key(key.secret_sha256))


def digest(secret: str) -> str:
    """SHA-256 of the whole secret, hex. A prefix would let one key answer for another."""
    return hashlib.sha256(secret.encode()).hexdigest()


def record_key(secret_sha256: str) -> str:
    """The Redis key of a key's record, found by the hash before its organisation is known."""
    return f"comptroller:key:{secret_sha256}"
