"""What was learned of routes over the admin API: shown as the ledger has it, and forgotten on
request: then the route begins anew at the next reserve, and an event says who wanted it."""

import json

from budgets.learned import HELD_TIMES, Billed, Learned
from budgets.learning import Learning
from budgets.ledger import Ledger
from gateway.route_events import RouteEvents
from tests.budgets.harness import desk_for
from tests.budgets.test_learning import CONCURRENCY, HELD, INPUT, OUTPUT, Worker
from tests.console.desk import Console

ROUTE = "p:m~1"
PATH = "/v1/routes/reset"


async def worker(console: Console, organisation: str) -> Worker:
    """A gateway of this organisation."""
    await console.parts.session.begin_organisation(organisation)
    desk = desk_for(organisation, await console.stage.transport())
    learning = Learning(desk.session, desk.administration, RouteEvents("gateway"), CONCURRENCY)
    return Worker(desk, learning, Ledger(desk.session, load=learning.load))


async def test_what_was_learned_is_shown(console: Console) -> None:
    """Factors as the ledger has them, how many run at a time, and no budget beside; in pages."""
    one, two = await worker(console, "acme"), await worker(console, "other")
    for _ in range(HELD_TIMES):
        await two.served(HELD)
    await one.served(Billed(INPUT * 3, OUTPUT, INPUT * 3 + OUTPUT))
    row = {"route": ROUTE, "output_thousandths": 1_000, "bound_thousandths": 0}
    raised = {**row, "organisation": "acme", "input_thousandths": 3_000, "concurrency": CONCURRENCY}
    trusted = {**row, "organisation": "other", "input_thousandths": 1_000, "concurrency": None}
    assert await console.done("GET", "/v1/routes") == {"routes": [raised, trusted], "next": None}
    page = await console.done("GET", "/v1/routes?limit=1")
    assert page["routes"] == [raised]
    rest = await console.done("GET", f"/v1/routes?limit=1&after={page['next']}")
    assert rest == {"routes": [trusted], "next": None}
    assert (await console.done("GET", "/v1/routes?organisation=other"))["routes"] == [trusted]


async def test_a_route_that_is_reset_begins_anew(console: Console) -> None:
    """In the organisation that was named; a worker that knew it obeys at its next request; the
    event has the factors before and after, and by whom."""
    one, two = await worker(console, "acme"), await worker(console, "other")
    for each in (one, two):
        await each.served(Billed(INPUT * 3, OUTPUT, INPUT * 3 + OUTPUT))
    token = await console.token("operator")
    body = {"route": ROUTE, "organisation": "acme"}
    (before,) = (await console.done("POST", PATH, body, token=token))["reset"]
    assert (before["organisation"], before["input_thousandths"]) == ("acme", 3_000)
    assert (await console.done("GET", "/v1/routes?organisation=acme"))["routes"] == []
    reservation = await one.served(HELD)
    assert reservation.ask.tokens_fixed == INPUT
    policy = await one.policy()
    assert (policy.learned, [each.amount for each in policy.limits]) == (Learned(), [CONCURRENCY])
    told = [json.loads(event) for _, event in await console.events("acme") if ROUTE in str(event)]
    (reset,) = [each for each in told if each["action"] == "learning_reset"]
    assert reset["by"].startswith("operator-")
    assert (reset["input_thousandths_before"], reset["input_thousandths"]) == (3_000, 1_000)
    assert told[-1]["action"] == "probation_began"
    assert (await two.policy()).learned == Learned(3_000, 1_000)
    assert (await two.served(HELD)).ask.tokens_fixed == 3 * INPUT


async def test_without_an_organisation_all_that_the_caller_sees_are_reset(
    console: Console,
) -> None:
    """A token of one organisation resets its own; a viewer none; what nobody has learned is 404."""
    one, two = await worker(console, "acme"), await worker(console, "other")
    for each in (one, two):
        await each.served(Billed(INPUT * 3, OUTPUT, INPUT * 3 + OUTPUT))
    viewer = await console.token("viewer")
    await console.refused(403, "role_not_allowed", "POST", PATH, {"route": ROUTE}, token=viewer)
    bound = await console.token("operator", "acme")
    other = {"route": ROUTE, "organisation": "other"}
    assert not (await console.call("POST", PATH, other, token=bound)).is_success
    assert len((await console.done("POST", PATH, {"route": ROUTE}, token=bound))["reset"]) == 1
    again = (await console.done("POST", PATH, {"route": ROUTE}))["reset"]
    assert [each["organisation"] for each in again] == ["other"]
    for name in (ROUTE, "a/b", "../x", "nobody"):
        await console.refused(404, "not_found", "POST", PATH, {"route": name})
    assert (await two.policy()).learned is None
