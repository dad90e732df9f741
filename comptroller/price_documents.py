"""What `comptroller prices` answers, as JSON values: a model's prices, a request's cost, what is
doubtful in an operator's list."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from comptroller.catalogued import biller, has_prices
from comptroller.document import ConfigInvalid, Value
from comptroller.model_list import ModelEntry, read_entry
from pricing import (
    Facts,
    Price,
    PriceInvalid,
    PriceSheet,
    cost,
    dollars,
    price_from_model_info,
    read_usage,
    sheet_from_model_info,
)
from pricing.catalog import DEARER, Catalog, Disagreement, Entry, ModelUnknown

COMPARED: Final = ("input_nusd_per_mtok", "output_nusd_per_mtok")
"""What an operator's own price is compared in with the lists: the rates that have to be given."""

# What is to be said of an entry of model_list, the worst first.
UNPRICED: Final = "unpriced"
CHEAPER: Final = "cheaper than listed"
DISAGREES: Final = "lists disagree"
STALE: Final = "stale"
FREE: Final = "free"
OWN: Final = "own price"
OK: Final = "ok"
MAY_OVERRUN: Final = "bound: calibrated, which a request may exceed"
FAILING: Final = (UNPRICED,)
"""States with which `comptroller up` would not start."""


def entry_document(entry: Entry) -> dict[str, Any]:
    """A model's prices with where they come from. `unusable`: why no request can be priced by them,
    or None."""
    version, unusable = _version(entry)
    return {
        "provider": entry.provider,
        "model": entry.model,
        "source": entry.source,
        "opinions": entry.opinions,
        "resolved_by": list(entry.resolved_by),
        "confirmed_on": entry.confirmed_on or None,
        "stale": entry.is_stale,
        "price_version": version,
        "unusable": unusable,
        "model_info": dict(entry.info),
        "disagreements": [disagreement_document(each) for each in entry.disagreements],
        "changes": [_day(moment) for moment in entry.changes_ms],
        "notes": list(entry.notes),
    }


def disagreement_document(each: Disagreement) -> dict[str, Any]:
    """One key on which lists differ."""
    return {**asdict(each), "said": dict(each.said)}


def _version(entry: Entry) -> tuple[str | None, str | None]:
    try:
        return _sheet(entry).version, None
    except PriceInvalid as error:
        return None, str(error)


def _day(moment_ms: int) -> str:
    return f"{datetime.fromtimestamp(moment_ms / 1000, UTC):%Y-%m-%d}"


def _sheet(entry: Entry, said: Mapping[str, object] = MappingProxyType({})) -> PriceSheet:
    return sheet_from_model_info(entry.provider, entry.model, {**entry.info, **said})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request whose cost is asked for: the provider's own usage object, and what the answer
    says beside it. `at_ms`: when it was, UTC milliseconds. `model_info`: prices that the lists
    lack, or have another opinion on."""

    provider: str
    model: str
    usage: Mapping[str, object]
    at_ms: int
    service_tier: str = ""
    batch: bool = False
    region: str = ""
    api: str | None = None
    output: Any = None
    model_info: Mapping[str, object] = field(default_factory=dict)


def cost_document(asked: Asked, catalog: Catalog) -> dict[str, Any]:
    """`{cost_nusd, cost_usd, meters, price_version, ...}` of a request.

    Raises ModelUnknown, UsageInvalid, PriceInvalid; this also for a region whose factor nobody
    knows.
    """
    entry = catalog.find(asked.provider, asked.model, asked.at_ms)
    used = read_usage(entry.provider, asked.usage, api=asked.api, output=asked.output)
    facts = _facts(used.facts, asked)
    sheet = _sheet(entry, asked.model_info)
    sheet.check_region(facts.region)
    others = {
        sub.model: _sheet(catalog.find(asked.provider, sub.model, asked.at_ms))
        for sub in facts.sub_uses
        if sub.model != sheet.model
    }
    cost_nusd = cost(sheet, used.meters, facts, others=others)
    return {
        "cost_nusd": cost_nusd,
        "cost_usd": dollars(cost_nusd),
        "meters": {name: count for name, count in asdict(used.meters).items() if count},
        "price_version": sheet.version,
        "provider": entry.provider,
        "model": entry.model,
        "reported_by_provider": facts.reported_cost_nusd is not None,
        "source": entry.source,
    }


def _facts(read: Facts, asked: Asked) -> Facts:
    """What the answer says beside its usage object wins: that is where the tier served stands."""
    return replace(
        read,
        service_tier=asked.service_tier or read.service_tier,
        batch=asked.batch or read.batch,
        region=asked.region or read.region,
        at_ms=asked.at_ms,
    )


def checked(
    model_list: Value, environment: Mapping[str, str], catalog: Catalog, at_ms: int
) -> Iterator[dict[str, Any]]:
    """One row for each entry of `model_list`: `{model, served_by, state, says, line}`."""
    for item in model_list.items():
        try:
            entry = read_entry(item, environment)
        except ConfigInvalid as error:
            yield _row(_name(item), "", UNPRICED, str(error), item.line)
            continue
        state, says = _state(entry, item, catalog, at_ms)
        if entry.calibrated:
            says = f"{says}; {MAY_OVERRUN}"
        yield _row(entry.name, f"{entry.provider}/{entry.upstream_model}", state, says, item.line)


def _name(item: Value) -> str:
    """What an entry that cannot be used calls itself."""
    name = item.content.get("model_name") if isinstance(item.content, dict) else None
    return str(name.content) if name is not None and isinstance(name.content, str) else "?"


def _row(model: str, served_by: str, state: str, says: str, line: int) -> dict[str, Any]:
    return {"model": model, "served_by": served_by, "state": state, "says": says, "line": line}


def _state(entry: ModelEntry, item: Value, catalog: Catalog, at_ms: int) -> tuple[str, str]:
    """The worst that can be said of a price, and in words."""
    rates = entry.price.rates
    if entry.provider == "demo":
        return OK, "the demo's own price"
    if not (rates.input_nusd_per_mtok or rates.output_nusd_per_mtok):
        return FREE, "no usd limit will ever stop it"
    info = item.fields().get("model_info")
    said = {} if info is None else _given(info)
    host = urlsplit(entry.api_base).hostname or ""
    try:
        found = entry.listed or catalog.find(
            *biller(entry.provider, entry.upstream_model, host, said), at_ms
        )
    except (ModelUnknown, PriceInvalid) as error:
        return OWN, f"nothing to compare it with: {error}"
    if not has_prices(said):
        return _listed_state(found)
    cheaper = _cheaper(entry.price, found)
    return (CHEAPER, cheaper) if cheaper else (OWN, "not below the listed price")


def _cheaper(price: Price, found: Entry) -> str:
    """In which rates the file is below the lists; empty where it is not, or cannot be compared."""
    try:
        listed = price_from_model_info(found.provider, found.model, found.info)
    except PriceInvalid:
        return ""
    pairs = ((name, getattr(price.rates, name), getattr(listed.rates, name)) for name in COMPARED)
    return ", ".join(
        f"{name.removesuffix('_nusd_per_mtok')} ${dollars(own)} for ${dollars(other)} per 1M"
        for name, own, other in pairs
        if own < other
    )


def _listed_state(found: Entry) -> tuple[str, str]:
    keys = ", ".join(each.key for each in found.disagreements if each.because == DEARER)
    if keys:
        return DISAGREES, f"the dearer counts: {keys}"
    if found.is_stale:
        return STALE, f"nobody has confirmed it since {found.confirmed_on}"
    return OK, f"{found.source}" + (f"; {'; '.join(found.notes)}" if found.notes else "")


def _given(info: Value) -> dict[str, object]:
    return {
        name: value.plain() for name, value in info.fields().items() if value.content is not None
    }
