"""Everything that one model costs, and what a request that used it costs.

A `Price` is one variant, ready to multiply. A sheet has them all: each service tier, the batch
API, regions, fast mode, cheaper hours. Which one holds is decided by what the provider's answer
says (`pricing.facts`): a request that asked for priority and did not get it is not billed for it.
"""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from fractions import Fraction
from types import MappingProxyType

from pricing.cost import rounded_up, weighed
from pricing.facts import STANDARD, Facts
from pricing.meters import Meters
from pricing.model_info import read_model_info
from pricing.model_keys import ANY_REGION_KEY, REGIONS
from pricing.price import STANDARD_TIERS, Price, Tier, version_of
from pricing.rates import FEE_NAMES, RATE_NAMES, Fees, PriceInvalid
from pricing.ratetable import ANY_REGION, BATCH_TIER, DEFAULT_TIER, RateTable
from pricing.traits import (
    INPUT_LIMIT_KEYS,
    OUTPUT_LIMIT_KEYS,
    Traits,
    limit,
    produces_tokens,
    read_traits,
)
from pricing.variants import (
    INPUT,
    OUTPUT,
    Ladder,
    batch_ladder,
    has_tier,
    is_whole_tier,
    ladder,
    regional_factor,
)

# Names of service tiers that cost what the standard one costs. Groq's docs, "Flex processing": the
# on-demand price; Anthropic's priority and OpenAI's scale tier are capacity that is paid for
# beforehand, which the list price does not exceed.
_STANDARD_EVERYWHERE = frozenset({*STANDARD_TIERS, "", "auto", "on_demand", "unspecified"})
_STANDARD_AT = MappingProxyType(
    {
        "groq": frozenset({"flex"}),
        "anthropic": frozenset({"priority"}),
        "openai": frozenset({"scale"}),
    }
)
_BATCH_NAMES = frozenset({"batch", BATCH_TIER})
# Fees that the batch API's factor is for: what is read or heard. Calls of tools cost the same.
_FEES_BY_CONTENT = ("audio_ms_nusd_per_m", "pages_nusd_per_m", "characters_nusd_per_m")

_RATE_OF_METER = MappingProxyType(
    {
        "text_input": INPUT,
        "cached_input": "cached_input_nusd_per_mtok",
        "cache_write_5m": "cache_write_5m_nusd_per_mtok",
        "cache_write_1h": "cache_write_1h_nusd_per_mtok",
        "audio_input": "audio_input_nusd_per_mtok",
        "image_input": "image_input_nusd_per_mtok",
        "video_input": "video_input_nusd_per_mtok",
        "text_output": OUTPUT,
        "reasoning_output": "reasoning_output_nusd_per_mtok",
        "audio_output": "audio_output_nusd_per_mtok",
        "image_output": "image_output_nusd_per_mtok",
    }
)


@dataclass(frozen=True, slots=True)
class PriceSheet:
    """What one model of one provider costs in every variant. Made by `sheet_from_model_info`.

    `table`: what the sheet was made from, never changed afterwards. `version`: computed; the same
    content has the same version everywhere.
    """

    provider: str
    model: str
    traits: Traits
    table: RateTable = field(repr=False)
    version: str = field(init=False)

    def __post_init__(self) -> None:
        content = (self.provider, self.model, astuple(self.traits), self.table.content())
        object.__setattr__(self, "version", version_of(content))

    def price(self, facts: Facts = STANDARD) -> Price:
        """The price of requests of which these facts are true. A request whose time is not known
        has the price of the dearer hours. A rate that is not known at all is 0 in it: `cost`
        refuses to use it. Raises PriceInvalid for a variant that has no price."""
        rates = self._ladder(facts)
        return Price(
            provider=self.provider,
            model=self.model,
            rates=rates.base,
            max_input_tokens=self.traits.max_input_tokens,
            max_output_tokens=self.traits.max_output_tokens,
            request_nusd=self.table.request_nusd,
            tiers=tuple(Tier(above, each) for above, each in rates.above),
            service_tier=self.tier_of(facts),
            service_tiers=self.service_tiers,
            unpriced=frozenset(self.table.unpriced),
            cache_write_unasked=self.traits.cache_write_unasked,
            framing_tokens=self.traits.framing_tokens,
            tool_framing_tokens=self.traits.tool_framing_tokens,
            fees=self._fees(facts),
        )

    @property
    def service_tiers(self) -> frozenset[str]:
        """The service tiers that have a price whatever the request is, and the standard one."""
        table = self.table
        own = {tier for tier, _ in table.rates if tier != BATCH_TIER and is_whole_tier(table, tier)}
        return STANDARD_TIERS | own | (table.factors.keys() - _NO_TIERS)

    @property
    def has_fast(self) -> bool:
        """Whether fast mode has a price."""
        return "fast" in self.table.factors

    @property
    def tool_fees(self) -> Mapping[str, int]:
        """Kind of tool -> nano-dollars per million calls. Read-only."""
        return MappingProxyType(self.table.tool_fees)

    def tier_of(self, facts: Facts) -> str:
        """The tier whose rates hold: "default", "batches", or that of the facts."""
        tier = facts.service_tier
        if facts.batch or tier in _BATCH_NAMES:
            return BATCH_TIER
        if tier in _STANDARD_EVERYWHERE or tier in _STANDARD_AT.get(self.provider, ()):
            return DEFAULT_TIER
        return tier

    def can_quote(self, service_tier: str) -> bool:
        """Whether a request for this tier, by any name of it, has a price whatever it is."""
        tier = self.tier_of(Facts(service_tier=service_tier))
        return tier == DEFAULT_TIER or tier in self.service_tiers

    def check_known(self, meters: Meters) -> None:
        """Raises PriceInvalid where tokens were used that no rate is known for."""
        known = self.table.rates.get((DEFAULT_TIER, 0), {})
        for meter, rate in _RATE_OF_METER.items():
            text = OUTPUT if meter.endswith("output") else INPUT
            if getattr(meters, meter) and not {rate, text} & known.keys():
                raise PriceInvalid(
                    f"price of {self.provider}/{self.model}: {getattr(meters, meter)} tokens of "
                    f"{meter} were used, and there is no rate for them; add it to model_info"
                )

    def check_region(self, region: str) -> None:
        """Raises PriceInvalid where nothing says what processing in a region costs: `cost` would
        take the dearest region that is known, or else the price of anywhere."""
        known = self.table.regional
        if not region or region in known or ANY_REGION in known:
            return
        key = next((each for each, where in REGIONS.items() if where == region), ANY_REGION_KEY)
        raise PriceInvalid(
            f"price of {self.provider}/{self.model}: no list says what region {region!r} costs; "
            f"give {key} in model_info (1 where it costs no more)"
        )

    def _ladder(self, facts: Facts) -> Ladder:
        factor = regional_factor(self.table, facts.region)
        if facts.fast:
            factor *= self._factor("fast")
        tier = self.tier_of(facts)
        if tier == BATCH_TIER:
            return batch_ladder(self.table, self.provider).times(factor)
        if tier == DEFAULT_TIER or has_tier(self.table, tier):
            return ladder(self.table, tier, facts.at_ms).times(factor)
        return ladder(self.table, DEFAULT_TIER, facts.at_ms).times(factor * self._factor(tier))

    def _factor(self, option: str) -> Fraction:
        factor = self.table.factors.get(option)
        if factor is None:
            raise PriceInvalid(
                f"price of {self.provider}/{self.model}: {option!r} has no price; priced: "
                f"{sorted(self.service_tiers | self.table.factors.keys())}"
            )
        return factor

    def _fees(self, facts: Facts) -> Fees:
        known = {name: self._fee(self.tier_of(facts), name) for name in FEE_NAMES}
        known["tool_calls_nusd_per_m"] = max(self.table.tool_fees.values(), default=None)
        return Fees(**known)

    def _fee(self, tier: str, name: str) -> int | None:
        """A tier's own fee, else the standard one, at the factor of the batch API."""
        own, fee = (self.table.fees.get((each, name)) for each in (tier, DEFAULT_TIER))
        if own is not None or fee is None or tier != BATCH_TIER or name not in _FEES_BY_CONTENT:
            return fee if own is None else own
        return math.ceil(fee * self.table.factors.get("batch", Fraction(1)))


_NO_TIERS = frozenset({"fast", "batch"})
_NO_OTHERS: Mapping[str, PriceSheet] = MappingProxyType({})


def sheet_from_model_info(provider: str, model: str, info: Mapping[str, object]) -> PriceSheet:
    """The sheet in LiteLLM's `model_info` (dollars per token; numbers or decimal text), with our
    additions to it: multipliers named after service tiers and `batch` in `provider_specific_entry`,
    `dates` in the windows of `off_peak_pricing`, `<tool>_cost_per_1k_calls`.

    Nothing has to be there: what a request uses and the sheet does not know is refused when its
    cost is asked for. A key that speaks of money and has no meaning here is refused at once.
    Raises PriceInvalid.
    """
    try:
        table = read_model_info(provider, model, info)
        _check_pairs(table)
        return PriceSheet(provider, model, read_traits(provider, model, info, table), table)
    except PriceInvalid as error:
        raise PriceInvalid(f"price of {provider}/{model}: {error}") from None


def sheet_of_price(price: Price) -> PriceSheet:
    """The sheet of a model that has this one price: no other tier, option or hour, and no tool with
    a fee of its own. Its `price()` has the rates and limits of this one."""
    rates = {(DEFAULT_TIER, 0): price.rates} | {
        (DEFAULT_TIER, tier.above_input_tokens): tier.rates for tier in price.tiers
    }
    fees = {(DEFAULT_TIER, name): getattr(price.fees, name) for name in FEE_NAMES}
    table = RateTable(
        rates={
            cell: {name: getattr(each, name) for name in RATE_NAMES} for cell, each in rates.items()
        },
        request_nusd=price.request_nusd,
        unpriced=set(price.unpriced),
        fees={cell: fee for cell, fee in fees.items() if fee is not None},
    )
    traits = Traits(
        price.max_input_tokens,
        price.max_output_tokens,
        price.framing_tokens,
        price.tool_framing_tokens,
        price.cache_write_unasked,
    )
    return PriceSheet(price.provider, price.model, traits, table)


def price_from_model_info(
    provider: str, model: str, info: Mapping[str, object], *, service_tier: str = DEFAULT_TIER
) -> Price:
    """One tier's price that requests can be quoted with, before they are sent.

    Needs input_cost_per_token, output_cost_per_token, max_input_tokens and max_output_tokens (or
    the older max_tokens, for the output only; `mode: embedding` needs nothing for the output), and
    refuses what nothing bounds beforehand. Missing
    rates get the dearest plausible value, see `complete_rates`. Keys that do not speak of money are
    ignored. Raises PriceInvalid.
    """
    sheet = sheet_from_model_info(provider, model, info)
    try:
        _check_quotable(sheet, info, service_tier)
    except PriceInvalid as error:
        raise PriceInvalid(f"price of {provider}/{model}: {error}") from None
    return sheet.price(Facts(service_tier=service_tier))


def cost(
    sheet: PriceSheet,
    meters: Meters,
    facts: Facts = STANDARD,
    *,
    others: Mapping[str, PriceSheet] = _NO_OTHERS,
) -> int:
    """What a request cost, in nano-dollars, rounded up once.

    What the provider says that it has billed wins. `others`: sheets of the models that
    `facts.sub_uses` names, by that name. Raises PriceInvalid where anything was used that has no
    price here: book the whole reservation then.
    """
    if facts.reported_cost_nusd is not None:
        return facts.reported_cost_nusd
    own, total = meters, 0
    for sub in facts.sub_uses:
        own = own.minus(sub.meters)
        other = sheet if sub.model == sheet.model else others.get(sub.model)
        if other is None:
            raise PriceInvalid(
                f"price of {sheet.provider}/{sheet.model}: a part of the request was served by "
                f"{sub.model!r}, whose price is needed, too"
            )
        total += _weighed_in(other, sub.meters, _of_sub_use(facts, other))
    own, tools = _without_tools(sheet, own, facts)
    price = sheet.price(facts)
    sheet.check_known(own)
    total += tools + weighed(price, own, min(facts.cached_audio, own.cached_input))
    return rounded_up(total) + price.request_nusd


def _weighed_in(sheet: PriceSheet, meters: Meters, facts: Facts) -> int:
    sheet.check_known(meters)
    return weighed(sheet.price(facts), meters)


def _of_sub_use(facts: Facts, other: PriceSheet) -> Facts:
    """What of a request's facts is true of another model's part in it."""
    return Facts(
        batch=facts.batch,
        region=facts.region,
        fast=facts.fast and other.has_fast,
        at_ms=facts.at_ms,
    )


def _without_tools(sheet: PriceSheet, meters: Meters, facts: Facts) -> tuple[Meters, int]:
    """(meters without the calls whose kind is known, what those calls weigh)."""
    total = 0
    for kind, calls in facts.tools:
        fee = sheet.tool_fees.get(kind)
        if fee is None:
            raise PriceInvalid(
                f"price of {sheet.provider}/{sheet.model}: {calls} calls of {kind} were used, and "
                f"there is no fee for them; give {kind}_cost_per_1k_calls in model_info"
            )
        meters = replace(meters, tool_calls=meters.tool_calls - calls)
        total += calls * fee
    return meters, total


def _check_pairs(table: RateTable) -> None:
    for above in table.thresholds(DEFAULT_TIER):
        known = table.rates[DEFAULT_TIER, above]
        if (INPUT in known) != (OUTPUT in known):
            raise PriceInvalid(f"above {above} tokens, give input and output cost, or neither")


def _check_quotable(sheet: PriceSheet, info: Mapping[str, object], service_tier: str) -> None:
    base = sheet.table.rates.get((DEFAULT_TIER, 0), {})
    rates = [(INPUT, "input_cost_per_token"), (OUTPUT, "output_cost_per_token")]
    limits = [INPUT_LIMIT_KEYS, OUTPUT_LIMIT_KEYS]
    if not produces_tokens(info):
        rates, limits = rates[:1], limits[:1]
    for name, key in rates:
        if name not in base:
            raise PriceInvalid(f"{key} is missing; what is free has an explicit 0")
    for keys in limits:
        tokens = limit(info, keys)
        if tokens is None:
            raise PriceInvalid(f"{keys[0]} is missing; without it the cost has no bound")
        if tokens == 0:
            raise PriceInvalid(f"{keys[0]} must be above 0")
    if sheet.table.unbounded:
        raise PriceInvalid(
            f"{min(sheet.table.unbounded)} bills what nothing in a request bounds before it is "
            "sent; use a model that is billed by tokens"
        )
    if service_tier not in sheet.service_tiers:
        raise PriceInvalid(
            f"service tier {service_tier!r} has no complete price; priced: "
            f"{sorted(sheet.service_tiers)}"
        )
