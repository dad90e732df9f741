"""What a `model_info` says about prices, sorted but not completed."""

from dataclasses import dataclass, field
from fractions import Fraction

from pricing.hours import OffPeak

DEFAULT_TIER = "default"
BATCH_TIER = "batches"
"""The tier of rates that hold for a provider's batch API, as LiteLLM's keys end."""
ANY_REGION = "*"
"""The region of a multiplier that holds for each region that can be asked for."""


@dataclass(slots=True)
class RateTable:
    """What a `model_info` says, before defaults.

    `rates`: (service tier, tokens of input above which it holds, 0 = always) -> {field of Rates:
    nano-dollars per million tokens}. `request_nusd`: the fixed fee. `unpriced`: the keys of
    charges that a request can ask for and that are in no quote. `unbounded`: keys of what is
    metered, but cannot be bounded beforehand. `fees`: (service tier, field of Fees) -> its value,
    `tool_fees`: kind of tool -> nano-dollars per million calls. `factors`: option or tier ->
    multiplier of all token prices; `regional`: the same by region. `off_peak`: cheaper hours.
    """

    rates: dict[tuple[str, int], dict[str, int]] = field(default_factory=dict)
    request_nusd: int = 0
    unpriced: set[str] = field(default_factory=set)
    unbounded: set[str] = field(default_factory=set)
    fees: dict[tuple[str, str], int] = field(default_factory=dict)
    tool_fees: dict[str, int] = field(default_factory=dict)
    factors: dict[str, Fraction] = field(default_factory=dict)
    regional: dict[str, Fraction] = field(default_factory=dict)
    off_peak: OffPeak | None = None

    def put(self, tier: str, above: int, name: str, rate: int) -> None:
        known = self.rates.setdefault((tier, above), {})
        known[name] = max(rate, known.get(name, 0))

    def put_fee(self, tier: str, name: str, fee: int) -> None:
        self.fees[tier, name] = max(fee, self.fees.get((tier, name), 0))

    def put_tool_fee(self, kind: str, fee: int) -> None:
        self.tool_fees[kind] = max(fee, self.tool_fees.get(kind, 0))

    def content(self) -> list[object]:
        """All of it in one canonical form that JSON can hold: what a version is a digest of."""
        off_peak = self.off_peak
        return [
            sorted([*cell, sorted(rates.items())] for cell, rates in self.rates.items()),
            self.request_nusd,
            sorted(self.unpriced),
            sorted([*name, fee] for name, fee in self.fees.items()),
            sorted(self.tool_fees.items()),
            sorted((option, str(factor)) for option, factor in self.factors.items()),
            sorted((region, str(factor)) for region, factor in self.regional.items()),
            off_peak.content() if off_peak else [],
        ]

    def thresholds(self, tier: str) -> list[int]:
        """Long-context thresholds of a service tier, in tokens, ascending."""
        return sorted(above for name, above in self.rates if name == tier and above > 0)
