"""`comptroller prices learned` on a real admin API and ledger: what it prints is what the routes'
policies say, and what it resets begins anew."""

import asyncio

from typer.testing import CliRunner

from budgets.learned import Billed
from budgets.learning import Learning
from budgets.ledger import Ledger
from comptroller.cli import app
from console.options import ConsoleOptions
from gateway.route_events import RouteEvents
from tests.budgets.harness import desk_for
from tests.budgets.test_learning import INPUT, OUTPUT, Worker
from tests.comptroller.commands.commanding import Ran
from tests.console.conftest import nowhere
from tests.console.desk import ADMIN_SECRET, Console, listening, opened
from tests.recorder.rig import staged

ROUTE = "p:m~1"


async def overrun(console: Console, organisation: str, times: int) -> Worker:
    """A gateway of this organisation whose route has billed so many times its input's bound."""
    await console.parts.session.begin_organisation(organisation)
    desk = desk_for(organisation, await console.stage.transport())
    learning = Learning(desk.session, desk.administration, RouteEvents("gateway"), 2)
    worker = Worker(desk, learning, Ledger(desk.session, load=learning.load))
    await worker.served(Billed(INPUT * times, OUTPUT, INPUT * times + OUTPUT))
    return worker


async def test_routes_are_listed_and_reset() -> None:
    """As a table with factors as people read them, as JSON with thousandths; a reset says what was
    known, and is an event; a route of which nothing was learned is an error with the list."""
    async with (
        staged() as stage,
        opened(stage, nowhere, ConsoleOptions()) as console,
        listening(console) as (client, _),
    ):
        await overrun(console, "acme", 3)
        await overrun(console, "other", 5_000)
        environment = {
            "COMPTROLLER_ADMIN_URL": str(client.base_url),
            "COMPTROLLER_ADMIN_TOKEN": ADMIN_SECRET,
        }

        async def run(*arguments: str) -> Ran:
            """In a thread, because the API is in this one."""
            asked = ["prices", "learned", *arguments]
            ran = await asyncio.to_thread(CliRunner(env=environment).invoke, app, asked)
            return Ran(ran.exit_code, ran.stdout, ran.stderr)

        listed = await run("list")
        assert listed.code == 0, listed.err
        assert "acme\tp:m~1\t3\t1\tbytes\tprobation, 2 at a time" in listed.out
        assert "other\tp:m~1\t1000.1\t1\tbytes\tstopped" in listed.out
        one = await run("list", "--organisation", "acme", "--json")
        assert one.document == {
            "organisation": "acme",
            "route": ROUTE,
            "input_thousandths": 3_000,
            "output_thousandths": 1_000,
            "bound_thousandths": 0,
            "concurrency": 2,
        }
        reset = await run("reset", ROUTE, "--organisation", "acme", "--json")
        assert reset.document == one.document
        assert "acme" not in (await run("list", "--organisation", "acme")).out
        assert "other" in (await run("list")).out
        again = await run("reset", ROUTE, "--organisation", "acme")
        assert again.code == 1
        assert again.next_command == "comptroller prices learned list"
        events = [event for _, event in await console.events("acme")]
        assert any(b'"learning_reset"' in each and b'"by":"first"' in each for each in events)
