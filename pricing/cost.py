"""The one function that turns what was used into money.

Settlement, re-costing and reconciliation must agree to the nano-dollar, so there is one formula,
on integers, with one rounding at its end.
"""

from pricing.meters import Meters
from pricing.price import Price
from pricing.rates import FEE_NAMES, Fees, PriceInvalid, Rates

TOKENS_PER_MTOK = 10**6

_FEE_SUFFIX = "_nusd_per_m"
_BILLED_BY_FEES = tuple((name.removesuffix(_FEE_SUFFIX), name) for name in FEE_NAMES)


def cost_nusd(price: Price, meters: Meters) -> int:
    """What a request cost, in nano-dollars, rounded up once.

    The long-context tier follows from the whole input, cached tokens and cache writes included,
    and holds for the whole request (so Google's, Anthropic's and OpenAI's pricing pages). Raises
    PriceInvalid where something was used that the price has no fee for.
    """
    return rounded_up(weighed(price, meters)) + price.request_nusd


def weighed(price: Price, meters: Meters, cached_audio: int = 0) -> int:
    """Sum of meters times rates and fees, in millionths of a nano-dollar, without the fee of the
    request: what is added up before it is rounded. `cached_audio` of the cached tokens are audio.
    """
    rates = price.rates_for(meters.input_tokens)
    return (
        _tokens(rates, meters)
        + _fees(price.fees, meters)
        + cached_audio * (rates.cached_audio_input_nusd_per_mtok - rates.cached_input_nusd_per_mtok)
    )


def rounded_up(millionths: int) -> int:
    """Millionths of a nano-dollar as whole nano-dollars."""
    return -(-millionths // TOKENS_PER_MTOK)


def _tokens(rates: Rates, meters: Meters) -> int:
    return (
        meters.text_input * rates.input_nusd_per_mtok
        + meters.cached_input * rates.cached_input_nusd_per_mtok
        + meters.cache_write_5m * rates.cache_write_5m_nusd_per_mtok
        + meters.cache_write_1h * rates.cache_write_1h_nusd_per_mtok
        + meters.audio_input * rates.audio_input_nusd_per_mtok
        + meters.image_input * rates.image_input_nusd_per_mtok
        + meters.video_input * rates.video_input_nusd_per_mtok
        + meters.text_output * rates.output_nusd_per_mtok
        + meters.reasoning_output * rates.reasoning_output_nusd_per_mtok
        + meters.audio_output * rates.audio_output_nusd_per_mtok
        + meters.image_output * rates.image_output_nusd_per_mtok
    )


def _fees(fees: Fees, meters: Meters) -> int:
    if meters.only_tokens:
        return 0
    total = 0
    for meter, name in _BILLED_BY_FEES:
        used = getattr(meters, meter)
        if used:
            total += used * _known(getattr(fees, name), meter, used)
    return total


def _known(fee: int | None, meter: str, used: int) -> int:
    if fee is None:
        raise PriceInvalid(
            f"{used} {meter} were used, and the price has no fee for them; add it to model_info"
        )
    return fee
