"""Keys that mint keys: what the gateway does for a key that delegates.

A minted key works below its minter's own scope, so the ledger checks all that binds the minter for
it, too, and refuses it with the minter. Here is the order of writes: a place among the family's
keys, on trial; the scope with its budget; the index; the place for good; what is allotted; and last
the record that makes the secret work. Interrupted anywhere, nobody holds a secret that works, and
what was minted is in the list: revoking it there gives back what was allotted.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from budgets.administration import Administration
from budgets.allotments import AllotmentInvalid, moves_aside
from budgets.answers import Refusal, RefusalCode, Standing
from budgets.keys import Key, KeyEvents, KeyRing
from budgets.overview import Overview
from budgets.places import Places
from budgets.policy import Dimension, Policy, ancestors
from budgets.session import Session

READ_AT_ONCE = 500
_WORST_FIRST: tuple[RefusalCode, ...] = ("TOO_LARGE", "EXHAUSTED", "HELD")


class MayNotMint(Exception):
    """The key may not mint any more, as it is now."""


class TooManyKeys(Exception):
    """The family has as many keys as it may."""


class ScopeUnusable(Exception):
    """A scope that the new key would work in is closed, or fenced against it."""


class AllotmentRefused(Exception):
    """A budget above the new key does not have what was to be moved to it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class MintingEvents(KeyEvents, Protocol):
    """Writes what a key does to others."""

    def allotted(self, key: Key, amounts: dict[Dimension, int]) -> bytes:
        """An `allotment_opened` event, as JSON; of its end, too."""
        ...


class Minting:
    """Mints, lists and revokes for a key; `events` writes them as acts of that key."""

    def __init__(
        self,
        session: Session,
        administration: Administration,
        events: Callable[[Key], MintingEvents],
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

    async def mint(  # what makes a key
        self,
        minter: Key,
        key: Key,
        secret: str,
        budget: Policy,
        keys_max: int,
        allotment: dict[Dimension, int] | None = None,
    ) -> None:
        """Mints a key that was narrowed to this minter; an `allotment` ends with the key, which
        expires then. Raises TooManyKeys, ScopeUnusable, AllotmentRefused, AllotmentInvalid."""
        await self._check_usable(key)
        family = _family(key)
        if not await self._places.take(*family, key.id, keys_max):
            raise TooManyKeys(key.root)

        async def keep() -> None:
            await self._places.keep(*family, key.id, key.expires_at_ms)
            if allotment:
                await self._allot(minter, key, allotment)

        ring = self._ring(minter)
        try:
            await ring.mint(key, secret, budget, before_use=keep)
        except (AllotmentRefused, AllotmentInvalid):
            await ring.revoke(key)
            raise

    async def _allot(self, minter: Key, key: Key, amounts: dict[Dimension, int]) -> None:
        assert key.expires_at_ms is not None
        event = self._events(minter).allotted(key, amounts)
        answer = await self._administration.allot(key.key_scope, amounts, key.expires_at_ms, event)
        if isinstance(answer, Refusal):
            raise AllotmentRefused(answer)

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
        if state == "closed":
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


def not_movable(amounts: dict[Dimension, int], standings: tuple[Standing, ...]) -> Refusal | None:
    """The refusal that opening an allotment below a path with these limits would get now."""
    worst: Refusal | None = None
    for each in standings:
        limit = each.bound.limit
        asked = amounts.get(limit.dimension, 0)
        is_asked = asked > 0 and bool(each.bound.allotment or moves_aside(limit))
        if not is_asked or asked <= each.free:
            continue
        code: RefusalCode = "TOO_LARGE" if asked > limit.amount else "EXHAUSTED"
        if each.spent + asked <= limit.amount:
            code = "HELD"
        if worst is None or _WORST_FIRST.index(code) < _WORST_FIRST.index(worst.code):
            worst = Refusal(
                code,
                each.bound.scope,
                each.bound,
                *(each.spent, each.reserved, each.allotted, asked),
                until_ms=each.bound.resets_at_ms if code == "EXHAUSTED" else 0,
            )
    return worst
