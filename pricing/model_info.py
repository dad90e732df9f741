"""The keys of LiteLLM's `model_info`, each with one meaning, and none skipped in silence.

People bring their prices in LiteLLM's format, which grew to some 140 cost keys: meters crossed with
long-context thresholds and service tiers, fees for tools, surcharges for regions. A key that is
ignored because it is not understood is money that is not counted. So every key that speaks of money
falls into exactly one class below, and one that falls into none is an error.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from pricing.meters import TOKENS_MAX
from pricing.rates import PriceInvalid, nusd_from_usd, rate_from_usd_per_token, whole_tokens

DEFAULT_TIER = "default"

# Known and priced: one rate per meter. Several keys of one meter: the dearest counts.
_RATES = {
    "input_cost_per_token": "input_nusd_per_mtok",
    "output_cost_per_token": "output_nusd_per_mtok",
    "cache_read_input_token_cost": "cached_input_nusd_per_mtok",
    "input_cost_per_token_cache_hit": "cached_input_nusd_per_mtok",
    "explicit_cache_read_input_token_cost": "cached_input_nusd_per_mtok",
    "cache_creation_input_token_cost": "cache_write_5m_nusd_per_mtok",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h_nusd_per_mtok",
    "cache_creation_input_token_cost_above_12hr": "cache_write_1h_nusd_per_mtok",
    "input_cost_per_audio_token": "audio_input_nusd_per_mtok",
    "input_cost_per_image_token": "image_input_nusd_per_mtok",
    "output_cost_per_reasoning_token": "reasoning_output_nusd_per_mtok",
    "output_cost_per_audio_token": "audio_output_nusd_per_mtok",
}
_REQUEST_FEE = "input_cost_per_request"
_TIERED = "tiered_pricing"
_OFF_PEAK = "off_peak_pricing"
_SEARCH_FEE = "search_context_cost_per_query"
_PROVIDER_ENTRY = "provider_specific_entry"
_SHAPED = (_REQUEST_FEE, _TIERED, _OFF_PEAK, _PROVIDER_ENTRY)

# Charged only when a request or its route asks for it: reported in `unpriced`, so that whoever
# routes can refuse such a request. The rates do not contain them.
_WHEN_ASKED = (
    _SEARCH_FEE,
    "google_maps_grounding_cost_per_query",
    "code_interpreter_cost_per_session",
    "computer_use_input_cost_per_1k_tokens",
    "computer_use_output_cost_per_1k_tokens",
    "file_search_cost_per_1k_calls",
    "file_search_cost_per_gb_per_day",
    "vector_store_cost_per_gb_per_day",
    "cache_creation_input_audio_token_cost",
    "input_cost_per_image",
    "input_cost_per_audio_per_second",
    "input_cost_per_video_per_second",
    "input_cost_per_video_per_second_above_8s_interval",
    "input_cost_per_video_per_second_above_15s_interval",
    "input_cost_per_video_token",
    "output_cost_per_image",
    "output_cost_per_audio_per_second",
    "output_cost_per_video_per_second",
    "output_cost_per_video_token",
    "regional_endpoint_uplift_multiplier",
    "regional_processing_uplift_multiplier_eu",
    "regional_processing_uplift_multiplier_us",
    "fedramp_uplift_multiplier",
)
# Charged without being asked, on a meter that does not exist here: cannot be bounded.
_UNMETERED = (
    "citation_cost_per_token",
    "cost_per_second",
    "input_cost_per_second",
    "input_cost_per_character",
    "input_cost_per_pixel",
    "input_cost_per_query",
    "input_cost_per_text_message",
    "output_cost_per_character",
    "output_cost_per_image_token",
    "output_cost_per_pixel",
    "output_cost_per_second",
    "guardrail_cost_per_unit",
    "ocr_cost_per_credit",
    "ocr_cost_per_page",
    "annotation_cost_per_page",
)
_UNMETERED_SIZES = re.compile(r"output_cost_per_(image|second)_[0-9][0-9.]*[kKp]?")
# Can only make a request cheaper than it is metered here, or says the same in another unit.
_CHEAPER = (
    "cache_read_input_audio_token_cost",  # such tokens are metered as audio, at its full rate
    "cache_read_input_image_token_cost",  # likewise as images
    "input_dbu_cost_per_token",  # Databricks' own unit, beside the dollars
    "output_dbu_cost_per_token",
)

_MONEY_WORDS = ("cost", "pric", "multiplier", "surcharge", "per_token")
_SERVICE_TIERS = ("priority", "flex", "balanced", "ultrafast")
_OTHER_APIS = ("batches", "decisions")  # rates of APIs that are not forwarded
_KEY = re.compile(
    r"(?P<base>.+?)(_above_(?P<above>[0-9]{1,9})(?P<thousand>k?)_tokens)?"
    rf"(_(?P<tier>{'|'.join(_SERVICE_TIERS + _OTHER_APIS)}))?",
    re.ASCII,
)
_KNOWN = frozenset((*_RATES, *_WHEN_ASKED, *_UNMETERED, *_CHEAPER, *_SHAPED))

# xAI bills the long-context rate from the threshold on, others above it (so LiteLLM's calculator).
_INCLUSIVE_THRESHOLDS = ("xai",)
# Models that search the web for each request without being asked: Perplexity's, and OpenAI's
# `...-search-preview` and `...-search-api`. Deep research searches an unknown number of times.
_SEARCHES_UNASKED = re.compile(r"(^|[-/_])search([-_]|$)")
_SEARCHES_WITHOUT_END = "deep-research"


@dataclass(slots=True)
class RateTable:
    """What a `model_info` says, before defaults.

    `rates`: (service tier, tokens of input above which it holds, 0 = always) -> {field of Rates:
    nano-dollars per million tokens}. `request_nusd`: the fixed fee. `unpriced`: the keys of
    charges that a request can ask for and that are in no rate.
    """

    rates: dict[tuple[str, int], dict[str, int]] = field(default_factory=dict)
    request_nusd: int = 0
    unpriced: set[str] = field(default_factory=set)

    def put(self, tier: str, above: int, name: str, rate: int) -> None:
        known = self.rates.setdefault((tier, above), {})
        known[name] = max(rate, known.get(name, 0))

    def thresholds(self, tier: str) -> list[int]:
        """Long-context thresholds of a service tier, in tokens, ascending."""
        return sorted(above for name, above in self.rates if name == tier and above > 0)


@dataclass(frozen=True, slots=True)
class _Key:
    """The parts of one key: `base[_above_Nk_tokens][_tier]`."""

    text: str
    base: str
    above: int
    tier: str


def read_model_info(provider: str, model: str, info: Mapping[str, object]) -> RateTable:
    """Sort every key of `info` that speaks of money into a RateTable; null values are absent ones.

    Raises PriceInvalid that names the key, the reason, and for an unknown key the nearest known.
    """
    table = RateTable()
    for text, value in info.items():
        key = _parse(text, inclusive=provider in _INCLUSIVE_THRESHOLDS)
        if key is not None:
            _read(table, key, value)
    _check_off_peak(table, info.get(_OFF_PEAK))
    _add_search_fee(table, provider, model, info.get(_SEARCH_FEE))
    _check_billed_by_unit(table)
    return table


def _parse(text: object, *, inclusive: bool) -> _Key | None:
    """The parts of a key that speaks of money; None for one that does not."""
    if not isinstance(text, str):
        raise PriceInvalid(f"a key must be text, not {type(text).__name__}")
    match = _KEY.fullmatch(text)
    if match is None or not _is_money(text):
        return None
    above = int(match["above"] or 0) * (1000 if match["thousand"] else 1)
    if match["above"] and not 1 < above <= TOKENS_MAX:
        raise PriceInvalid(f"{text}: the threshold must be from 2 to {TOKENS_MAX} tokens")
    above -= int(inclusive and above > 0)
    return _Key(text, match["base"], above, match["tier"] or DEFAULT_TIER)


def _is_money(text: str) -> bool:
    folded = text.casefold()
    return text in _KNOWN or any(word in folded for word in _MONEY_WORDS)


def _read(table: RateTable, key: _Key, value: object) -> None:
    if key.base not in _KNOWN and not _UNMETERED_SIZES.fullmatch(key.base):
        raise _unknown(key.text)
    if value is None or key.base in _CHEAPER or key.base == _OFF_PEAK:
        return
    if key.base in _RATES:
        rate = rate_from_usd_per_token(value, key.text)
        if key.tier not in _OTHER_APIS:
            table.put(key.tier, key.above, _RATES[key.base], rate)
    elif key.base == _TIERED:
        _read_tiered(table, value)
    elif key.base == _REQUEST_FEE:
        table.request_nusd += nusd_from_usd(value, key.text)
    elif key.base == _PROVIDER_ENTRY:
        # Multipliers by request option (Anthropic's `{us: 1.1, fast: 2.0}`); elsewhere a mere tag.
        options = value if isinstance(value, Mapping) else {}
        table.unpriced.update(f"{_PROVIDER_ENTRY}.{option}" for option in options)
    elif _is_free(value, key.text):
        return
    elif key.base in _WHEN_ASKED:
        table.unpriced.add(key.text)
    else:
        raise PriceInvalid(
            f"{key.text} bills something that has no meter here, so a request cannot be bounded; "
            "use a model that is billed by tokens"
        )


def _unknown(text: str) -> PriceInvalid:
    begins = [key for key in _KNOWN if text.startswith(key)]
    nearest = max(begins, key=len, default="") or _closest(text.casefold())
    return PriceInvalid(
        f"{text} is not a price key that is understood, and ignoring it could underprice; "
        f"the nearest known one is {nearest} (after a rate: _above_<n>k_tokens, _<service tier>)"
    )


def _closest(text: str) -> str:
    return get_close_matches(text, sorted(_KNOWN), n=1, cutoff=0.0)[0]


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
            raise PriceInvalid(f"{_TIERED}: the ranges must follow each other from 0 without gaps")
        end = stop
        for text, amount in row.items():
            if text == "range" or amount is None:
                continue
            if text not in _RATES:
                raise _unknown(f"{_TIERED}.{text}")
            rate = rate_from_usd_per_token(amount, f"{_TIERED}.{text}")
            table.put(DEFAULT_TIER, start, _RATES[text], rate)


def _rows(value: object) -> list[tuple[int, int, Mapping[str, object]]]:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise PriceInvalid(f"{_TIERED} must be a list of ranges with their prices")
    rows = []
    for row in value:
        bounds = row.get("range") if isinstance(row, Mapping) else None
        if not isinstance(bounds, Sequence) or len(bounds) != 2:
            raise PriceInvalid(f"{_TIERED}: each row needs range: [from, to]")
        start, stop = (whole_tokens(bound, f"{_TIERED}.range") for bound in bounds)
        rows.append((start, stop, row))
    return rows


def _check_off_peak(table: RateTable, value: object) -> None:
    """Hours are not looked at: the base rates hold all day, which is safe while they are dearer."""
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise PriceInvalid(f"{_OFF_PEAK} must be an object")
    base = table.rates.get((DEFAULT_TIER, 0), {})
    for text, amount in value.items():
        key = _parse(text, inclusive=False)
        if key is None or amount is None:
            continue
        name = _RATES.get(key.text)
        rate = rate_from_usd_per_token(amount, f"{_OFF_PEAK}.{text}")
        if name is None or rate > base.get(name, 0):
            raise PriceInvalid(
                f"{_OFF_PEAK}.{text} is not below the price at other hours; give the higher one "
                f"as {text} itself"
            )


def _add_search_fee(table: RateTable, provider: str, model: str, value: object) -> None:
    """A model that searches without being asked has the dearest search in its fixed fee."""
    if _SEARCH_FEE not in table.unpriced:
        return
    if _SEARCHES_WITHOUT_END in model:
        raise PriceInvalid(f"{_SEARCH_FEE}: {model} searches an unknown number of times")
    if provider == "perplexity" or _SEARCHES_UNASKED.search(model):
        fees = value.values() if isinstance(value, Mapping) else (value,)
        table.request_nusd += max(nusd_from_usd(fee, _SEARCH_FEE) for fee in fees)
        table.unpriced.discard(_SEARCH_FEE)


def _check_billed_by_unit(table: RateTable) -> None:
    """Free tokens beside a price per image or second: the unit is what the model is billed by."""
    base = table.rates.get((DEFAULT_TIER, 0), {})
    for side in ("input", "output"):
        units = sorted(key for key in table.unpriced if key.startswith(f"{side}_cost_per_"))
        if units and base.get(f"{side}_nusd_per_mtok") == 0:
            raise PriceInvalid(f"{units[0]} bills what its tokens do not: no meter for it here")
