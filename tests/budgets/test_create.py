"""Scopes used for the first time: created open, but never over what somebody else has decided."""

import dataclasses
from collections.abc import Awaitable, Callable

import pytest

from budgets.scripts import Script
from budgets.transport import Argument, LedgerTransport, LedgerUnavailable, Reply
from tests.budgets.harness import Desk, desk_for, dollars, granted, refused


class BeforeCreating:
    """Does something between the look that found a scope missing and its creation."""

    def __init__(self, inner: LedgerTransport, act: Callable[[], Awaitable[object]]) -> None:
        self._inner = inner
        self._act = act
        self.command = inner.command
        self.command_durably = inner.command_durably
        self.call_durably = inner.call_durably
        self.close = inner.close

    @property
    def generation(self) -> int:
        """As LedgerTransport."""
        return self._inner.generation

    async def call(
        self, script: Script, keys: tuple[bytes, ...], args: tuple[Argument, ...]
    ) -> Reply:
        """The act first."""
        if script.name == "create":
            await self._act()
        return await self._inner.call(script, keys, args)


async def test_a_scope_is_created_with_all_above_it_on_first_use(desk: Desk) -> None:
    """No event, no seq: a path of runs and steps needs no declaration."""
    granted(await desk.ask(dollars(1), f"{desk.organisation}/run/step"))
    assert [each.kind for each in await desk.outbox()] == ["llm_request"]
    records = await desk.session.load([f"{desk.organisation}/run"], create=False)
    assert records[f"{desk.organisation}/run"].packed


@pytest.mark.parametrize(("action", "code"), [("close", "CLOSED"), ("freeze", "FROZEN")])
async def test_creating_does_not_undo_what_came_in_between(
    desk: Desk, action: str, code: str
) -> None:
    """A run that is halted while a worker meets it for the first time stays halted."""
    run = f"{desk.organisation}/run"

    async def act() -> None:
        await desk.administration.set_state(run, action, action, b"")

    slow = desk_for(desk.organisation, BeforeCreating(desk.transport, act))
    assert refused(await slow.ask(dollars(1), f"{run}/step"), code).scope == run


async def test_creating_does_not_undo_a_budget_that_came_in_between(desk: Desk) -> None:
    """A budget set meanwhile binds the very request that created the scope."""
    run = f"{desk.organisation}/run"

    async def act() -> None:
        await desk.set_budget(run, [{"requests": 0}])

    slow = desk_for(desk.organisation, BeforeCreating(desk.transport, act))
    assert refused(await slow.ask(dollars(1), run), "TOO_LARGE").scope == run


async def test_nothing_is_created_after_a_compaction_that_the_caller_has_not_seen(
    desk: Desk,
) -> None:
    """Who asked the records before a compaction asks again: a scope that was closed and left Redis
    is not reborn."""
    runs = 0

    async def act() -> None:
        nonlocal runs
        runs += 1
        head = await desk.head()
        await desk.set_head(dataclasses.replace(head, compaction=head.compaction + 1))

    granted(await desk.ask(dollars(1)))
    slow = desk_for(desk.organisation, BeforeCreating(desk.transport, act))
    with pytest.raises(LedgerUnavailable):
        await slow.ask(dollars(1), f"{desk.organisation}/run")
    assert runs > 1
    records = await desk.session.load([f"{desk.organisation}/run"], create=False)
    assert not records[f"{desk.organisation}/run"].packed
