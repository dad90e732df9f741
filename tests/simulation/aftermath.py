"""The books after a recovery: what the records say is added up, and held against what was known.

Nothing that was recorded may be gone, nothing may be there that nobody was ever granted, and what
was lost is remembered: whoever was answered brings it, or has died.
"""

from collections.abc import Callable
from typing import Any

from budgets.policy import Policy
from budgets.windows import window_bounds
from tests.simulation.accounts import Account, Held
from tests.simulation.tables import column

_Must = Callable[..., None]
Recorded = tuple[list[list[Any]], set[tuple[int, int]]]
"""Rows of the chain in order, and the places of payloads."""
_ENDINGS = ("llm_response", "reservation_expired", "correction")


def begin_again(
    account: Account, rows: list[list[Any]], payloads: set[tuple[int, int]], must: _Must
) -> None:
    """Makes `rows`, all that is recorded, the account's truth. What was granted beyond is lost, and
    so is a payload that the ledger lost between an event and it."""
    before, known = account.held, account.kinds
    account.held, account.open, account.sums, account.kinds = {}, {}, {}, {}
    account.once = set()
    place = (0, 0)
    for row in rows:
        here = column(row, "epoch"), column(row, "seq")
        once = column(row, "event_type"), column(row, "request_id")
        must(
            here == (place[0], place[1] + 1) or (here[0] > place[0] and here[1] > place[1]),
            "the records go on from %s at %s",
            *(place, here),
        )
        must(here in known, "%s is recorded at %s, and never happened", once, here)
        if once[0] != "llm_request" and once[0] not in _ENDINGS:
            once = known[here]  # what is not about a call has its id in no column
        must(known[here] == once, "%s is recorded as %s, and was %s", here, once, known[here])
        must(once not in account.once, "%s of %s is recorded twice", *once)
        account.once.add(once)
        account.kinds[here] = once
        place = here
        if once[0] == "llm_request":
            _granted(account, row, before)
        elif once[0] in _ENDINGS:
            _ended(account, row, before)
    for id_, held in before.items():
        if id_ not in account.held:
            must(account.may_lose, "%s is lost by a server that has lost nothing", id_)
            account.lost[id_] = held
    account.bodies &= account.kinds.keys()
    if account.may_lose:
        account.bodies &= payloads
    account.compacted.clear()
    account.recoveries += 1


def _granted(account: Account, row: list[Any], before: dict[str, Held]) -> None:
    id_ = column(row, "request_id")
    was = before[id_]
    held = Held(id_, column(row, "seq"), was.scope, was.model, was.output, was.reserved_nusd, {})
    for name, dimension, amount, _ in column(row, "counters"):
        held.amounts[name] = dimension, amount
        _add(account, name, 0, amount)
    account.held[id_] = account.open[id_] = held


def _ended(account: Account, row: list[Any], before: dict[str, Held]) -> None:
    for name, _, back, charged in column(row, "counters"):
        _add(account, name, charged, -back)
    held = account.held.get(column(row, "request_id"))
    if held is None:  # what an earlier recovery has booked
        return
    was, kind = before[held.id], column(row, "event_type")
    held.state = "expired" if kind == "reservation_expired" else "ended"
    if held.state == was.state:
        held.charged_nusd, held.usage_source = was.charged_nusd, was.usage_source
        held.bytes_read = was.bytes_read
    else:  # its late truth is lost
        held.charged_nusd, held.usage_source = held.reserved_nusd, "sweep"
    account.open.pop(held.id, None)


def _add(account: Account, name: str, spent: int, reserved: int) -> None:
    before = account.sums.get(name, (0, 0))
    account.sums[name] = (before[0] + spent, before[1] + reserved)


def has_passed(name: str, policies: dict[str, Policy], at_ms: int) -> bool:
    """Whether no request of now counts in this counter."""
    limit_id, start_s = name.split(":")[1], int(name.rpartition(":")[2])
    for policy in policies.values():
        for limit in (*policy.limits, *policy.per_child):
            if limit.id == limit_id:
                end_s = window_bounds(limit.window, start_s * 1000)[1]
                return 0 < end_s * 1000 <= at_ms and start_s > 0
    return True  # of a limit that was removed
