"""Of two opinions the merged one is never the cheaper, and says where they differ."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from pricing.catalog.info import decimal_text, divided, number, quoted
from pricing.catalog.merging import DEARER, merged

_BASES = ("input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost")
_SEARCH = "search_context_cost_per_query"
_KEYS = [f"{base}{end}" for base in _BASES for end in ("", "_above_200k_tokens", "_batches")]
_AMOUNTS = st.decimals(0, 1, places=9).map(decimal_text)
_INFOS = st.dictionaries(st.sampled_from(_KEYS), _AMOUNTS)


@given(_INFOS, _INFOS)
def test_no_key_is_cheaper_than_in_either_list(one: dict[str, str], other: dict[str, str]) -> None:
    """For every key of both: the value is the higher one, and exactly what differs is told."""
    info, said = merged(("a", one), ("b", other))
    assert info.keys() == one.keys() | other.keys()
    for key, value in info.items():
        sides = [Decimal(side[key]) for side in (one, other) if key in side]
        assert Decimal(str(value)) >= max(sides)
    told = {each.key for each in said}
    both = one.keys() & other.keys()
    assert {key for key in both if Decimal(one[key]) != Decimal(other[key])} == told & both
    assert all(each.because == DEARER for each in said)


def test_a_long_context_rate_that_one_list_lacks_is_its_plain_rate() -> None:
    """A list without the threshold says that long prompts cost the same: that is a difference, and
    where its plain rate is the higher one, it counts above the threshold, too."""
    long = {
        "input_cost_per_token": "0.000003",
        "input_cost_per_token_above_200k_tokens": "0.000006",
    }
    flat = {"input_cost_per_token": "0.000007"}
    info, said = merged(("a", long), ("b", flat))
    assert info["input_cost_per_token_above_200k_tokens"] == "0.000007"
    assert said[1].key == "input_cost_per_token_above_200k_tokens"
    assert said[1].said == (("a", "0.000006"), ("b", "0.000007"))


def test_values_inside_a_value_are_merged_one_by_one() -> None:
    """Of fees by size and of factors by option each has its own dearer value."""
    info, said = merged(
        ("a", {"provider_specific_entry": {"us": "1.1"}, _SEARCH: {"low": "1"}}),
        ("b", {"provider_specific_entry": {"fast": "2"}, _SEARCH: {"low": "2"}}),
    )
    assert info["provider_specific_entry"] == {"us": "1.1", "fast": "2"}
    assert info[_SEARCH] == {"low": "2"}
    assert [each.key for each in said] == [_SEARCH]


def test_limits_are_the_larger_and_no_disagreement() -> None:
    """A context window that is too large bounds too loosely; one too small would not bound."""
    info, said = merged(("a", {"max_input_tokens": 400000}), ("b", {"max_input_tokens": 272000}))
    assert info == {"max_input_tokens": 400000}
    assert said == ()


@given(st.decimals(0, 10**6, places=9), st.sampled_from([1, 1000, 3600, 10**6]))
def test_the_price_of_one_is_never_below_its_part_of_many(price: Decimal, units: int) -> None:
    """Where a division does not end, it ends upwards, and the text is a plain decimal."""
    text = divided(price, units)
    assert Decimal(text) * units >= price
    assert Decimal(text) * units - price <= units * (price / units) * Decimal("1e-26") + 0
    assert "E" not in text


def test_prices_are_quoted_as_people_do() -> None:
    """Per million tokens, per one call, or as a factor."""
    assert list(quoted("input_cost_per_token_flex", "0.000000125")) == [
        ("input_cost_per_token_flex", "0.125", "1M tokens")
    ]
    assert list(quoted("provider_specific_entry", {"us": "1.1"})) == [
        ("provider_specific_entry.us", "1.1", "factor")
    ]
    assert next(quoted("file_search_cost_per_1k_calls", "2.5"))[1:] == ("2.5", "1k")
    assert next(quoted("ocr_cost_per_page", "0.004"))[1:] == ("0.004", "1")
    assert list(quoted("max_input_tokens", 5)) == []
    assert number(True) is None
    assert number("NaN") is None
    assert number("x") is None
