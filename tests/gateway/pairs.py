"""A stack whose models are at two providers, so that one may fail and the other serve."""

import dataclasses
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.routes import Route
from gateway.routing_rules import RoutingRules
from gateway.upstream import Origin, Upstream
from tests.gateway.fake_routes import OUTPUT_NUSD, fake_route
from tests.gateway.processes import free_port
from tests.gateway.provider import Behaviour, Provider, Received, Reply
from tests.gateway.stack import CAP, MoreRoutes, Stack

RULES = RoutingRules(
    retries=2,
    fallbacks={"fragile": ("spare",), "narrow": ("wide",)},
    too_long_fallbacks={"both": ("spare",)},
    cooldown_ms=0,
)
BUDGET = [{"usd": "1"}, {"tokens": 10**6}, {"requests": 100}, {"concurrency": 50}]
RATE_LIMITED = b'{"error": {"message": "slow down", "type": "requests", "code": "rate_limit"}}'
Answered = tuple[int, dict[str, str], str]


def limited(after: str) -> Behaviour:
    """429 with this Retry-After."""

    async def behave(_received: Received, reply: Reply) -> None:
        reply.whole(429, RATE_LIMITED, ("retry-after", after))

    return behave


class Pair:
    """A stack whose model `both` is at two providers: at `stack.provider` first, then at `other`;
    `fragile` is at the first alone and falls back to `spare`, which is at the other."""

    def __init__(self, stack: Stack, other: Provider) -> None:
        self.stack = stack
        self.first = stack.provider
        self.other = other

    async def ask(self, secret: str, model: str = "both", **fields: Any) -> Answered:
        """One call: status, headers, text."""
        answer = await self.stack.chat(secret, model, max_tokens=CAP, **fields)
        return answer.status_code, dict(answer.headers), answer.text

    async def events(self, kind: str) -> list[dict[str, Any]]:
        """The workers' part of the events of this type, oldest first."""
        return [
            json.loads(each.event) for each in await self.stack.ledger.outbox() if each.kind == kind
        ]


MakePair = Callable[..., Awaitable[Pair]]


def paired_routes(other: Provider) -> MoreRoutes:
    """What a Pair has, each deployment under a name that no other test's has: who rests is known
    by that to all gateways on the ledger."""
    unique = secrets.token_hex(4)

    def routes(first: Origin, upstream: Upstream) -> list[Route]:
        def at(name: str, origin: Origin, **said: Any) -> Route:
            made = fake_route(name, origin, upstream, **said)
            where = "other" if origin == other.origin else "first"
            return dataclasses.replace(made, deployment=f"{name} {where} {unique}")

        return [
            at("both", first),
            dataclasses.replace(at("both", other.origin), order=1),
            at("half", Origin("http", "127.0.0.1", free_port())),
            at("half", other.origin),
            at("fragile", first),
            at("spare", other.origin),
            at("narrow", first),
            at("wide", other.origin, output_nusd=100 * OUTPUT_NUSD),
        ]

    return routes
