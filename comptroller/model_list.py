"""`model_list`, in LiteLLM's format: which model name is served by whom, and at what price.

People bring this part of the file from LiteLLM, so it is read as it is. But a field that LiteLLM
obeys and this version does not is named and refused: a rate limit, a pause or a price that is
ignored in silence is worse than a file that does not load.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from comptroller.api_bases import api_base_of, host_of
from comptroller.catalogued import COSTS, PriceSource, completed, missing
from comptroller.deployments import ORDER_LAST, refuse_limits, routing_of
from comptroller.document import DecimalText, Value, shown
from comptroller.looked_up import NOTHING_LOOKED_UP, LookedUp
from comptroller.translated import (
    INSTALL,
    check,
    extra_params,
    identity,
    is_installed,
    is_translated,
)
from comptroller.translated import PARAMS as TRANSLATED_PARAMS
from gateway.counters import COUNTERS
from gateway.demo import wires_of as demo_wires_of
from gateway.providers import LITELLM, PROVIDERS, Wire
from pricing import (
    DEMO_PRICES,
    Price,
    PriceInvalid,
    PriceSheet,
    price_from_model_info,
    sheet_from_model_info,
    sheet_of_price,
)

if TYPE_CHECKING:
    from pricing.catalog import Entry

TIMEOUT_S_MAX: Final = 7200
BOUNDS: Final = ("bytes", "calibrated")
"""How the input of a model's requests is bounded: by what holds, or by what was seen."""
_CHAT: Final = "/v1/chat/completions"

_ENTRY_FIELDS = ("model_name", "litellm_params", "model_info")
_PARAMS = (
    *("model", "api_base", "api_key", "timeout", "stream_timeout"),
    *("weight", "order", "max_retries", "num_retries"),
)
# What model_info may say besides prices. Fields that LiteLLM obeys (blocked, access_groups, rpm,
# team_id ...) are not among them: a pause or a restriction must not be ignored in silence.
_INFO_FIELDS = (
    *("id", "mode", "base_model", "litellm_provider", "description", "source", "metadata"),
    *("deprecation_date", "max_tokens", "max_input_tokens", "max_output_tokens"),
    *("output_vector_size", "max_images_per_prompt", "tool_use_system_prompt_tokens"),
    *("token_count_framing", "token_count_tool_framing", "input_counter", "bound"),
    *("token_count_responses_framing", "token_count_responses_tool_framing"),
    "default_service_tier",
)
_INFO_PREFIXES = ("supports_", "supported_")
# Whether such a field is a price that is understood is for `pricing` to say, never for this file.
_PRICE_WORDS = ("cost", "pric", "multiplier", "surcharge", "per_token", "provider_specific_entry")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One entry of model_list. Timeouts are 0 where the gateway's own hold; `api_base` has no slash
    at its end, and is empty for the demo. `wires`: what its server speaks. `listed`: what the
    catalogue said, where it was asked; `source`: where the price comes from, None for the demo's
    own; `default_tier`: the service tier that the account has there where a request names none, ""
    for the standard. `input_counter`: the name of the provider's counter that may be asked
    (`gateway.counters`), "" for none; `calibrated`: the bound of its input is to be learned;
    `params`: those of litellm_params that are for LiteLLM alone.

    Among entries of one name: `weight` in thousandths (None: not said), `order`, `retries`
    and `deployment`, which no other entry has, as in `gateway.routes.Route`."""

    name: str
    provider: str
    upstream_model: str
    price: Price
    wires: tuple[Wire, ...]
    api_base: str = ""
    api_key: str = field(default="", repr=False)
    timeout_ms: int = 0
    stream_timeout_ms: int = 0
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    reasons_unseen: bool = True
    weight: int | None = None
    order: int = ORDER_LAST
    retries: int | None = None
    deployment: str = ""
    source: PriceSource | None = field(default=None, repr=False, compare=False)
    input_counter: str = ""
    calibrated: bool = False
    default_tier: str = ""

    @property
    def sheet(self) -> PriceSheet:
        """Every price of the model, of which `price` is the standard one."""
        if self.source is None:
            return sheet_of_price(self.price)
        whole = self.source.whole
        return sheet_from_model_info(whole.provider, self.source.model, whole.info)

    @property
    def biller(self) -> str:
        """Who bills: the one whose word about a cost is believed."""
        return self.price.provider if self.source is None else self.source.biller

    @property
    def listed(self) -> "Entry | None":
        """See the class."""
        return None if self.source is None else self.source.whole.entry


def read_models(
    value: Value | None,
    environment: Mapping[str, str],
    looked_up: LookedUp = NOTHING_LOOKED_UP,
    timeouts_ms: tuple[int, int] = (0, 0),
) -> tuple[ModelEntry, ...]:
    """The entries of `model_list`; without it the demo models. Several of one name are deployments
    of one model. Prices that are among `looked_up` are not looked up again; `timeouts_ms`: for
    whole answers and for streams, of entries that say nothing. Raises ConfigInvalid."""
    if value is None:
        return tuple(_demo_entry(name, name, price) for name, price in DEMO_PRICES.items())
    entries: list[ModelEntry] = []
    names: Counter[str] = Counter()
    for item in value.items():
        entry = read_entry(item, environment, looked_up, timeouts_ms)
        name = entry.deployment or " ".join(
            (entry.name, f"{entry.provider}/{entry.upstream_model}", entry.api_base)
        )
        if names[name] and entry.deployment:
            raise item.error(f"model_info has the id {shown(name)} of an earlier entry")
        names[name] += 1
        name = name if names[name] == 1 else f"{name} {names[name]}"
        entries.append(replace(entry, deployment=name))
    if not entries:
        raise value.error("model_list is empty: leave it out to serve the demo models")
    return tuple(entries)


def first_that_chats(models: tuple[ModelEntry, ...]) -> str:
    """The name of the model that an example can talk to; the first of all where none chats."""
    chatting = (each for each in models if any(w.endpoint == _CHAT for w in each.wires))
    return next(chatting, models[0]).name


def _demo_entry(
    name: str, upstream_model: str, price: Price, source: PriceSource | None = None
) -> ModelEntry:
    reasons = "reasoner" in upstream_model
    return ModelEntry(
        *(name, "demo", upstream_model, price, demo_wires_of(upstream_model)),
        reasons_unseen=reasons,
        source=source,
    )


def read_entry(
    item: Value,
    environment: Mapping[str, str],
    looked_up: LookedUp = NOTHING_LOOKED_UP,
    timeouts_ms: tuple[int, int] = (0, 0),
) -> ModelEntry:
    """One entry of `model_list`, as `read_models` has it. Raises ConfigInvalid."""
    refuse_limits(item)
    fields = item.known_fields(_ENTRY_FIELDS, "an entry of model_list")
    for needed in _ENTRY_FIELDS[:2]:
        if needed not in fields:
            raise item.error(f"an entry of model_list needs {needed}")
    params_value = fields["litellm_params"]
    params = _params(params_value)
    if "model" not in params:
        raise params_value.error("litellm_params needs model, as in openai/gpt-5-mini")
    for each in (fields["model_name"], params["model"]):
        if "*" in each.text(each.name):
            raise each.error(f"{each.name}: wildcards are not supported; name each model by itself")
    name = fields["model_name"].text("model_name")
    provider, model = _provider(params["model"], environment)
    info = fields.get("model_info")
    check(provider, params, params_value, info)
    if provider == "demo":
        return replace(_demo(name, model, info, params), **routing_of(params, info))
    served = provider, model, host_of(params, environment)
    price, source = _price(name, served, info or item, looked_up)
    api_base = api_base_of(provider, params, params_value, environment)
    timeout_ms = _seconds_ms(params.get("timeout")) or timeouts_ms[0]
    api_key = params.get("api_key")
    return ModelEntry(
        name=name,
        provider=provider,
        upstream_model=model,
        price=price,
        wires=_wires(provider, api_base, source, info or item),
        api_base=api_base,
        api_key=api_key.credential("api_key", environment) if api_key else "",
        timeout_ms=timeout_ms,
        stream_timeout_ms=_seconds_ms(params.get("stream_timeout")) or timeouts_ms[1] or timeout_ms,
        params=(*extra_params(params, environment), *identity(provider, params, environment)),
        reasons_unseen=_reasons_unseen(info),
        source=source,
        input_counter=_input_counter(info),
        calibrated=_calibrated(info),
        default_tier=_default_tier(info, source),
        **routing_of(params, info),
    )


def _wires(provider: str, api_base: str, source: PriceSource, owner: Value) -> tuple[Wire, ...]:
    try:
        host = urlsplit(api_base).hostname or ""
        return PROVIDERS.get(provider, LITELLM).wires(host, source.whole.info)
    except ValueError as error:
        raise owner.error(str(error)) from None


def _demo(name: str, model: str, info: Value | None, params: Mapping[str, Value]) -> ModelEntry:
    """At its own price, unless model_info has another, which then has to be whole."""
    for unused in ("api_base", "api_key"):
        if unused in params:
            raise params[unused].error(f"the demo models have no {unused}: remove it")
    full_name = f"demo/{model}"
    if full_name not in DEMO_PRICES:
        raise params["model"].error(f"unknown demo model; there are {', '.join(DEMO_PRICES)}")
    for unused in ("input_counter", "bound"):
        if info is not None and unused in _info(info):
            raise info.fields()[unused].error(f"the demo models have no {unused}: remove it")
    price, source = DEMO_PRICES[full_name], None
    if info is not None and any(_is_price_field(each) or "max_" in each for each in _info(info)):
        price, source = _price(name, ("demo", model, ""), info)
    return _demo_entry(name, full_name, price, source)


def _params(value: Value) -> dict[str, Value]:
    for name, param in value.fields().items():
        if name not in _PARAMS and _is_price_field(name):
            raise param.error(f"{shown(name)} is read in model_info: move it there")
    return _given(value.known_fields((*_PARAMS, *TRANSLATED_PARAMS), "litellm_params"))


def _provider(value: Value, environment: Mapping[str, str]) -> tuple[str, str]:
    provider, _, model = value.resolved("model", environment).partition("/")
    served = provider in ("demo", *PROVIDERS) or is_translated(provider)
    if not model or not served:
        beside = " and what LiteLLM speaks to" if is_installed() else ""
        hint = "" if is_installed() else f"; others need LiteLLM: {INSTALL}"
        raise value.error(
            f"model must be <provider>/<model>, and this version serves {', '.join(PROVIDERS)}, "
            f"demo{beside}: for a server that speaks OpenAI's API write openai/<model> with an "
            f"api_base{hint}"
        )
    return provider, model


def _seconds_ms(value: Value | None) -> int:
    """Of a fraction of a millisecond the whole one counts."""
    if value is None:
        return 0
    plain = value.content
    if isinstance(plain, DecimalText | int) and not isinstance(plain, bool):
        seconds = Decimal(plain)
        if 0 < seconds <= TIMEOUT_S_MAX:
            return int((seconds * 1000).to_integral_value(ROUND_CEILING))
    raise value.error(f"{value.name} is a number of seconds above 0, at most {TIMEOUT_S_MAX}")


def _is_price_field(name: str) -> bool:
    return any(word in name for word in _PRICE_WORDS)


def _price(
    name: str,
    served: tuple[str, str, str],
    info: Value,
    looked_up: LookedUp = NOTHING_LOOKED_UP,
) -> tuple[Price, PriceSource]:
    """From model_info, and the catalogue where it lacks something. `served`: provider, model, host.
    Where there is no model_info, `info` is the entry that lacks it."""
    provider, model, host = served
    fields = _info(info) if info.name == "model_info" else {}
    said = {each: value.plain() for each, value in fields.items()}
    try:
        whole = completed(provider, model, host, said, looked_up=looked_up)
        price = price_from_model_info(whole.provider, model, whole.info)
        return price, PriceSource(provider, model, host, said, whole)
    except LookupError as error:
        lacks = ", ".join(missing(said))
        raise info.error(
            f"{name} has no usable price: model_info lacks {lacks}; what is free has an explicit "
            f"0. {error}"
        ) from None
    except PriceInvalid as error:
        accused = _accused(info, str(error))
        raise accused.error(f"{name} has no usable price: {error}") from None


def _info(value: Value) -> dict[str, Value]:
    ours = {name for name in value.fields() if _may_be_in_info(name)}
    return _given(value.known_fields({*_INFO_FIELDS, *COSTS, *ours}, "model_info"))


def _given(fields: Mapping[str, Value]) -> dict[str, Value]:
    """LiteLLM's exports write null for what is absent."""
    return {name: value for name, value in fields.items() if value.content is not None}


def _may_be_in_info(name: str) -> bool:
    return name.startswith(_INFO_PREFIXES) or _is_price_field(name)


def _accused(info: Value, message: str) -> Value:
    """The field that a price's complaint names first, or all of model_info."""
    places = [(message.index(name), -len(name), name) for name in info.fields() if name in message]
    return info.fields()[min(places)[2]] if places else info


def _calibrated(info: Value | None) -> bool:
    value = _given(info.fields()).get("bound") if info is not None else None
    if value is None:
        return False
    if value.text("bound") not in BOUNDS:
        raise value.error(f"bound is one of {', '.join(BOUNDS)}")
    return value.text("bound") == BOUNDS[1]


def _input_counter(info: Value | None) -> str:
    value = _given(info.fields()).get("input_counter") if info is not None else None
    if value is None:
        return ""
    name = value.text("input_counter")
    if name not in COUNTERS:
        raise value.error(
            f"input_counter is one of {', '.join(COUNTERS)}: whose endpoint at api_base counts the "
            "input of this model's requests"
        )
    return name


def _default_tier(info: Value | None, source: PriceSource) -> str:
    """Ours: what a request costs that names no service tier is for the account at the provider to
    say (OpenAI's projects have a default tier)."""
    said = _info(info).get("default_service_tier") if info is not None else None
    if said is None:
        return ""
    tier, whole = said.text("default_service_tier"), source.whole
    sheet = sheet_from_model_info(whole.provider, source.model, whole.info)
    if not sheet.can_quote(tier):
        raise said.error(
            f"default_service_tier {shown(tier)} has no price: {', '.join(sheet.service_tiers)}"
        )
    return tier


def _reasons_unseen(info: Value | None) -> bool:
    said = info.fields().get("supports_reasoning") if info is not None else None
    if said is None or said.content is None:
        return True
    if not isinstance(said.content, bool):
        raise said.error("supports_reasoning must be true or false")
    return said.content
