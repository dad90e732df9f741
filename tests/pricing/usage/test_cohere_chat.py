"""Cohere bills `billed_units`, and counts its own templates beside."""

import pytest

from pricing import Meters, UsageInvalid, read_usage

USAGE = {
    "billed_units": {"input_tokens": 11, "output_tokens": 12},
    "tokens": {"input_tokens": 500, "output_tokens": 24},
}


def test_what_is_billed() -> None:
    """Recognised without being named, too."""
    expected = Meters(text_input=11, text_output=12)
    assert read_usage("cohere", USAGE).meters == expected
    assert read_usage("cohere", USAGE, api="cohere-chat").meters == expected


@pytest.mark.parametrize(
    "usage",
    [
        {"billed_units": None},
        {"billed_units": {"input_tokens": 1}},
        {"billed_units": {"input_tokens": 1.5, "output_tokens": 1}},
        {"billed_units": [1]},
        {"tokens": USAGE["tokens"]},
    ],
)
def test_anything_else_is_refused(usage: dict[str, object]) -> None:
    """A count that is missing is not zero."""
    with pytest.raises(UsageInvalid):
        read_usage("cohere", usage, api="cohere-chat")
