"""Money that was moved from a scope to a child, as the ledger has it, and what follows for checks.

An allotment is not only a bound: it is set aside on every limit above the child when it is opened,
so below the child those limits are not asked again.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from budgets.policy import AMOUNT_MAX, DIMENSIONS, Dimension, Limit, ancestors

AllotmentState = Literal["open", "closing", "closed"]
MOVABLE: tuple[Dimension, ...] = ("usd", "tokens")


class AllotmentInvalid(ValueError):
    """An allotment cannot be opened as it was asked for; the message says what to ask instead."""


class AllotmentOpen(Exception):
    """The scope has an open allotment: one at a time."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """Money moved to `scope`: nano-dollars and tokens by dimension, until `expires_at_ms` of the
    ledger's time. `raised` are the counters, by dimension, in which it is set aside."""

    id: str
    scope: str
    amounts: dict[Dimension, int]
    expires_at_ms: int
    state: AllotmentState = "open"
    raised: dict[Dimension, tuple[str, ...]] | None = None

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Its own bound on the child, a limit for each dimension."""
        return tuple(
            Limit(f"{self.id}.{DIMENSIONS.index(each) + 1}", each, "total", str(amount))
            for each, amount in self.amounts.items()
        )


class _Move(msgspec.Struct):
    amount: str
    raised: str


class _Stored(msgspec.Struct):
    id: str
    scope: str
    state: AllotmentState
    expires_ms: str
    moves: dict[Dimension, _Move]


_decode = msgspec.json.Decoder(_Stored).decode


def decode_allotment(stored: bytes) -> Allotment | None:
    """From the ledger's field `a:<n>`; None where it is empty."""
    if not stored:
        return None
    found = _decode(stored)
    moves = {name: found.moves[name] for name in MOVABLE if name in found.moves}
    return Allotment(
        found.id,
        found.scope,
        {name: int(move.amount) for name, move in moves.items()},
        int(found.expires_ms),
        found.state,
        {name: tuple(move.raised.split()) for name, move in moves.items()},
    )


def moves_aside(limit: Limit) -> bool:
    """Whether an allotment is set aside in this limit, and what is below it not checked again.
    Minutes are about speed, and limits with models about requests that nobody has made yet."""
    return limit.dimension in MOVABLE and not limit.models and limit.window != "minute"


def moved_below(
    nodes: tuple[str, ...], allotments: dict[str, Allotment]
) -> dict[str, frozenset[Dimension]]:
    """Of each scope above one of these nodes with an allotment: the dimensions that it moves."""
    moved: dict[str, frozenset[Dimension]] = {}
    for node in nodes:
        if node in allotments:
            for above in ancestors(node)[:-1]:
                moved[above] = moved.get(above, frozenset()) | allotments[node].amounts.keys()
    return moved


def checked_amounts(scope: str, amounts: dict[Dimension, int]) -> dict[Dimension, int]:
    """The amounts in the ledger's order. Raises AllotmentInvalid."""
    if "/" not in scope:
        raise AllotmentInvalid(
            f"{scope} is an organisation: nothing is above it to be moved; name a scope below it"
        )
    if not amounts:
        raise AllotmentInvalid(f"an allotment moves {' or '.join(MOVABLE)}: name an amount")
    for name, amount in amounts.items():
        if name not in MOVABLE:
            raise AllotmentInvalid(f"{name} cannot be moved, only {' and '.join(MOVABLE)}")
        if isinstance(amount, bool) or not isinstance(amount, int) or not 0 < amount <= AMOUNT_MAX:
            raise AllotmentInvalid(f"{name} is a whole number from 1 to {AMOUNT_MAX}")
    return {name: amounts[name] for name in MOVABLE if name in amounts}
