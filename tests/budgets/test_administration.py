"""Policy, states, foreign events and corrections: each an event, each once, each durable."""

import asyncio
import dataclasses

import msgspec
import pytest

from budgets.administration import ScopeClosed
from budgets.answers import Reservation, Truth
from budgets.plan import ScopePath
from budgets.policy import Limit, Policy, parse_policy
from budgets.recording import Recording
from budgets.scripts import Script
from budgets.transport import Argument, LedgerSilent, LedgerTransport, LedgerUnavailable, Reply
from tests.budgets.conftest import MakeDesk
from tests.budgets.harness import Desk, desk_for, dollars, granted, refused


async def policy_of(desk: Desk, scope: str) -> Policy:
    """The policy as the ledger has it."""
    return (await desk.session.load([scope]))[scope].policy


async def test_a_limit_is_named_by_the_event_that_made_it(desk: Desk) -> None:
    """A changed amount keeps a limit's id, anything else makes a new one, and an id is never used
    for another limit, also where a limit comes back."""
    scope = f"{desk.organisation}/a"
    seen: list[dict[str, str]] = []
    for limits in (
        [{"usd": "1"}, {"requests": 5, "window": "day"}],
        [{"requests": 7, "window": "day"}, {"usd": "2"}, {"usd": "2", "window": "day"}],
        [{"requests": 7, "window": "day", "models": ["m*"]}, {"usd": "2"}],
        [{"requests": 7, "window": "day"}, {"usd": "2"}],
    ):
        await desk.set_budget(scope, limits)
        kept = (await policy_of(desk, scope)).limits
        seen.append({f"{x.dimension} {x.window} {','.join(x.models)}": x.id for x in kept})
    first, second, third, fourth = seen
    assert {each["usd total "] for each in seen} == {first["usd total "]}
    assert second["requests day "] == first["requests day "]
    assert fourth["requests day "] != first["requests day "]
    ids = [id_ for each in seen for id_ in each.values()]
    assert len(set(ids)) == 5
    assert third["requests day m*"].split(".")[0] == "3"


async def test_a_template_names_its_limits_apart_from_the_scopes_own(desk: Desk) -> None:
    """The same limit on a scope and in its template are two, and stay two when they are swapped."""
    scope = f"{desk.organisation}/a"
    limit = {"requests": 5}
    await desk.set_budget(scope, {"limits": [limit], "per_child": [limit]})
    both = await policy_of(desk, scope)
    assert both.limits[0].id != both.per_child[0].id
    await desk.set_budget(scope, {"limits": [], "per_child": [limit]})
    assert (await policy_of(desk, scope)).per_child == both.per_child
    await desk.set_budget(scope, {"limits": [limit], "per_child": []})
    assert (await policy_of(desk, scope)).limits[0].id not in (
        both.limits[0].id,
        both.per_child[0].id,
    )


async def test_set_policy_answers_what_is_stored(desk: Desk) -> None:
    """The answer carries the ids; setting the same again is no event."""
    wanted = parse_policy({"limits": [{"usd": "1"}], "output_tokens_default": 7, "kind": "run"})
    stored = await desk.administration.set_policy(desk.organisation, wanted, b"e")
    assert stored == await policy_of(desk, desk.organisation)
    assert stored == msgspec.structs.replace(
        wanted, limits=(msgspec.structs.replace(wanted.limits[0], id="1.0"),)
    )
    assert await desk.administration.set_policy(desk.organisation, wanted, b"e") == stored
    await desk.administration.set_state(desk.organisation, "freeze", "frozen", b"f")
    assert await desk.administration.set_policy(desk.organisation, wanted, b"e") == stored
    assert [(each.kind, each.event) for each in await desk.outbox()] == [
        ("budget_changed", b"e"),
        ("frozen", b"f"),
    ]


async def test_words_in_a_policy_cannot_forge_a_limits_id(desk: Desk) -> None:
    """Placeholders are replaced where limits are named, and nowhere else."""
    scope = f"{desk.organisation}/a"
    trap = '","id":"@.0'
    await desk.set_budget(scope, {"limits": [{"usd": "1", "models": [trap, "%1", '"id":"@.9"']}]})
    (limit,) = (await policy_of(desk, scope)).limits
    assert limit.models == tuple(sorted([trap, "%1", '"id":"@.9"']))
    assert limit.id == "1.0"


async def test_a_closed_scope_stays_closed(desk: Desk) -> None:
    """Nothing reopens it: no thaw, freeze, fence or new budget; closing again is fine."""
    org, scope = desk.organisation, f"{desk.organisation}/a"
    state = desk.administration.set_state
    assert await state(scope, "close", "workflow_halted", b"") == "DONE"
    for action in ("thaw", "freeze", "fence"):
        assert await state(scope, action, action, b"", attempt=9) == "CLOSED"
    with pytest.raises(ScopeClosed, match="closed"):
        await desk.set_budget(scope, [{"usd": "1"}])
    assert await state(scope, "close", "workflow_halted", b"") == "DONE"
    refused(await desk.ask(dollars(1), scope), "CLOSED")
    granted(await desk.ask(dollars(1), f"{org}/b"))


async def test_a_scope_can_be_closed_before_its_first_use(desk: Desk) -> None:
    """What was never used is refused all the same, with all below it."""
    scope = f"{desk.organisation}/run"
    await desk.administration.set_state(scope, "close", "workflow_halted", b"")
    refused(await desk.ask(dollars(1), f"{scope}/step"), "CLOSED")


async def test_a_fence_only_rises(desk: Desk) -> None:
    """A late order of an earlier attempt does not let that attempt in again."""
    step = f"{desk.organisation}/step"
    for attempt in (3, 1, 2):
        await desk.administration.set_state(step, "fence", "step_started", b"", attempt=attempt)
    refused(await desk.ask(dollars(1), path=ScopePath(step, "", ((step, 2),))), "FENCED")
    granted(await desk.ask(dollars(1), path=ScopePath(step, "", ((step, 3),))))


async def test_a_budget_survives_freezing_and_a_freeze_survives_budgets(desk: Desk) -> None:
    """State and policy are two things: changing one leaves the other."""
    org = desk.organisation
    await desk.set_budget(org, [{"requests": 1}])
    await desk.administration.set_state(org, "freeze", "freeze", b"")
    await desk.administration.set_state(org, "fence", "fence", b"", attempt=2)
    await desk.set_budget(org, [{"requests": 2}])
    refused(await desk.ask(dollars(1)), "FROZEN")
    await desk.administration.set_state(org, "thaw", "thaw", b"")
    refused(await desk.ask(dollars(1)), "FENCED")
    path = ScopePath(org, "", ((org, 2),))
    for _ in range(2):
        granted(await desk.ask(dollars(1), path=path))
    refused(await desk.ask(dollars(1), path=path), "HELD")


async def test_an_act_without_a_known_action_changes_nothing(desk: Desk) -> None:
    """A misspelt action is an error, not an event."""
    granted(await desk.ask(dollars(1)))
    before = await desk.everything()
    with pytest.raises(LedgerUnavailable):
        await desk.administration.set_state(desk.organisation, "frieze", "x", b"")
    assert await desk.everything() == before


async def test_an_event_is_appended_once(desk: Desk) -> None:
    """Events of others take a seq of their own; a repeated id finds out."""
    org, append = desk.organisation, desk.administration.append
    id_ = desk.session.new_id()
    assert await append(org, id_, "step_started", b"\xffone") == "DONE"
    assert await append(org, id_, "step_started", b"two") == "ALREADY"
    assert await append(org, desk.session.new_id(), "step_completed", b"three") == "DONE"
    assert [(each.seq, each.kind, each.event) for each in await desk.outbox()] == [
        (1, "step_started", b"\xffone"),
        (2, "step_completed", b"three"),
    ]


async def test_a_full_outbox_takes_no_foreign_event(desk: Desk) -> None:
    """BACKLOG is not an answer that an event could be lost by: it raises."""
    full = dataclasses.replace(
        desk, administration=type(desk.administration)(desk.session, outbox_events_max=1)
    )
    append = full.administration.append
    assert await append(desk.organisation, desk.session.new_id(), "x", b"") == "DONE"
    with pytest.raises(LedgerUnavailable, match="recorded fast enough"):
        await append(desk.organisation, desk.session.new_id(), "x", b"")


async def settled(desk: Desk, nusd: int) -> Reservation:
    """A request that cost this much of a budget of one dollar."""
    await desk.set_budget(desk.organisation, [{"usd": "1"}])
    reservation = granted(await desk.ask(dollars(nusd)))
    await desk.ledger.settle(desk.organisation, reservation.id, Truth(nusd, 0), b"", b"")
    return reservation


@pytest.mark.parametrize(("delta", "spent"), [(25, 125), (-25, 75), (-100, 0)])
async def test_a_correction_is_booked_once(desk: Desk, delta: int, spent: int) -> None:
    """A price that was wrong moves what was spent, up or down, by an event of its own."""
    await settled(desk, 100)
    id_ = desk.session.new_id()
    adjust = desk.administration.adjust
    deltas = [("c:1.0:0", 1, delta)]
    assert await adjust(desk.organisation, id_, deltas, b"repriced") == "DONE"
    assert await adjust(desk.organisation, id_, deltas, b"repriced") == "ALREADY"
    assert await desk.totals() == (spent, 0)
    last = (await desk.outbox())[-1]
    assert (last.kind, last.id, last.event) == ("correction", id_, b"repriced")
    assert last.counters == ("c:1.0:0", 1, 0, delta)


async def test_a_correction_by_what_was_read_before_a_recovery_is_not_booked(desk: Desk) -> None:
    """Whoever names the epoch in which it read is told that the ledger was recovered since, and
    nothing is booked; in its own epoch it is, with policies that were read once for many."""
    await settled(desk, 100)
    policies = await desk.session.policies(desk.organisation)
    head = await desk.head()
    deltas = [("c:1.0:0", 1, 5)]
    for epoch, booked in ((head.epoch, 5), (head.epoch + 1, 5), (head.epoch, 10)):
        adjusting = desk.administration.adjust(
            *(desk.organisation, desk.session.new_id(), deltas, b""),
            policies=policies,
            epoch=epoch,
        )
        if epoch == head.epoch:
            assert await adjusting == "DONE"
        else:
            with pytest.raises(LedgerUnavailable, match="recovered meanwhile"):
                await adjusting
        assert await desk.totals() == (100 + booked, 0)


async def test_a_correction_never_brings_a_counter_below_zero(desk: Desk) -> None:
    """All or none: one counter that would be negative leaves the others alone too."""
    await settled(desk, 100)
    before = await desk.everything()
    deltas = [("c:1.0:0", 1, 50), ("c:1.0:0", 1, -151)]
    for wrong in ([("c:1.0:0", 1, -101)], deltas):
        answer = await desk.administration.adjust(
            desk.organisation, desk.session.new_id(), wrong, b""
        )
        assert answer == "NEGATIVE"
    assert await desk.everything() == before


async def test_a_correction_of_one_counter_in_two_parts_is_their_sum(desk: Desk) -> None:
    """Two deltas for one counter (two meters of one request, say) are both booked: the records
    must sum to the counter."""
    await settled(desk, 100)
    deltas = [("c:1.0:0", 1, 5), ("c:1.0:0", 1, 7)]
    await desk.administration.adjust(desk.organisation, desk.session.new_id(), deltas, b"")
    spent, _ = await desk.totals()
    booked = sum(each.changes().get("c:1.0:0", (0, 0))[0] for each in await desk.outbox())
    assert (spent, booked) == (112, 112)


async def test_what_is_confirmed_is_forgotten_up_to_its_seq(desk: Desk) -> None:
    """The recorder's progress trims both streams, exactly, and never the counters; repeating it
    gives nothing back twice."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "1"}])
    for n in range(4):
        await desk.ask(dollars(1), body=b"x" * n)
    assert await Recording(desk.session, "test").confirm(org, 1, 3, 1) == 3
    assert await Recording(desk.session, "test").confirm(org, 1, 3, 1) == 0
    assert [each.seq for each in await desk.outbox()] == [4, 5]
    assert await desk.transport.command("XLEN", desk.key("bodies")) == 2
    assert (await desk.head()).bodies_bytes == 5
    assert await desk.totals() == (0, 4)


class DurabilityLog:
    """Notes which scripts were called so that they are answered only from disk."""

    def __init__(self, inner: LedgerTransport) -> None:
        self._inner = inner
        self.durable: list[str] = []

    @property
    def generation(self) -> int:
        """As LedgerTransport."""
        return self._inner.generation

    async def call(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """As it is."""
        return await self._inner.call(script, keys, args)

    async def call_durably(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """Noted."""
        self.durable.append(script.name)
        return await self._inner.call_durably(script, keys, args)

    async def command(self, *args: Argument) -> object:
        """As it is."""
        return await self._inner.command(*args)

    async def command_durably(self, *args: Argument) -> object:
        """As it is."""
        return await self._inner.command_durably(*args)

    async def close(self) -> None:
        """Nothing of its own."""


async def test_policy_is_answered_only_when_durable(desk: Desk) -> None:
    """Budgets, states and keys wait for the disk; the hot path does not."""
    log = DurabilityLog(desk.transport)
    org = desk.organisation
    logged = desk_for(org, log)
    await logged.set_budget(org, [{"usd": "1"}])
    for action in ("freeze", "thaw", "fence"):
        await logged.administration.set_state(org, action, action, b"")
    await logged.administration.record_key(org, "key-1", b"{}", "key_minted", b"")
    granted(await logged.ask(dollars(1)))
    assert log.durable == ["set", "state", "state", "state", "key"]


class Overtaken(DurabilityLog):
    """Lets another operator act between the first durable call and its answer."""

    def __init__(self, inner: LedgerTransport, other: Desk, limits: object) -> None:
        super().__init__(inner)
        self._other = other
        self._limits = limits

    async def call_durably(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """Applied; the answer comes after the other's act."""
        reply = await super().call_durably(script, keys, args)
        if len(self.durable) == 1:
            await self._other.set_budget(self._other.organisation, self._limits)
        return reply


async def test_operators_who_set_one_budget_at_once_both_succeed(desk: Desk) -> None:
    """Two that change one budget at the same time are two events, and the later one stays; who
    was overtaken is not told to try again, because the budget was set."""
    org = desk.organisation
    first = desk_for(org, Overtaken(desk.transport, desk, [{"requests": 2}]))
    await first.set_budget(org, [{"requests": 1}])
    assert (await policy_of(desk, org)).limits[0].amount == 2
    assert [each.kind for each in await desk.outbox()] == ["budget_changed"] * 2


class Forestalled(DurabilityLog):
    """Lets another operator act between what the first has read and what it writes."""

    def __init__(self, inner: LedgerTransport, other: Desk, limits: object) -> None:
        super().__init__(inner)
        self._other = other
        self._limits = limits

    async def call_durably(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """The other first."""
        if not self.durable:
            await self._other.set_budget(self._other.organisation, self._limits)
        return await super().call_durably(script, keys, args)


async def test_an_operator_never_writes_over_what_it_has_not_read(desk: Desk) -> None:
    """The policy is compared before it is replaced: a limit that another has removed meanwhile is
    a new one when it is set again, and does not take up the old counter."""
    org = desk.organisation
    await desk.set_budget(org, [{"usd": "1"}, {"requests": 5}])
    first = desk_for(org, Forestalled(desk.transport, desk, [{"requests": 5}]))
    await first.set_budget(org, [{"usd": "1"}, {"requests": 6}])
    usd, requests = (await policy_of(desk, org)).limits
    assert (usd.id, requests.id) == ("3.0", "1.1")
    assert [each.seq for each in await desk.outbox()] == [1, 2, 3]


async def test_operators_who_set_many_budgets_at_once_lose_none(
    desk: Desk, make_desk: MakeDesk
) -> None:
    """Ten scopes set by two workers each, all at the same time: each scope has one of both."""
    other, org = await make_desk(), desk.organisation
    await asyncio.gather(
        *(
            each.set_budget(f"{org}/{n}", [{"requests": amount}])
            for n in range(10)
            for amount, each in enumerate((desk, other))
        )
    )
    for n in range(10):
        assert (await policy_of(desk, f"{org}/{n}")).limits[0].amount in (0, 1)
    assert len(await desk.outbox()) == 20


class AnswerLost(DurabilityLog):
    """Applies the first durable call and loses its answer."""

    async def call_durably(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """Applied; the first answer is lost."""
        reply = await super().call_durably(script, keys, args)
        if len(self.durable) == 1:
            raise LedgerSilent("the answer was lost")
        return reply


async def test_an_act_whose_answer_was_lost_can_be_repeated(desk: Desk) -> None:
    """The caller of a lost answer is told that it may have happened; doing it again is harmless."""
    org = desk.organisation
    lossy = desk_for(org, AnswerLost(desk.transport))
    limit = Limit("@.0", "requests", "total", "3")
    with pytest.raises(LedgerSilent):
        await lossy.administration.set_policy(org, Policy(limits=(limit,)), b"")
    stored = await lossy.administration.set_policy(org, Policy(limits=(limit,)), b"")
    assert [each.amount for each in stored.limits] == [3]
    assert len(await desk.outbox()) == 1
