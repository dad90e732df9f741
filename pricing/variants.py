"""The rates of one variant of a model's price: a service tier, the batch API, an hour, an option.

Providers publish some variants as rates and others as factors, and rarely all meters of them. What
is not said is decided here, once, towards the dearer side, and otherwise as the provider's page
says.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from pricing.rates import RATE_NAMES, Rates, complete_rates, scaled
from pricing.ratetable import ANY_REGION, BATCH_TIER, DEFAULT_TIER, RateTable

INPUT, OUTPUT = "input_nusd_per_mtok", "output_nusd_per_mtok"

# Batch prices of which only input and output are given. "The batch discount stacks with the cache
# multipliers" (Anthropic, "Pricing"; Mistral's and xAI's price tables halve each rate alike); of
# context caching Google's batch table says "same as Standard", Groq's Batch API page that batch and
# cache discounts do not stack. From others the dearer value is taken.
_BATCH_SCALES = frozenset({"anthropic", "mistral", "xai"})
_BATCH_KEEPS_CACHE = frozenset({"google", "gemini", "vertex", "vertex_ai"})
_BATCH_FORGETS_CACHE = frozenset({"groq"})

Cells = Mapping[tuple[str, int], Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Ladder:
    """Rates by input: `base`, and (tokens above which they hold, rates), ascending."""

    base: Rates
    above: tuple[tuple[int, Rates], ...] = ()

    def times(self, factor: Fraction) -> "Ladder":
        """All of them multiplied."""
        if factor == 1:
            return self
        return Ladder(
            scaled(self.base, factor),
            tuple((above, scaled(rates, factor)) for above, rates in self.above),
        )


def has_tier(table: RateTable, tier: str) -> bool:
    """Whether a tier has its own rate for input and output, where they are not free anyway."""
    base = table.rates.get((DEFAULT_TIER, 0), {})
    needed = {name for name in (INPUT, OUTPUT) if base.get(name)}
    own = table.rates.get((tier, 0), {}).keys()
    return bool(own) and needed <= own


def is_whole_tier(table: RateTable, tier: str) -> bool:
    """Whether it has them in long context, too. Providers differ on what priority costs there, so
    half a price would have to be guessed before a request is sent."""
    needed = [0] + [
        above
        for above in table.thresholds(DEFAULT_TIER)
        if INPUT in table.rates[DEFAULT_TIER, above]
    ]
    return all({INPUT, OUTPUT} <= table.rates.get((tier, above), {}).keys() for above in needed)


def ladder(table: RateTable, tier: str, at_ms: int | None = None) -> Ladder:
    """The rates of a service tier that has some of its own, or of the standard one, which alone
    depends on the hour (None: the dearer hours)."""
    cells: Cells = table.rates
    if tier == DEFAULT_TIER and at_ms is not None:
        cells = _at(table, at_ms)
    return _ladder(cells, tier)


def batch_ladder(table: RateTable, provider: str) -> Ladder:
    """The rates of the batch API; the standard ones where there is no price for it."""
    factor = table.factors.get("batch")
    if has_tier(table, BATCH_TIER):
        return _ladder(_filled(table, provider), BATCH_TIER)
    standard = _ladder(table.rates, DEFAULT_TIER)
    if factor is None:
        return standard
    halved = standard.times(factor)
    if provider not in _BATCH_FORGETS_CACHE:
        return halved
    return Ladder(
        _forgetful(halved.base), tuple((above, _forgetful(rates)) for above, rates in halved.above)
    )


def regional_factor(table: RateTable, region: str) -> Fraction:
    """What a region multiplies token prices by: 1 where the model has no such price. A region
    without its own has the highest of the others'."""
    if not region or not table.regional:
        return Fraction(1)
    said = table.regional.get(region) or table.regional.get(ANY_REGION)
    return said or max(table.regional.values())


def _at(table: RateTable, at_ms: int) -> Cells:
    if table.off_peak is None or not table.off_peak.holds(at_ms):
        return table.rates
    base = {**table.rates.get((DEFAULT_TIER, 0), {}), **dict(table.off_peak.rates)}
    return {**table.rates, (DEFAULT_TIER, 0): base}


def _filled(table: RateTable, provider: str) -> Cells:
    """Batch cells with what the provider's page says of meters that have no batch rate."""
    if provider not in _BATCH_SCALES | _BATCH_KEEPS_CACHE:
        return table.rates
    base, batch = table.rates[DEFAULT_TIER, 0], table.rates[BATCH_TIER, 0]
    factor = Fraction(1)
    if provider in _BATCH_SCALES and base.get(INPUT):
        factor = Fraction(batch[INPUT], base[INPUT])
    filled: dict[tuple[str, int], Mapping[str, int]] = dict(table.rates)
    for (tier, above), rates in table.rates.items():
        if tier == DEFAULT_TIER:
            standard = {name: math.ceil(rate * factor) for name, rate in rates.items()}
            filled[BATCH_TIER, above] = {**standard, **table.rates.get((BATCH_TIER, above), {})}
    return filled


def _forgetful(rates: Rates) -> Rates:
    """Cached tokens at the price of uncached ones."""
    values = {name: getattr(rates, name) for name in RATE_NAMES}
    values["cached_input_nusd_per_mtok"] = rates.input_nusd_per_mtok
    values["cached_audio_input_nusd_per_mtok"] = rates.audio_input_nusd_per_mtok
    return Rates(**values)


def _ladder(cells: Cells, tier: str) -> Ladder:
    thresholds = sorted({above for name, above in cells if above and name in (tier, DEFAULT_TIER)})
    return Ladder(
        _rates(cells, tier, 0), tuple((above, _rates(cells, tier, above)) for above in thresholds)
    )


def _rates(cells: Cells, tier: str, above: int) -> Rates:
    """Complete rates of one cell of the table, from the cells that are less specific."""
    less = [cells.get(cell, {}) for cell in ((DEFAULT_TIER, 0), (tier, 0))]
    if above:
        less.append(cells.get((DEFAULT_TIER, above), {}))
    fallback = {
        name: max(cell.get(name, 0) for cell in less)
        for name in RATE_NAMES
        if any(name in cell for cell in less)
    }
    plain, own = cells.get((tier, 0), {}), cells.get((tier, above), {})
    longer = cells.get((DEFAULT_TIER, above), {}) if above else {}
    text = {name: max(plain.get(name, 0), longer.get(name, 0)) for name in (INPUT, OUTPUT)}
    return complete_rates({**text, **own}, fallback)
