"""What names a scope is told apart from what cannot, and two names never share one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.policy import parse_scope
from budgets.subscopes import (
    SubscopesInvalid,
    is_of_keys,
    parse_sources,
    segment_of,
    shown_sources,
)

NAMES = st.text(min_size=1, max_size=300)


@given(NAMES)
def test_every_name_has_a_scope(name: str) -> None:
    """Whatever somebody calls a session: it is a segment that budgets know, and no key's own."""
    segment = segment_of(name)
    assert parse_scope(f"acme/{segment}") == ("acme", segment)
    assert not is_of_keys(segment)


@given(NAMES, NAMES)
def test_two_names_have_two_scopes(one: str, other: str) -> None:
    """However alike they are."""
    assert (segment_of(one) == segment_of(other)) == (one == other)


@pytest.mark.parametrize("name", ["run-42", "ada@example.org", "a" * 64, "7f3c~x"])
def test_a_name_that_can_be_a_scope_is_one(name: str) -> None:
    """People find it again as they wrote it."""
    assert segment_of(name) == name


@pytest.mark.parametrize(
    ("name", "readable"),
    [("Ada Lovelace", "Ada-Lovelace~"), ("key-1", "1~"), ("KEY-1", "KEY-1~"), ("☃", "id~")],
)
def test_one_that_cannot_keeps_its_readable_part(name: str, readable: str) -> None:
    """With a digest behind it."""
    assert segment_of(name).startswith(readable.replace("KEY-1~", ""))
    assert "~" in segment_of(name)
    assert segment_of(name) != name


@pytest.mark.parametrize("value", [None, False, True, ["session"], ["user", "property:tenant"]])
def test_what_is_said_is_shown_again(value: object) -> None:
    """As it was written."""
    assert shown_sources(parse_sources(value)) == (value or False)


@pytest.mark.parametrize(
    "value", ["session", 1, [], ["key"], ["property:"], ["property:a b"], [1], ["user"] * 2, [""]]
)
def test_what_has_no_meaning_is_refused(value: object) -> None:
    """And what has is told."""
    with pytest.raises(SubscopesInvalid, match="subscopes"):
        parse_sources(value)
