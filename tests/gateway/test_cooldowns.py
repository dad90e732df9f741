"""A deployment that fails rests: on the worker that saw it at once, on the others soon after."""

import contextlib
import dataclasses
import secrets
from collections.abc import AsyncIterator

import pytest

from budgets.embedded import EmbeddedServer
from budgets.pipelined import NodeAddress, PipelinedTransport
from budgets.transport import LedgerUnavailable
from gateway.cooldowns import FAILURES_WITHIN_MS, KEY, REST_MS_MAX, Cooldowns
from gateway.demo import DemoUpstream
from gateway.routes import Route
from gateway.routing import Rest
from gateway.routing_rules import RoutingRules
from gateway.upstream import Origin
from tests.budgets.harness import ManualClock
from tests.gateway.fake_routes import fake_route

NOW_MS = 1_800_000_000_000
RULES = RoutingRules(allowed_fails=2, cooldown_ms=5_000)
STRICT = RoutingRules(allowed_fails=0, cooldown_ms=5_000)


def deployment() -> Route:
    """One that no other test knows: they share a Redis."""
    made = fake_route("m", Origin("http", "127.0.0.1", 1), DemoUpstream())
    return dataclasses.replace(made, deployment=f"m {secrets.token_hex(4)}")


@pytest.fixture
async def transport(valkey: EmbeddedServer) -> AsyncIterator[PipelinedTransport]:
    """To a real server."""
    transport = PipelinedTransport(NodeAddress(str(valkey.socket_path)))
    await transport.command("DEL", KEY)
    yield transport
    await transport.close()


def worker(
    transport: PipelinedTransport, clock: ManualClock, rules: RoutingRules = RULES
) -> Cooldowns:
    """What one worker knows."""
    return Cooldowns(rules, clock, transport)


async def test_a_deployment_rests_when_it_has_failed_too_often(
    transport: PipelinedTransport,
) -> None:
    """More than allowed_fails within a minute, for cooldown_ms; what is older is forgotten."""
    clock, route = ManualClock(NOW_MS), deployment()
    seen = worker(transport, clock)
    seen.failed(route, "not_reached", 0)
    seen.failed(route, "failed", 0)
    clock.at_ms += FAILURES_WITHIN_MS
    seen.failed(route, "failed", 0)
    seen.failed(route, "failed", 0)
    assert seen.rest_of(route) is None
    seen.failed(route, "unknown", 0)
    assert seen.rest_of(route) == Rest(clock.at_ms + 5_000, asked=False)
    clock.at_ms += 5_000
    assert seen.rest_of(route) is None


async def test_what_its_client_did_is_not_held_against_a_deployment(
    transport: PipelinedTransport,
) -> None:
    """A bad request, a budget's no, a request that is too long."""
    route, seen = deployment(), worker(transport, ManualClock(NOW_MS), STRICT)
    for kind in ("final", "over_budget", "too_long", "against_policy", "route_refused", "repeated"):
        seen.failed(route, kind, 0)
    assert seen.rest_of(route) is None


async def test_a_limited_deployment_rests_as_long_as_its_provider_asks(
    transport: PipelinedTransport,
) -> None:
    """At once, bounded, and never shorter because of a later word; without a word as the rules
    say; and nothing rests where cooldowns are off."""
    clock, route, other = ManualClock(NOW_MS), deployment(), deployment()
    seen = worker(transport, clock)
    seen.failed(route, "rate_limited", 20_000)
    seen.failed(route, "rate_limited", 1_000)
    assert seen.rest_of(route) == Rest(NOW_MS + 20_000, asked=True)
    seen.failed(other, "rate_limited", 0)
    assert seen.rest_of(other) == Rest(NOW_MS + 5_000, asked=True)
    seen.failed(other, "rate_limited", 10**12)
    assert seen.rest_of(other) == Rest(NOW_MS + REST_MS_MAX, asked=True)
    off = worker(transport, clock, RoutingRules(cooldown_ms=0))
    off.failed(route, "rate_limited", 20_000)
    assert off.rest_of(route) is None


async def test_workers_learn_from_each_other(transport: PipelinedTransport) -> None:
    """What one has seen the other knows after an exchange, with the reason; what is over is gone
    from the server, and a clock that is wrong by days rests nobody for days."""
    clock, limited, failing = ManualClock(NOW_MS), deployment(), deployment()
    first, second = worker(transport, clock, STRICT), worker(transport, clock)
    first.failed(limited, "rate_limited", 20_000)
    first.failed(failing, "failed", 0)
    await first.share()
    await second.share()
    assert second.rest_of(limited) == Rest(NOW_MS + 20_000, asked=True)
    assert second.rest_of(failing) == Rest(NOW_MS + 5_000, asked=False)
    clock.at_ms += 6_000
    second.failed(failing, "rate_limited", 0)
    await second.share()
    found = await transport.command("ZRANGEBYSCORE", KEY, "-inf", "+inf")
    assert isinstance(found, list)
    assert len(found) == 2
    behind = worker(transport, ManualClock(NOW_MS - 10**9))
    await behind.share()
    rest = behind.rest_of(limited)
    assert rest is not None
    assert rest.until_ms == NOW_MS - 10**9 + REST_MS_MAX


async def test_without_the_server_a_worker_goes_on_with_what_it_knows(
    valkey: EmbeddedServer, transport: PipelinedTransport
) -> None:
    """A rest that could not be told is told later; what was seen here holds meanwhile."""
    clock, route = ManualClock(NOW_MS), deployment()
    absent = PipelinedTransport(NodeAddress(f"{valkey.socket_path}.absent"))
    seen = Cooldowns(RULES, clock, absent)
    seen.failed(route, "rate_limited", 20_000)
    with pytest.raises(LedgerUnavailable):
        await seen.share()
    assert seen.rest_of(route) is not None
    with contextlib.suppress(LedgerUnavailable):
        await absent.close()
    seen._transport = transport
    await seen.share()
    other = worker(transport, clock)
    await other.share()
    assert other.rest_of(route) == Rest(NOW_MS + 20_000, asked=True)


async def test_who_rests_goes_on_resting_by_other_rules(transport: PipelinedTransport) -> None:
    """And failures that were counted still count, to whatever number is enough by then."""
    clock, resting, failing = ManualClock(NOW_MS), deployment(), deployment()
    seen = worker(transport, clock)
    seen.failed(resting, "rate_limited", 60_000)
    seen.failed(failing, "failed", 0)
    seen.follow(RoutingRules(allowed_fails=1, cooldown_ms=7_000))
    assert seen.rest_of(resting) == Rest(NOW_MS + 60_000, asked=True)
    assert seen.rest_of(failing) is None
    seen.failed(failing, "failed", 0)
    assert seen.rest_of(failing) == Rest(NOW_MS + 7_000, asked=False)
