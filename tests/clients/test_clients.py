"""Real clients, each in an environment of its own, run an agent through the gateway, and stop where
the budget ends.

`make clients`: packages are downloaded once. What is measured is what the gateway sees.
"""

import re
from pathlib import Path

import pytest

from budgets.embedded import EmbeddedServer
from gateway.app import Gateway
from gateway.options import GatewayOptions
from tests.clients.catalogue import REFUSAL_STATUSES, Client, clients
from tests.clients.door import Call, Door, Outside
from tests.clients.environments import CannotBeInstalled, environment_of
from tests.clients.report import Measured, record
from tests.clients.running import Ran, run_agent
from tests.gateway.stack import Stack, running_stack

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1500)]

TOOL_SAYS = "17 boxes"
"""What the tool of every agent answers: the model's answer cannot have it from elsewhere."""

ENOUGH = [{"usd": "10"}]
NOTHING_LEFT = [{"usd": "0.000001"}]
PRODUCING = re.compile(r"/v1/(chat/completions|responses|messages)$")  # POSTed


async def _installed(client: Client) -> Path:
    try:
        return await environment_of(client.requirements)
    except CannotBeInstalled as why:
        pytest.skip(f"{client.name} cannot be installed here: {why}")


class Gate:
    """A gateway with its door."""

    def __init__(self, stack: Stack, door: Door, outside: Outside) -> None:
        self.stack = stack
        self._door = door
        self._outside = outside

    async def run(
        self, client: Client, environment: Path, budget: object
    ) -> tuple[Ran, list[Call]]:
        """How the agent ended, and what it sent: nothing to anybody else."""
        before = len(self._door.calls)
        origin = f"http://127.0.0.1:{self.stack.port}"
        key = await self.stack.key(budget=budget)
        ran = await run_agent(client, environment, origin, key, self._outside.url)
        assert self._outside.asked == [], self._outside.asked
        return ran, self._door.calls[before:]


@pytest.mark.parametrize("client", [pytest.param(each, id=each.name) for each in clients()])
async def test_an_agent_runs_and_stops_where_its_budget_ends(
    client: Client, valkey: EmbeddedServer
) -> None:
    """Its answer has the tool's result, and is paid for. With nothing left it ends with an error
    that names the budget, after as many requests as the table says, and nothing is booked."""
    environment = await _installed(client)
    stopped: dict[int, int] = {}
    for status in REFUSAL_STATUSES:
        options = GatewayOptions(refusal_status=status)
        doors: list[Door] = []

        def opened(gateway: Gateway, doors: list[Door] = doors) -> Door:
            doors.append(Door(gateway))
            return doors[0]

        async with (
            Outside() as outside,
            running_stack(valkey.socket_path, options=options, door=opened) as stack,
        ):
            gate = Gate(stack, doors[0], outside)
            if status == REFUSAL_STATUSES[0]:
                calls = await _works(gate, client, environment)
            stopped[status] = await _stops(gate, client, environment, status)
            await stack.ledger.at_rest()
    record(client, _measured(client, calls, stopped))
    assert stopped == client.stop


def _made(calls: list[Call]) -> list[Call]:
    """Those that ask a model."""
    return [each for each in calls if each.method == "POST" and PRODUCING.search(each.path)]


def _measured(client: Client, calls: list[Call], stopped: dict[int, int]) -> Measured:
    made = _made(calls)
    return Measured(
        version=client.version,
        surface=made[0].path,
        streamed=all(each.streamed for each in made),
        stop={str(status): count for status, count in stopped.items()},
    )


async def _works(gate: Gate, client: Client, environment: Path) -> list[Call]:
    ran, calls = await gate.run(client, environment, ENOUGH)
    said = f"{ran.out}\n{ran.err}\n{calls}"
    assert ran.code == 0, said
    assert TOOL_SAYS in ran.out.strip().rpartition("\n")[2], said
    assert [each.status for each in _made(calls)] == [200, 200], said
    assert await gate.stack.ledger.spent() > 0
    return calls


async def _stops(gate: Gate, client: Client, environment: Path, status: int) -> int:
    spent = await gate.stack.ledger.spent()
    ran, calls = await gate.run(client, environment, NOTHING_LEFT)
    said = f"{ran.out}\n{ran.err}\n{calls}"
    assert ran.code != 0, said
    assert "comptroller budget set" in " ".join(f"{ran.out} {ran.err}".split()), said
    refused = _made(calls)
    assert {each.status for each in refused} == {status}, said
    assert await gate.stack.ledger.spent() == spent
    return len(refused)
