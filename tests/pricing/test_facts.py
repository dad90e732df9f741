"""Facts: numbers that cannot be are refused where they come in."""

from typing import Any

import pytest

from pricing.facts import AT_MS_MAX, STANDARD, Facts


def test_nothing_said_is_the_standard_price() -> None:
    """Absent facts are the ones that every provider has."""
    assert Facts() == STANDARD
    assert STANDARD.reported_cost_nusd is None


@pytest.mark.parametrize("value", [-1, 1.5, True, "1", AT_MS_MAX + 1])
@pytest.mark.parametrize("name", ["at_ms", "reported_cost_nusd", "cached_audio"])
def test_a_fact_that_cannot_be_is_refused(name: str, value: Any) -> None:
    """A time before 1970, a negative cost or half a token is an error, with its name."""
    with pytest.raises(ValueError, match=name):
        Facts(**{name: value})
