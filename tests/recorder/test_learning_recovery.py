"""What was learned of a route is in the records like any policy: a ledger that lost everything has
its factor and its probation again before it grants anything."""

import secrets
from pathlib import Path

import pytest

from budgets.answers import Ask, Refusal, Reservation
from budgets.learned import Billed, Learned, route_scope
from budgets.learning import Learning
from budgets.ledger import Ledger
from budgets.plan import Plan, ScopePath
from budgets.session import Session
from clickhouse.store import Store
from gateway.route_events import RouteEvents
from tests.budgets.harness import granted, recorded, refused
from tests.recorder.recovering import Worker, recording, restarted
from tests.recorder.rig import Stage
from tests.recorder.workbench import request_event

CONCURRENCY = 3
INPUT, OUTPUT = 100, 50


def asked(plan: Plan) -> Ask:
    """One nano-dollar a token; factors are in the numbers."""
    assert plan.route is not None
    learned = plan.route.learned
    fixed = INPUT * learned.input_thousandths // 1000
    return Ask(fixed, learned.output_thousandths, fixed, 1, OUTPUT, OUTPUT, plan.route)


def learner(session: Session, worker: Worker) -> tuple[Ledger, Learning]:
    """A gateway worker's view of routes."""
    learning = Learning(session, worker.administration, RouteEvents("test"), CONCURRENCY)
    return Ledger(session, load=learning.load), learning


async def reserve(ledger: Ledger, session: Session, scope: str) -> Reservation | Refusal:
    """One request of the route."""
    organisation, id_ = scope.split("/", 1)[0], session.new_id()
    event = recorded(request_event(id_, organisation))
    return await ledger.reserve(ScopePath(organisation), "m", asked, event, id_, None, scope)


@pytest.mark.parametrize("loses", [False, True], ids=["nothing", "everything"])
async def test_a_recovery_brings_back_what_was_learned(
    stage: Stage, store: Store, loses: bool
) -> None:
    """A server that comes back, with its file or without: the factor holds, and what is open of a
    route on probation counts."""
    organisation = f"learns-{secrets.token_hex(5)}"
    scope = route_scope(organisation, "p:m~1")
    async with recording(stage, store, organisation):
        worker = await Worker.at(stage, organisation)
        await worker.session.begin_organisation(organisation)
        await worker.set_budget(organisation, [{"usd": "1"}])
        ledger, learning = learner(worker.session, worker)
        first = granted(await reserve(ledger, worker.session, scope))
        lesson = learning.lesson(first, OUTPUT, Billed(11 * INPUT, 11 * OUTPUT, 1650))
        assert lesson is not None
        await learning.learn(lesson)
        await worker.end(first, 1650)
        for _ in range(CONCURRENCY):
            granted(await reserve(ledger, worker.session, scope))
        await worker.until_recorded()
        before = await worker.books()
        nowhere: Path | None = stage.folder / "nowhere" if loses else None
        with restarted(stage.server, files=nowhere):
            pass
        await worker.transport.command("PING")  # notices that the connection is another one
        await worker.session.looked_at(organisation)
        stranger = await Worker.at(stage, organisation)
        afresh, _ = learner(stranger.session, stranger)
        refusal = refused(await reserve(afresh, stranger.session, scope), "HELD")
        assert refusal.scope == scope
        assert await worker.books() == before
        policy = (await stranger.session.load([scope], create=False))[scope].policy
        assert policy.learned == Learned(11_000, 11_000)
        for id_ in await worker.lease_ids():
            await stranger.ledger.release(organisation, id_, b"")
        again = granted(await reserve(afresh, stranger.session, scope))
        assert again.reserved_nusd == 11 * (INPUT + OUTPUT)
