"""A cost that the provider reports is read exactly, and only from those who bill by it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing import UsageInvalid, read_usage

TOKENS = {"prompt_tokens": 1, "completion_tokens": 1}


def reported(provider: str, **usage: object) -> int | None:
    return read_usage(provider, TOKENS | usage).facts.reported_cost_nusd


def test_a_cost_is_believed_from_those_who_bill_it() -> None:
    """Anybody else's `cost` is a number that nobody checked."""
    assert reported("openrouter", cost=0.5) == 500_000_000
    assert reported("perplexity", cost={"total_cost": 0.006}) == 6_000_000
    assert reported("xai", cost_in_usd_ticks=112_501) == 11_251
    for provider in ("openai", "mistral", "somebody"):
        assert reported(provider, cost=0.5, cost_in_usd_ticks=5) is None


@pytest.mark.parametrize("provider", ["openrouter", "perplexity", "xai"])
def test_silence_is_not_zero(provider: str) -> None:
    """Without a reported cost the price list decides."""
    assert reported(provider) is None
    assert reported(provider, cost=None, cost_in_usd_ticks=None) is None


def test_with_an_own_key_the_provider_bills_besides() -> None:
    """OpenRouter's fee and the provider's bill are two charges, rounded once, together."""
    upstream = {"upstream_inference_cost": "0.0000000005"}
    own_key = {"cost": "0.0000000005", "cost_details": upstream}
    assert reported("openrouter", **own_key, is_byok=True) == 1
    assert reported("openrouter", **own_key, is_byok=False) == 1
    assert reported("openrouter", cost=1, is_byok=True) is None


def test_an_older_object_is_told_by_its_amounts() -> None:
    """Without is_byok, a bill that is higher than the charge can only come besides."""
    assert reported("openrouter", cost=0.95, cost_details={"upstream_inference_cost": 19}) == (
        19_950_000_000
    )
    assert reported("openrouter", cost=0.95, cost_details={"upstream_inference_cost": 0.95}) == (
        950_000_000
    )


@pytest.mark.parametrize("amount", [-1, True, "much", [], float("nan"), float("inf"), 1001])
def test_a_hostile_cost_is_refused(amount: object) -> None:
    """No cost is negative, not a number or absurd: the reservation is booked instead."""
    with pytest.raises(UsageInvalid, match="cost"):
        reported("openrouter", cost=amount)
    with pytest.raises(UsageInvalid, match="upstream_inference_cost"):
        reported(
            "openrouter", cost=1, is_byok=True, cost_details={"upstream_inference_cost": amount}
        )
    with pytest.raises(UsageInvalid, match="total_cost"):
        reported("perplexity", cost={"total_cost": amount})


@pytest.mark.parametrize("ticks", [-1, 0.5, True, "5", 10**14])
def test_ticks_are_whole_numbers(ticks: object) -> None:
    """xAI's ticks are an integer; anything else is refused."""
    with pytest.raises(UsageInvalid, match="cost_in_usd_ticks"):
        reported("xai", cost_in_usd_ticks=ticks)


def test_whether_the_key_is_ones_own_is_true_or_false() -> None:
    """A third answer would decide about money."""
    with pytest.raises(UsageInvalid, match="is_byok must be true or false"):
        reported("openrouter", cost=1, is_byok="no")


@given(fee=st.integers(0, 10**11), bill=st.integers(0, 10**11))
def test_amounts_are_added_exactly(fee: int, bill: int) -> None:
    """Both as decimal text with nine places: the sum is exact, whatever a float would say."""
    texts = [f"{amount // 10**9}.{amount % 10**9:09}" for amount in (fee, bill)]
    details = {"upstream_inference_cost": texts[1]}
    assert reported("openrouter", cost=texts[0], is_byok=True, cost_details=details) == fee + bill
