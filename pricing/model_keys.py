"""The keys of LiteLLM's `model_info`, each with one meaning, and none skipped in silence.

People bring their prices in LiteLLM's format, which grew to some 140 cost keys: meters crossed with
long-context thresholds and service tiers, fees for tools, surcharges for regions. A key that is
ignored because it is not understood is money that is not counted. So every key that speaks of money
falls into exactly one class below, and one that falls into none is an error.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches

from pricing import hours
from pricing.meters import TOKENS_MAX
from pricing.rates import PriceInvalid
from pricing.ratetable import ANY_REGION, BATCH_TIER, DEFAULT_TIER

# Known and priced: one rate per meter. Several keys of one meter: the dearest counts.
RATES = {
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
    "cache_read_input_audio_token_cost": "cached_audio_input_nusd_per_mtok",
    "input_cost_per_video_token": "video_input_nusd_per_mtok",
    "output_cost_per_image_token": "image_output_nusd_per_mtok",
}
# Known and priced by something else than tokens: dollars per one, and per second of sound.
FEES = {
    "ocr_cost_per_page": "pages_nusd_per_m",
    "input_cost_per_character": "characters_nusd_per_m",
}
FEES_PER_SECOND = ("input_cost_per_second", "output_cost_per_second")
SOUND_MODE = "audio_transcription"  # elsewhere a second is one of a rented machine, or of video
# Fees of tools: of one, or of a thousand calls.
TOOL_SESSION = "code_interpreter_cost_per_session"
TOOL_FEES = re.compile(r"(?P<kind>[a-z][a-z0-9_]{0,63})_cost_per_1k_calls")
REQUEST_FEE = "input_cost_per_request"
TIERED = "tiered_pricing"
OFF_PEAK = hours.KEY
SEARCH_FEE = "search_context_cost_per_query"
PROVIDER_ENTRY = "provider_specific_entry"
_SHAPED = (REQUEST_FEE, TIERED, OFF_PEAK, PROVIDER_ENTRY)

# Charged only when a request or its route asks for it: reported in `unpriced`, so that whoever
# routes can refuse such a request. The rates do not contain them.
WHEN_ASKED = (
    SEARCH_FEE,
    "google_maps_grounding_cost_per_query",
    TOOL_SESSION,
    "file_search_cost_per_1k_calls",
    "annotation_cost_per_page",
    "computer_use_input_cost_per_1k_tokens",
    "computer_use_output_cost_per_1k_tokens",
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
ANY_REGION_KEY = "regional_endpoint_uplift_multiplier"
# Of those, the multipliers and where they hold.
REGIONS = {
    ANY_REGION_KEY: ANY_REGION,
    "regional_processing_uplift_multiplier_eu": "eu",
    "regional_processing_uplift_multiplier_us": "us",
    "fedramp_uplift_multiplier": "fedramp",
}
# Priced, but a rate that a request cannot be bounded by before it is sent: reported all the same.
RATES_WHEN_ASKED = ("input_cost_per_video_token",)
# Metered after the fact, but nothing that is sent along bounds it beforehand.
UNBOUNDED = (*FEES, *FEES_PER_SECOND, "output_cost_per_image_token")
# Charged without being asked, on a meter that does not exist here.
UNMETERED = (
    "citation_cost_per_token",
    "cost_per_second",
    "input_cost_per_pixel",
    "input_cost_per_query",
    "input_cost_per_text_message",
    "output_cost_per_character",
    "output_cost_per_pixel",
    "guardrail_cost_per_unit",
    "ocr_cost_per_credit",
)
UNMETERED_SIZES = re.compile(r"output_cost_per_(image|second)_[0-9][0-9.]*[kKp]?")
# Can only make a request cheaper than it is metered here, or says the same in another unit.
CHEAPER = (
    "cache_read_input_image_token_cost",  # such tokens are metered as images, at their full rate
    "input_dbu_cost_per_token",  # Databricks' own unit, beside the dollars
    "output_dbu_cost_per_token",
)

_MONEY_WORDS = ("cost", "pric", "multiplier", "surcharge", "per_token")
SERVICE_TIERS = ("priority", "flex", "balanced", "ultrafast")
OTHER_APIS = ("decisions",)  # rates of APIs that nobody here reads
# Request options that multiply all token prices, and service tiers without rates of their own
# ("priority": 1.75, "batch": 0.5; these names are ours).
OPTIONS = ("fast", "batch", *SERVICE_TIERS)
OPTION_REGIONS = ("us", "eu")
_KEY = re.compile(
    r"(?P<base>.+?)(_above_(?P<above>[0-9]{1,9})(?P<thousand>k?)_tokens)?"
    rf"(_(?P<tier>{'|'.join((*SERVICE_TIERS, BATCH_TIER, *OTHER_APIS))}))?",
    re.ASCII,
)
KNOWN = frozenset((*RATES, *FEES, *FEES_PER_SECOND, *WHEN_ASKED, *UNMETERED, *CHEAPER, *_SHAPED))


@dataclass(frozen=True, slots=True)
class Key:
    """The parts of one key: `base[_above_Nk_tokens][_tier]`."""

    text: str
    base: str
    above: int
    tier: str


def parse_key(text: object, *, inclusive: bool) -> Key | None:
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
    return Key(text, match["base"], above, match["tier"] or DEFAULT_TIER)


def _is_money(text: str) -> bool:
    folded = text.casefold()
    return text in KNOWN or any(word in folded for word in _MONEY_WORDS)


def unknown_key(text: str) -> PriceInvalid:
    begins = [key for key in KNOWN if text.startswith(key)]
    nearest = max(begins, key=len, default="") or _closest(text.casefold())
    return PriceInvalid(
        f"{text} is not a price key that is understood, and ignoring it could underprice; "
        f"the nearest known one is {nearest} (after a rate: _above_<n>k_tokens, _<service tier>)"
    )


def _closest(text: str) -> str:
    return get_close_matches(text, sorted(KNOWN), n=1, cutoff=0.0)[0]
