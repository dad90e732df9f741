"""How many keys a family may have: the operator's key at its top, and all that come from it.

Every minted key leaves records at the ledger, so whoever may mint could fill its memory. A key has
a place in its family's sorted set, by the time until which it counts: its expiry, or its
revocation, and an hour more, so that minting and revoking in a loop is bounded as well. A place is
taken before anything is written, on trial: a minting that breaks off gives it back by itself.
"""

from budgets.replies import texts
from budgets.session import Session

# A key that has ended still counts for so long, because its records stay.
COUNTS_AFTER_END_MS = 3_600_000
TRIAL_MS = 3_600_000
_NEVER_ENDS = "+inf"
_SOME = ("LIMIT", "0", "100")


class Places:
    """The places of families; `root` is the id of the key at the top."""

    def __init__(self, session: Session) -> None:
        self._clock = session.clock
        self._transport = session.transport

    async def take(self, organisation: str, root: str, key_id: str, most: int) -> bool:
        """Takes a place on trial, and says whether there was one. Of several that take the last one
        at once all may be refused, and never more than one gets it."""
        name, now_ms = _name(organisation, root), self._clock.now_ms()
        over = texts(
            await self._transport.command("ZRANGEBYSCORE", name, "-inf", str(now_ms), *_SOME)
        )
        if over:
            await self._transport.command("ZREM", name, *over)
        await self._transport.command("ZADD", name, str(now_ms + TRIAL_MS), key_id)
        beyond = await self._transport.command(
            "ZRANGEBYSCORE", name, f"({now_ms}", _NEVER_ENDS, "LIMIT", str(most), "1"
        )
        if not beyond:
            return True
        await self._transport.command("ZREM", name, key_id)
        return False

    async def keep(
        self, organisation: str, root: str, key_id: str, expires_at_ms: int | None
    ) -> None:
        """The key that took a place on trial is there, durably."""
        until = _NEVER_ENDS if expires_at_ms is None else str(expires_at_ms + COUNTS_AFTER_END_MS)
        name = _name(organisation, root)
        await self._transport.command_durably("ZADD", name, until, key_id)

    async def leave(self, organisation: str, root: str, key_id: str) -> None:
        """The key was revoked: it counts for a while, and no more."""
        until_ms = self._clock.now_ms() + COUNTS_AFTER_END_MS
        name = _name(organisation, root)
        await self._transport.command("ZADD", name, "XX", "LT", str(until_ms), key_id)

    async def taken(self, organisation: str, root: str) -> list[str]:
        """The ids that have a place, sorted; on trial, too."""
        now_ms = self._clock.now_ms()
        name = _name(organisation, root)
        return sorted(
            texts(await self._transport.command("ZRANGEBYSCORE", name, f"({now_ms}", _NEVER_ENDS))
        )


def _name(organisation: str, root: str) -> str:
    return f"{{{organisation}}}:minted:{root}"
