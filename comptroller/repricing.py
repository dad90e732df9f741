"""The price of today for the time of a request: the catalogue and the operator's model_list.

`Tariff` of `console.charges`. A request is priced by the entry of model_list that served it; where
that says nothing, by what the lists say of its own moment. What the provider itself has billed
stays what it is.

Two checks are for events from before there was a column for everything that a price depends on: one
that names no service tier is such an event, see `Charged.is_told_whole`.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from comptroller.catalogued import installed
from comptroller.model_list import ModelEntry
from console.charges import Charged, NotPriced, Owed
from gateway.facts_record import FactsLeftOut
from pricing import Price, PriceSheet, cost, cost_nusd, sheet_from_model_info

if TYPE_CHECKING:
    from pricing.catalog import Catalog

HOUR_MS: Final = 3_600_000
"""Prices of lists and rows change at full hours at the earliest."""
SHEETS_MAX: Final = 4_096


class ListedTariff:
    """Of these entries."""

    def __init__(
        self, models: Iterable[ModelEntry], catalog: "Callable[[], Catalog]" = installed
    ) -> None:
        self._entries: dict[tuple[str, str, str], list[ModelEntry]] = {}
        for each in models:
            key = (each.name, each.provider, each.upstream_model)
            self._entries.setdefault(key, []).append(each)
        self._deployments = {
            each.deployment or each.name: each
            for entries in self._entries.values()
            for each in entries
        }
        self._catalog = catalog
        self._sheet = lru_cache(SHEETS_MAX)(self._read_sheet)

    def owed(self, used: Charged) -> Owed:
        """See console.charges.Tariff."""
        name = used.model_requested
        entry = self._entry(used)
        if used.reported_nusd is not None:
            return Owed(used.reported_nusd, used.price_version)
        if not used.is_told_whole:
            _check_told(used, entry.price)
        try:
            return self._priced(name, entry, used)
        except (LookupError, ValueError, FactsLeftOut) as error:
            raise NotPriced(str(error)) from None

    def _entry(self, used: Charged) -> ModelEntry:
        """The deployment that served it: where several have its names, events do not say which, and
        those of another price than it was charged by are not meant. Raises NotPriced."""
        name = used.model_requested
        entries = self._entries.get((name, used.provider, used.model), [])
        if not entries:
            raise NotPriced(
                f"model_list has no {name} at {used.provider}/{used.model} any more: put that "
                "entry back, and run this again"
            )
        if len({each.price.version for each in entries}) > 1:
            entries = [each for each in entries if each.price.version == used.price_version]
            if not entries:
                raise NotPriced(
                    f"several deployments of {name} are {used.provider}/{used.model} at different "
                    "prices, and this request was charged by neither: left as it is"
                )
        return entries[0]

    def _priced(self, name: str, entry: ModelEntry, used: Charged) -> Owed:
        sheet = self._sheet(entry.deployment or name, used.ended_ms // HOUR_MS)
        facts = used.facts
        price = sheet.price(facts)
        if not used.is_told_whole:
            _check_distinct(used, price)
        return Owed(cost(sheet, used.meters, facts), price.version)

    def _read_sheet(self, deployment: str, hour: int) -> PriceSheet:
        entry = self._deployments[deployment]
        source = entry.source
        if source is None:
            return entry.sheet
        held = source.at(hour * HOUR_MS, self._catalog)
        return sheet_from_model_info(held.provider, source.model, held.info)


def _check_told(used: Charged, price: Price) -> None:
    """By the price that was charged, the meters of an event from before must come to the charge:
    else the gateway has billed something that it had no column for. Raises NotPriced."""
    if used.price_version != price.version or used.is_corrected:
        return
    if cost_nusd(price, used.meters) != used.charged_nusd:
        raise NotPriced(
            "what its events say was used does not come to what was charged by the same price: "
            "left as it is"
        )


def _check_distinct(used: Charged, price: Price) -> None:
    """Events from before count video with images, and generated images with text. Raises NotPriced
    where these have prices of their own."""
    rates = price.rates
    if used.image_input and rates.video_input_nusd_per_mtok != rates.image_input_nusd_per_mtok:
        raise NotPriced("its events do not tell video from images, whose prices differ")
    if used.text_output and rates.image_output_nusd_per_mtok != rates.output_nusd_per_mtok:
        raise NotPriced("its events do not tell generated images from text, whose prices differ")
