"""What a gateway learns of its routes from answers: raised before the answer is booked, obeyed in
quotes, and nothing where nothing can be learned."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from budgets.learned import HELD_TIMES
from gateway.demo import DemoUpstream
from gateway.ending import EVENTS_BESIDE_MAX
from gateway.options import GatewayOptions
from gateway.routes import learned_name
from gateway.upstream import Origin
from tests.gateway import fake_routes
from tests.gateway.behaviours import DONE, answers, chunk_event, plain_body, says, streams
from tests.gateway.conftest import MakeStack
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD, fake_route, rates
from tests.gateway.ledger_view import charged, held
from tests.gateway.stack import CAP, Stack

ORIGIN = Origin("http", "127.0.0.1", 1)
TARGET = b"/v1/chat/completions"
UNBOUND = GatewayOptions(probation_concurrency=0)


@contextmanager
def learning_routes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stacks whose routes are learned of: those of the other tests are not."""
    plain = fake_routes.all_routes

    def named(*of: Any) -> Any:
        return [
            dataclasses.replace(
                each, learned_as=learned_name(each.price, each.origin, each.target, "max_tokens")
            )
            for each in plain(*of)
            if each.provider != "demo"
        ]

    with monkeypatch.context() as patched:
        patched.setattr(fake_routes, "all_routes", named)
        yield


@pytest.fixture
def make_learning(monkeypatch: pytest.MonkeyPatch, make_stack: MakeStack) -> MakeStack:
    """Starts gateways that learn."""

    async def make(options: GatewayOptions | None = None) -> Stack:
        with learning_routes(monkeypatch):
            stack = await make_stack(options)
        await stack.set_budget("", [{"usd": "100"}, {"tokens": 10**7}])
        return stack

    return make


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bill_beyond_the_bound_raises_it_before_it_is_booked(
    make_learning: MakeStack, stream: bool
) -> None:
    """Input and output apart; the event is before the settlement, and names the request; the next
    request is reserved with the more in money and in tokens, and its quote says so."""
    stack = await make_learning(UNBOUND)
    secret = await stack.key()
    before = await stack.quote(secret, max_tokens=CAP)
    inputs = before["input_tokens_max"]
    stack.provider.behaviour = answers(3 * inputs, CAP)
    answer = await stack.chat(secret, max_tokens=CAP, stream=stream)
    assert answer.status_code == 200
    (ending,) = await stack.ledger.endings(1)
    assert charged(ending) == (3 * inputs * INPUT_NUSD + CAP * OUTPUT_NUSD) > held(ending)
    began, raised = await stack.ledger.route_events()
    assert began["action"] == "probation_began"
    assert raised["request_id"] == ending.id
    assert raised["seq"] < ending.seq
    assert (raised["input_thousandths"], raised["output_thousandths"]) == (3000, 1000)
    after = await stack.quote(secret, max_tokens=CAP)
    assert after["input_tokens_max"] == 3 * inputs
    assert after["reserved_nusd"] == 3 * inputs * INPUT_NUSD + CAP * OUTPUT_NUSD
    await stack.chat(secret, max_tokens=CAP)
    last = (await stack.ledger.endings(2))[-1]
    assert held(last, 1) == after["reserved_nusd"]
    assert held(last, 2) == 3 * inputs + CAP
    await stack.ledger.at_rest()


async def test_output_beyond_the_cap_raises_the_output(make_learning: MakeStack) -> None:
    """A provider that bills more than the cap that it was sent, for all of the choices."""
    stack = await make_learning(UNBOUND)
    secret = await stack.key()
    stack.provider.behaviour = answers(11, 5 * CAP)
    await stack.chat(secret, max_tokens=CAP, n=2)
    (_, raised) = await stack.ledger.route_events()
    assert (raised["input_thousandths"], raised["output_thousandths"]) == (1000, 2500)
    quoted = await stack.quote(secret, max_tokens=CAP)
    assert quoted["reserved_nusd"] == (
        quoted["input_tokens_max"] * INPUT_NUSD + CAP * OUTPUT_NUSD * 5 // 2
    )


async def test_a_stream_that_is_cut_beyond_its_cap_raises_the_output(
    make_learning: MakeStack,
) -> None:
    """It never said what it used: its events beyond those that carry nothing do."""
    stack = await make_learning(UNBOUND)
    secret = await stack.key()
    pieces = [chunk_event({"content": "on and on"})] * (2 * CAP + EVENTS_BESIDE_MAX + 40)
    stack.provider.behaviour = streams([*pieces, DONE], end="silence")
    await stack.chat(secret, max_tokens=CAP, stream=True)
    (_, raised) = await stack.ledger.route_events()
    assert raised["output_thousandths"] >= 2000
    assert raised["input_thousandths"] == 1000


async def test_what_teaches_nothing(make_learning: MakeStack) -> None:
    """The provider's own error and an answer from something between: neither a raise nor one that
    held, so that a route's probation goes on."""
    stack = await make_learning()
    secret = await stack.key()
    for body, status in ((b'{"error": {"message": "no"}}', 400), (b"<html>", 502)):
        stack.provider.behaviour = says(body, status)
        for _ in range(HELD_TIMES):
            await stack.chat(secret, max_tokens=CAP)
    assert [e["action"] for e in await stack.ledger.route_events()] == ["probation_began"]


async def test_an_answer_without_usage_ends_probation_too(make_learning: MakeStack) -> None:
    """It is booked whole: nothing is overspent. Else a route that never says would never run."""
    stack = await make_learning()
    secret = await stack.key()
    stack.provider.behaviour = says(plain_body(None))
    for _ in range(HELD_TIMES):
        assert (await stack.chat(secret, max_tokens=CAP)).status_code == 200
    actions = [each["action"] for each in await stack.ledger.route_events()]
    assert actions == ["probation_began", "probation_ended"]


async def test_a_second_try_counts_with_the_factor(make_learning: MakeStack) -> None:
    """What does not fit by its bytes is counted, also on a route that costs a multiple: else a
    request would be refused that fits."""
    stack = await make_learning(UNBOUND)
    secret = await stack.key()
    prose = [{"role": "user", "content": "the quick brown fox jumps over the lazy dog " * 40}]
    fields: dict[str, Any] = {"model": "known", "messages": prose, "max_tokens": CAP}
    quoted = await stack.quote(secret, **fields)
    stack.provider.behaviour = answers(2 * quoted["input_tokens_max"], CAP)
    await stack.chat(secret, **fields)
    by_bytes = (await stack.quote(secret, **fields))["reserved_nusd"]
    room = by_bytes * 6 // 10
    await stack.set_budget("small", {"limits": [{"usd": f"0.{room:09d}"}], "on_exceed": "refuse"})
    small = await stack.key("small")
    assert (await stack.quote(small, **fields))["fits"]
    stack.provider.behaviour = answers(11, 7)
    assert (await stack.chat(small, **fields)).status_code == 200


async def test_v1_budget_does_not_show_what_was_learned(make_learning: MakeStack) -> None:
    """It is no budget of the key's."""
    stack = await make_learning()
    secret = await stack.key()
    await stack.chat(secret, max_tokens=CAP)
    shown = (await stack.get(secret, "/v1/budget")).text
    assert "~route" not in shown


def test_a_name_follows_from_what_bounds_a_route() -> None:
    """Another place, cap field, context window or framing is another route; another rate is not.
    What costs nothing has none."""
    price = fake_routes.price()
    name = learned_name(price, ORIGIN, TARGET, "max_tokens")
    others = [
        learned_name(price, Origin("http", "127.0.0.1", 2), TARGET, "max_tokens"),
        learned_name(price, ORIGIN, b"/v2", "max_tokens"),
        learned_name(price, ORIGIN, TARGET, "max_completion_tokens"),
        *(
            learned_name(each, ORIGIN, TARGET, "max_tokens")
            for each in (
                dataclasses.replace(price, max_input_tokens=77),
                dataclasses.replace(price, framing_tokens=77),
                dataclasses.replace(price, tool_framing_tokens=77),
            )
        ),
    ]
    assert len({name, *others}) == len(others) + 1
    dearer = dataclasses.replace(price, rates=rates(output_nusd=9), request_nusd=3)
    assert learned_name(dearer, ORIGIN, TARGET, "max_tokens") == name
    nothing = dict.fromkeys((each.name for each in dataclasses.fields(price.rates)), 0)
    free = dataclasses.replace(price, rates=type(price.rates)(**nothing))
    assert free.is_free
    assert learned_name(free, ORIGIN, TARGET, "max_tokens") == ""
    assert fake_route("x", ORIGIN, DemoUpstream()).scope_in("acme") == ""
