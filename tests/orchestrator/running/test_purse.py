"""A run spends within its limits, each attempt with a key of its own, and what is over is refused
at the next call: proved with calls through a real gateway."""

import asyncio
import json
import time
from typing import Any

import pytest

from budgets.keys import KeyRing
from budgets.policy import parse_policy
from orchestrator.events import event_id, of_attempt, of_run
from orchestrator.kinds.contract import BudgetUsedUp, Held, StepFailed, UsedUpForNow
from orchestrator.places import AttemptPlace, RunPlace, TaskId
from orchestrator.running.purse import AttemptOver, ScopeNotOpen
from tests.gateway.behaviours import answers, held
from tests.gateway.delegating import mint
from tests.gateway.stack import USAGE_NUSD
from tests.orchestrator.running.conftest import LATER_MS, Till, limits, purse_of

ONE_DOLLAR = limits({"usd": "1.00"})


async def opened(till: Till, *written: dict[str, object]) -> None:
    """The run, with these limits or a dollar."""
    await till.purse.open_run(till.run, limits(*written) if written else ONE_DOLLAR)


async def events(till: Till, *kinds: str) -> list[dict[str, Any]]:
    """Of these kinds, oldest first."""
    return [
        json.loads(each.event) for each in await till.stack.ledger.outbox() if each.kind in kinds
    ]


async def spent_of(till: Till, step: str = "") -> int:
    """What the first limit of the run or of a step has spent, in nano-dollars."""
    standing = await till.purse.standing(till.run, [step] if step else [])
    return (standing.steps[step] if step else standing.run).standings[0].spent


async def test_an_attempt_spends_from_its_run(till: Till) -> None:
    """What its key is charged is in the run's limit and in the step's."""
    await opened(till)
    secret = await till.begin(till.attempt(), budget=limits({"usd": "0.50"}))
    assert await till.status(secret) == 200
    await till.stack.ledger.endings(1)
    assert await spent_of(till) == await spent_of(till, "search") == USAGE_NUSD
    await till.stack.ledger.at_rest()


async def test_beginning_again_gives_the_same_key(till: Till) -> None:
    """Another executor with the same master goes on where one has died, anywhere within it."""
    await opened(till)
    attempt = till.attempt(number=2)
    secret = await till.begin(attempt)
    assert await purse_of(till.stack).begin_attempt(attempt, expires_at_ms=LATER_MS) == secret
    assert await till.status(secret) == 200
    others = {await till.begin(till.attempt("write")), await till.begin(till.attempt(number=3))}
    assert len({secret, *others}) == 3


async def test_what_is_written_once_is_not_written_again(till: Till) -> None:
    """Limits and fences: only the key is minted anew."""
    for _ in range(2):
        await opened(till)
        await till.begin(till.attempt(number=2), budget=limits({"usd": "0.50"}), guaranteed=True)
    changed = [event["detail"] for event in await events(till, "budget_changed")]
    acts = [json.loads(each)["action"] for each in changed]
    assert acts == ["set budget", "set budget", "begin attempt 2", "mint"]
    assert len(await events(till, "allotment_opened")) == 1


async def test_a_fence_kills_the_earlier_attempt_and_all_that_it_minted(till: Till) -> None:
    """The key that an executor holds which has slept, and the helper's that its agent has made."""
    await opened(till)
    first = await till.begin(till.attempt(), delegates=True)
    helper = (await mint(till.stack, first))["key"]
    assert (await till.status(first), await till.status(helper)) == (200, 200)
    second = await till.begin(till.attempt(number=2))
    assert (await till.status(first), await till.status(helper)) == (402, 402)
    assert await till.status(second) == 200
    with pytest.raises(AttemptOver):
        await till.begin(till.attempt())


async def test_the_fence_is_there_before_the_key(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An executor that dies in between has shut the old key out and let nobody in."""
    await opened(till)
    first = await till.begin(till.attempt())

    async def dies(*_: object, **__: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(KeyRing, "mint", dies)
        with pytest.raises(ConnectionError):
            await till.begin(till.attempt(number=2))
    assert await till.status(first) == 402
    assert await till.status(await till.begin(till.attempt(number=2))) == 200


async def test_entries_are_fenced_one_by_one(till: Till) -> None:
    """Entries of a `foreach` do not shut out each other."""
    await opened(till)
    keys = [await till.begin(till.attempt(entry=entry)) for entry in range(3)]
    again = await till.begin(till.attempt(entry=1, number=2))
    assert [await till.status(key) for key in keys] == [200, 402, 200]
    assert await till.status(again) == 200


async def test_entries_share_the_budget_of_their_step(till: Till) -> None:
    """Together they spend what one may."""
    await opened(till)
    budget = limits({"requests": 2})
    keys = [await till.begin(till.attempt(entry=entry), budget=budget) for entry in range(3)]
    assert [await till.status(key) for key in keys] == [200, 200, 402]


async def test_a_sub_run_dies_with_the_attempt_that_started_it(till: Till) -> None:
    """Its keys carry the fences of all steps above it."""
    await opened(till)
    parent = till.attempt("research")
    await till.begin(parent)
    inner = RunPlace("r2", f"{parent.scope}/r2", "inner", 1, parent.fences)
    await till.purse.open_run(inner, ONE_DOLLAR)
    below = AttemptPlace(inner, TaskId("dig"), 2)
    secret = await till.begin(below)
    assert await till.status(secret) == 200
    await till.begin(till.attempt("research", 2))
    assert await till.status(secret) == 402
    with pytest.raises(AttemptOver):
        await till.begin(below)
    again = till.attempt("research", 2).fences
    adopted = RunPlace("r2", inner.scope, "inner", 1, again)
    assert await till.status(await till.begin(AttemptPlace(adopted, TaskId("dig"), 3))) == 200


async def test_a_closed_run_refuses_every_key_below(till: Till) -> None:
    """Of its steps, of their helpers, of sub-runs; what was set aside is the project's again, and
    nothing begins there any more."""
    await till.stack.set_budget("project", [{"usd": "5.00"}])
    await opened(till)
    parent = till.attempt("research")
    first = await till.begin(parent, delegates=True)
    helper = (await mint(till.stack, first))["key"]
    inner = RunPlace("r2", f"{parent.scope}/r2", "inner", 1, parent.fences)
    await till.purse.open_run(inner, ONE_DOLLAR)
    deep = await till.begin(AttemptPlace(inner, TaskId("dig"), 1))
    budget = limits({"usd": "0.50"})
    await till.begin(till.attempt("write"), budget=budget, guaranteed=True)
    for _ in range(2):
        await till.purse.close_run(till.run, ["write"])
    assert [await till.status(each) for each in (first, helper, deep)] == [402] * 3
    await till.stack.ledger.at_rest()
    for attempt in (parent, till.attempt("other")):
        with pytest.raises(ScopeNotOpen, match="closed"):
            await till.begin(attempt)
    with pytest.raises(ScopeNotOpen):
        await opened(till)


@pytest.mark.parametrize(("action", "error"), [("close", ScopeNotOpen), ("freeze", Held)])
async def test_a_run_does_not_open_where_nothing_may_be_spent(
    till: Till, action: str, error: type[Exception]
) -> None:
    """The error names the scope, and what to do."""
    await till.stack.set_budget("project", [{"usd": "5.00"}])
    await till.stack.set_state("project", action)
    with pytest.raises(error, match=till.stack.scope("project")):
        await opened(till)


async def test_a_run_needs_room_below(till: Till) -> None:
    """Known when it opens, not when its first key is minted."""
    deep = "/".join([till.stack.organisation, *"abcdefghijkl"])
    await till.purse.open_run(RunPlace("r1", deep, "report", 1), ONE_DOLLAR)
    with pytest.raises(StepFailed, match="too deep"):
        await till.purse.open_run(RunPlace("r1", f"{deep}/m", "report", 1), ONE_DOLLAR)


async def test_a_frozen_run_waits(till: Till) -> None:
    """Calls are refused and attempts are held until it is thawed."""
    await opened(till)
    secret = await till.begin(till.attempt())
    await till.stack.set_state("project/r1", "freeze")
    assert await till.status(secret) == 402
    with pytest.raises(Held):
        await till.begin(till.attempt("write"))
    await till.stack.set_state("project/r1", "thaw")
    assert await till.status(secret) == 200


async def test_a_guaranteed_step_keeps_its_money(till: Till) -> None:
    """Siblings spend the rest to its end; it spends what is its own; what it leaves is theirs."""
    await opened(till, {"tokens": 2_000})
    await till.purse.open_step(till.run, "write", limits({"tokens": 1_000}), guaranteed=True)
    sibling = await till.begin(till.attempt())
    statuses = [await till.status(sibling) for _ in range(80)]
    assert (statuses[0], statuses[-1]) == (200, 429)
    writer = await till.begin(
        till.attempt("write"), budget=limits({"tokens": 1_000}), guaranteed=True
    )
    assert await till.status(writer) == 200
    await till.purse.close_step(till.run, "write")
    await till.purse.close_step(till.run, "write")
    assert await till.status(sibling) == 200
    assert await till.status(writer) == 200


async def test_what_cannot_be_guaranteed_is_used_up(till: Till) -> None:
    """Or held, where others give it back."""
    await opened(till, {"tokens": 1_000})
    await till.purse.open_step(till.run, "one", limits({"tokens": 800}), guaranteed=True)
    with pytest.raises(Held):
        await till.purse.open_step(till.run, "two", limits({"tokens": 800}), guaranteed=True)
    with pytest.raises(BudgetUsedUp, match="comptroller budget show") as caught:
        await till.purse.open_step(till.run, "three", limits({"tokens": 1_001}), guaranteed=True)
    assert caught.value.scope == till.run.scope
    await till.purse.close_step(till.run, "one")
    await till.purse.open_step(till.run, "two", limits({"tokens": 800}), guaranteed=True)


async def test_what_cannot_be_guaranteed_before_a_window_ends_is_used_up_for_now(
    till: Till,
) -> None:
    """And says when that is."""
    await opened(till, {"tokens": 1_000, "window": "month"})
    assert await till.status(await till.begin(till.attempt())) == 200
    await till.stack.ledger.endings(1)
    with pytest.raises(UsedUpForNow) as caught:
        await till.purse.open_step(till.run, "two", limits({"tokens": 1_000}), guaranteed=True)
    assert caught.value.scope == till.run.scope
    assert caught.value.resets_at_ms > time.time_ns() // 1_000_000


async def test_what_a_step_has_spent_is_not_set_aside_again(till: Till) -> None:
    """A step that goes on after it was closed."""
    await opened(till, {"tokens": 1_000})
    budget = limits({"tokens": 1_000})
    secret = await till.begin(till.attempt(), budget=budget, guaranteed=True)
    assert await till.status(secret) == 200
    await till.stack.ledger.endings(1)
    await till.purse.close_step(till.run, "search")
    assert (
        await till.status(await till.begin(till.attempt(), budget=budget, guaranteed=True)) == 200
    )


async def test_the_end_of_an_attempt_revokes_its_key(till: Till) -> None:
    """And what it minted, also where it has never begun; the step goes on with another."""
    await opened(till)
    attempt = till.attempt()
    secret = await till.begin(attempt, delegates=True)
    helper = (await mint(till.stack, secret))["key"]
    for _ in range(2):
        await till.purse.end_attempt(attempt)
    assert [await till.status(each) for each in (secret, helper)] == [401, 401]
    with pytest.raises(AttemptOver):
        await till.begin(attempt)
    await till.purse.end_attempt(till.attempt("never"))
    with pytest.raises(AttemptOver):
        await till.begin(till.attempt("never"))
    assert await till.status(await till.begin(till.attempt(number=2))) == 200


async def test_a_raised_budget_goes_on_from_what_was_spent(till: Till) -> None:
    """It is never lowered, neither by an older raise nor by opening the run again."""
    await opened(till, {"requests": 1})
    secret = await till.begin(till.attempt())
    assert [await till.status(secret) for _ in range(2)] == [200, 402]
    await till.purse.raise_budget(till.run, limits({"requests": 3}))
    await till.purse.raise_budget(till.run, limits({"requests": 2}))
    await opened(till, {"requests": 1})
    assert [await till.status(secret) for _ in range(3)] == [200, 200, 402]


async def test_a_step_s_budget_that_somebody_raises_stays_so(till: Till) -> None:
    """Its later attempts keep it."""
    await opened(till)
    budget = limits({"requests": 1})
    secret = await till.begin(till.attempt(), budget=budget)
    assert [await till.status(secret) for _ in range(2)] == [200, 402]
    more = parse_policy({"limits": [{"requests": 3}], "kind": "step"})
    await till.stack.administration.set_policy(till.run.step_scope("search"), more, b"{}")
    again = await till.begin(till.attempt(number=2), budget=budget)
    assert [await till.status(again) for _ in range(3)] == [200, 200, 402]


async def test_models_and_time_bind_the_key(till: Till) -> None:
    """As the step says."""
    await opened(till)
    secret = await till.begin(till.attempt(), models=("dear",))
    assert await till.status(secret) == 403
    late = await till.purse.begin_attempt(till.attempt("late"), expires_at_ms=1)
    assert await till.status(late) == 401


async def test_events_are_told_once_and_bear_their_run(till: Till) -> None:
    """A repeat is known by its id."""
    await opened(till)
    now_ms = time.time_ns() // 1_000_000
    attempt = till.attempt(entry=2)
    submitted = event_id(now_ms, till.run.id, "submitted")
    started = event_id(now_ms, attempt.name, "started")
    detail = {"input": {"topic": "cats"}}
    organisation = till.stack.organisation
    event = of_run(till.run, by="key-ci", detail=detail)
    codes = [
        await till.purse.tell(organisation, submitted, "run_submitted", event) for _ in range(2)
    ]
    assert codes == ["DONE", "ALREADY"]
    told = of_attempt(attempt, agent="searcher", triggered_by=submitted)
    await till.purse.tell(organisation, started, "step_started", told)
    of_run_, of_step = await events(till, "run_submitted", "step_started")
    assert of_run_ == {
        "workflow": "report",
        "workflow_version": 3,
        "run_id": "r1",
        "correlation_id": "r1",
        "scope": till.run.scope,
        "by": "key-ci",
        "detail": json.dumps(detail, separators=(",", ":")),
    }
    assert of_step == {
        "workflow": "report",
        "workflow_version": 3,
        "run_id": "r1",
        "correlation_id": "r1",
        "scope": f"{till.run.scope}/search/2",
        "step_id": "search[2]",
        "attempt": 1,
        "agent": "searcher",
        "key_id": attempt.key_id,
        "by": "orchestrator",
        "triggered_by": submitted,
    }


async def test_calls_and_keys_bear_run_and_step(till: Till) -> None:
    """Request, answer, and the key's own life."""
    await opened(till)
    attempt = till.attempt(number=2, entry=1)
    assert await till.status(await till.begin(attempt, agent="searcher")) == 200
    await till.purse.end_attempt(attempt)
    await till.stack.ledger.endings(1)
    kinds = ("key_minted", "llm_request", "llm_response", "key_revoked")
    found = await events(till, *kinds)
    assert len(found) == len(kinds)
    for event in found:
        assert (event["run_id"], event["step_id"], event["attempt"]) == ("r1", "search[1]", 2)
        assert (event["workflow"], event["workflow_version"]) == ("report", 3)
        assert event["key_id"] == attempt.key_id
    assert [event.get("agent") for event in found[:3]] == ["searcher"] * 3
    assert "ck-" not in json.dumps(found)


async def test_a_fence_stops_a_stream_that_is_under_way(till: Till) -> None:
    """Nothing that an earlier attempt has begun keeps on spending for longer than a beat of its
    lease."""
    await opened(till)
    gate = asyncio.Event()
    till.stack.provider.behaviour = held(gate, answers())
    call = asyncio.create_task(till.stack.chat(await till.begin(till.attempt())))
    await till.stack.provider.arrivals(1)
    await till.begin(till.attempt(number=2))
    await till.stack.parts.keeper.beat()
    assert (await call).status_code >= 400
    gate.set()


async def test_policies_of_people_stay(till: Till) -> None:
    """What the project says besides limits holds for the run; its template does not take the
    place of the run's own limits."""
    template = parse_policy({"per_child": [{"requests": 0}], "payloads": "off"})
    scope = till.stack.scope("project")
    await till.stack.administration.set_policy(scope, template, b"{}")
    await opened(till)
    assert await till.status(await till.begin(till.attempt())) == 200
    (request,) = await events(till, "llm_request")
    assert request["payload_state"] == "off"
