"""A model with one deployment at each of two scripted providers, asked in a fixed order."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from gateway.routes import Route
from gateway.routing_rules import RoutingRules
from gateway.upstream import Origin, Upstream
from tests.gateway.behaviours import answers
from tests.gateway.provider import Provider
from tests.gateway.stack import MoreRoutes, fake_route

RULES = RoutingRules(retries=1, cooldown_ms=0)
Change = Callable[[Route], Route]


@contextlib.asynccontextmanager
async def second_provider() -> AsyncIterator[Provider]:
    """One beside that of the stack."""
    provider = Provider(answers())
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()


def as_it_is(route: Route) -> Route:
    """No change."""
    return route


def deployments(
    other: Provider, first: Change = as_it_is, second: Change = as_it_is, *, name: str = "both"
) -> MoreRoutes:
    """`name`: at the stack's provider, then at `other`, each with a change of the test's."""
    unique = secrets.token_hex(4)

    def routes(origin: Origin, upstream: Upstream) -> list[Route]:
        changed = (
            first(fake_route(name, origin, upstream)),
            second(fake_route(name, other.origin, upstream)),
        )
        return [
            replace(each, order=order, deployment=f"{name} {order} {unique}")
            for order, each in enumerate(changed)
        ]

    return routes
