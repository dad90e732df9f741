"""A model with one deployment at each of two scripted providers, asked in a fixed order."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from gateway.dialects import CHAT, MESSAGES
from gateway.routes import Route
from gateway.routing_rules import RoutingRules
from gateway.translations import TRANSLATIONS
from gateway.upstream import Origin, Upstream
from tests.gateway.behaviours import answers
from tests.gateway.fake_routes import fake_route
from tests.gateway.messages_provider import messages_routes
from tests.gateway.provider import Provider
from tests.gateway.stack import MoreRoutes

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


def on_claude(route: Route) -> Route:
    """At a provider that speaks Messages, and has no words for some of what a chat call may say
    (`seed`): it refuses that before anything is reserved."""
    claude = messages_routes(route.origin, route.upstream)[0]
    translation = TRANSLATIONS[CHAT.endpoint, MESSAGES.endpoint]
    return replace(claude, name=route.name, endpoint=CHAT.endpoint, translation=translation)


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
