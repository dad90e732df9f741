"""Puts a worker together from its settings: the one place where floors meet."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator
from typing import Literal
from urllib.parse import urlsplit

from budgets.administration import Administration
from budgets.endings import Endings
from budgets.keys import KeyRing
from budgets.learning import Learning
from budgets.leases import LeaseKeeper
from budgets.ledger import Ledger
from budgets.memory import Memory
from budgets.minting import Minting
from budgets.pipelined import NodeAddress, PipelinedTransport
from budgets.redisurl import parse_redis_url
from budgets.scripts import load_scripts
from budgets.session import Session, SessionOptions
from budgets.transport import LedgerTransport
from comptroller.data_dir import absolute, endings_folder, translator_socket
from comptroller.remembering import records_memory
from comptroller.settings import ModelEntry, Settings
from comptroller.translated import deployment, is_translated
from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.cooldowns import Cooldowns
from gateway.counters import COUNTERS
from gateway.demo import DemoUpstream
from gateway.events import KeyEvents, acts_of, without_body
from gateway.hard_stops import HardStops
from gateway.options import GatewayOptions
from gateway.parts import InForce, Parts
from gateway.providers import PROVIDERS, Wire
from gateway.providers.litellm import ORIGIN as TRANSLATOR_ORIGIN
from gateway.providers.litellm import TranslatedUpstream, deployment_headers
from gateway.refusal_log import refusal_log
from gateway.route_events import RouteEvents
from gateway.routes import CounterPlace, Route, Routes, learned_name
from gateway.translations import TRANSLATIONS, Translation
from gateway.upstream import (
    NO_HEADERS,
    Origin,
    OwnedUpstream,
    Timeouts,
    header_block,
    upstream_from_environment,
)
from gateway.waiting import WaitingLines

DEMO_ORIGIN = Origin("http", "demo", 80)
_PLAIN_HEADERS = ((b"content-type", b"application/json"), (b"accept-encoding", b"identity"))


def ledger_transport(redis_url: str) -> LedgerTransport:
    """The fast transport for a single node, redis-py for what it does not speak: TLS, Cluster,
    Sentinel. Raises RedisUrlInvalid."""
    url = parse_redis_url(redis_url)
    if not url.is_plain:
        from budgets.redispy import RedisPyTransport  # noqa: PLC0415  # redis-py: few need it

        return RedisPyTransport(url)
    host, port = url.servers[0] if url.servers else ("", 0)
    return PipelinedTransport(
        NodeAddress(
            unix_path=url.unix_path,
            host=host,
            port=port,
            username=url.username,
            password=url.password,
            database=url.database,
        )
    )


def open_session(
    settings: Settings, *, waits: bool = True, memory: Memory | None = None
) -> Session:
    """A session over the real scripts and the real clock. One that `waits` gives an organisation
    that is being recovered a little time; `memory` is for who uses scopes."""
    options = SessionOptions(trusts=settings.trust_ledger)
    if not waits:
        options = dataclasses.replace(options, reopen_ms=0)
    transport = ledger_transport(settings.redis_url)
    return Session(transport, load_scripts(), SystemClock(), options, memory)


class Worker:
    """One worker's application, and what of it follows the configuration. `is_declared` as in
    gateway.parts."""

    def __init__(self, settings: Settings, is_declared: Callable[[], bool] = lambda: True) -> None:
        self._upstream = upstream_from_environment()
        socket_path = translator_socket(absolute(settings.data_dir))
        self._translator = TranslatedUpstream(str(socket_path))
        self.gateway = _gateway(settings, self._upstream, self._translator, is_declared)

    async def become(self, settings: Settings) -> None:
        """Requests that come from now on are served by these settings, all that can change while it
        runs at once; connections to providers stay."""
        made = await asyncio.to_thread(routes_of, settings, self._upstream, self._translator)
        self.gateway.become(made, settings.gateway)


def _gateway(
    settings: Settings,
    upstream: OwnedUpstream,
    translator: OwnedUpstream,
    is_declared: Callable[[], bool],
) -> Gateway:
    session = open_session(settings, memory=records_memory(settings))
    administration = Administration(session)
    concurrency = settings.gateway.probation_concurrency
    learning = Learning(session, administration, RouteEvents("gateway"), concurrency)
    ledger = Ledger(session, settings.ledger, learning.load)
    parts = Parts(
        clock=session.clock,
        ledger=ledger,
        endings=endings_of(ledger, settings),
        keeper=LeaseKeeper(ledger, session.clock),
        keyring=KeyRing(session, administration, KeyEvents("gateway")),
        in_force=InForce(routes_of(settings, upstream, translator), settings.gateway),
        cooldowns=Cooldowns(settings.router.rules, session.clock, session.transport),
        learning=learning,
        minting=Minting(session, administration, acts_of),
        lines=WaitingLines(settings.gateway.wait_ms),
        refusals=refusal_log(session, settings.ledger),
        hard_stops=HardStops(session.transport, session.clock),
        is_declared=is_declared,
    )
    return Gateway(parts, _closer(session.transport, upstream, translator))


def endings_of(ledger: Ledger, settings: Settings) -> Endings:
    """What waits for the ledger waits in the data dir, too."""
    folder = endings_folder(absolute(settings.data_dir))
    return Endings(ledger, dataclasses.replace(settings.endings, folder=folder), without_body)


def _closer(transport: LedgerTransport, *upstreams: OwnedUpstream) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        for upstream in upstreams:
            await upstream.close()
        await transport.close()

    return close


def spoken_wires(wires: tuple[Wire, ...]) -> Iterator[tuple[str, Wire, Translation | None]]:
    """What clients may speak for a model whose server speaks these, and by which of them: each as
    it is, and each other one that can be translated into one of them."""
    own = {wire.endpoint: wire for wire in wires}
    yield from ((wire.endpoint, wire, None) for wire in wires)
    for (endpoint, target), translation in TRANSLATIONS.items():
        if target in own and endpoint not in own:
            yield endpoint, own[target], translation


def routes_of(settings: Settings, upstream: OwnedUpstream, translator: OwnedUpstream) -> Routes:
    """What model_list serves. Where any deployment of a model has a weight, one without has none
    (LiteLLM's simple-shuffle)."""
    weighted = {each.name for each in settings.models if each.weight is not None}
    routes = [
        dataclasses.replace(
            route(
                entry,
                wire,
                translator if is_translated(entry.provider) else upstream,
                settings.gateway,
            ),
            weight=int(entry.name not in weighted) if entry.weight is None else entry.weight,
            order=entry.order,
            retries=entry.retries,
            deployment=entry.deployment or entry.name,
            endpoint=endpoint,
            translation=translation,
        )
        for entry in settings.models
        for endpoint, wire, translation in spoken_wires(entry.wires)
    ]
    return Routes(routes, settings.router.rules, settings.router.aliases)


def route(entry: ModelEntry, wire: Wire, upstream: OwnedUpstream, options: GatewayOptions) -> Route:
    """The route of one entry of model_list, as one of its wires reaches it."""
    if entry.provider == "demo":
        return _demo_route(entry, wire, options)
    if is_translated(entry.provider):
        return _translated_route(entry, wire, upstream, options)
    base = urlsplit(entry.api_base)
    assert base.hostname is not None
    scheme: Literal["http", "https"] = "https" if base.scheme == "https" else "http"
    port = base.port or (443 if scheme == "https" else 80)
    provider = PROVIDERS[entry.provider]
    headers = [*_PLAIN_HEADERS, *provider.headers(entry.api_key)]
    origin = Origin(scheme, base.hostname, port)
    target = provider.path_of(base.path).encode() + wire.target
    learned_as = learned_name(
        entry.price, origin, target, wire.cap_field, calibrated=entry.calibrated
    )
    return Route(
        name=entry.name,
        endpoint=wire.endpoint,
        provider=entry.provider,
        model=entry.upstream_model,
        price=entry.price,
        upstream=upstream,
        origin=origin,
        target=target,
        headers=header_block(headers),
        timeouts=_timeouts(options, entry.timeout_ms),
        stream_timeouts=_timeouts(options, entry.stream_timeout_ms),
        cap_field=wire.cap_field,
        reasons_unseen=entry.reasons_unseen,
        bills_after_cancel=False,
        secret=entry.api_key.encode(),
        learned_as=learned_as if options.learn_bounds else "",
        sheet=entry.sheet,
        biller=entry.biller,
        default_tier=entry.default_tier,
        counter=_counter(entry, wire, origin),
        calibrated=entry.calibrated,
    )


def _counter(entry: ModelEntry, wire: Wire, origin: Origin) -> CounterPlace | None:
    """Where the provider counts input, beside what it serves."""
    if not entry.input_counter:
        return None
    counter = COUNTERS[entry.input_counter]
    base_path = urlsplit(entry.api_base).path.rstrip("/").encode()
    return CounterPlace(
        counter=counter,
        origin=origin,
        target=counter.target(base_path, entry.upstream_model),
        headers=header_block([*_PLAIN_HEADERS, *counter.headers(entry.api_key)]),
        counts_request=counter.endpoint == wire.endpoint,
    )


def _translated_route(
    entry: ModelEntry, wire: Wire, upstream: OwnedUpstream, options: GatewayOptions
) -> Route:
    """What has come of an answer here is not all that the provider has made: it has gone through
    LiteLLM, which may hold some of it. So what breaks off is charged whole."""
    learned_as = learned_name(
        entry.price, TRANSLATOR_ORIGIN, wire.target, wire.cap_field, calibrated=entry.calibrated
    )
    return Route(
        name=entry.name,
        endpoint=wire.endpoint,
        provider=entry.provider,
        model=entry.upstream_model,
        price=entry.price,
        upstream=upstream,
        origin=TRANSLATOR_ORIGIN,
        target=wire.target,
        headers=deployment_headers(deployment(entry).id),
        timeouts=_timeouts(options, entry.timeout_ms),
        stream_timeouts=_timeouts(options, entry.stream_timeout_ms),
        cap_field=wire.cap_field,
        reasons_unseen=entry.reasons_unseen,
        bills_after_cancel=True,
        learned_as=learned_as if options.learn_bounds else "",
        sheet=entry.sheet,
        biller=entry.biller,
        default_tier=entry.default_tier,
        calibrated=entry.calibrated,
    )


def _demo_route(entry: ModelEntry, wire: Wire, options: GatewayOptions) -> Route:
    return Route(
        name=entry.name,
        endpoint=wire.endpoint,
        provider=entry.provider,
        model=entry.upstream_model,
        price=entry.price,
        upstream=DemoUpstream(),
        origin=DEMO_ORIGIN,
        target=wire.target,
        cap_field=wire.cap_field,
        headers=NO_HEADERS,
        timeouts=_timeouts(options, 0),
        stream_timeouts=_timeouts(options, 0),
        reasons_unseen="reasoner" in entry.upstream_model,
        bills_after_cancel=False,
        sheet=entry.sheet,
        biller=entry.biller,
    )


def _timeouts(options: GatewayOptions, first_byte_ms: int) -> Timeouts:
    return Timeouts(
        connect_ms=options.connect_timeout_ms,
        first_byte_ms=first_byte_ms or options.first_byte_timeout_ms,
        idle_ms=options.idle_timeout_ms,
    )
