"""A gateway in the test's own loop: real sockets on both sides, a real ledger, a fake provider.

It is put together from the parts that a worker is made of, so that a test can choose leases,
timeouts and options, and can reach the ledger's administration.
"""

import asyncio
import contextlib
import json
import random
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp

from budgets.administration import Administration
from budgets.endings import Endings
from budgets.keys import Key, KeyRing
from budgets.learning import Learning
from budgets.leases import LeaseKeeper
from budgets.ledger import Ledger, LedgerOptions
from budgets.minting import Minting
from budgets.pipelined import NodeAddress, PipelinedTransport, TransportLimits
from budgets.policy import parse_policy
from budgets.session import Session, SessionOptions
from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.cooldowns import Cooldowns
from gateway.corked import CorkedHttpProtocol
from gateway.events import KeyEvents, acts_of
from gateway.hard_stops import HardStops
from gateway.options import GatewayOptions
from gateway.parts import InForce, Parts
from gateway.refusal_log import refusal_log
from gateway.route_events import RouteEvents
from gateway.routes import Route, Routes
from gateway.routing_rules import NO_RULES, RoutingRules
from gateway.upstream import Origin, PooledUpstream, Upstream
from gateway.waiting import WaitingLines
from tests.budgets.harness import scripts
from tests.gateway import fake_routes
from tests.gateway.behaviours import answers
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.gateway.ledger_view import LedgerView
from tests.gateway.provider import Provider

TRUSTS = SessionOptions(trusts=True)
GREETING = [{"role": "user", "content": "hello there"}]
USAGE_NUSD = 11 * INPUT_NUSD + 7 * OUTPUT_NUSD  # of the answer that `behaviours.answers` gives
COUNTED = [{"usd": "1"}, {"tokens": 10**6}, {"requests": 100}]  # a budget in every dimension
CAP = 50
NEVER_MS = 3_600_000
MoreRoutes = Callable[[Origin, Upstream], list[Route]]


def chat_body(*, stream: bool, model: str = "plain") -> bytes:
    """A chat request for a bare socket."""
    document = {"model": model, "messages": GREETING, "stream": stream, "max_tokens": CAP}
    return json.dumps(document).encode()


class GatewayServer(uvicorn.Server):
    """uvicorn without its signal handlers and its polling: opened and closed by a test."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are pytest's."""
        yield

    async def open(self, listening: socket.socket) -> None:
        """Ready when it returns."""
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=[listening])

    async def close(self) -> None:
        """As uvicorn's shutdown; a request that does not end in time fails the test."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        tasks = set(self.server_state.tasks)
        stuck = (await asyncio.wait(tasks, timeout=10))[1] if tasks else set()
        for task in stuck:
            task.cancel()
        await self.lifespan.shutdown()
        assert not stuck, f"{len(stuck)} requests did not end"


@dataclass(slots=True)
class Stack:
    """One running gateway with one organisation of its own."""

    organisation: str
    port: int
    provider: Provider
    ledger: LedgerView
    administration: Administration
    keyring: KeyRing
    lines: WaitingLines
    client: httpx.AsyncClient
    parts: Parts
    keys: dict[str, Key] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        """For SDKs."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def until_waiting(self, count: int) -> None:
        """Until so many requests stand in line for a budget: nothing tells of it."""
        async with asyncio.timeout(20):
            while self.lines._waiting != count:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def set_budget(self, scope: str, document: object) -> None:
        """Sets a policy as a user writes it; `scope` is below the organisation, "" is itself."""
        policy = parse_policy(document)
        await self.administration.set_policy(self.scope(scope), policy, b"{}")

    async def set_state(self, scope: str, action: str) -> None:
        """freeze, thaw or close."""
        await self.administration.set_state(self.scope(scope), action, "budget_changed", b"{}")

    async def key(
        self,
        scope: str = "research",
        budget: object = (),
        *,
        expires_at_ms: int | None = None,
        models: tuple[str, ...] = (),
        endpoints: tuple[str, ...] = (),
        **more: Any,
    ) -> str:
        """Mints a key and gives its secret."""
        secret = f"ck-{secrets.token_hex(16)}"
        name = f"key-{len(self.keys) + 1}"
        key = Key(
            id=name,
            name=name,
            scope=self.scope(scope),
            created_at_ms=1,
            expires_at_ms=expires_at_ms,
            models=models,
            endpoints=endpoints,
            **more,
        )
        await self.keyring.mint(key, secret, parse_policy(list(budget or [])))  # type: ignore[call-overload]  # lists only
        self.keys[secret] = key
        return secret

    def scope(self, below: str) -> str:
        """A scope of this test."""
        return f"{self.organisation}/{below}" if below else self.organisation

    async def chat(self, secret: str, model: str = "plain", **fields: Any) -> httpx.Response:
        """One chat call with a greeting, unless `messages` says otherwise."""
        return await self.call(secret, {"model": model, "messages": GREETING, **fields})

    async def call(
        self, secret: str, document: object, path: str = "/v1/chat/completions"
    ) -> httpx.Response:
        """POSTs a document."""
        headers = {"authorization": f"Bearer {secret}"}
        return await self.client.post(path, json=document, headers=headers)

    async def get(self, secret: str, path: str) -> httpx.Response:
        """GETs a page."""
        return await self.client.get(path, headers={"authorization": f"Bearer {secret}"})

    async def quote(self, secret: str, model: str = "plain", **fields: Any) -> dict[str, Any]:
        """What a chat call would reserve."""
        return await self.quoted(secret, {"model": model, "messages": GREETING, **fields})

    async def quoted(self, secret: str, document: object, endpoint: str = "") -> dict[str, Any]:
        """What a call with this document would reserve."""
        query = f"?endpoint={endpoint}" if endpoint else ""
        answer = await self.call(secret, document, f"/v1/quote{query}")
        assert answer.status_code == 200, answer.text
        quoted: dict[str, Any] = answer.json()
        return quoted


@contextlib.asynccontextmanager
async def running_stack(
    socket_path: Path,
    *,
    options: GatewayOptions | None = None,
    ledger_options: LedgerOptions | None = None,
    call_timeout_ms: int = 10_000,
    refusals_flush_ms: int = NEVER_MS,
    more_routes: MoreRoutes | None = None,
    rules: RoutingRules = NO_RULES,
    chance: Callable[[], float] = random.random,
    door: Callable[[Gateway], ASGIApp] = lambda gateway: gateway,
) -> AsyncIterator[Stack]:
    """A gateway, its provider, and a fresh organisation. Refusals are written when it stops, unless
    the test wants them sooner. `more_routes`: those of the surface that is tested. `door`: who
    stands before the gateway."""
    organisation = f"org-{secrets.token_hex(5)}"
    session = await _session(socket_path, organisation, call_timeout_ms)
    administration = Administration(session)
    # Not the default context: loading the system's authorities takes longer than most tests.
    upstream = PooledUpstream(ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    async def close() -> None:
        await upstream.close()
        await session.transport.close()

    async with _scripted_provider() as provider:
        parts = _parts(
            session,
            administration,
            Routes(_models(provider, upstream, more_routes), rules),
            rules,
            options or GatewayOptions(),
            ledger_options,
            refusals_flush_ms,
            chance,
        )
        async with (
            _serving(door(Gateway(parts, close))) as port,
            _ledger_view(socket_path, organisation) as view,
            _client(port) as client,
        ):
            yield Stack(
                organisation,
                port,
                provider,
                view,
                administration,
                parts.keyring,
                parts.lines,
                client,
                parts,
            )


async def _session(socket_path: Path, organisation: str, call_timeout_ms: int) -> Session:
    """On the ledger, with this organisation made there."""
    address, limits = NodeAddress(str(socket_path)), TransportLimits(call_timeout_ms)
    transport = PipelinedTransport(address, limits)
    session = Session(transport, scripts(), SystemClock(), TRUSTS)
    await session.open_organisation(organisation, create=True)
    return session


def _models(provider: Provider, upstream: Upstream, more_routes: MoreRoutes | None) -> list[Route]:
    nobody = Origin("http", "127.0.0.1", _port_of_nobody())
    served = fake_routes.all_routes(provider, upstream, nobody)
    return served if more_routes is None else served + more_routes(provider.origin, upstream)


def _parts(
    session: Session,
    administration: Administration,
    routes: Routes,
    rules: RoutingRules,
    options: GatewayOptions,
    ledger_options: LedgerOptions | None,
    refusals_flush_ms: int,
    chance: Callable[[], float],
) -> Parts:
    """What a worker is made of."""
    events, concurrency = RouteEvents("test"), options.probation_concurrency
    learning = Learning(session, administration, events, concurrency)
    ledger = Ledger(session, ledger_options, learning.load)
    return Parts(
        clock=session.clock,
        ledger=ledger,
        endings=Endings(ledger),
        keeper=LeaseKeeper(ledger, session.clock),
        keyring=KeyRing(session, administration, KeyEvents("test")),
        in_force=InForce(routes, options),
        cooldowns=Cooldowns(rules, session.clock, session.transport),
        learning=learning,
        minting=Minting(session, administration, acts_of),
        lines=WaitingLines(options.wait_ms),
        refusals=refusal_log(session, ledger.options, flush_ms=refusals_flush_ms),
        hard_stops=HardStops(session.transport, session.clock),
        chance=chance,
    )


@contextlib.asynccontextmanager
async def _scripted_provider() -> AsyncIterator[Provider]:
    provider = Provider(answers())
    await provider.start()
    try:
        yield provider
    finally:  # also after a test that failed: uvloop does not end with a server left open
        await provider.stop()


@contextlib.asynccontextmanager
async def _serving(application: ASGIApp) -> AsyncIterator[int]:
    """The port where it is served."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = _server(application)
    await server.open(listening)
    try:
        yield int(listening.getsockname()[1])
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def _ledger_view(socket_path: Path, organisation: str) -> AsyncIterator[LedgerView]:
    view = LedgerView(socket_path, organisation)
    try:
        yield view
    finally:
        await view.close()


def _server(application: ASGIApp) -> GatewayServer:
    """As the product runs it, with the logging of the tests."""
    config = uvicorn.Config(
        application,
        http=CorkedHttpProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,
        log_level="warning",
    )
    return GatewayServer(config)


def _client(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        timeout=60,
        trust_env=False,
        verify=False,
        limits=httpx.Limits(max_connections=None),
    )


def _port_of_nobody() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
