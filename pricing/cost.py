"""The one function that turns what was used into money.

Settlement, re-costing and reconciliation must agree to the nano-dollar, so there is one formula,
on integers, with one rounding at its end.
"""

from pricing.meters import Meters
from pricing.price import Price
from pricing.rates import Rates

TOKENS_PER_MTOK = 10**6


def cost_nusd(price: Price, meters: Meters) -> int:
    """What a request cost, in nano-dollars, rounded up once.

    The long-context tier follows from the whole input, cached tokens and cache writes included,
    and holds for the whole request (so Google's, Anthropic's and OpenAI's pricing pages).
    """
    weighed = _weighed(price.rates_for(meters.input_tokens), meters)
    return -(-weighed // TOKENS_PER_MTOK) + price.request_nusd


def _weighed(rates: Rates, meters: Meters) -> int:
    """Sum of tokens times rate, in nano-dollars times a million."""
    return (
        meters.text_input * rates.input_nusd_per_mtok
        + meters.cached_input * rates.cached_input_nusd_per_mtok
        + meters.cache_write_5m * rates.cache_write_5m_nusd_per_mtok
        + meters.cache_write_1h * rates.cache_write_1h_nusd_per_mtok
        + meters.audio_input * rates.audio_input_nusd_per_mtok
        + meters.image_input * rates.image_input_nusd_per_mtok
        + meters.text_output * rates.output_nusd_per_mtok
        + meters.reasoning_output * rates.reasoning_output_nusd_per_mtok
        + meters.audio_output * rates.audio_output_nusd_per_mtok
    )
