"""The first source: genai-prices, through its own data, as `model_info` at a moment.

Its package is imported when the first price is looked up, and not before: it brings a validation
library along. Its matching rules are not used where they are loose (beginnings and substrings):
a model is found under its id, the names that are listed as equal to it, and whole patterns.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from pricing.catalog.genai_info import Conditions, info_of
from pricing.catalog.source import Listed

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo

_VERIFIED = re.compile(
    r"(?:verified|checked|confirmed|as of|read|seen)\b[^.;\n]{0,60}?(20[0-9]{2}-[0-9]{2}-[0-9]{2})",
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Index:
    """Models of one provider by each whole name, and by patterns of whole names."""

    by_name: dict[str, "ModelInfo"] = field(default_factory=dict)
    patterns: list[tuple[re.Pattern[str], "ModelInfo"]] = field(default_factory=list)

    def find(self, name: str) -> "ModelInfo | None":
        found = self.by_name.get(name)
        if found is not None:
            return found
        return next((model for pattern, model in self.patterns if pattern.fullmatch(name)), None)


class GenaiPrices:
    """genai-prices as installed. `version` is the package's."""

    name = "genai-prices"

    @cached_property
    def version(self) -> str:
        from genai_prices import __version__  # noqa: PLC0415  # loads all prices

        return str(__version__)

    @cached_property
    def _providers(self) -> Mapping[str, _Index]:
        from genai_prices.data import providers  # noqa: PLC0415  # 1.6 MB of them

        return {each.id: _indexed(each.models) for each in providers}

    def find(self, lists: Sequence[str], names: Iterable[str], at_ms: int) -> Listed | None:
        """The first of `names` in the first of `lists` that has one, as it costs at `at_ms`.

        `at_ms`: milliseconds since 1970, UTC. Dates count from midnight UTC, as genai-prices says.
        Raises PriceInvalid for a price that has no meaning in `model_info`.
        """
        wanted = list(names)
        for provider in lists:
            index = self._providers.get(provider)
            for name in wanted if index is not None else ():
                assert index is not None
                model = index.find(name)
                if model is not None:
                    return replace(self._listed(provider, model, at_ms), under=name)
        return None

    def _listed(self, provider: str, model: "ModelInfo", at_ms: int) -> Listed:
        day = datetime.fromtimestamp(at_ms / 1000, UTC).date()
        conditions = Conditions.of(model)
        return Listed(
            name=f"{provider}/{model.id}",
            info=info_of(model, day, inclusive=provider == "x-ai"),
            confirmed_on=_confirmed_on(model, conditions, day),
            changes=tuple(conditions.starts),
        )

    def names(self, lists: Sequence[str]) -> Iterator[str]:
        """Each name under which something is listed, for suggestions."""
        for provider in lists:
            yield from self._providers.get(provider, _Index()).by_name


def _indexed(models: "Iterable[ModelInfo]") -> _Index:
    index = _Index()
    for model in models:
        index.by_name[model.id.casefold()] = model
    for model in models:
        for kind, text in _whole_names(model.match):
            if kind == "equals":
                index.by_name.setdefault(text.casefold(), model)
            else:
                index.patterns.append((re.compile(text), model))
    return index


def _whole_names(clause: object) -> Iterator[tuple[str, str]]:
    """(kind, text) of the clauses that speak of a whole name, within "or" only."""
    for each in getattr(clause, "or_", (clause,)):
        if each is not clause:
            yield from _whole_names(each)
        elif (text := getattr(each, "equals", None)) is not None:
            yield "equals", text
        elif (text := getattr(each, "regex", None)) and _is_anchored(text):
            yield "regex", text


def _is_anchored(pattern: str) -> bool:
    return pattern.startswith("^") and pattern.endswith("$") and "|" not in pattern


def _confirmed_on(model: "ModelInfo", conditions: Conditions, day: date) -> str:
    """The last day on which a comment says that somebody looked, or on which a price began."""
    looked = [text for text in _VERIFIED.findall(model.price_comments or "") if _is_date(text)]
    begun = [each.isoformat() for each in conditions.all_starts if each <= day]
    return max(looked + begun, default="")


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
