"""What a reserve may hand over of a payload: decided with the plan that is really used, by the
strictest policy, as it is at this very call."""

import pytest

from budgets.answers import Reservation
from budgets.ledger import LedgerOptions
from budgets.plan import ScopePath
from budgets.policy import PAYLOADS, Payloads
from tests.budgets.conftest import MakeDesk
from tests.budgets.harness import Desk, dollars, granted


class Record:
    """Writes down for which policies it was asked; event and body say for which they are."""

    def __init__(self) -> None:
        self.asked: list[Payloads] = []

    def __call__(self, payloads: Payloads) -> tuple[bytes, bytes]:
        self.asked.append(payloads)
        return b"event " + payloads.encode(), b"body " + payloads.encode()


async def reserve(desk: Desk, record: Record, path: ScopePath) -> Reservation:
    """One reserve of a request that writes itself down."""
    id_ = desk.session.new_id()
    answer = await desk.ledger.reserve(path, "m", lambda _plan: dollars(1), record, id_)
    return granted(answer)


async def handed_over(desk: Desk) -> list[tuple[bytes, bytes]]:
    """(event, body) of every request, oldest first."""
    bodies = await desk.transport.command("XRANGE", desk.key("bodies"), "-", "+")
    assert isinstance(bodies, list)
    requests = [entry for entry in await desk.outbox() if entry.kind == "llm_request"]
    assert [int(id_.split(b"-")[1]) for id_, _ in bodies] == [entry.seq for entry in requests]
    return [(entry.event, fields[1]) for entry, (_, fields) in zip(requests, bodies, strict=True)]


@pytest.mark.parametrize("payloads", PAYLOADS)
async def test_what_is_recorded_is_what_the_policy_allows(desk: Desk, payloads: Payloads) -> None:
    """The record is asked for by the name of the policy, what it gives is what Redis gets, and
    the grant carries the policy on to the answer."""
    await desk.set_budget(desk.organisation, {"payloads": payloads})
    record = Record()
    reservation = await reserve(desk, record, ScopePath(f"{desk.organisation}/a/b"))
    assert reservation.payloads == payloads
    assert record.asked == [payloads]
    name = payloads.encode()
    assert await handed_over(desk) == [(b"event " + name, b"body " + name)]


async def test_a_change_counts_at_the_next_call_of_every_worker(
    desk: Desk, make_desk: MakeDesk
) -> None:
    """A worker that holds the old policy in its cache may have prepared a record for it: that one
    is refused, the next is under the new policy, and nothing of the first is left. In both
    directions, at every depth, the key's own scope too."""
    other = await make_desk()
    org = desk.organisation
    path = ScopePath(f"{org}/a/b", f"{org}/key-1")
    for worker in (desk, other):
        assert (await reserve(worker, Record(), path)).payloads == "full"
    changes: list[tuple[str, Payloads, Payloads]] = [
        (f"{org}/a/b", "redacted", "redacted"),
        (f"{org}/key-1", "hash", "hash"),
        (org, "off", "off"),
        (org, "full", "hash"),
    ]
    expected: list[Payloads] = ["full", "full"]
    for scope, payloads, holds in changes:
        await desk.set_budget(scope, {"payloads": payloads})
        before = expected[-1]
        for worker in (other, desk):
            record = Record()
            assert (await reserve(worker, record, path)).payloads == holds
            assert record.asked == [before, holds]
            expected.append(holds)
    found = [event.removeprefix(b"event ").decode() for event, _ in await handed_over(desk)]
    assert found == expected


async def test_nobody_below_weakens_what_was_decided_above(desk: Desk, make_desk: MakeDesk) -> None:
    """The process's own setting and every ancestor bind a scope that asks for more; a sibling is
    nobody's business."""
    org = desk.organisation
    await desk.set_budget(f"{org}/team", {"payloads": "hash"})
    await desk.set_budget(f"{org}/team/key-1", {"payloads": "full"})
    key = ScopePath(f"{org}/team/key-1", f"{org}/team/key-1")
    assert (await reserve(desk, Record(), key)).payloads == "hash"
    assert (await reserve(desk, Record(), ScopePath(f"{org}/lab"))).payloads == "full"
    careful = await make_desk(LedgerOptions(payloads="redacted"))
    assert (await reserve(careful, Record(), ScopePath(f"{org}/lab"))).payloads == "redacted"
    assert (await reserve(careful, Record(), key)).payloads == "hash"
