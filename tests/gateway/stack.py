"""A gateway in the test's own loop: real sockets on both sides, a real ledger, a fake provider.

It is put together from the parts that a worker is made of, so that a test can choose leases,
timeouts and options, and can reach the ledger's administration.
"""

import asyncio
import contextlib
import dataclasses
import json
import random
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
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
from budgets.scripts import load_scripts
from budgets.session import Session, SessionOptions
from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.cooldowns import Cooldowns
from gateway.corked import CorkedHttpProtocol
from gateway.counters import COUNTERS
from gateway.demo import DemoUpstream, wires_of
from gateway.dialects import CHAT, RESPONSES
from gateway.events import KeyEvents, acts_of
from gateway.options import GatewayOptions
from gateway.parts import InForce, Parts
from gateway.refusal_log import refusal_log
from gateway.route_events import RouteEvents
from gateway.routes import CounterPlace, Route, Routes
from gateway.routing_rules import NO_RULES, RoutingRules
from gateway.upstream import NO_HEADERS, Origin, PooledUpstream, Timeouts, Upstream, header_block
from gateway.waiting import WaitingLines
from pricing import DEMO_PRICES, Price, PriceSheet, Rates
from pricing.rates import NO_FEES
from tests.gateway.behaviours import answers
from tests.gateway.ledger_view import LedgerView
from tests.gateway.provider import Provider

TRUSTS = SessionOptions(trusts=True)

PROVIDER_SECRET = "sk-provider-secret-0123456789"
INPUT_NUSD, OUTPUT_NUSD = 1_000, 2_000  # per token: $1 and $2 per million
DEAR_OUTPUT_NUSD = 60_000
PATIENT = Timeouts(connect_ms=5_000, first_byte_ms=60_000, idle_ms=60_000)
HASTY = Timeouts(connect_ms=200, first_byte_ms=150, idle_ms=150)
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


def rates(output_nusd: int = OUTPUT_NUSD) -> Rates:
    """Cache writes are dearer than input, as everywhere; all else is simple."""
    return Rates(
        input_nusd_per_mtok=INPUT_NUSD * 10**6,
        cached_input_nusd_per_mtok=100 * 10**6,
        cache_write_5m_nusd_per_mtok=1_250 * 10**6,
        cache_write_1h_nusd_per_mtok=2_000 * 10**6,
        audio_input_nusd_per_mtok=INPUT_NUSD * 10**6,
        image_input_nusd_per_mtok=INPUT_NUSD * 10**6,
        output_nusd_per_mtok=output_nusd * 10**6,
        reasoning_output_nusd_per_mtok=output_nusd * 10**6,
        audio_output_nusd_per_mtok=output_nusd * 10**6,
        cached_audio_input_nusd_per_mtok=INPUT_NUSD * 10**6,
        video_input_nusd_per_mtok=INPUT_NUSD * 10**6,
        image_output_nusd_per_mtok=output_nusd * 10**6,
    )


def price(output_nusd: int = OUTPUT_NUSD, model: str = "upstream-model") -> Price:
    """The price of every model of the fake provider but the dear one."""
    return Price(
        provider="openai",
        model=model,
        rates=rates(output_nusd),
        max_input_tokens=128_000,
        max_output_tokens=16_384,
    )


def fake_route(
    name: str,
    origin: Origin,
    upstream: Upstream,
    *,
    output_nusd: int = OUTPUT_NUSD,
    timeouts: Timeouts = PATIENT,
    reasons_unseen: bool = False,
    bills_after_cancel: bool = False,
    cap_field: str = "max_tokens",
    model: str = "upstream-model",
    sheet: PriceSheet | None = None,
    biller: str = "",
    default_tier: str = "",
) -> Route:
    """A model of the fake provider; with a sheet, at its prices."""
    headers = [
        (b"content-type", b"application/json"),
        (b"authorization", b"Bearer " + PROVIDER_SECRET.encode()),
    ]
    return Route(
        name=name,
        endpoint=CHAT.endpoint,
        provider="openai",
        model=model,
        price=price(output_nusd, model) if sheet is None else sheet.price(),
        upstream=upstream,
        origin=origin,
        target=b"/base/v1/chat/completions",
        headers=header_block(headers),
        timeouts=timeouts,
        stream_timeouts=timeouts,
        cap_field=cap_field,
        reasons_unseen=reasons_unseen,
        bills_after_cancel=bills_after_cancel,
        sheet=sheet,
        biller=biller,
        default_tier=default_tier,
    )


def counted_route(name: str, origin: Origin, upstream: Upstream) -> Route:
    """One whose provider counts input, as Anthropic does, beside OpenAI's wire format."""
    counter = COUNTERS["anthropic"]
    target = counter.target(b"/base/v1", "claude-x")
    headers = [(b"content-type", b"application/json"), *counter.headers(PROVIDER_SECRET)]
    place = CounterPlace(counter, origin, target, header_block(headers))
    return dataclasses.replace(fake_route(name, origin, upstream, model="claude-x"), counter=place)


def responses_routes(origin: Origin, upstream: Upstream) -> list[Route]:
    """The same at /v1/responses; `searching` has a fee for searches of $10 a thousand."""
    plain = fake_route("plain", origin, upstream, cap_field="max_output_tokens")
    plain = replace(plain, endpoint=RESPONSES.endpoint, target=b"/base/v1/responses")
    searching = replace(plain.price, fees=replace(NO_FEES, search_calls_nusd_per_m=10**13))
    return [
        plain,
        replace(plain, name="dear", price=price(DEAR_OUTPUT_NUSD)),
        replace(plain, name="hasty", timeouts=HASTY, stream_timeouts=HASTY),
        replace(plain, name="thinker", reasons_unseen=True),
        replace(plain, name="known", model="gpt-4o"),
        replace(plain, name="searching", price=searching),
    ]


def all_routes(provider: Provider, upstream: Upstream, nobody: Origin) -> list[Route]:
    """`plain` streams what it bills; the others differ in what their names say (`known`: whose
    tokenizer and rule for pictures are; `counted`: whose provider counts). `nobody` is where
    nothing listens."""
    origin = provider.origin
    return [
        fake_route("plain", origin, upstream),
        fake_route("dear", origin, upstream, output_nusd=DEAR_OUTPUT_NUSD),
        fake_route("hasty", origin, upstream, timeouts=HASTY),
        fake_route("thinker", origin, upstream, reasons_unseen=True),
        fake_route("biller", origin, upstream, bills_after_cancel=True),
        fake_route("absent", nobody, upstream, timeouts=HASTY),
        fake_route("newer", origin, upstream, cap_field="max_completion_tokens"),
        fake_route("known", origin, upstream, model="gpt-4o"),
        counted_route("counted", origin, upstream),
        *responses_routes(origin, upstream),
        *(
            Route(
                name=name,
                endpoint=wire.endpoint,
                provider="demo",
                model=name,
                price=each,
                upstream=DemoUpstream(chunk_delay_ms=1),
                origin=Origin("http", "demo", 80),
                target=wire.target,
                headers=NO_HEADERS,
                timeouts=PATIENT,
                stream_timeouts=PATIENT,
                reasons_unseen=False,
                bills_after_cancel=False,
                cap_field=wire.cap_field,
            )
            for name, each in DEMO_PRICES.items()
            for wire in wires_of(name)
        ),
    ]


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
        document = {"model": model, "messages": GREETING, **fields}
        answer = await self.call(secret, document, "/v1/quote")
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
    address, limits = NodeAddress(str(socket_path)), TransportLimits(call_timeout_ms)
    session = Session(
        PipelinedTransport(address, limits),
        load_scripts(),
        SystemClock(),
        TRUSTS,
    )
    await session.open_organisation(organisation, create=True)
    provider = Provider(answers())
    await provider.start()
    # Not the default context: loading the system's authorities takes longer than most tests.
    upstream = PooledUpstream(ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    nobody = _port_of_nobody()
    administration = Administration(session)
    options = options or GatewayOptions()
    events, concurrency = RouteEvents("test"), options.probation_concurrency
    learning = Learning(session, administration, events, concurrency)
    ledger = Ledger(session, ledger_options, learning.load)
    keyring = KeyRing(session, administration, KeyEvents("test"))
    served = all_routes(provider, upstream, Origin("http", "127.0.0.1", nobody))
    if more_routes is not None:
        served += more_routes(provider.origin, upstream)

    async def close() -> None:
        await upstream.close()
        await session.transport.close()

    parts = Parts(
        clock=session.clock,
        ledger=ledger,
        endings=Endings(ledger),
        keeper=LeaseKeeper(ledger, session.clock),
        keyring=keyring,
        in_force=InForce(Routes(served, rules), options),
        cooldowns=Cooldowns(rules, session.clock, session.transport),
        learning=learning,
        minting=Minting(session, administration, acts_of),
        lines=WaitingLines(options.wait_ms),
        refusals=refusal_log(session, ledger.options, flush_ms=refusals_flush_ms),
        chance=chance,
    )
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    port = int(listening.getsockname()[1])
    server = _server(door(Gateway(parts, close)))
    await server.open(listening)
    view = LedgerView(socket_path, organisation)
    try:
        async with _client(port) as client:
            yield Stack(
                organisation,
                port,
                provider,
                view,
                administration,
                keyring,
                parts.lines,
                client,
                parts,
            )
    finally:
        await view.close()
        try:
            await server.close()
        finally:  # also after a test that failed: uvloop does not end with a server left open
            await provider.stop()


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
