"""What this process owes a ledger: endings, and after a recovery what it alone was told before.

Whoever calls about an organisation first brings what is kept of it, in order and once: only then
does the ledger of the new epoch know as much as this process.
"""

import asyncio
from functools import partial

from budgets.answers import Truth
from budgets.kept import Entry, Granted, Kept, Settled
from budgets.replies import code_of, number
from budgets.session import Session
from budgets.slots import Slot
from budgets.transport import Argument, LedgerUnavailable


class Bringing:
    """Of all organisations of this process. `lease_ms`: how long a grant that is taken in lives."""

    def __init__(self, session: Session, lease_ms: int) -> None:
        self._session = session
        self._lease_ms = lease_ms
        self._kept = Kept()
        self._locks: dict[str, asyncio.Lock] = {}

    def keep(self, organisation: str, epoch: int, seq: int, entry: Entry) -> None:
        """What the ledger has answered, until it is recorded."""
        self._kept.add(organisation, epoch, seq, entry)

    async def in_step(self, organisation: str) -> Slot:
        """The organisation, once the ledger knows what this process was told before a recovery."""
        slot = await self._session.slot(organisation)
        while not self._kept.is_in_step(organisation, slot.epoch):
            async with self._locks.setdefault(organisation, asyncio.Lock()):
                if not self._kept.is_in_step(organisation, slot.epoch):
                    await self._bring(slot)
        return slot

    async def _bring(self, slot: Slot) -> None:
        epoch = slot.epoch
        for entry in self._kept.of_before(slot.organisation, epoch):
            if isinstance(entry, Granted):
                await self._adopt(slot, entry)
            elif entry.truth is None:
                await self.released(slot, entry.id, entry.event, entry.mark, brings=True)
            else:
                ending = entry.id, entry.truth, entry.event, b"", entry.mark, (0, 0)
                await self.settled(slot, *ending, brings=True)
        self._kept.brought(slot.organisation, epoch)

    async def _adopt(self, slot: Slot, granted: Granted) -> str:
        """ADOPTED, ALREADY where the records had it, TOO_OLD where nobody knows that any more. A
        scope that has left comes back first: its counters go on from what it had spent."""
        reservation = granted.reservation
        await self._session.load(list(reservation.path.nodes()))
        reply = await self._session.run_in_epoch(
            slot,
            "adopt",
            _marked(slot, granted.id, granted.mark),
            (self._lease_ms, reservation.output_tokens, reservation.reserved_nusd),
            (granted.id, granted.fingerprint, granted.labelled(), granted.counters()),
        )
        code = code_of(reply)
        if code == "ADOPTED":
            slot.saw(slot.epoch, number(reply[1]))
            self._kept.add(slot.organisation, slot.epoch, number(reply[1]), granted)
        return code

    async def brought_again(self, slot: Slot, id_: str) -> bool:
        """Whether a grant that the ledger does not know was kept here, and is taken in now."""
        granted = self._kept.granted(slot.organisation, id_)
        return granted is not None and await self._adopt(slot, granted) == "ADOPTED"

    async def forget_recorded(self) -> None:
        """Lets go of what the recorder has confirmed; brings it where the ledger was recovered
        meanwhile. Raises LedgerUnavailable."""
        failed: LedgerUnavailable | None = None
        for organisation in self._kept.organisations:
            try:
                await self._forget_recorded_of(organisation)
            except LedgerUnavailable as error:  # one that is recovering holds up no other
                failed = error
        if failed is not None:
            raise failed

    async def _forget_recorded_of(self, organisation: str) -> None:
        await self._session.looked_at(organisation)
        slot = await self.in_step(organisation)
        epoch, generation = slot.epoch, self._session.transport.generation
        confirmed = await self._session.transport.command("HGET", slot.recorder_key, "confirmed")
        # A command goes unasked to a server that was recovered without what is kept here.
        unchanged = slot.epoch == epoch and self._session.transport.generation == generation
        if isinstance(confirmed, bytes) and unchanged:
            of_epoch, seq = map(int, confirmed.split(b"-"))
            if of_epoch <= epoch and self._kept.is_in_step(organisation, epoch):
                self._kept.trim(organisation, of_epoch, seq)

    async def settled(
        self,
        slot: Slot,
        id_: str,
        truth: Truth,
        event: bytes,
        body: bytes,
        mark: str,
        known: tuple[int, int],
        *,
        brings: bool = False,
    ) -> str:
        """See Ledger.settle; `brings`: in the middle of a recovery, in step with nothing yet."""
        numbers = (
            -1 if truth.usd_nusd is None else truth.usd_nusd,
            -1 if truth.tokens is None else truth.tokens,
            -1 if truth.requests is None else truth.requests,
        )
        entry = Settled(id_, truth, event, mark)
        args = (id_, event, body)
        return await self._resolved("settle", slot, entry, numbers, args, known, brings=brings)

    async def released(
        self, slot: Slot, id_: str, event: bytes, mark: str, *, brings: bool = False
    ) -> str:
        """See Ledger.release."""
        entry = Settled(id_, None, event, mark)
        return await self._resolved("release", slot, entry, (), (id_, event), brings=brings)

    async def _resolved(
        self,
        script: str,
        slot: Slot,
        entry: Settled,
        numbers: tuple[int, ...],
        args: tuple[Argument, ...],
        known: tuple[int, int] = (0, 0),
        *,
        brings: bool = False,
    ) -> str:
        keys = _marked(slot, entry.id, entry.mark)
        follows = None if brings else partial(self.in_step, slot.organisation)
        reply = await self._session.run_in_epoch(
            slot, script, keys, numbers, args, known=known, follows=follows
        )
        code, epoch = code_of(reply), slot.epoch
        if code in ("SETTLED", "CORRECTED", "RELEASED"):
            self._kept.add(slot.organisation, epoch, number(reply[1]), entry)
        if code in ("SETTLED", "CORRECTED", "RELEASED", "UNKNOWN"):
            slot.saw(epoch, number(reply[1]))
        return code


def _marked(slot: Slot, id_: str, mark: str) -> tuple[bytes, ...]:
    """The keys of a script that ends or takes in a reservation."""
    keys = slot.keys_done(id_)
    return (*keys, slot.mark_key(mark)) if mark else keys
