"""No text can be added to a request without being counted, and moving texts to other places adds
nothing."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pricing import text_tokens_max
from translator.texts import MARK_BYTES_MAX, payload_of, texts_tokens, tokens_reserved

NONE: Counter[str] = Counter()
TEXTS = st.text(max_size=40)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=20,
)


@given(JSON, TEXTS)
def test_a_text_that_is_added_counts(value: Any, text: str) -> None:
    """In any place that is not a mark."""
    assert texts_tokens({"a": value, "text": text}, NONE) == texts_tokens(
        {"a": value}, NONE
    ) + text_tokens_max(text)


@given(st.lists(TEXTS, max_size=6))
def test_a_move_adds_nothing(texts: list[str]) -> None:
    """From OpenAI's places to Google's, Bedrock's and Anthropic's."""
    ours = {"messages": [{"role": "user", "content": each} for each in texts]}
    google = {"contents": [{"role": "user", "parts": [{"text": each}]} for each in texts]}
    bedrock = {"messages": [{"role": "user", "content": [{"text": each}]} for each in texts]}
    assert texts_tokens(google, NONE) == texts_tokens(ours, NONE) == texts_tokens(bedrock, NONE)


def test_a_mark_that_is_too_long_is_a_text() -> None:
    """Else a prompt could hide in a role."""
    assert texts_tokens({"role": "a" * MARK_BYTES_MAX}, NONE) == 0
    long = "a" * (MARK_BYTES_MAX + 1)
    assert texts_tokens({"role": long}, NONE) == len(long)


def test_a_picture_counts_as_often_as_it_was_not_sent() -> None:
    """Once as itself; a second copy, or another one, is text."""
    pictures = Counter(["AAAA"])
    assert texts_tokens({"data": "AAAA"}, pictures) == 0
    assert texts_tokens({"url": "data:image/png;base64,AAAA"}, pictures) == 0
    assert texts_tokens([{"data": "AAAA"}, {"data": "AAAA"}], pictures) == 4
    assert texts_tokens({"data": "AAAB"}, pictures) == 4
    assert pictures == Counter(["AAAA"])


def test_only_base64_is_a_payload() -> None:
    """Everything else is a text."""
    assert payload_of("data:image/png;base64,AAAA") == "AAAA"
    for url in ("", "data:,x", "https://x/,y", "data:image/png;base64,", "AAAA"):
        assert payload_of(url) == ""


def test_names_in_schemas_are_texts() -> None:
    """Those of a wire format are not."""
    schema = {"parameters": {"type": "object", "properties": {"a_long_name": {"type": "string"}}}}
    assert texts_tokens(schema, NONE) == len("a_long_name")


def test_deep_nesting_is_no_recursion() -> None:
    """As deep as a parser lets through."""
    value: Any = "x"
    for _ in range(10_000):
        value = [value]
    assert texts_tokens(value, NONE) == 1


def test_what_is_reserved_has_the_overheads() -> None:
    """Of the request, of each message and of each tool: pricing.overhead_tokens."""
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
    assert tokens_reserved(fields, NONE) == 5 + 64 + 8
    fields["tools"] = [{"type": "function", "function": {"name": "f"}}]
    assert tokens_reserved(fields, NONE) == 5 + 1 + 64 + 8 + 24
