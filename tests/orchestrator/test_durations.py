"""A duration is a whole number with a unit, up to 366 days; nothing else is one."""

import pytest

from orchestrator.durations import DURATION_S_MAX, seconds


@pytest.mark.parametrize(
    ("text", "found_s"),
    [
        ("90s", 90),
        ("10m", 600),
        ("24h", 86_400),
        ("30d", 2_592_000),
        ("366d", DURATION_S_MAX),
        ("31622400s", DURATION_S_MAX),
    ],
)
def test_each_unit_is_read(text: str, found_s: int) -> None:
    """From seconds to days, up to the longest."""
    assert seconds(text) == found_s


@pytest.mark.parametrize(
    "value",
    [
        *("", "0s", "10", "10 m", "-1s", "1.5h", "1w", "1M", "010s", "1s\n", " 1s", "٣s", "1h30m"),
        *("500ms", "5000ms", "0"),
        *(10, 1.5, True, None, ["10m"], {}),
    ],
)
def test_what_is_none_is_told_how_to_write_one(value: object) -> None:
    """A number without a unit, other units, other digits, other types."""
    with pytest.raises(ValueError, match="whole number with s, m, h or d, as in 10m"):
        seconds(value)


@pytest.mark.parametrize("text", ["367d", "8785h", "31622401s", "99999999d"])
def test_no_duration_is_longer_than_a_year(text: str) -> None:
    """In any unit, and the limit is in the message."""
    with pytest.raises(ValueError, match="at most 366d"):
        seconds(text)
