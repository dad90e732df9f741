"""The demo prices: fictional, fixed, complete."""

import pytest

import pricing
from pricing.demo import PRICES, PROVIDER
from pricing.rates import RATE_NAMES


def test_the_models_are_there() -> None:
    """The four demo models exist under their full names, with their own limits."""
    assert {name: (p.max_input_tokens, p.max_output_tokens) for name, p in PRICES.items()} == {
        "demo/small": (128_000, 16_384),
        "demo/large": (200_000, 65_536),
        "demo/reasoner": (128_000, 65_536),
        "demo/embedder": (8_192, 8_192),
    }
    for name, price in PRICES.items():
        assert f"{PROVIDER}/{price.model}" == name


@pytest.mark.parametrize(
    ("name", "dollars_in", "dollars_out"),
    [("demo/small", "0.20", "0.80"), ("demo/large", "3", "15"), ("demo/reasoner", "1", "4")],
)
def test_the_prices_are_the_documented_ones(name: str, dollars_in: str, dollars_out: str) -> None:
    """Each price per million tokens is the one that the examples print."""
    rates = PRICES[name].rates
    assert rates.input_nusd_per_mtok == pricing.rates.nusd_from_usd(dollars_in, "in")
    assert rates.output_nusd_per_mtok == pricing.rates.nusd_from_usd(dollars_out, "out")
    assert rates.cached_input_nusd_per_mtok * 10 == rates.input_nusd_per_mtok
    assert rates.cache_write_5m_nusd_per_mtok * 4 == rates.input_nusd_per_mtok * 5
    assert rates.cache_write_1h_nusd_per_mtok == rates.input_nusd_per_mtok * 2


def test_what_embeds_bills_its_input_alone() -> None:
    """demo/embedder costs what it reads, $0.02 per million tokens, and has no output to bill."""
    rates = PRICES["demo/embedder"].rates
    inputs = {getattr(rates, name) for name in RATE_NAMES if "output" not in name}
    assert inputs == {pricing.rates.nusd_from_usd("0.02", "in")}
    assert {getattr(rates, name) for name in RATE_NAMES if "output" in name} == {0}


def test_reasoning_has_a_price_of_its_own() -> None:
    """demo/reasoner shows that reasoning tokens can cost more than text."""
    rates = PRICES["demo/reasoner"].rates
    assert rates.reasoning_output_nusd_per_mtok > rates.output_nusd_per_mtok


def test_the_table_is_read_only() -> None:
    """Nobody can change a demo price while the gateway runs."""
    with pytest.raises(TypeError):
        PRICES["demo/small"] = PRICES["demo/large"]  # type: ignore[index]  # must fail


def test_the_front_door_has_every_public_name() -> None:
    """`__all__` is what the package offers, and each name of it is there."""
    assert all(hasattr(pricing, name) for name in pricing.__all__)
    assert pricing.DEMO_PRICES is PRICES
