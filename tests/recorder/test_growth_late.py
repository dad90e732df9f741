"""What comes late about something that has left is found and waited for."""

import pytest

from budgets.memory import MemoryAway
from tests.budgets.harness import dollars, granted
from tests.recorder.growing import Growing


async def test_late_truth_about_what_has_left_is_found(growing: Growing) -> None:
    """It is an event only: a child that comes back has it, be it recorded or only in a snapshot of
    later; and its balance then has a later row."""
    await growing.template({"usd": "1"})
    run = growing.scope("run")
    lost = await growing.reserve(100, run)
    await growing.desk.advance(60_001)
    await growing.desk.ledger.sweep(growing.organisation)
    await growing.record()
    await growing.rest()
    await growing.rest(1)
    await growing.record()
    await growing.compaction.sweep(growing.organisation, growing.head)
    # The tombstone of a request lives two hours: the truth comes within them.
    await growing.rest()
    await growing.rest(1)
    await growing.record()
    await growing.sweep()
    assert not await growing.has(run)
    await growing.settle(lost, 15)
    await growing.record()
    assert await growing.spent(run) == [15]
    await growing.pass_by()
    assert not await growing.has(run)
    ((field, rows),) = await growing.store.rows(
        "SELECT field, groupArray(spent) FROM (SELECT field, spent FROM comptroller.balances FINAL "
        "WHERE org = {org:String} ORDER BY seq) GROUP BY field",
        org=growing.organisation,
    )
    assert rows == [100, 15], field
    assert await growing.spent(run) == [15]


async def test_late_truth_that_is_not_recorded_yet_is_waited_for(growing: Growing) -> None:
    """The ledger knows that it came; an answer without it is none. Known scopes go on."""
    await growing.template({"usd": "1"})
    run, other = growing.scope("run"), growing.scope("other")
    free = await growing.reserve(0, run)
    await growing.spend(10, run)
    await growing.record()
    await growing.compaction.snapshots.take(growing.organisation, growing.head)
    for _ in range(62):
        await growing.desk.advance(58_500)
        await growing.desk.ledger.extend(growing.organisation, [(free.id, free.path)])
    await growing.spend(1, other)
    await growing.pass_by(2)
    assert not await growing.has(run)
    assert await growing.desk.ledger.extend(growing.organisation, [(free.id, free.path)]) == {
        free.id: "OK"
    }
    await growing.settle(free, 4)
    with pytest.raises(MemoryAway):
        await growing.desk.ask(dollars(1), run)
    granted(await growing.desk.ask(dollars(1), other))
    await growing.record()
    assert await growing.spent(run) == [14]


async def test_truth_that_comes_while_somebody_asks_is_asked_for_again(growing: Growing) -> None:
    """Between the answer of the records and the creation: the creation is refused, the second
    answer has it."""
    await growing.template({"usd": "1"})
    run = growing.scope("run")
    await growing.spend(10, run)
    await growing.pass_by()
    policy = (await growing.recording.policies(growing.organisation))[growing.organisation]
    field = f"c:{policy.per_child[0].id}:{run}:0"

    async def corrected() -> None:
        assert (
            await growing.desk.administration.adjust(
                growing.organisation, growing.desk.session.new_id(), [(field, 1, -3)], b"{}"
            )
            == "DONE"
        )
        assert await growing.recording.counters(growing.organisation) == {}
        await growing.record()

    growing.memory.then.append(corrected)
    assert await growing.spent(run) == [7]
