"""Meters: the disjoint counters on which every price is applied."""

from dataclasses import FrozenInstanceError, fields
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.meters import Meters

NAMES = [field.name for field in fields(Meters)]
METERS = st.builds(Meters, **{name: st.integers(0, 10**9) for name in NAMES})


def test_sums_contain_each_counter_once() -> None:
    """Input, output and total are the sums of disjoint counters; calls and pages are no tokens."""
    meters = Meters(*(2**at for at in range(16)))
    assert meters.input_tokens == 1 + 2 + 4 + 8 + 16 + 32 + 1024
    assert meters.output_tokens == 64 + 128 + 256 + 2048
    assert meters.total_tokens == meters.input_tokens + meters.output_tokens
    assert not meters.only_tokens
    assert Meters(*(int(at not in (9, 12, 13, 14, 15)) for at in range(16))).only_tokens


def test_meters_are_immutable_and_default_to_zero() -> None:
    """A meter that was recorded cannot change afterwards, and one that was not set is 0."""
    meters = Meters()
    assert all(getattr(meters, field.name) == 0 for field in fields(meters))
    with pytest.raises(FrozenInstanceError):
        meters.text_input = 1  # type: ignore[misc]  # the assignment that must fail


@pytest.mark.parametrize("count", [-1, True, 1.0, "1", None])
@pytest.mark.parametrize("name", [field.name for field in fields(Meters)])
def test_a_meter_is_a_count(name: str, count: object) -> None:
    """No meter can be negative or of another type: money is never multiplied by nonsense."""
    with pytest.raises(ValueError, match=name):
        Meters(**{name: cast("int", count)})


@given(one=METERS, other=METERS)
def test_parts_add_up_and_come_apart_again(one: Meters, other: Meters) -> None:
    """What is put together meter by meter can be taken apart without a rest."""
    whole = one.plus(other)
    assert all(getattr(whole, n) == getattr(one, n) + getattr(other, n) for n in NAMES)
    assert whole.minus(other) == one


def test_what_is_no_part_cannot_be_taken_away() -> None:
    """No meter becomes negative."""
    with pytest.raises(ValueError, match="pages"):
        Meters(text_input=5).minus(Meters(pages=1))
