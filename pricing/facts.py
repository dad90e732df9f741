"""What decides the price of a request beside its meters, as the provider's answer tells it.

The same tokens cost half in a batch, twice in priority, a tenth more in a region, and less at
night; and some providers say themselves what they have billed. All of that is read once, together
with the meters, so that a price is chosen by what was served and not by what was asked for.
"""

from dataclasses import dataclass

from pricing.meters import Meters

AT_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999, and more than any other fact counts."""


@dataclass(frozen=True, slots=True)
class SubUse:
    """The part of a request's meters that another model used: an adviser, an attempt before a
    fallback. `model` is its name as the provider writes it."""

    model: str
    meters: Meters


@dataclass(frozen=True, slots=True)
class Facts:
    """What the provider says about one request.

    `service_tier`: the tier that served it, "" where nothing is said. `batch`: through the
    provider's batch API. `region`: where it must be processed ("us", "eu"), "" for anywhere.
    `fast`: at a higher speed for a higher price. `at_ms`: when, in ms since 1970, None if unknown.
    `reported_cost_nusd`: what the provider says that it bills, None if it does not.
    `cached_audio`: how many of the meters' `cached_input` are audio. `tools`: (kind, how many) of
    the meters' `tool_calls`, sorted. `sub_uses`: parts of the meters that other models used.
    Raises ValueError for numbers that cannot be.
    """

    service_tier: str = ""
    batch: bool = False
    region: str = ""
    fast: bool = False
    at_ms: int | None = None
    reported_cost_nusd: int | None = None
    cached_audio: int = 0
    tools: tuple[tuple[str, int], ...] = ()
    sub_uses: tuple[SubUse, ...] = ()

    def __post_init__(self) -> None:
        for name in ("at_ms", "reported_cost_nusd", "cached_audio"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 0 <= value <= AT_MS_MAX):
                raise ValueError(f"{name} must be an int from 0 to {AT_MS_MAX}")


STANDARD = Facts()
"""A request about which nothing is said: the standard price."""


@dataclass(frozen=True, slots=True)
class Used:
    """A usage object, read: how much, and under which circumstances."""

    meters: Meters
    facts: Facts = STANDARD
