"""Keys that mint keys: what the gateway does for a key that delegates.

A minted key works below its minter's own scope, so the ledger checks all that binds the minter for
it, too, and refuses it with the minter. Here is the order of writes: a place among the family's
keys, on trial; the scope with its budget; the index; the place for good; and last the record that
makes the secret work. Interrupted anywhere, nobody holds a secret that works, and what was minted
is in the list.
"""

from collections.abc import Callable

import msgspec

from budgets.administration import Administration
from budgets.keys import Key, KeyEvents, KeyRing
from budgets.overview import Overview
from budgets.places import Places
from budgets.policy import Policy, ancestors
from budgets.session import Session

READ_AT_ONCE = 500


class MayNotMint(Exception):
    """The key may not mint any more, as it is now."""


class TooManyKeys(Exception):
    """The family has as many keys as it may."""


class ScopeUnusable(Exception):
    """A scope that the new key would work in is closed, or fenced against it."""


class Minting:
    """Mints, lists and revokes for a key; `events` writes them as acts of that key."""

    def __init__(
        self,
        session: Session,
        administration: Administration,
        events: Callable[[Key], KeyEvents],
    ) -> None:
        self._session = session
        self._administration = administration
        self._events = events
        self._overview = Overview(session)
        self._places = Places(session)

    async def minter(self, found: Key) -> Key:
        """The key that was found by its secret, as it is now: a worker may have it in its cache.
        It keeps the expiry and the attempts that go with this secret. Raises MayNotMint."""
        now = await self._ring(found).named(found.organisation, found.id)
        if now is None or not now.delegates or now.scope != found.scope:
            raise MayNotMint(found.id)
        return msgspec.structs.replace(
            now,
            expires_at_ms=_earlier(now.expires_at_ms, found.expires_at_ms),
            attempts=found.attempts,
        )

    async def policy(self, scope: str) -> Policy:
        """What a scope's budget says now."""
        return (await self._session.load([scope], create=False))[scope].policy

    async def mint(self, minter: Key, key: Key, secret: str, budget: Policy, keys_max: int) -> None:
        """Mints a key that was narrowed to this minter. Raises TooManyKeys, ScopeUnusable."""
        await self._check_usable(key)
        family = key.organisation, key.root
        if not await self._places.take(*family, key.id, keys_max):
            raise TooManyKeys(key.root)

        async def keep() -> None:
            await self._places.keep(*family, key.id, key.expires_at_ms)

        await self._ring(minter).mint(key, secret, budget, before_use=keep)

    async def _check_usable(self, key: Key) -> None:
        """Nothing may be minted that could never be used."""
        attempts = dict(key.attempts)
        records = await self._session.load(list(ancestors(key.scope)), create=False)
        for scope, record in records.items():
            if record.is_closed or record.fence > attempts.get(scope, 0):
                raise ScopeUnusable(scope)

    async def keys(self, minter: Key, after: str, limit: int) -> list[tuple[Key, str]]:
        """At most `limit` keys by id that come from the minter, those after an id, each with its
        state as in `Overview.key_states`. Those that ended more than a while ago are not there."""
        ids = [each for each in await self._places.taken(*_family(minter)) if each > after]
        found: list[Key] = []
        for start in range(0, len(ids), READ_AT_ONCE):
            found += await self._below(minter, ids[start : start + READ_AT_ONCE])
            if len(found) >= limit:
                break
        found = found[:limit]
        states = await self._overview.key_states(minter.organisation, found)
        return [(key, states[key.id]) for key in found]

    async def find(self, minter: Key, key_id: str) -> tuple[Key, str] | None:
        """A key that comes from the minter, with its state; None for any other."""
        keys = await self._below(minter, [key_id])
        if not keys:
            return None
        states = await self._overview.key_states(minter.organisation, keys)
        return keys[0], states[key_id]

    async def _below(self, minter: Key, ids: list[str]) -> list[Key]:
        """Those of these ids that come from the minter."""
        index = f"{{{minter.organisation}}}:keys"
        records = await self._session.transport.command("HMGET", index, *ids)
        assert isinstance(records, list)
        keys = [msgspec.json.decode(each, type=Key) for each in records if each is not None]
        return [
            key
            for key in keys
            if minter.id in key.minters and f"{key.scope}/".startswith(f"{minter.key_scope}/")
        ]

    async def revoke(self, minter: Key, key: Key) -> None:
        """Revokes a key, and with it all below it. What they leave is taken away."""
        ring = self._ring(minter)
        state = (await self._overview.states(key.organisation, [key.key_scope]))[key.key_scope]
        if state in ("closing", "closed"):
            await ring.tidy(key)
        else:
            await ring.revoke(key)
        ids = await self._places.taken(*_family(minter))
        for start in range(0, len(ids), READ_AT_ONCE):
            for each in await self._below(key, ids[start : start + READ_AT_ONCE]):
                await ring.tidy(each)

    def _ring(self, minter: Key) -> KeyRing:
        return KeyRing(self._session, self._administration, self._events(minter))


def _family(key: Key) -> tuple[str, str]:
    return key.organisation, key.root


def _earlier(one_ms: int | None, other_ms: int | None) -> int | None:
    both = [each for each in (one_ms, other_ms) if each is not None]
    return min(both, default=None)
