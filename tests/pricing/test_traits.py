"""Traits: limits that nobody says are no limits, and never somebody else's."""

import pytest

from pricing import TOKENS_MAX, PriceInvalid, sheet_from_model_info
from pricing.traits import Traits

FREE: dict[str, object] = {"input_cost_per_token": 0, "output_cost_per_token": 0}


def traits(**info: object) -> Traits:
    return sheet_from_model_info("p", "m", FREE | info).traits


def test_a_limit_that_nobody_says_bounds_nothing() -> None:
    """Sheets are for what has been used: without limits, or with 0, they hold for any request."""
    for unsaid in (traits(), traits(max_input_tokens=0, max_output_tokens=0)):
        assert (unsaid.max_input_tokens, unsaid.max_output_tokens) == (TOKENS_MAX, TOKENS_MAX)


def test_max_tokens_is_the_outputs_limit() -> None:
    """The older key bounds the output, and never the input."""
    said = traits(max_tokens=7)
    assert (said.max_input_tokens, said.max_output_tokens) == (TOKENS_MAX, 7)
    assert traits(max_tokens=7, max_output_tokens=9).max_output_tokens == 9


def test_a_limit_that_is_none_is_refused() -> None:
    """A limit in words is an error with its key."""
    with pytest.raises(PriceInvalid, match="max_input_tokens"):
        traits(max_input_tokens="plenty")
