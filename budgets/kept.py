"""What this process was answered and the records do not have yet: kept for a ledger that loses it.

A server that comes back with an older file has lost grants and settlements that are true all the
same: the money is on its way. Every process keeps its own until the recorder has confirmed them,
and brings them to a ledger that was recovered, in their order. Ids make that harmless: what the
ledger or the records know is answered ALREADY. Bounded: beyond, the oldest are left to the ledger.
"""

from collections import deque
from dataclasses import dataclass, field

import msgspec

from budgets.answers import Reservation, Truth, amount_asked
from budgets.plan import Plan
from budgets.policy import DIMENSIONS

KEPT_MAX = 20_000
_LABEL = b',"detail":"recovered"}'


class Granted(msgspec.Struct, frozen=True):
    """A reservation as it was granted: `plan` and `reservation` say which counters it raised,
    `fingerprint` and `event` what was sent."""

    reservation: Reservation
    plan: Plan
    fingerprint: bytes
    event: bytes

    @property
    def id(self) -> str:
        """Of the reservation."""
        return self.reservation.id

    @property
    def mark(self) -> str:
        """The name of its mark, if it has one."""
        return self.reservation.mark

    def counters(self) -> bytes:
        """Packed flat for the script `adopt`: field, dimension, amount, end of its window in
        seconds (0: never), and where that is an allotment's, the counters that it raised, joined by
        spaces: they pay where the ledger has lost the allotment."""
        usd, tokens = amount_asked(self.reservation.ask, self.reservation.output_tokens)
        amounts = (usd, tokens, 1, 1)
        fields = self.plan.fields[len(self.plan.nodes) :]
        flat: list[str | int] = []
        for counter, bound in zip(fields, self.plan.bounds, strict=True):
            dimension = DIMENSIONS.index(bound.limit.dimension)
            raised = bound.allotment.raised if bound.allotment is not None else None
            above = " ".join((raised or {}).get(bound.limit.dimension, ()))
            ends_s = bound.resets_at_ms // 1000
            flat += (counter.decode(), dimension + 1, amounts[dimension], ends_s, above)
        return msgspec.msgpack.encode(flat)

    def labelled(self) -> bytes:
        """Its event, which says that recovery brought it."""
        return self.event[:-1] + _LABEL if self.event.endswith(b"}") else self.event


class Settled(msgspec.Struct, frozen=True):
    """An ending that was booked; `truth` None: released. Its payload is not kept."""

    id: str
    truth: Truth | None
    event: bytes
    mark: str


Entry = Granted | Settled


@dataclass(slots=True)
class _Organisation:
    epoch: int
    entries: deque[tuple[int, int, Entry]] = field(default_factory=deque)
    granted: dict[str, Granted] = field(default_factory=dict)


class Kept:
    """Of all organisations of this process."""

    def __init__(self, entries_max: int = KEPT_MAX) -> None:
        self._entries_max = entries_max
        self._organisations: dict[str, _Organisation] = {}

    @property
    def organisations(self) -> tuple[str, ...]:
        """Those of which something is kept."""
        return tuple(name for name, each in self._organisations.items() if each.entries)

    def add(self, organisation: str, epoch: int, seq: int, entry: Entry) -> None:
        """Keeps what the ledger answered under this (epoch, seq)."""
        here = self._organisations.get(organisation)
        if here is None:
            here = self._organisations[organisation] = _Organisation(epoch)
        here.epoch = min(here.epoch, epoch)  # an answer that comes late is still to be brought
        here.entries.append((epoch, seq, entry))
        if type(entry) is Granted:
            here.granted[entry.id] = entry
        if len(here.entries) > self._entries_max:
            self._drop(here)

    def trim(self, organisation: str, epoch: int, seq: int) -> None:
        """The recorder has all up to here."""
        here = self._organisations.get(organisation)
        if here is None:
            return
        entries = here.entries
        while entries and entries[0][:2] <= (epoch, seq):
            self._drop(here)

    def granted(self, organisation: str, id_: str) -> Granted | None:
        """A reservation that is kept."""
        here = self._organisations.get(organisation)
        return here.granted.get(id_) if here else None

    def is_in_step(self, organisation: str, epoch: int) -> bool:
        """Whether the ledger in this epoch has all that is kept."""
        here = self._organisations.get(organisation)
        return here is None or here.epoch == epoch or not here.entries

    def of_before(self, organisation: str, epoch: int) -> list[Entry]:
        """What was answered in an earlier epoch than this one, in order."""
        here = self._organisations[organisation]
        return [entry for of, _, entry in here.entries if of < epoch]

    def brought(self, organisation: str, epoch: int) -> None:
        """The ledger in this epoch has taken or knows all of it: what it took is kept anew."""
        here = self._organisations[organisation]
        here.epoch = epoch
        later = [each for each in here.entries if each[0] >= epoch]
        here.entries = deque(later)
        here.granted = {each.id: each for _, _, each in later if type(each) is Granted}

    def _drop(self, here: _Organisation) -> None:
        _, _, entry = here.entries.popleft()
        if type(entry) is Granted:
            here.granted.pop(entry.id, None)
