"""The models of the fake provider: what they cost, and how a gateway reaches them."""

from dataclasses import replace

from gateway.counters import COUNTERS
from gateway.demo import DemoUpstream, wires_of
from gateway.dialects import CHAT, RESPONSES
from gateway.routes import CounterPlace, Route
from gateway.upstream import NO_HEADERS, Origin, Timeouts, Upstream, header_block
from pricing import DEMO_PRICES, Price, PriceSheet, Rates
from pricing.rates import NO_FEES
from tests.gateway.provider import Provider

PROVIDER_SECRET = "sk-provider-secret-0123456789"
INPUT_NUSD, OUTPUT_NUSD = 1_000, 2_000  # per token: $1 and $2 per million
DEAR_OUTPUT_NUSD = 60_000
PATIENT = Timeouts(connect_ms=5_000, first_byte_ms=60_000, idle_ms=60_000)
HASTY = Timeouts(connect_ms=200, first_byte_ms=150, idle_ms=150)


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
    return replace(fake_route(name, origin, upstream, model="claude-x"), counter=place)


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
