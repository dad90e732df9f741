"""Prices of model_list that the file leaves out, from the catalogue.

Whoever writes prices means them: where both token prices are given (of an embedding model that of
the input), the catalogue adds no price at all, only limits of the context and the mode. Where they
are missing, it is asked, under the name of whoever bills: `openai/...` is a wire format, and the
server behind it may be anybody's.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from comptroller.looked_up import NOTHING_LOOKED_UP, Listed, LookedUp, key_of
from pricing import produces_tokens

if TYPE_CHECKING:
    from pricing.catalog import Catalog, Entry

COSTS: Final = ("input_cost_per_token", "output_cost_per_token")
LIMITS_AND_MODE: Final = ("max_input_tokens", "max_output_tokens", "mode")
KEPT_MS: Final = 30 * 86_400_000
"""How long a running gateway may keep a price: of one that is known to change in that time, the
dearer counts from the start."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A `model_info` with nothing missing. `provider`: who bills; `entry`: what the catalogue says,
    None where it was not asked by this process."""

    provider: str
    info: Mapping[str, object]
    entry: "Entry | None" = None


@dataclass(frozen=True, slots=True)
class PriceSource:
    """Where the price of an entry of model_list comes from, to be asked again for another time.

    `provider` and `model`: the wire format and the name there; `host`: the server, empty for the
    provider's own; `said`: model_info of the file, without nulls; `whole`: the same completed for
    whoever quotes now."""

    provider: str
    model: str
    host: str
    said: Mapping[str, object]
    whole: Completed

    @property
    def biller(self) -> str:
        """Who bills: as the catalogue or the file says, else the owner of the server. A server in
        one's own network is nobody's."""
        if self.whole.provider != self.provider or not _may_be_sold(self.host, self.said):
            return self.whole.provider
        try:
            return biller(self.provider, self.model, self.host, self.said)[0]
        except LookupError:
            return self.provider

    def at(self, at_ms: int, catalog: "Callable[[], Catalog]") -> Completed:
        """What held at a moment: the file has no days, the catalogue has. Raises as
        `completed`."""
        if has_prices(self.said):
            return self.whole
        entry = catalog().find(*biller(self.provider, self.model, self.host, self.said), at_ms)
        return Completed(entry.provider, {**entry.info, **self.said}, entry)


@cache
def installed() -> "Catalog":
    """The lists of this machine, read when the first price is looked up."""
    from pricing.catalog import Catalog  # most configurations need none

    return Catalog.load()


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def completed(
    provider: str,
    model: str,
    host: str,
    said: Mapping[str, object],
    catalog: Callable[[], "Catalog"] = installed,
    looked_up: LookedUp = NOTHING_LOOKED_UP,
) -> Completed:
    """`said` (model_info of the file, without nulls) with what it lacks.

    `host`: the server, empty for the provider's own; what is among `looked_up` is not looked up
    again. Raises ModelUnknown, PriceInvalid (from
    `pricing`), whose messages say what to write instead.
    """
    if not missing(said):
        return Completed(provider, said)
    entry: Entry | None = None
    listed: Entry | Listed | None = looked_up.get(key_of(provider, model, host, said))
    if listed is None:
        seller, name = biller(provider, model, host, said)
        at_ms = now_ms()
        listed = entry = catalog().find_dearest(seller, name, at_ms, at_ms + KEPT_MS)
    if has_prices(said):
        added = {key: listed.info[key] for key in LIMITS_AND_MODE if key in listed.info}
        return Completed(provider, {**added, **said}, entry)
    return Completed(listed.provider, {**listed.info, **said}, entry)


def missing(said: Mapping[str, object]) -> list[str]:
    """The keys without which there is no price; all at once: nobody should have to start twice."""
    found = [] if has_prices(said) else [each for each in _costs(said) if each not in said]
    if "max_input_tokens" not in said:
        found.append("max_input_tokens")
    if produces_tokens(said) and not {"max_output_tokens", "max_tokens"} & said.keys():
        found.append("max_output_tokens")
    return found


def has_prices(said: Mapping[str, object]) -> bool:
    """Whether the file says itself what tokens cost."""
    return "tiered_pricing" in said or all(each in said for each in _costs(said))


def _costs(said: Mapping[str, object]) -> tuple[str, ...]:
    return COSTS if produces_tokens(said) else COSTS[:1]


def _may_be_sold(host: str, said: Mapping[str, object]) -> bool:
    """Whether the tables of sellers, which take a moment to load, can know who bills."""
    return bool(said.get("base_model")) or ("." in host and host[-1].isalpha())


def biller(provider: str, model: str, host: str, said: Mapping[str, object]) -> tuple[str, str]:
    """(who bills, the model's name there): as `base_model` says, else by the server.

    Raises ModelUnknown for a server that is nobody's whose prices are listed.
    """
    from pricing.catalog import OWN_SERVERS, ModelUnknown, provider_of_host

    base_model = said.get("base_model")
    if isinstance(base_model, str) and base_model:
        seller, slash, name = base_model.partition("/")
        return (seller, name) if slash else (str(said.get("litellm_provider", provider)), seller)
    if host:
        owner = provider_of_host(host)
        if owner is None:
            raise ModelUnknown(
                f"nobody whose prices are listed serves {host}: give them, or base_model: "
                "<provider>/<model> where that server bills somebody's prices"
            )
        return owner.name, model
    if provider in OWN_SERVERS:
        raise ModelUnknown("no list knows what your own server costs: give its prices")
    return provider, model
