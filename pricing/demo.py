"""Prices of the built-in `demo/*` models.

The demo provider answers without a key or a network, but budgets are only worth trying when its
answers cost something. These numbers are fictional: they resemble a small model, a large one, one
that reasons and one that embeds, and belong to no provider. They are a contract of the examples:
changing one changes what every tutorial prints.
"""

from collections.abc import Mapping
from types import MappingProxyType

from pricing.price import Price
from pricing.rates import Rates

PROVIDER = "demo"

_USD = 10**9  # nano-dollars: "3 * _USD" reads as three dollars per million tokens
_CENT = _USD // 100


def _price(model: str, rates: Rates, *, max_input_tokens: int, max_output_tokens: int) -> Price:
    return Price(
        provider=PROVIDER,
        model=model,
        rates=rates,
        max_input_tokens=max_input_tokens,
        max_output_tokens=max_output_tokens,
    )


_SMALL = Rates(
    input_nusd_per_mtok=20 * _CENT,
    cached_input_nusd_per_mtok=2 * _CENT,
    cache_write_5m_nusd_per_mtok=25 * _CENT,
    cache_write_1h_nusd_per_mtok=40 * _CENT,
    audio_input_nusd_per_mtok=20 * _CENT,
    image_input_nusd_per_mtok=20 * _CENT,
    output_nusd_per_mtok=80 * _CENT,
    reasoning_output_nusd_per_mtok=80 * _CENT,
    audio_output_nusd_per_mtok=80 * _CENT,
    cached_audio_input_nusd_per_mtok=20 * _CENT,
    video_input_nusd_per_mtok=20 * _CENT,
    image_output_nusd_per_mtok=80 * _CENT,
)
_LARGE = Rates(
    input_nusd_per_mtok=3 * _USD,
    cached_input_nusd_per_mtok=30 * _CENT,
    cache_write_5m_nusd_per_mtok=375 * _CENT,
    cache_write_1h_nusd_per_mtok=6 * _USD,
    audio_input_nusd_per_mtok=3 * _USD,
    image_input_nusd_per_mtok=3 * _USD,
    output_nusd_per_mtok=15 * _USD,
    reasoning_output_nusd_per_mtok=15 * _USD,
    audio_output_nusd_per_mtok=15 * _USD,
    cached_audio_input_nusd_per_mtok=3 * _USD,
    video_input_nusd_per_mtok=3 * _USD,
    image_output_nusd_per_mtok=15 * _USD,
)
_REASONER = Rates(
    input_nusd_per_mtok=1 * _USD,
    cached_input_nusd_per_mtok=10 * _CENT,
    cache_write_5m_nusd_per_mtok=125 * _CENT,
    cache_write_1h_nusd_per_mtok=2 * _USD,
    audio_input_nusd_per_mtok=1 * _USD,
    image_input_nusd_per_mtok=1 * _USD,
    output_nusd_per_mtok=4 * _USD,
    reasoning_output_nusd_per_mtok=6 * _USD,
    audio_output_nusd_per_mtok=4 * _USD,
    cached_audio_input_nusd_per_mtok=1 * _USD,
    video_input_nusd_per_mtok=1 * _USD,
    image_output_nusd_per_mtok=4 * _USD,
)
_EMBEDDER = Rates(
    input_nusd_per_mtok=2 * _CENT,
    cached_input_nusd_per_mtok=2 * _CENT,
    cache_write_5m_nusd_per_mtok=2 * _CENT,
    cache_write_1h_nusd_per_mtok=2 * _CENT,
    audio_input_nusd_per_mtok=2 * _CENT,
    image_input_nusd_per_mtok=2 * _CENT,
    output_nusd_per_mtok=0,
    reasoning_output_nusd_per_mtok=0,
    audio_output_nusd_per_mtok=0,
    cached_audio_input_nusd_per_mtok=2 * _CENT,
    video_input_nusd_per_mtok=2 * _CENT,
    image_output_nusd_per_mtok=0,
)

PRICES: Mapping[str, Price] = MappingProxyType(
    {
        "demo/small": _price("small", _SMALL, max_input_tokens=128_000, max_output_tokens=16_384),
        "demo/large": _price("large", _LARGE, max_input_tokens=200_000, max_output_tokens=65_536),
        "demo/reasoner": _price(
            "reasoner", _REASONER, max_input_tokens=128_000, max_output_tokens=65_536
        ),
        "demo/embedder": _price(
            "embedder", _EMBEDDER, max_input_tokens=8_192, max_output_tokens=8_192
        ),
    }
)
"""Full model name -> price. Read-only."""
