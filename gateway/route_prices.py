"""What a route costs: before a request is sent, the dearest price that it can be billed by; after
its answer, the one that the answer names.

A sheet makes a price in some twenty microseconds, and a route meets very few of them: those are
kept, so that an answer costs a look into a dict. What is kept is bounded, because names of tiers
and regions come from the network.
"""

from dataclasses import replace
from typing import TypeVar

import msgspec

from gateway.errors import NotPriced
from pricing import (
    STANDARD,
    Facts,
    Meters,
    Price,
    PriceSheet,
    cost,
    cost_nusd,
    dearest,
    sheet_of_price,
)

KEPT_MAX = 64
"""Prices that a route keeps, of quotes and of answers each."""
TIER_CHARS_SHOWN = 64
NOT_PRICED = "NOT_PRICED"
"""`error` of an answer in which something has no price: its whole reservation is booked."""
AUTO = "auto"
_Variant = tuple[str, bool, str, bool]
_Key = TypeVar("_Key", str, _Variant)


class Charge(msgspec.Struct, frozen=True):
    """What an answer costs. `nusd`: what is booked, None where something in it has no price, and
    `why` says what. `price_version`: the price that its facts name. `reported_nusd`: what the
    provider says that it bills, which wins; `computed_nusd`: what that price comes to then, None
    where it knows none."""

    nusd: int | None
    price_version: str
    computed_nusd: int | None = None
    reported_nusd: int | None = None
    why: str = ""


class RoutePrices:
    """Of one route. `standard`: the price that requests are quoted with which name no tier;
    `sheet`: all prices, None for what has only this one; `default_tier`: the service tier that the
    operator's account has at the provider where a request does not name one, "" for the standard.
    """

    def __init__(
        self, standard: Price, sheet: PriceSheet | None = None, default_tier: str = ""
    ) -> None:
        self._standard = standard
        self._sheet = sheet or sheet_of_price(standard)
        self._default_tier = default_tier
        self._served: dict[_Variant, Price] = {}
        self._quoted: dict[str, Price] = {}

    def quoted(self, service_tier: str) -> Price:
        """The price that bounds a request for this tier ("": it names none).

        A tier that has no room serves as the default one, and `auto` leaves the choice to the
        account (OpenAI, API reference, "Create chat completion", `service_tier`): so the dearest of
        the tier, the account's default and the standard one. Raises NotPriced.
        """
        known = self._quoted.get(service_tier)
        if known is None:
            known = self._dearest(service_tier)
            _keep(self._quoted, service_tier, known)
        return known

    def charge(self, meters: Meters, facts: Facts) -> Charge:
        """What an answer with these meters and facts costs. Never raises for them."""
        reported = facts.reported_cost_nusd
        try:
            price = self._price(facts)
            computed = self._cost(price, meters, facts)
        except ValueError as error:  # PriceInvalid, and parts that are more than their whole
            version = self._standard.version
            if reported is None:
                return Charge(None, version, why=str(error))
            return Charge(reported, version, None, reported)
        if reported is None:
            return Charge(computed, price.version)
        return Charge(reported, price.version, computed, reported)

    def _cost(self, price: Price, meters: Meters, facts: Facts) -> int:
        """By the one formula of `pricing.cost`, without its way there where nothing but the price
        depends on the facts."""
        if facts.tools or facts.sub_uses or facts.cached_audio:
            return cost(self._sheet, meters, replace(facts, reported_cost_nusd=None))
        return cost_nusd(price, meters)

    def _price(self, facts: Facts) -> Price:
        if facts is STANDARD:
            return self._standard
        variant = (facts.service_tier, facts.batch, facts.region, facts.fast)
        known = self._served.get(variant)
        if known is None:
            known = self._variant(*variant)
            _keep(self._served, variant, known)
        return known

    def _variant(self, tier: str, batch: bool, region: str, fast: bool) -> Price:
        facts = Facts(service_tier=tier, batch=batch, region=region, fast=fast)
        is_plain = not region and not fast
        if is_plain and self._sheet.tier_of(facts) == self._standard.service_tier:
            return self._standard
        return self._sheet.price(facts)

    def _dearest(self, service_tier: str) -> Price:
        sheet = self._sheet
        if not sheet.can_quote(service_tier):
            raise NotPriced(
                f"service_tier {service_tier[:TIER_CHARS_SHOWN]!r} has no price here; use "
                f"{' or '.join(self.tiers)}",
                param="service_tier",
            )
        asked = {service_tier, self._default_tier}
        tiers = {sheet.tier_of(Facts(service_tier=each)) for each in asked}
        others = sorted(tiers - {self._standard.service_tier})
        return dearest([self._standard, *(sheet.price(Facts(service_tier=t)) for t in others)])

    @property
    def tiers(self) -> list[str]:
        """The tiers that a request can ask for, as messages name them."""
        return [AUTO, *sorted(self._sheet.service_tiers)]


def _keep(kept: dict[_Key, Price], key: _Key, price: Price) -> None:
    if len(kept) < KEPT_MAX:
        kept[key] = price
