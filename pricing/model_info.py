"""Reading LiteLLM's `model_info` into a table of rates: see `pricing.model_keys` for its keys."""

import re
from collections.abc import Mapping, Sequence

from pricing.hours import OffPeak, read_windows
from pricing.model_keys import (
    CHEAPER,
    FEES,
    FEES_PER_SECOND,
    KNOWN,
    OFF_PEAK,
    OPTION_REGIONS,
    OPTIONS,
    OTHER_APIS,
    PROVIDER_ENTRY,
    RATES,
    RATES_WHEN_ASKED,
    REGIONS,
    REQUEST_FEE,
    SEARCH_FEE,
    SERVICE_TIERS,
    SOUND_MODE,
    TIERED,
    TOOL_FEES,
    TOOL_SESSION,
    UNBOUNDED,
    UNMETERED_SIZES,
    WHEN_ASKED,
    Key,
    parse_key,
    unknown_key,
)
from pricing.rates import (
    PriceInvalid,
    multiplier,
    nusd_from_usd,
    rate_from_usd_per_thousand,
    rate_from_usd_per_token,
    whole_tokens,
)
from pricing.ratetable import DEFAULT_TIER, RateTable

# xAI bills the long-context rate from the threshold on, others above it (so LiteLLM's calculator).
_INCLUSIVE_THRESHOLDS = ("xai",)
# Models that search the web for each request without being asked: Perplexity's, and OpenAI's
# `...-search-preview` and `...-search-api`. Deep research searches an unknown number of times.
_SEARCHES_UNASKED = re.compile(r"(^|[-/_])search([-_]|$)")
_SEARCHES_WITHOUT_END = "deep-research"


def read_model_info(provider: str, model: str, info: Mapping[str, object]) -> RateTable:
    """Sort every key of `info` that speaks of money into a RateTable; null values are absent ones.

    Raises PriceInvalid that names the key, the reason, and for an unknown key the nearest known.
    """
    table = RateTable()
    for text, value in info.items():
        key = parse_key(text, inclusive=provider in _INCLUSIVE_THRESHOLDS)
        if key is not None:
            _read(table, key, value, info.get("mode"))
    _read_off_peak(table, info.get(OFF_PEAK))
    _add_search_fee(table, provider, model, info.get(SEARCH_FEE))
    _check_billed_by_unit(table)
    return table


def _read(table: RateTable, key: Key, value: object, mode: object) -> None:
    sized = UNMETERED_SIZES.fullmatch(key.base) or TOOL_FEES.fullmatch(key.base)
    if key.base not in KNOWN and not sized:
        raise unknown_key(key.text)
    if value is None or key.base in CHEAPER or key.base == OFF_PEAK:
        return
    if key.base in RATES:
        _read_rate(table, key, value)
    elif key.base in FEES or (key.base in FEES_PER_SECOND and mode == SOUND_MODE):
        _read_fee(table, key, value)
    elif key.base == TIERED:
        _read_tiered(table, value)
    elif key.base == REQUEST_FEE:
        table.request_nusd += nusd_from_usd(value, key.text)
    elif key.base == PROVIDER_ENTRY:
        _read_options(table, value)
    elif _is_free(value, key.text):
        _read_asked(table, key, value)
    elif key.base in WHEN_ASKED or TOOL_FEES.fullmatch(key.text):
        table.unpriced.add(key.text)
        _read_asked(table, key, value)
    else:
        raise PriceInvalid(
            f"{key.text} bills something that has no meter here, so a request cannot be bounded; "
            "use a model that is billed by tokens"
        )


def _read_rate(table: RateTable, key: Key, value: object) -> None:
    rate = rate_from_usd_per_token(value, key.text)
    if key.tier in OTHER_APIS:
        return
    table.put(key.tier, key.above, RATES[key.base], rate)
    if rate and key.base in UNBOUNDED:
        table.unbounded.add(key.text)
    if rate and key.base in RATES_WHEN_ASKED:
        table.unpriced.add(key.text)


def _read_fee(table: RateTable, key: Key, value: object) -> None:
    """What is billed by the second of sound has several keys for the same second: the dearest."""
    if key.base in FEES:
        name, fee = FEES[key.base], rate_from_usd_per_token(value, key.text)
    else:
        name, fee = "audio_ms_nusd_per_m", rate_from_usd_per_thousand(value, key.text)
    if key.tier not in OTHER_APIS:
        table.put_fee(key.tier, name, fee)
    if fee:
        table.unbounded.add(key.text)


def _read_asked(table: RateTable, key: Key, value: object) -> None:
    """What can be billed exactly of the charges that a request asks for."""
    if key.text == SEARCH_FEE:
        fees = value.values() if isinstance(value, Mapping) else (value,)
        for fee in fees:
            table.put_fee(
                DEFAULT_TIER, "search_calls_nusd_per_m", rate_from_usd_per_token(fee or 0, key.text)
            )
    elif key.text == TOOL_SESSION:
        kind = key.text.removesuffix("_cost_per_session")
        table.put_tool_fee(kind, rate_from_usd_per_token(value, key.text))
    elif tool := TOOL_FEES.fullmatch(key.text):
        table.put_tool_fee(tool["kind"], rate_from_usd_per_thousand(value, key.text))
    elif key.text in REGIONS and nusd_from_usd(value, key.text):
        table.regional[REGIONS[key.text]] = multiplier(value, key.text)


def _read_options(table: RateTable, value: object) -> None:
    """Multipliers by request option (Anthropic's `{us: 1.1, fast: 2.0}`); elsewhere a mere tag."""
    for option, factor in (value if isinstance(value, Mapping) else {}).items():
        text = f"{PROVIDER_ENTRY}.{option}"
        if option in OPTION_REGIONS:
            table.regional[option] = multiplier(factor, text)
        elif option in OPTIONS:
            table.factors[option] = multiplier(factor, text)
        if option not in SERVICE_TIERS and option != "batch":
            table.unpriced.add(text)


def _is_free(value: object, key: str) -> bool:
    amounts = value.values() if isinstance(value, Mapping) else (value,)
    return not any(nusd_from_usd(amount, key) for amount in amounts if amount is not None)


def _read_tiered(table: RateTable, value: object) -> None:
    """Alibaba's form: `[{range: [from, to], input_cost_per_token, ...}, ...]`.

    The whole request has the rates of the row with `from < input <= to` (Model Studio's pricing
    page); beyond the last row its rates go on.
    """
    end = 0
    for start, stop, row in sorted(_rows(value), key=lambda entry: entry[:2]):
        if start != end or stop <= start:
            raise PriceInvalid(f"{TIERED}: the ranges must follow each other from 0 without gaps")
        end = stop
        for text, amount in row.items():
            if text == "range" or amount is None:
                continue
            if text not in RATES:
                raise unknown_key(f"{TIERED}.{text}")
            rate = rate_from_usd_per_token(amount, f"{TIERED}.{text}")
            table.put(DEFAULT_TIER, start, RATES[text], rate)


def _rows(value: object) -> list[tuple[int, int, Mapping[str, object]]]:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise PriceInvalid(f"{TIERED} must be a list of ranges with their prices")
    rows = []
    for row in value:
        bounds = row.get("range") if isinstance(row, Mapping) else None
        if not isinstance(bounds, Sequence) or len(bounds) != 2:
            raise PriceInvalid(f"{TIERED}: each row needs range: [from, to]")
        start, stop = (whole_tokens(bound, f"{TIERED}.range") for bound in bounds)
        rows.append((start, stop, row))
    return rows


def _read_off_peak(table: RateTable, value: object) -> None:
    """Where the time of a request is not known the base rates hold: safe while they are dearer."""
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise PriceInvalid(f"{OFF_PEAK} must be an object")
    base = table.rates.get((DEFAULT_TIER, 0), {})
    rates: dict[str, int] = {}
    for text, amount in value.items():
        key = parse_key(text, inclusive=False)
        if key is None or amount is None:
            continue
        name = RATES.get(key.text)
        rate = rate_from_usd_per_token(amount, f"{OFF_PEAK}.{text}")
        if name is None or rate > base.get(name, 0):
            raise PriceInvalid(
                f"{OFF_PEAK}.{text} is not below the price at other hours; give the higher one "
                f"as {text} itself"
            )
        rates[name] = max(rate, rates.get(name, 0))
    windows, zone = read_windows(value)
    table.off_peak = OffPeak(tuple(sorted(rates.items())), windows, zone)


def _add_search_fee(table: RateTable, provider: str, model: str, value: object) -> None:
    """A model that searches without being asked has the dearest search in its fixed fee."""
    if SEARCH_FEE not in table.unpriced:
        return
    if _SEARCHES_WITHOUT_END in model:
        table.unbounded.add(SEARCH_FEE)
    elif provider == "perplexity" or _SEARCHES_UNASKED.search(model):
        fees = value.values() if isinstance(value, Mapping) else (value,)
        table.request_nusd += max(nusd_from_usd(fee, SEARCH_FEE) for fee in fees)
        table.unpriced.discard(SEARCH_FEE)
        table.fees[DEFAULT_TIER, "search_calls_nusd_per_m"] = 0


def _check_billed_by_unit(table: RateTable) -> None:
    """Free tokens beside a price per image or second: the unit is what the model is billed by."""
    base = table.rates.get((DEFAULT_TIER, 0), {})
    for side in ("input", "output"):
        units = sorted(key for key in table.unpriced if key.startswith(f"{side}_cost_per_"))
        if units and base.get(f"{side}_nusd_per_mtok") == 0:
            raise PriceInvalid(f"{units[0]} bills what its tokens do not: no meter for it here")
