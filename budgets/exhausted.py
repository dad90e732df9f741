"""What budgets say no to that are used up, told to whoever runs workflows: one stream for them all.

A gateway tells what it has refused to an attempt of a run; every executor reads all of it, each
from where it has read to. The server numbers what it is told, so that no clock decides what is new,
and keeps the last of it only: who missed something hears it at the next refusal.
"""

import msgspec

from budgets.answers import Refusal
from budgets.keys import Key
from budgets.learned import is_route_scope
from budgets.plan import KIND_OF_KEYS
from budgets.policy import Dimension, Window
from budgets.transport import LedgerTransport

KEY = "comptroller:exhausted"
TOLD_MAX = 10_000
READ_AT_ONCE = 1_000
KIND_OF_RUNS = "run"
KIND_OF_STEPS = "step"
_FIELD = "told"


class Exhausted(msgspec.Struct, frozen=True, omit_defaults=True):
    """`scope` has a limit of `amount` (nano-dollars, tokens, ...) that no form of a request fits in
    any more: `until_ms` is when it begins anew (by the ledger's time), 0 for never. Who was
    refused: an attempt at a step of a run. `at` is its place among all that was told, empty until
    it was."""

    scope: str
    dimension: Dimension
    window: Window
    amount: int
    until_ms: int
    run_id: str
    step_id: str
    attempt: int
    at: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Exhausted).decode


def exhausted_by(refusal: Refusal, key: Key) -> Exhausted | None:
    """What a refusal means for the run that the key works for; None where it works for none, or
    the budget may say yes within a minute, or is a key's that the work has minted. A request that
    is too large for a budget says nothing about it: another one may fit."""
    work, bound = key.work, refusal.bound
    if work is None or bound is None or is_route_scope(bound.scope):
        return None
    kind = bound.policy.kind
    if refusal.code != "EXHAUSTED":
        return None
    if bound.limit.window == "minute" or kind == KIND_OF_KEYS:
        return None
    return Exhausted(
        scope=bound.scope,
        dimension=bound.limit.dimension,
        window=bound.limit.window,
        amount=bound.limit.amount,
        until_ms=refusal.until_ms,
        run_id=work.run_id,
        step_id=work.step_id,
        attempt=work.attempt,
    )


async def tell(transport: LedgerTransport, exhausted: Exhausted) -> None:
    """Tells all who read. Raises LedgerUnavailable."""
    told = _encode(exhausted)
    await transport.command("XADD", KEY, "MAXLEN", "~", str(TOLD_MAX), "*", _FIELD, told)


async def told_after(transport: LedgerTransport, at: str) -> list[Exhausted]:
    """What was told after this place (`at` of the last one that was read; empty: all that is kept),
    oldest first, at most READ_AT_ONCE of it. Raises LedgerUnavailable."""
    start = f"({at}" if at else "-"
    found = await transport.command("XRANGE", KEY, start, "+", "COUNT", str(READ_AT_ONCE))
    assert isinstance(found, list)
    return [
        msgspec.structs.replace(_decode(fields[1]), at=place.decode()) for place, fields in found
    ]
