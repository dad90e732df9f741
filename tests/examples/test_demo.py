"""`make demo` and the agent in it, run as people run them: real processes, exact money."""

import ast
import contextlib
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from examples import demo
from tests.comptroller.commands.commanding import Ran, run
from tests.gateway.behaviours import answers
from tests.gateway.processes import comptroller_up, fake_config, free_port, processes_of
from tests.gateway.provider import Provider

ROOT = Path(__file__).parent.parent.parent
AGENT = ROOT / "examples" / "agent.py"
DEMO = ROOT / "examples" / "demo.py"
USUAL_PORTS = (4000, 4001, 4002)
PROVIDER_KEY = "sk-a-key-that-nobody-may-see-0123456789"
AGENT_KEY = "ck-the-key-of-an-agent-0123456789"


@dataclass(frozen=True, slots=True)
class Story:
    """What a demo told."""

    ran: Ran

    @property
    def costs(self) -> list[Decimal]:
        """What the agent printed for each call."""
        return [Decimal(each) for each in re.findall(r" cost \$([\d.]+)", self.ran.out)]

    @property
    def left(self) -> list[Decimal]:
        """What it printed as left, after each call."""
        return [Decimal(each) for each in re.findall(r" left \$([\d.]+)\n", self.ran.out)]

    @property
    def ledger(self) -> tuple[Decimal, Decimal]:
        """What the ledger has as spent, and the budget."""
        found = re.search(r"\nthe ledger +\$([\d.]+) spent of \$([\d.]+),", self.ran.out)
        assert found, self.ran.out + self.ran.err
        return Decimal(found[1]), Decimal(found[2])


def files_in(folder: Path) -> list[str]:
    """What was left behind."""
    return [path.name for path in folder.iterdir()]


async def story(folder: Path, *flags: str, **environment: str) -> Story:
    """The demo to its end, in a temporary folder of its own."""
    variables = {"TMPDIR": str(folder), **environment}
    ran = await run(sys.executable, str(DEMO), *flags, environment=variables)
    assert processes_of(folder) == []
    assert files_in(folder) == []
    return Story(ran)


@pytest.fixture
def busy_ports() -> Iterator[None]:
    """The ports of a stack, taken: by us, unless a stack or somebody else has them."""
    with contextlib.ExitStack() as held:
        for port in USUAL_PORTS:
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


def check_books(told: Story) -> None:
    """The stop came; every cost that was printed is booked, to the nano-dollar, within the
    budget; nothing is left and nothing secret was shown."""
    text = told.ran.out
    assert told.ran.code == 0, text + told.ran.err
    assert "stopped (402 budget_exceeded): budget of demo/support/key-" in text
    spent, budget = told.ledger
    assert len(told.costs) >= 4
    assert sum(told.costs) == spent <= budget
    assert told.left[-1] == budget - spent
    assert [budget - sum(told.costs[: n + 1]) for n in range(len(told.costs))] == told.left
    rows = [line for line in text.splitlines() if re.match(r" *\d+\. │", line)]
    assert len(rows) == len(told.costs)
    assert Decimal(rows[-1].split("│")[-2].strip()) == spent
    assert "demo: ok. All" in text
    assert "stopped with 0" in text
    assert "ck-" not in text + told.ran.err


@pytest.mark.parametrize("flags", [(), ("--stream",)])
async def test_the_demo_ends_at_the_stop_with_books_that_agree(
    folder: Path, busy_ports: None, flags: tuple[str, ...]
) -> None:
    """Without a provider's key, streamed and not: the same story with the same money; neither a
    stack's usual ports in use nor another stack's settings in the environment disturb it."""
    told = await story(
        folder,
        *flags,
        COMPTROLLER_REDIS_URL="redis://127.0.0.1:1/0",
        COMPTROLLER_PORT="4000",
        COMPTROLLER_ADMIN_URL="http://127.0.0.1:1",
        HTTP_PROXY="http://127.0.0.1:1",
    )
    check_books(told)
    assert told.ran.out.startswith("model: demo/large, the built-in demo model")
    assert "answered: [101, 102, 103, 104, 105]\n  left for later: [106, 107]" in told.ran.out
    streamed = {row.split("│")[2].strip() for row in told.ran.out.splitlines() if ". │" in row}
    assert streamed == ({"1"} if flags else {"0"})


async def test_with_a_provider_s_key_that_provider_is_asked(folder: Path) -> None:
    """OPENAI_API_KEY and OPENAI_BASE_URL: the calls go there with that key and a capped output; the
    key is shown nowhere."""
    provider = Provider(answers(prompt=400, completion=50))
    await provider.start()
    try:
        told = await story(
            folder,
            OPENAI_API_KEY=PROVIDER_KEY,
            OPENAI_BASE_URL=f"http://127.0.0.1:{provider.port}/v1",
        )
    finally:
        await provider.stop()
    check_books(told)
    assert len(provider.received) == len(told.costs)
    for received in provider.received:
        assert received.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
        assert received.json["model"] == demo.OPENAI_MODEL
        assert received.cap <= 60
    assert PROVIDER_KEY not in told.ran.out + told.ran.err


@pytest.mark.parametrize("environment", [{}, {"OPENAI_API_KEY": ""}, {"OPENAI_API_KEY": AGENT_KEY}])
def test_without_a_provider_s_key_it_is_the_demo_model(environment: dict[str, str]) -> None:
    """A key of a gateway, as the README has people export it, is none."""
    assert demo.provider_of(environment) == demo.DEMO


async def test_a_demo_that_is_not_stopped_has_failed(folder: Path) -> None:
    """A provider that costs nothing lets the agent finish: the demo says so, with exit code 1."""
    provider = Provider(answers(prompt=0, completion=0))
    await provider.start()
    try:
        told = await story(
            folder,
            OPENAI_API_KEY=PROVIDER_KEY,
            OPENAI_BASE_URL=f"http://127.0.0.1:{provider.port}/v1",
        )
    finally:
        await provider.stop()
    assert told.ran.code == 1
    assert "the budget did not stop the agent: it ended with 0" in told.ran.err


async def test_an_unknown_flag_is_a_mistake() -> None:
    """Nothing is started for it."""
    ran = await run(sys.executable, str(DEMO), "--streamed")
    assert (ran.code, ran.out) == (2, "")


async def test_a_stack_that_does_not_start_says_why(folder: Path) -> None:
    """A temporary folder whose name is too long for a socket: the demo repeats what `up` said."""
    long = folder / ("x" * 120)
    long.mkdir()
    told = await story(long)
    assert told.ran.code == 1
    assert "the stack did not start: comptroller: " in told.ran.err
    assert "Traceback" not in told.ran.err


def test_a_port_that_is_taken_meanwhile_is_not_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the choice of a free port and its use somebody takes it: another is chosen."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = iter([other.getsockname()[1], free_port()])
        monkeypatch.setattr(demo, "_free_port", lambda: next(ports))
        stack = demo.Stack(folder, demo.DEMO)
        try:
            stack.start()
        finally:
            code = stack.stop()
    assert code == 0
    assert stack.base_url
    assert next(ports, None) is None


@pytest.mark.parametrize("budget_nusd", [3_000_000, 6_000_000])
@pytest.mark.parametrize("flags", [(), ("--stream",)])
async def test_an_agent_whose_provider_bills_more_than_it_may_is_stopped_at_once(
    folder: Path, flags: tuple[str, ...], budget_nusd: int
) -> None:
    """An overrun is booked whole: what the agent printed is what the ledger has, though it may be
    more than the budget. No call leaves after it: the next one is reserved with what was learned,
    which is more than is left in either budget."""
    provider = Provider(answers(prompt=4_000, completion=60))
    await provider.start()
    key = {
        "name": "agent",
        "scope": "acme/support",
        "secret": AGENT_KEY,
        "budget": [{"usd": f"0.{budget_nusd:09d}"}],
    }
    try:
        async with comptroller_up(folder, config=fake_config(provider, keys=[key])) as running:
            ran = await run(
                *(sys.executable, str(AGENT), *flags),
                environment={
                    "OPENAI_BASE_URL": f"http://127.0.0.1:{running.port}/v1",
                    "OPENAI_API_KEY": AGENT_KEY,
                    "AGENT_MODEL": "plain",
                },
            )
            view = running.view("acme")
            counters = await view.counters()
            await view.close()
    finally:
        await provider.stop()
    costs = Story(ran).costs
    assert ran.code == demo.STOPPED_BY_BUDGET, ran.out + ran.err
    assert "stopped (402 budget_exceeded): budget of acme/support/key-agent" in ran.out
    assert len(provider.received) == len(costs) == 1
    billed_nusd = 4_000 * 1_000 + 60 * 2_000
    assert sum(costs) * 10**9 == billed_nusd
    assert [each for each in counters.values() if any(each)] == [(billed_nusd, 0, 0)]


def test_the_agent_is_plain_openai_code() -> None:
    """People copy it: nothing in it but the standard library and OpenAI's, in under 150 lines."""
    text = AGENT.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - sys.stdlib_module_names == {"openai"}


def test_make_demo_runs_it() -> None:
    """The target is the script, in the project's environment."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"\ndemo: setup\n\t@\$\(BIN\)/python examples/demo\.py\n", makefile)
