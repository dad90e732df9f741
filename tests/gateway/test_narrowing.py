"""Lists of patterns: what is taken for narrower is narrower, and what people write is taken."""

import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.narrowing import within

# Few characters, so that patterns meet; every one that means something in a pattern is among them.
_TEXT = st.text("ab-*?[]!^", max_size=9)
_NAMES = [
    "",
    *(a + b + c for a in "ab-[]!^*" for b in ["", *"ab-[]!^"] for c in ["", *"ab-]"]),
    *("aab", "abab", "a-b-a", "aaaa", "b[a]", "[ab]", "ab!a"),
]

NARROWER = [
    (("gpt-5-mini",), ("gpt-5*",)),
    (("gpt-5*",), ("gpt-5*",)),
    (("gpt-5-*",), ("gpt-5*", "demo/*")),
    (("gpt-5-mini", "demo/small"), ("demo/*", "gpt-*")),
    (("gpt-*-mini",), ("gpt-*",)),
    (("*-mini",), ("*mini",)),
    (("gpt-[45]",), ("gpt-?",)),
    (("gpt-[45]",), ("gpt-[45]",)),
    (("gpt-4",), ("gpt-[45]",)),
    (("a*b*c",), ("a*c",)),
    (("a**c",), ("a*c",)),
    (("**",), ("*",)),
    (("*",), ("**",)),
    (("anything", "*"), ()),
    (("x[",), ("x[", "y")),
    (("x[",), ("x*",)),
    (("/v1/chat/completions",), ("/v1/*",)),
    (("[!a]",), ("?",)),
]
WIDER = [
    (("*",), ("gpt-5*",)),
    (("gpt-*",), ("gpt-5*",)),
    (("gpt-5*",), ("gpt-5",)),
    (("gpt-5-mini", "gpt-4"), ("gpt-5*",)),
    (("gpt-?",), ("gpt-[0-9]",)),
    (("gpt-[3-9]",), ("gpt-[45]",)),
    (("*mini",), ("*-mini",)),
    (("a*c",), ("a*b*c",)),
    (("?*",), ("?",)),
    (("",), ("a",)),
    (("GPT-5",), ("gpt-5",)),
    (("[]-a]",), ("a",)),
]


@pytest.mark.parametrize(("narrower", "wider"), NARROWER, ids=str)
def test_what_people_write_to_narrow_is_taken(
    narrower: tuple[str, ...], wider: tuple[str, ...]
) -> None:
    """The same pattern, a name, a longer beginning, a set for a `?`."""
    assert within(narrower, wider) is None


@pytest.mark.parametrize(("narrower", "wider"), WIDER, ids=str)
def test_what_is_wider_is_named(narrower: tuple[str, ...], wider: tuple[str, ...]) -> None:
    """One pattern of the list is enough, and it is said which."""
    beyond = within(narrower, wider)
    assert beyond in narrower
    assert beyond is not None
    assert within((beyond,), wider) == beyond


@given(narrower=_TEXT, wider=_TEXT, name=st.one_of(st.sampled_from(_NAMES), st.text("ab-]")))
def test_nothing_is_within_a_pattern_that_allows_less(narrower: str, wider: str, name: str) -> None:
    """Whatever name the narrower one matches, by the matching that keys are judged with, the wider
    one matches too; for any two patterns."""
    if within((narrower,), (wider,)) is None:
        for each in (*_NAMES, name, narrower):
            assert not fnmatchcase(each, narrower) or fnmatchcase(each, wider), each


def test_the_longest_patterns_take_no_time() -> None:
    """What a hostile client can send against what an operator may have written."""
    wider = (
        *(f"{'*a' * 60}{n}" for n in range(8)),
        *("*" + "a" * 60 + "b" for _ in range(8)),
        "a*",
    )
    narrower = tuple("a" * 127 + chr(0x100 + n) for n in range(32))
    began_s = time.process_time()
    assert within(narrower, wider) is None
    assert time.process_time() - began_s < 2
