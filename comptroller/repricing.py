"""The price of today for the time of a request: the catalogue and the operator's model_list.

`Tariff` of `console.charges`. A request is priced by the entry of model_list that served it; where
that says nothing, by what the lists say of its own moment.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from comptroller.catalogued import PriceSource, installed
from comptroller.model_list import ModelEntry
from console.charges import Charged, NotPriced, Owed
from pricing import Facts, Price, PriceInvalid, PriceSheet, cost, cost_nusd, sheet_from_model_info

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
        self._entries = {(each.name, each.provider, each.upstream_model): each for each in models}
        self._catalog = catalog
        self._sheet = lru_cache(SHEETS_MAX)(self._read_sheet)

    def owed(self, used: Charged) -> Owed:
        """See console.charges.Tariff."""
        name = used.model_requested
        entry = self._entries.get((name, used.provider, used.model))
        if entry is None:
            raise NotPriced(
                f"model_list has no {name} at {used.provider}/{used.model} any more: put that "
                "entry back, and run this again"
            )
        _check_told(used, entry.price)
        if entry.source is None:
            return Owed(cost_nusd(entry.price, used.meters), entry.price.version)
        try:
            return self._priced(name, entry, used)
        except (LookupError, PriceInvalid) as error:
            raise NotPriced(str(error)) from None

    def _priced(self, name: str, entry: ModelEntry, used: Charged) -> Owed:
        sheet = self._sheet((name, entry.provider, entry.upstream_model), used.ended_ms // HOUR_MS)
        facts = Facts(at_ms=used.ended_ms)
        price = sheet.price(facts)
        _check_distinct(used, price)
        return Owed(cost(sheet, used.meters, facts), price.version)

    def _read_sheet(self, key: tuple[str, str, str], hour: int) -> PriceSheet:
        source = self._entries[key].source
        assert isinstance(source, PriceSource)
        held = source.at(hour * HOUR_MS, self._catalog)
        return sheet_from_model_info(held.provider, source.model, held.info)


def _check_told(used: Charged, price: Price) -> None:
    """By the price that was charged its meters must come to the charge: else the gateway has billed
    something that events have no column for. Raises NotPriced."""
    if used.price_version != price.version or used.is_corrected:
        return
    if cost_nusd(price, used.meters) != used.charged_nusd:
        raise NotPriced(
            "what its events say was used does not come to what was charged by the same price: "
            "left as it is"
        )


def _check_distinct(used: Charged, price: Price) -> None:
    """Events count video with images, and generated images with text. Raises NotPriced where these
    have prices of their own."""
    rates = price.rates
    if used.image_input and rates.video_input_nusd_per_mtok != rates.image_input_nusd_per_mtok:
        raise NotPriced("its events do not tell video from images, whose prices differ")
    if used.text_output and rates.image_output_nusd_per_mtok != rates.output_nusd_per_mtok:
        raise NotPriced("its events do not tell generated images from text, whose prices differ")
