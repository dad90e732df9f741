"""Find what a model costs: names, lists, overlay, in one place that reads top to bottom."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from difflib import get_close_matches

from pricing.catalog.completing import completed
from pricing.catalog.genai import GenaiPrices
from pricing.catalog.info import Info, is_money
from pricing.catalog.litellm_map import LitellmMap
from pricing.catalog.merging import Disagreement, merged
from pricing.catalog.names import NAME_CHARS_MAX, candidates
from pricing.catalog.overlay import Overlay, Row, decided, load_overlay
from pricing.catalog.providers import OWN_SERVERS, PROVIDERS, Provider, provider_named
from pricing.catalog.source import Listed, Source
from pricing.rates import PriceInvalid

STALE_DAYS = 365
"""A price that nobody has confirmed for so long says so."""
_NEAREST_MAX = 5
_EDITION_UNKNOWN = date.max


class ModelUnknown(LookupError):
    """No list has a price of this model; the message says what to do, `nearest` what there is."""

    def __init__(self, message: str, nearest: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.nearest = tuple(nearest)


@dataclass(frozen=True, slots=True)
class Entry:
    """What one model of one provider costs at one moment.

    `provider`: the canonical name; `model`: as asked. `info`: LiteLLM's `model_info`, money as
    decimal text in dollars, with `off_peak_pricing` where hours count. `source`: which lists, their
    editions and the names there. `confirmed_on`: ISO date of the last time that somebody looked,
    empty where no source has one. `is_stale`: that was more than a year ago. `opinions`: how many
    lists have the model. `resolved_by`: the rewritings of its name. `notes`: what was assumed.
    `changes_ms`: later moments at which its price is known to change, ascending.
    """

    provider: str
    model: str
    info: Info
    source: str
    confirmed_on: str = ""
    disagreements: tuple[Disagreement, ...] = ()
    is_stale: bool = False
    opinions: int = 1
    resolved_by: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    changes_ms: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalog:
    """The lists and our rows. `second` is None where LiteLLM's map is not installed."""

    first: Source
    second: Source | None
    overlay: Overlay = field(default_factory=load_overlay)

    @classmethod
    def load(cls) -> "Catalog":
        """What is installed. The lists are read when a model is looked up."""
        return cls(GenaiPrices(), LitellmMap.load())

    def find(self, provider: str, model: str, at_ms: int) -> Entry:
        """What `model` of `provider` (any spelling) costs at `at_ms` (UTC milliseconds).

        Raises ModelUnknown with the nearest names, and PriceInvalid where a list has a price that
        has no meaning here.
        """
        seller = provider_named(provider)
        if not seller.name or seller.name in OWN_SERVERS:
            raise ModelUnknown(
                f"{provider or 'no provider'} is nobody whose prices are listed: give model_info "
                "with input_cost_per_token and output_cost_per_token"
            )
        names = dict(candidates(seller, model))
        found = self._listed(seller, list(names), at_ms)
        rows = self.overlay.holding(seller.name, frozenset(names), at_ms)
        if not found and not any(row.whole for row in rows):
            raise self._unknown(seller, model)
        entry = _entry(seller.name, model, names, found, rows, at_ms)
        moments = {_midnight_ms(day) for _, listed in found for day in listed.changes}
        moments |= self.overlay.changes_ms(seller.name, frozenset(names))
        return replace(entry, changes_ms=tuple(sorted(each for each in moments if each > at_ms)))

    def find_dearest(self, provider: str, model: str, from_ms: int, until_ms: int) -> Entry:
        """What it costs from one moment until another: of each price the dearest, for whoever
        keeps it so long. Raises as `find`."""
        entry = self.find(provider, model, from_ms)
        for moment in entry.changes_ms:
            if moment <= until_ms:
                later = self.find(provider, model, moment)
                info, _ = merged(("now", entry.info), ("later", later.info))
                day = datetime.fromtimestamp(moment / 1000, UTC).date()
                note = f"the price changes on {day}: until then the dearer one counts"
                entry = replace(entry, info=info, notes=(*entry.notes, note))
        return entry

    def search(self, text: str, at_ms: int) -> Entry:
        """The model of `<provider>/<model>`, or of a bare name: then of the first provider of the
        table that lists it, makers first. Raises as `find`."""
        seller, slash, model = text.partition("/")
        if slash and provider_named(seller).name in PROVIDERS:
            return self.find(seller, model, at_ms)
        nearest: dict[str, str] = {}
        for name in PROVIDERS:
            try:
                return self.find(name, text, at_ms)
            except ModelUnknown as error:
                nearest = {each: f"{name}/{each}" for each in error.nearest} | nearest
        if slash:
            return self.find(seller, model, at_ms)
        close = [
            nearest[each]
            for each in get_close_matches(
                text[:NAME_CHARS_MAX].casefold(), nearest, _NEAREST_MAX, 0.5
            )
        ]
        hint = f"; the nearest: {', '.join(close)}" if close else ""
        raise ModelUnknown(
            f"nobody in the table of providers lists {text[:NAME_CHARS_MAX]}{hint}", close
        )

    def entries(self, provider: str, at_ms: int) -> Iterator[Entry]:
        """What the first list has of a provider, or of all in the table, by name. What has a price
        without a meaning here is left out."""
        sellers = [provider_named(provider)] if provider else list(PROVIDERS.values())
        for seller in sellers:
            for name in sorted(set(self.first.names(seller.genai))):
                with suppress(PriceInvalid):
                    yield self.find(seller.name, name, at_ms)

    def _listed(
        self, seller: Provider, names: list[str], at_ms: int
    ) -> list[tuple[Source, Listed]]:
        """Each list's word, the second only where it speaks of the same time."""
        found: list[tuple[Source, Listed]] = []
        first = self.first.find(seller.genai, names, at_ms)
        if first is not None:
            found.append((self.first, first))
        if self.second is None:
            return found
        second = self.second.find(seller.litellm, names, at_ms)
        if second is not None:
            edition = _edition(self.overlay, self.second)
            is_of_then = first is None or _same_time(first, edition, at_ms)
            found.append((self.second, second if is_of_then else _limits(second)))
        return found

    def _unknown(self, seller: Provider, model: str) -> ModelUnknown:
        known = {*self.first.names(seller.genai)}
        if self.second is not None:
            known.update(self.second.names(seller.litellm))
        asked = model[:NAME_CHARS_MAX]
        nearest = get_close_matches(asked.casefold(), sorted(known), _NEAREST_MAX, 0.5)
        hint = f"; the nearest: {', '.join(nearest)}" if nearest else ""
        return ModelUnknown(
            f"no list has a price of {seller.name}/{asked}{hint}. Name one that is listed "
            "(base_model in model_info), or give its prices there",
            nearest,
        )


def _limits(listed: Listed) -> Listed:
    """What does not change with the price."""
    return replace(
        listed, info={key: each for key, each in listed.info.items() if not is_money(key)}
    )


def _midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _edition(overlay: Overlay, source: Source) -> date:
    day = overlay.editions.get((source.name, source.version))
    return date.fromisoformat(day) if day else _EDITION_UNKNOWN


def _same_time(first: Listed, edition: date, at_ms: int) -> bool:
    """Whether the price at `at_ms` is the one that held when the second list came out, as far as
    the first knows: no change lies between. An edition without a date came out after all of them
    that have happened by then."""
    day = datetime.fromtimestamp(at_ms / 1000, UTC).date()
    first_day, last_day = sorted((day, edition))
    if edition is _EDITION_UNKNOWN:
        return not any(day < change for change in first.changes)
    return not any(first_day < change <= last_day for change in first.changes)


def _entry(
    provider: str,
    model: str,
    names: dict[str, tuple[str, ...]],
    found: list[tuple[Source, Listed]],
    rows: Sequence[Row],
    at_ms: int,
) -> Entry:
    info, disagreements = _opinion([(source.name, listed) for source, listed in found])
    for row in rows:
        info, disagreements = decided(info, disagreements, row)
    info, notes = completed(info)
    dates = [row.date for row in rows if row.whole]  # others confirm their own keys only
    confirmed_on = max(dates or [listed.confirmed_on for _, listed in found], default="")
    return Entry(
        provider=provider,
        model=model,
        info=info,
        source="; ".join([*_told(found), *(f"overlay: {row.source}" for row in rows)]),
        confirmed_on=confirmed_on,
        disagreements=disagreements,
        is_stale=_is_stale(confirmed_on, at_ms),
        opinions=len(found),
        resolved_by=names.get(found[0][1].under, ()) if found else (),
        notes=notes,
    )


def _opinion(
    said: list[tuple[str, Listed]],
) -> tuple[dict[str, object], tuple[Disagreement, ...]]:
    if len(said) < 2:
        return (dict(said[0][1].info) if said else {}), ()
    first, second = said
    return merged((first[0], first[1].info), (second[0], second[1].info))


def _told(found: Iterable[tuple[Source, Listed]]) -> Iterator[str]:
    for source, listed in found:
        yield f"{source.name} {source.version} ({listed.name})"


def _is_stale(confirmed_on: str, at_ms: int) -> bool:
    if not confirmed_on:
        return False
    at = datetime.fromtimestamp(at_ms / 1000, UTC).date()
    return (at - date.fromisoformat(confirmed_on)).days > STALE_DAYS
